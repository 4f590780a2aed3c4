package policy

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

func (env *testEnv) setRules(rules ...Rule) {
	env.t.Helper()
	for i := range rules {
		rules[i].Rank = i + 1
	}
	compiled, err := CompileRules(rules, StandardOperators())
	must(env.t, err)
	env.site = NewSite("acme", "news", compiled, PathOptions{}, env.keys)
}

func parseRule(t *testing.T, path, allow string) Rule {
	t.Helper()
	parsed, err := ParseAllow(allow)
	must(t, err)
	return Rule{Path: path, Allow: parsed}
}

func TestSelf(t *testing.T) {
	env := newTestEnv(t)
	env.setRules(parseRule(t, "/users/{user}", "self"), parseRule(t, "/people/{id}", `self/{"user":"{id}"}`), parseRule(t, "/root", `self/{"user":"ann"}`))
	for _, path := range []string{"/users/ann", "/users/ann/orders", "/people/ann", "/root"} {
		env.want(testRequest{path: path, reader: ann}, ReasonAuthenticated)
		env.want(testRequest{path: path}, ReasonLoginRequired)
		env.want(testRequest{path: path, reader: Reader{UserID: "mallory"}}, ReasonNotEntitled)
	}
	// Ids are compared exactly, and other identifiers are not compared.
	for _, reader := range []Reader{{UserID: "Ann"}, {UserID: "x", Email: "ann"}, {UserID: "x", PublisherUserID: "ann"}} {
		env.want(testRequest{path: "/users/ann", reader: reader}, ReasonNotEntitled)
	}
	for _, bad := range []Rule{parseRule(t, "/users", "self"), parseRule(t, "/users/{user}", `self/{"user":"{id}"}`), parseRule(t, "/users/{user}", `self/{"sku":"x"}`)} {
		if _, err := CompileRules([]Rule{bad}, StandardOperators()); err == nil {
			t.Errorf("%s is accepted", bad.Allow)
		}
	}
}

// DjaoApp's code 15, for readers who subscribe themselves.
func TestSubscribed(t *testing.T) {
	env := newTestEnv(t)
	env.setRules(
		parseRule(t, "/any", "15"), parseRule(t, "/plan", `15/{"profile":null,"plan":"premium","brokers":null}`),
		parseRule(t, "/plans", `subscribed/{"plan":["gold","premium"]}`), parseRule(t, "/gold", `15/{"plan":"gold"}`),
		parseRule(t, "/app/{profile}", `15/{"plan":"premium"}`), parseRule(t, "/on/{plan}", "15"),
	)
	allowed := []string{"/any", "/plan", "/plans", "/app/" + ann.UserID, "/on/premium"}
	denied := []string{"/gold", "/app/other", "/on/gold"}
	for _, path := range append(allowed, denied...) {
		env.want(testRequest{path: path}, ReasonLoginRequired)
		env.want(testRequest{path: path, reader: ann}, ReasonNotEntitled)
	}
	env.subscribe(0, 0)
	for _, path := range allowed {
		if d := env.want(testRequest{path: path, reader: ann}, ReasonEntitled); d.SKU != "premium" || d.Grant == "" {
			t.Errorf("%s: entitled by sku %q, grant %q", path, d.SKU, d.Grant)
		}
	}
	for _, path := range denied {
		env.want(testRequest{path: path, reader: ann}, ReasonNotEntitled)
	}
	// Links do not open such a page.
	env.want(testRequest{path: "/plan", link: LinkEvidence{Token: "x", Spendable: true}}, ReasonLoginRequired)
	for _, bad := range []string{`15/{"brokers":["abc"]}`, `15/{"roledescription":"manager"}`, `15/{"plan":7}`, `15/{"profile":"{other}"}`} {
		if _, err := CompileRules([]Rule{parseRule(t, "/x", bad)}, StandardOperators()); err == nil {
			t.Errorf("%s is accepted", bad)
		}
	}
}

// A subscription counts from its begin until its end.
func TestSubscribedInTime(t *testing.T) {
	env := newTestEnv(t)
	env.setRules(parseRule(t, "/any", "15"))
	env.subscribe(1000, 2000)
	for i, want := range []Reason{ReasonNotEntitled, ReasonEntitled, ReasonNotEntitled} {
		if d := env.want(testRequest{path: "/any", reader: ann}, want); i < 2 && d.Until != start*1000+int64(i+1)*1000 {
			t.Errorf("at %d the decision holds until %d", i, d.Until)
		}
		env.advance(time.Second)
	}
}

// An operator that does not exist here is refused, and the error says what it asks for.
func TestUnsupportedDjaoAppOperators(t *testing.T) {
	supported := map[int]bool{0: true, 1: true, 15: true}
	for code := range 19 {
		_, err := CompileRules([]Rule{parseRule(t, "/x", fmt.Sprint(code))}, StandardOperators())
		switch {
		case supported[code] && err != nil:
			t.Errorf("%d: %v", code, err)
		case !supported[code] && (!errors.Is(err, ErrUnknownOperator) || !strings.Contains(err.Error(), "it asks ")):
			t.Errorf("%d: the error is %v, want ErrUnknownOperator with what it asks", code, err)
		}
	}
	if _, err := CompileRules([]Rule{parseRule(t, "/x", "19")}, StandardOperators()); err == nil || !strings.Contains(err.Error(), "known are") {
		t.Errorf("19: %v", err)
	}
}
