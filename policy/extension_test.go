package policy

import (
	"net/http"
	"testing"
)

// `/account.json` is the account to Rails, and `/account.html` is the file that
// `try_files {path}.html` and MultiViews serve for /account. No rule names them, and the
// last one would make them public.
func TestPageIsGatedUnderEachExtension(t *testing.T) {
	rules := append([]Rule{
		{Rank: 0, Path: "/articles/{id}/full", Allow: entitledTo("premium")},
		{Rank: 1, Path: "/account.rss", Allow: Allow{Operator: "any"}},
	}, readmeRules[1:]...)
	env := newPathsEnv(t, rules, PathOptions{})
	exact := newPathsEnv(t, rules, PathOptions{CaseSensitive: true})
	for _, path := range []string{"/account.html", "/account.json", "/account.en.html", "/account.html/", "/account.html.gz", "/account.%68tml", "/account..json", "/articles/5/full.json"} {
		env.want(testRequest{path: path}, ReasonLoginRequired)
		exact.want(testRequest{path: path}, ReasonLoginRequired)
	}
	for _, path := range []string{"/ACCOUNT.HTML", "/Account.En.html"} {
		env.want(testRequest{path: path}, ReasonLoginRequired)
		exact.want(testRequest{path: path}, ReasonPublic)
	}
	// What a rule names is meant, and other names are other pages.
	for _, path := range []string{"/account.rss", "/ACCOUNT.rss", "/accounts.html", "/.account", "/img/account.html", "/articles/5/fuller.json", "/app.js"} {
		env.want(testRequest{path: path}, ReasonPublic)
	}
	if decision := env.decide(testRequest{path: "/articles/5/full.json", method: http.MethodHead}); decision.Rule == nil || decision.Rule.Path != rules[0].Path {
		t.Errorf("decided by %v", decision.Rule)
	} else if id, _ := decision.Param("id"); id != "5" {
		t.Errorf("captured %q", id)
	}
}
