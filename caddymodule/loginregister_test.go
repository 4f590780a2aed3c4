package caddymodule

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/gatefold/gatefold/caddymodule/login"
)

// A registration wall: a reader who is denied makes an account at the provider, and is back at
// their page. A provider that does not know how is not asked for it, and nothing else of the
// query reaches it.
func TestRegistrationWall(t *testing.T) {
	s := newLoginSite(t, "")
	rules := loginRules + "deny {\nregister\n}\n"
	begin := func(b *loginBrowser, to string) url.Values {
		t.Helper()
		address, err := url.Parse(b.open(to).to())
		if err != nil {
			t.Fatal(err)
		}
		return address.Query()
	}
	for _, can := range []bool{true, false} {
		s.provider.do(func() {
			s.provider.meta["prompt_values_supported"] = []string{"none", "login"}
			if can {
				s.provider.meta["prompt_values_supported"] = []string{"none", "login", "create"}
			}
		})
		want := ""
		if can {
			want = "create"
		}
		s.configure("client_secret {env.OIDC_SECRET}", rules) // a new configuration asks the provider again
		b := s.browser()
		to := b.open("/account?a=1").to()
		if to != s.host()+login.RegisterURL("/account?a=1") {
			t.Fatalf("the browser is sent to %s", to)
		}
		if query := begin(b, to); query.Get("prompt") != want {
			t.Errorf("%v: the provider is asked for %v", can, query)
		}
		if back := b.open(s.provider.authorize(b.open(to).to())).to(); back != "/account?a=1" {
			t.Errorf("the reader returns to %s", back)
		}
		b.loggedIn()
		for _, other := range []string{"", "&prompt=none", "&prompt=consent", "&prompt=create%20none", "&max_age=0&claims=x"} {
			query := begin(s.browser(), "/.gatefold/login?next=/account"+other)
			if query.Get("prompt") != "" || query.Get("acr_values") != "" || query.Get("max_age") != "" {
				t.Errorf("%s: the provider is asked for %v", other, query)
			}
		}
	}
	problem := s.get("/api", "X-Forwarded-Proto", "https", "Accept", "application/json")
	problem.denied(http.StatusUnauthorized, "login_required")
	if !strings.Contains(problem.body, `"login_url":"`+strings.ReplaceAll(s.host()+login.RegisterURL("/api"), "&", "\\u0026")) && !strings.Contains(problem.body, s.host()+login.RegisterURL("/api")) {
		t.Errorf("the problem is %s", problem.body)
	}
	for _, gate := range []string{"deny {\nregister\n}\nrule / any", "identify oidc {\nissuer https://a.example.com\nclient_id a\nprivate_key_jwt\n}\ndeny {\nregister\nlogin /login\n}\nrule / any"} {
		if err := load(s.config("", gate, "")); err == nil || !strings.Contains(err.Error(), "deny: register is for readers who log in at the gate") {
			t.Errorf("%s: %v", gate, err)
		}
	}
}

// The e-mail address that a reader writes into the form of a paywall is filled in at the
// provider, also one that they choose on the page of choices. What cannot be an address is not
// passed on.
func TestLoginHint(t *testing.T) {
	s := newLoginSite(t, "")
	hintAt := func(to string) string {
		t.Helper()
		address, err := url.Parse(s.browser().open(to).to())
		if err != nil || address.Query().Get("state") == "" {
			t.Fatalf("%s leads to %v, %v", to, address, err)
		}
		return address.Query().Get("login_hint")
	}
	for hint, want := range map[string]string{
		"ann%40example.com": "ann@example.com", "%20anna+b%40example.com%20": "anna b@example.com", "%C3%A5sa%40example.com": "åsa@example.com", "": "",
		"a%0D%0Ab": "", "a%00": "", "%FF%40example.com": "", strings.Repeat("a", 255): "", strings.Repeat("a", 254): strings.Repeat("a", 254),
	} {
		if got := hintAt("/.gatefold/login?next=/account&login_hint=" + hint); got != want {
			t.Errorf("%.40q: the provider gets %.40q", hint, got)
		}
	}
	s.configure(twoLogins, loginRules)
	choice := s.browser().open("/.gatefold/login?next=%2Faccount&login_hint=ann%40example.com").body
	if want := `href="` + strings.ReplaceAll(login.URL("/account")+"&idp=library&login_hint=ann%40example.com", "&", "&amp;") + `"`; !strings.Contains(choice, want) {
		t.Errorf("the page of choices has no %s: %s", want, choice)
	}
}
