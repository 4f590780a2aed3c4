package caddymodule

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/gatefold/gatefold/admin"
	"github.com/gatefold/gatefold/caddymodule/login"
	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy"
)

const stepUpRules = `
		rule /vault authenticated acr phr phrh max_age 15m` + loginRules

var vaultAsks = policy.Authentication{ACR: "phr phrh", MaxAge: 900}

// asksFor expects that a URL asks for what the vault asks for.
func asksFor(t *testing.T, address string) string {
	t.Helper()
	parsed, err := url.Parse(address)
	if err != nil || parsed.Query().Get("acr_values") != "phr phrh" || parsed.Query().Get("max_age") != "900" {
		t.Fatalf("the browser is sent to %s", address)
	}
	return address
}

// stepUp opens a page that asks for a stronger login, and returns the callback's answer.
func (b *loginBrowser) stepUp(t *testing.T, page string) answer {
	t.Helper()
	to := b.open(page).to()
	if want := b.s.host() + login.StepUpURL(login.URL(page), vaultAsks); to != want {
		t.Fatalf("the browser is sent to %s, want %s", to, want)
	}
	return b.open(b.s.provider.authorize(asksFor(t, b.open(to).to())))
}

// A reader who logged in by a password opens a page that asks for more: the provider is asked
// for it, and they are back at the page. A quarter of an hour later it is asked again, though
// the session goes on. A program is told what it lacks.
func TestStepUp(t *testing.T) {
	keepClock(t)
	s := newLoginSite(t, "scopes openid email offline_access")
	s.configure("client_secret {env.OIDC_SECRET}\nscopes openid email offline_access", stepUpRules)
	p := s.provider
	gives := func(acr any, ago time.Duration) {
		p.do(func() { p.claims = map[string]any{"acr": acr, "auth_time": clock.Now().Add(-ago).Unix()} })
	}
	ann := s.browser()
	p.do(func() {
		p.claims, p.meta["offline"] = map[string]any{"acr": "pwd", "auth_time": clock.Now().Add(-time.Hour).Unix()}, true
	})
	ann.login("/account")
	ann.loggedIn()
	gives("phr", 0)
	if to := ann.stepUp(t, "/vault?a=1").to(); to != "/vault?a=1" {
		t.Fatalf("the reader returns to %s", to)
	}
	for range 3 { // from the store, and then from memory
		ann.open("/vault").page()
	}
	if sessions, err := s.running().Store.LoginSessionsOf(t.Context(), defaultVendor, "ann"); err != nil || len(sessions) != 1 || sessions[0].ACR != "phr" || sessions[0].AuthTime != clock.Now().Unix() {
		t.Fatalf("the sessions are %+v, %v", sessions, err)
	}
	clock.Advance(15 * time.Minute)
	ann.loggedIn()
	problem := ann.send(http.MethodGet, "/vault", "", "X-Forwarded-Proto", "https", "Accept", "application/json").denied(http.StatusUnauthorized, "step_up_required")
	const challenged = `Bearer realm="default", error="insufficient_user_authentication", error_description="The page asks for a stronger or a more recent login", acr_values="phr phrh", max_age="900"`
	if got := problem.Header.Get("WWW-Authenticate"); got != challenged {
		t.Errorf("the challenge is %s", got)
	}
	if !strings.Contains(problem.body, `/.gatefold/login?next=%2Fvault\u0026acr_values=phr+phrh\u0026max_age=900"`) || !strings.Contains(problem.body, `"next_action":"login"`) {
		t.Errorf("the problem is %s", problem.body)
	}
	// Tokens that are renewed are no login, whatever they say of its time.
	clock.Advance(time.Hour)
	gives("phr", 0)
	ann.loggedIn()
	s.waitFor("the renewal", func() bool {
		sessions, err := s.running().Store.LoginSessionsOf(t.Context(), defaultVendor, "ann")
		return err == nil && len(sessions) == 1 && sessions[0].RenewAt.After(clock.Now()) && p.count("/token") == 3
	})
	if got := ann.open("/vault"); got.StatusCode != http.StatusSeeOther {
		t.Errorf("after a renewal: status %d", got.StatusCode)
	}
	// A reader who is not logged in is asked for all of it at once.
	gives("phrh", 0)
	bob := s.browser()
	if to := bob.stepUp(t, "/vault").to(); to != "/vault" {
		t.Fatal(to)
	}
	bob.open("/vault").page()
	// One whose cookie of the attempt is lost is asked again, and for the same.
	eve := s.browser()
	callback := p.authorize(asksFor(t, eve.open(eve.open("/vault").to()).to()))
	clear(eve.cookies)
	if eve.open(p.authorize(asksFor(t, eve.open(callback).to()))).to() != "/vault" {
		t.Error("the login that began again does not lead to the page")
	}
	eve.open("/vault").page()
}

