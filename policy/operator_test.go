package policy

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func TestOperatorsAreFoundByNameAndCode(t *testing.T) {
	operators := StandardOperators()
	// DjaoApp's, by their codes, and seven more.
	djaoapp := []string{
		"any", "authenticated", "signed", "direct", "direct_weak", "direct_strong", "provider", "provider_weak", "provider_strong",
		"provider_only", "provider_only_weak", "provider_only_strong", "self_provider", "self_provider_weak", "self_provider_strong",
		"subscribed", "was_subscribed", "verified", "provider_readable",
	}
	if names := operators.Names(); !slices.Equal(names, slices.Sorted(slices.Values(append([]string{"address", "all", "crawler", "entitled", "metered", "origin", "self"}, djaoapp...)))) {
		t.Errorf("the names are %v", names)
	}
	for code, name := range djaoapp {
		for _, text := range []string{strconv.Itoa(code), name} {
			if found, err := operators.Find(text); err != nil || found.Name != name || found.Code != code {
				t.Errorf("%s: %v, %v", text, found, err)
			}
		}
	}
	for _, text := range []string{"", "19", "-1", "00", "01", "+1", " any", "Any", "any ", "entitled/x"} {
		found, err := operators.Find(text)
		if found != nil || !errors.Is(err, ErrUnknownOperator) || !strings.Contains(err.Error(), "known are address, all, any, authenticated, crawler, direct, ") {
			t.Errorf("%q: %v, %v", text, found, err)
		}
	}
}

func TestOperatorRegisteredTwice(t *testing.T) {
	for name, twice := range map[string][]Operator{
		"by name":                  {{Code: NoCode, Name: "x"}, {Code: NoCode, Name: "x"}},
		"by code":                  {{Code: 7, Name: "x"}, {Code: 7, Name: "y"}},
		"by a name that is a code": {{Code: 7, Name: "x"}, {Code: NoCode, Name: "7"}},
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			NewOperators(twice...)
		}()
	}
	if operators := NewOperators(Operator{Code: NoCode, Name: "x"}, Operator{Code: NoCode, Name: "y"}); len(operators.Names()) != 2 {
		t.Error("two operators without a code conflict")
	}
}

// compileOne compiles one rule at /{a}/{publisherContentId}.
func compileOne(allow string) (*Ruleset, error) {
	parsed, err := ParseAllow(allow)
	if err != nil {
		return nil, err
	}
	return CompileRules([]Rule{{Rank: 1, Path: "/{a}/{publisherContentId}", Allow: parsed}}, StandardOperators())
}

func TestOperatorArguments(t *testing.T) {
	many := `["` + strings.Repeat(`s","`, maxSKUs) + `s"]`
	for _, c := range []struct{ allow, want string }{
		{`entitled/{"sku":"premium"}`, ""},
		{`entitled/{"sku":["premium","{a}"],"publisherContentId":"{a}"}`, ""},
		{`entitled/{"sku":"premium","publisherContentId":null}`, ""},
		{`entitled/{"sku":":a"}`, ""}, // a sku, not a parameter
		{`any/{}`, ""},
		{`1/{}`, ""},

		{`entitled`, "at least one sku"},
		{`entitled/{}`, "at least one sku"},
		{`entitled/{"sku":null}`, "at least one sku"},
		{`entitled/{"sku":[]}`, "at least one sku"},
		{`entitled/{"sku":""}`, "an argument is empty"},
		{`entitled/{"sku":["premium",""]}`, "an argument is empty"},
		{`entitled/{"sku":["premium",null]}`, "an argument is empty"},
		{`entitled/{"sku":` + many + `}`, "at most 64 skus"},
		{`entitled/{"sku":5}`, "sku must be a string or a list"},
		{`entitled/{"sku":["premium",5]}`, "sku must be a string or a list"},
		{`entitled/{"sku":{"premium":true}}`, "sku must be a string or a list"},
		{`entitled/{"sku":true}`, "sku must be a string or a list"},
		{`entitled/{"SKU":"premium"}`, `takes no argument "SKU"`},
		{`entitled/{"sku":"premium","skus":"gold"}`, `takes no argument "skus"`},
		{`entitled/{"sku":"{b}"}`, "{b} is not captured"},
		{`entitled/{"sku":"x-{a}"}`, "the whole argument"},
		{`entitled/{"sku":"{a}{a}"}`, "the whole argument"},
		{`entitled/{"sku":"{}"}`, "the whole argument"},
		{`entitled/{"sku":"premium","publisherContentId":["a"]}`, "publisherContentId must be a string"},
		{`entitled/{"sku":"premium","publisherContentId":""}`, "an argument is empty"},
		{`entitled/{"sku":"premium","publisherContentId":"{b}"}`, "{b} is not captured"},
		{`any/{"sku":"premium"}`, `takes no argument "sku"`},
		{`authenticated/{"x":null}`, `takes no argument "x"`},
		{`0/{"x":1}`, `takes no argument "x"`},
		{`sesame`, `unknown operator "sesame"`},
	} {
		_, err := compileOne(c.allow)
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%.80s: %v", c.allow, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%.80s: %v, want %q", c.allow, err, c.want)
		}
	}
}

