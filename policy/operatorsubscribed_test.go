package policy

import (
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

// A grant of a sku that has the plan's name is a subscription of the reader alone. It
// counts where the rule names no profile.
func TestSubscribedByAGrant(t *testing.T) {
	env := newTestEnv(t)
	env.setRules(
		parseRule(t, "/any", "15"), parseRule(t, "/plan", `15/{"profile":null,"plan":"premium","brokers":null}`),
		parseRule(t, "/plans", `subscribed/{"plan":["gold","premium"]}`), parseRule(t, "/gold", `15/{"plan":"gold"}`),
		parseRule(t, "/app/{profile}", `15/{"plan":"premium"}`), parseRule(t, "/on/{plan}", "16"),
	)
	allowed := []string{"/any", "/plan", "/plans", "/on/premium"}
	denied := []string{"/gold", "/app/other", "/on/gold", "/app/" + ann.UserID}
	for _, path := range append(allowed, denied...) {
		env.want(testRequest{path: path}, ReasonLoginRequired)
		env.want(testRequest{path: path, reader: ann}, ReasonNotSubscribed)
	}
	env.subscribe(0, 0)
	for _, path := range allowed {
		if d := env.want(testRequest{path: path, reader: ann}, ReasonEntitled); d.SKU != "premium" || d.Grant == "" {
			t.Errorf("%s: entitled by sku %q, grant %q", path, d.SKU, d.Grant)
		}
	}
	for _, path := range denied {
		env.want(testRequest{path: path, reader: ann}, ReasonNotSubscribed)
	}
	// Links do not open such a page.
	env.want(testRequest{path: "/plan", link: LinkEvidence{Token: "x", Spendable: true}}, ReasonLoginRequired)
}

// A grant counts from its begin until its end.
func TestSubscribedByAGrantInTime(t *testing.T) {
	env := newTestEnv(t)
	env.setRules(parseRule(t, "/any", "15"))
	env.subscribe(1000, 2000)
	for i, want := range []Reason{ReasonNotSubscribed, ReasonEntitled, ReasonNotSubscribed} {
		if d := env.want(testRequest{path: "/any", reader: ann}, want); i < 2 && d.Until != start*1000+int64(i+1)*1000 {
			t.Errorf("at %d the decision holds until %d", i, d.Until)
		}
		env.advance(time.Second)
	}
}

// Arguments that can only be a mistake are refused.
func TestArgumentsOfOperatorsAreChecked(t *testing.T) {
	for _, c := range []struct{ path, allow, want string }{
		{"/x", `19`, "unknown operator"},
		{"/x", `2/{"profile":"abc"}`, "takes no argument"},
		{"/x", `2/{"agreement":"terms of use"}`, "is no slug"},
		{"/x", `3/{"profile":"a b"}`, "is no slug"},
		{"/x", `3/{"profile":7}`, "must be a string"},
		{"/x", `3/{"profile":"{profile}"}`, "not captured"},
		{"/x", `3/{"roledescription":["manager",""]}`, "is empty"},
		{"/x", `3/{"roledescription":"a/b"}`, "is no slug"},
		{"/x", `3/{"brokers":["a b"]}`, "is no slug"},
		{"/x", `4/{"brokers":["abc"]}`, "takes no argument"},
		{"/x", `10/{"brokers":["abc"]}`, "takes no argument"},
		{"/x", `5/{"roledescription":"contributor"}`, "takes no argument"},
		{"/x", `8/{"roledescription":"contributor"}`, "takes no argument"},
		{"/x", `11/{"roledescription":"contributor"}`, "takes no argument"},
		{"/x", `3/{"plan":"premium"}`, "takes no argument"},
		{"/x", `12`, "the user must be captured"},
		{"/x", `14/{"user":"ann","roledescription":"contributor"}`, "takes no argument"},
		{"/x", `12/{"user":"` + strings.Repeat("a", 256) + `"}`, "at most 255 bytes"},
		{"/x", `3/{"profile":"` + strings.Repeat("a", 129) + `"}`, "is no slug"},
		{"/x", `15/{"roledescription":"manager"}`, "takes no argument"},
		{"/x", `15/{"plan":7}`, "must be a string or a list"},
		{"/x", `15/{"profile":"{other}"}`, "not captured"},
		{"/x", `17/{"amr":["m f a"]}`, "without spaces"},
		{"/x", `17/{"profile":"abc"}`, "takes no argument"},
		{"/x", `all`, "must be a list of steps"},
		{"/x", `all/{"steps":["direct"]}`, "needs 2"},
		{"/x", `all/{"steps":["direct","any"]}`, "no meaning"},
		{"/x", `all/{"steps":["direct","all"]}`, "no meaning"},
		{"/x", `all/{"steps":["direct","19"]}`, "unknown operator"},
		{"/x", `all/{"steps":["direct","5/{\"roledescription\":\"support\"}"]}`, "direct_strong: it takes no argument"},
	} {
		_, err := CompileRules([]Rule{parseRule(t, c.path, c.allow)}, StandardOperators())
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.60s: %v, want %q", c.allow, err, c.want)
		}
	}
	for _, good := range []string{
		`3/{"profile":null,"roledescription":null,"brokers":null}`, `9/{"brokers":["abc","{b}"],"roledescription":["{r}","support"]}`,
		`15/{"plan":["a","b"],"brokers":"abc"}`, `17/{"acr":"2","amr":["otp","mfa"]}`, `2/{"agreement":"{a}"}`, `all/{"steps":["2",3]}`,
	} {
		_, err := CompileRules([]Rule{parseRule(t, "/{a}/{b}/{r}", good)}, StandardOperators())
		must(t, err)
	}
}