// With pushed requests the provider gets from the site itself what a page asks for. The URL of the
// browser, in which a reader could change it, has nothing of it.
func TestStepUpPushed(t *testing.T) {
	keepClock(t)
	s := newLoginSite(t, "")
	p := s.provider
	p.do(func() {
		p.meta["pushed_authorization_request_endpoint"] = providerIssuer + "/par"
		p.claims = map[string]any{"acr": "phr", "auth_time": clock.Now().Unix()}
	})
	s.configure("client_secret {env.OIDC_SECRET}", stepUpRules)
	ann := s.browser()
	to := ann.open(ann.open("/vault").to()).to()
	parsed, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	if query := parsed.Query(); len(query) != 3 || !query.Has("tenant") || query.Get("client_id") != loginClient || !query.Has("request_uri") {
		t.Errorf("the browser is sent to %s", to)
	}
	if form, _ := p.last("/par"); form.Get("acr_values") != vaultAsks.ACR || form.Get("max_age") != "900" || len(form["acr_values"]) != 1 {
		t.Errorf("pushed is %v", form)
	}
	if back := ann.open(p.authorize(to)).to(); back != "/vault" {
		t.Errorf("the reader returns to %s", back)
	}
	ann.open("/vault").page()
	s.browser().login("/account")
	if form, _ := p.last("/par"); form.Has("acr_values") || form.Has("max_age") || !form.Has("nonce") {
		t.Errorf("for a page that asks for nothing pushed is %v", form)
	}
}

// A provider that does not give what is asked, or says nothing of it, ends in a page that says
// so after the second round, and in the log with what is missing: never in redirects without end.
func TestStepUpThatIsNotGiven(t *testing.T) {
	keepClock(t)
	s := newLoginSite(t, "")
	s.configure("client_secret {env.OIDC_SECRET}", stepUpRules)
	for name, test := range map[string]struct {
		claims map[string]any
		says   string
	}{
		"weak":        {map[string]any{"acr": "pwd", "auth_time": clock.Now().Unix()}, `the acr of the login is \"pwd\"`},
		"old":         {map[string]any{"acr": "phr", "auth_time": clock.Now().Unix() - 3600}, "the login is 3600 seconds old"},
		"no time":     {map[string]any{"acr": "phr"}, "the login has no auth_time"},
		"nothing":     {nil, "the login has no acr"},
		"of tomorrow": {map[string]any{"acr": "phr", "auth_time": clock.Now().Unix() + 86400}, "ahead of this node's clock"},
	} {
		s.provider.do(func() {
			if s.provider.claims = test.claims; test.claims == nil {
				s.provider.claims = map[string]any{}
			}
		})
		from := len(logged.String())
		b := s.browser()
		for range 2 {
			if to := b.stepUp(t, "/vault").to(); to != "/vault" {
				t.Fatalf("%s: the reader returns to %s", name, to)
			}
		}
		calls := s.provider.count("/token")
		page := b.open(b.open("/vault").to()).shows(http.StatusForbidden, "Your login is not sufficient for this page")
		if !strings.Contains(page.body, `href="/.gatefold/login?next=%2Fvault&amp;acr_values=phr&#43;phrh&amp;max_age=900"`) || s.provider.count("/token") != calls {
			t.Errorf("%s: the page is %s", name, page.body)
		}
		if text := logged.String()[from:]; !strings.Contains(text, test.says) || !strings.Contains(text, `"result":"loop"`) {
			t.Errorf("%s: the log has no %q", name, test.says)
		}
		b.loggedIn() // for all other pages
	}
	// A provider that says that it cannot.
	b := s.browser()
	callback := s.provider.authorize(b.open(b.open("/vault").to()).to())
	b.open(withParam(t, withParam(t, callback, "code", ""), "error", "unmet_authentication_requirements")).shows(http.StatusForbidden, "Your login is not sufficient for this page")
	// What no rule can ask is not passed on.
	for _, query := range []string{"max_age=0", "max_age=-1", "max_age=1e9", "acr_values=%22", "acr_values=" + strings.Repeat("a", 300), "acr_values=a%0d%0ab"} {
		at, _ := url.Parse(s.browser().open("/.gatefold/login?next=/vault&" + query).to())
		if at.Query().Has("max_age") || at.Query().Has("acr_values") {
			t.Errorf("%s: the provider is asked %s", query, at)
		}
	}
}