// A string argument overrides a capture, and null does not: DjaoApp stores rules with a
// null for every parameter, so overriding would allow readers of one tenant on the
// pages of all others.
func TestArgumentOverridesACapture(t *testing.T) {
	for _, c := range []struct{ allow, sku, want string }{
		{`entitled/{"sku":"{sku}"}`, "x", "x"},
		{`entitled/{"sku":null}`, "x", "x"},
		{`entitled`, "x", "x"},
		{`entitled/{"sku":["{sku}","premium"]}`, "x", "x"},
		{`entitled/{"sku":["{sku}","premium"]}`, "premium", "premium"},
		{`entitled/{"sku":"premium"}`, "x", ""},
		{`entitled/{"sku":"premium"}`, "premium", "premium"},
		{`entitled/{"sku":["premium"]}`, "x", ""},
	} {
		allow, err := ParseAllow(c.allow)
		must(t, err)
		rules, err := CompileRules([]Rule{{Rank: 1, Path: "/{sku}", Allow: allow}}, StandardOperators())
		must(t, err)
		env := newTestEnv(t)
		env.site = NewSite("acme", "news", rules, PathOptions{}, env.keys)
		env.records.grant(fakeGrant{Grant: Grant{ID: "g", SKU: c.sku}, userID: "bob"})
		if decision := env.decide(testRequest{path: "/x", reader: bob}); decision.SKU != c.want || decision.Allow() != (c.want != "") {
			t.Errorf("%s for a reader with %s: %s, by %q", c.allow, c.sku, decision.Reason, decision.SKU)
		}
	}
}

// An operator of another registry gets its parameters as `entitled` does.
func TestCustomOperator(t *testing.T) {
	operators := NewOperators(Operator{Code: 5, Name: "self", Compile: func(Arguments, []string) (Test, error) { return userTest{}, nil }})
	rules, err := CompileRules([]Rule{
		{Rank: 1, Path: "/fixed/{user}", Allow: Allow{Operator: "5", Arguments: Arguments{"user": []byte(`"ann"`)}}},
		{Rank: 2, Path: "/home/{user}", Allow: Allow{Operator: "self", Arguments: Arguments{"user": []byte(`null`)}}},
		{Rank: 3, Path: "/", Allow: Allow{Operator: "self"}},
	}, operators)
	must(t, err)
	env := newTestEnv(t)
	env.site = NewSite("acme", "news", rules, PathOptions{}, env.keys)
	for path, want := range map[string][2]Reason{ // for Ann, for Bob
		"/home/ann":  {ReasonAuthenticated, ReasonLoginRequired},
		"/home/bob":  {ReasonLoginRequired, ReasonAuthenticated},
		"/fixed/bob": {ReasonAuthenticated, ReasonLoginRequired},
		"/x":         {ReasonLoginRequired, ReasonLoginRequired},
	} {
		for i, reader := range []Reader{ann, bob} {
			if decision := env.decide(testRequest{path: path, reader: reader}); decision.Reason != want[i] {
				t.Errorf("%s for %s: %s, want %s", path, reader.UserID, decision.Reason, want[i])
			}
		}
	}
}

// userTest allows the reader whom the parameter `user` names.
type userTest struct{}

func (userTest) Test(q *Question) Reason {
	if user, ok := q.Param("user"); ok && user == q.Reader.UserID {
		return ReasonAuthenticated
	}
	return ReasonLoginRequired
}