// A reader is stepped up at the provider where they logged in; one who is not logged in chooses.
func TestStepUpOfTwo(t *testing.T) {
	keepClock(t)
	s := newTwoLogins(t)
	s.configure(twoLogins, stepUpRules)
	b := s.browser()
	choice := b.open(b.open("/vault").to()).shows(http.StatusOK, "Log in")
	if strings.Count(choice.body, "acr_values=phr&#43;phrh&amp;max_age=900") != 2 {
		t.Errorf("the page is %s", choice.body)
	}
	b.open(s.authorizeAtLibrary(b.at("library", "/account")))
	b.loggedIn()
	s.provider.do(func() { s.provider.claims = map[string]any{"acr": "phr", "auth_time": clock.Now().Unix()} })
	if to := b.open(s.authorizeAtLibrary(asksFor(t, b.open(b.open("/vault").to()).to()))).to(); to != "/vault" {
		t.Fatal(to)
	}
	b.open("/vault").page()
}

// With a login page of the publisher's own, tokens decide in the same way. The page is asked by
// placeholders, and a reader whom it sends back as they were is not redirected again. Explain
// says what the token lacks.
func TestStepUpElsewhere(t *testing.T) {
	keepClock(t)
	s := newTestSite(t, "identify jwt {\nissuer self\n}\nrule /vault authenticated acr phr max_age 15m\nrule / any\ndeny {\nlogin https://id.example.com/login?acr={acr_values}&age={max_age}&to={next}\n}\n")
	const to = "https://id.example.com/login?acr=phr&age=900&to="
	if got := s.get("/vault", "Accept", browserAccept); got.StatusCode != http.StatusSeeOther || !strings.HasPrefix(got.Header.Get("Location"), to) {
		t.Errorf("status %d, %v", got.StatusCode, got.Header)
	}
	weak := s.reader(keys.ReaderClaims{UserID: "ann", ACR: "pwd", AuthTime: clock.Now().Unix()})
	got := s.get("/vault", "Accept", browserAccept, "Authorization", "Bearer "+weak)
	if got.StatusCode != http.StatusUnauthorized || !strings.Contains(got.body, strings.ReplaceAll(to, "&", "&amp;")) || !strings.Contains(got.body, ">Log in</a>") {
		t.Errorf("status %d, %s", got.StatusCode, got.body)
	}
	explained := s.explain(admin.ExplainRequest{URL: "/vault", ReaderToken: weak})
	if d := explained.Decision; d.Reason != "step_up_required" || d.Error != `the acr of the login is "pwd", and the page accepts phr` || d.Demand == nil || d.Demand.ACR != "phr" || d.Demand.MaxAge != 900 {
		t.Errorf("the explanation is %+v", explained.Decision)
	}
	strong := s.reader(keys.ReaderClaims{UserID: "ann", ACR: "phr", AuthTime: clock.Now().Unix()})
	s.get("/vault", "Authorization", "Bearer "+strong).page()
	clock.Advance(16 * time.Minute)
	s.get("/vault", "Authorization", "Bearer "+strong).denied(http.StatusUnauthorized, "step_up_required")
}
