package caddymodule

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/gatefold/gatefold/caddymodule/login"
	"github.com/gatefold/gatefold/policy/store"
)

// A reader opens an article, logs in at the provider, and reads exactly that article. The
// origin is told who they are, and gets none of the login's cookies.
func TestLogin(t *testing.T) {
	s := newLoginSite(t, "")
	s.grant(store.Grant{Email: "ann@example.com", SKU: "premium"})
	b := s.browser()
	const page = "/articles/hello?utm=a%20b&x=%2F..%2F&y=1+2"
	back := b.login(page)
	if back.to() != page {
		t.Fatalf("the reader returns to %s", back.to())
	}
	if ticket := b.cookies[login.CookieSession]; len(ticket) != 64 {
		t.Errorf("the ticket is %q", ticket)
	}
	if name := attemptOf(b); name != login.CookiePrefix+"done" || len(b.cookies) != 2 {
		t.Errorf("after the login the browser has the cookies %v", b.cookies)
	}
	b.open(page).page()
	last := s.origin.Last(t)
	if got := last.Header.Get("Cookie"); got != "" {
		t.Errorf("the origin got the cookies %s", got)
	}
	if _, auth := s.provider.last("/token"); auth != "Basic "+basicOf(url.QueryEscape(loginClient), url.QueryEscape(loginSecret)) {
		t.Errorf("the client authenticates by %q", auth)
	}
	if n := s.provider.count("/userinfo"); n != 0 {
		t.Errorf("userinfo was asked %d times", n)
	}
	// Another browser is not logged in.
	s.browser().anonymous()
	// A session is of https: without it, its cookie does not count.
	if got := s.get("/account", "Cookie", b.cookie()); got.StatusCode != http.StatusUnauthorized {
		t.Errorf("without https: %d", got.StatusCode)
	}
}

// Only a navigation is sent to the login. Everything else gets a problem that names it: a
// script is led back to its page.
func TestLoginOnlyNavigations(t *testing.T) {
	s := newLoginSite(t, "")
	const firefox = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
	for name, headers := range map[string][]string{
		"fetch":        {"Accept", "*/*", "Sec-Fetch-Mode", "cors", "Sec-Fetch-Dest", "empty"},
		"fetch html":   {"Accept", "text/html", "Sec-Fetch-Mode", "cors", "Sec-Fetch-Dest", "empty"},
		"image":        {"Accept", "image/avif", "Sec-Fetch-Mode", "no-cors", "Sec-Fetch-Dest", "image"},
		"frame":        {"Accept", "text/html", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "iframe"},
		"prefetch":     {"Accept", "text/html", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document", "Sec-Purpose", "prefetch"},
		"old xhr":      {"Accept", "text/html", "X-Requested-With", "XMLHttpRequest"},
		"json":         {"Accept", "application/json"},
		"not a reader": {"Accept", "text/html", "User-Agent", "curl/8"},
		"websocket":    {"Connection", "Upgrade", "Upgrade", "websocket", "Sec-Fetch-Mode", "websocket", "Accept", "*/*"},
	} {
		if !slices.Contains(headers, "User-Agent") {
			headers = append(headers, "User-Agent", firefox)
		}
		if got := s.get("/account?a=1", append([]string{"X-Forwarded-Proto", "https"}, headers...)...); got.StatusCode != http.StatusUnauthorized || got.Header.Get("Location") != "" {
			t.Errorf("%s: %d, to %s", name, got.StatusCode, got.Header.Get("Location"))
		}
	}
	post := s.do(http.MethodPost, "/account", overTLS...)
	if post.StatusCode != http.StatusUnauthorized || post.Header.Get("Location") != "" {
		t.Errorf("POST: %d", post.StatusCode)
	}
	// A login begins with a navigation as well, and sets no cookie otherwise.
	for _, headers := range [][]string{{"Sec-Fetch-Mode", "cors"}, {"Sec-Fetch-Mode", "no-cors"}, {"Sec-Purpose", "prefetch"}, {"Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "iframe"}} {
		if got := s.get("/.gatefold/login?next=/account", append([]string{"X-Forwarded-Proto", "https", "Accept", "text/html"}, headers...)...); got.StatusCode != http.StatusForbidden || len(got.Cookies()) > 0 {
			t.Errorf("%v: %d, %v", headers, got.StatusCode, got.Cookies())
		}
	}
	problem := s.get("/api", "X-Forwarded-Proto", "https", "Accept", "application/json", "Sec-Fetch-Mode", "cors", "Sec-Fetch-Dest", "empty", "Referer", "https://127.0.0.1:"+s.port+"/app/list?page=2")
	problem.denied(http.StatusUnauthorized, "login_required")
	if want := `"login_url":"` + s.host() + login.URL("/app/list?page=2") + `"`; !strings.Contains(problem.body, want) {
		t.Errorf("the problem is %s, want %s", problem.body, want)
	}
}

// Several tabs of one browser log in at once: each has an attempt of its own. The browser has
// at most four, and the oldest is dropped.
func TestLoginTabs(t *testing.T) {
	s := newLoginSite(t, "")
	b := s.browser()
	first, second := s.provider.authorize(b.begin("/account?tab=1")), s.provider.authorize(b.begin("/account?tab=2"))
	if to := b.open(second).to(); to != "/account?tab=2" {
		t.Errorf("the second tab is sent to %s", to)
	}
	if to := b.open(first).to(); to != "/account?tab=1" {
		t.Errorf("the first tab is sent to %s", to)
	}
	b.loggedIn()
	// Going back to the callback leads to the page, without another use of the code.
	asked := s.provider.count("/token")
	if to := b.open(first).to(); to != "/account?tab=1" || s.provider.count("/token") != asked {
		t.Errorf("back to the callback leads to %s, and the code was used %d times", to, s.provider.count("/token")-asked)
	}
	many := s.browser()
	for range 9 {
		many.begin("/account")
	}
	if len(many.cookies) != 4 {
		t.Errorf("after nine attempts the browser has %d cookies", len(many.cookies))
	}
}

// A provider with pushed requests gets the parameters itself, and a client with a key of its
// own signs its requests.
func TestLoginPushedWithOwnKey(t *testing.T) {
	s := newLoginSite(t, "")
	s.provider.do(func() { s.provider.meta["pushed_authorization_request_endpoint"] = providerIssuer + "/par" })
	s.configure("private_key_jwt", loginRules)
	b := s.browser()
	if to := b.login("/account").to(); to != "/account" {
		t.Fatal(to)
	}
	b.loggedIn()
	for _, path := range []string{"/par", "/token"} {
		form, auth := s.provider.last(path)
		claims := claimsOf(t, form.Get("client_assertion"))
		if form.Get("client_assertion_type") != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" || auth != "" ||
			claims["iss"] != loginClient || claims["sub"] != loginClient || claims["aud"] != providerIssuer || claims["jti"] == "" {
			t.Errorf("%s got %v, the assertion %v", path, form, claims)
		}
	}
}

// What the ID token lacks is read of userinfo, if that is about the same reader; claims are
// mapped as those of tokens.
func TestLoginClaims(t *testing.T) {
	s := newLoginSite(t, "claim publisher_user_id account")
	s.grant(store.Grant{Email: "info@example.com", SKU: "premium"})
	s.provider.do(func() { s.provider.claims = map[string]any{"email": nil, "email_verified": nil, "account": "a1"} })
	b := s.browser()
	b.login("/articles/hello")
	b.open("/articles/hello").page()
	if n := s.provider.count("/userinfo"); n != 1 {
		t.Errorf("userinfo was asked %d times", n)
	}
	s.provider.do(func() {
		s.provider.answers["/userinfo"] = func(w http.ResponseWriter, _ *http.Request) {
			s.provider.answer(w, http.StatusOK, map[string]any{"sub": "another", "email": "info@example.com", "email_verified": true})
		}
	})
	s.browser().login("/articles/hello").shows(http.StatusForbidden, "The login failed")
	// An address that is not verified gives nothing.
	s.provider.do(func() {
		delete(s.provider.answers, "/userinfo")
		s.provider.claims = map[string]any{"email": "info@example.com", "email_verified": false, "account": "a1"}
	})
	b = s.browser()
	b.login("/articles/hello")
	b.open("/articles/hello", "Accept", "text/html")
	if got := b.open("/articles/hello"); got.StatusCode != http.StatusForbidden {
		t.Errorf("an unverified address: %d", got.StatusCode)
	}
}

// A site's own directive for caches is applied after the gate's handler. If it had the last
// word, a CDN could store a login's redirect with its Set-Cookie, and give one reader's session
// to the next one.
func TestLoginIsNotCached(t *testing.T) {
	s := newLoginSite(t, "")
	s.outside = "header {\n>Cache-Control \"public, max-age=300\"\n}"
	s.configure("client_secret {env.OIDC_SECRET}", loginRules)
	b := s.browser()
	b.login("/account").to() // checks each redirect
	b.loggedIn()
	b.open("/.gatefold/logout").shows(http.StatusOK, "Log out")
	if status := s.logoutBy(s.provider.logoutToken(nil)); status != http.StatusOK {
		t.Errorf("a logout by the provider: status %d", status)
	}
	b.anonymous()
}

// A provider may number its readers: with integer_ids each place that names one may be a number.
func TestLoginIntegerSubject(t *testing.T) {
	s := newLoginSite(t, "integer_ids")
	s.provider.do(func() {
		s.provider.claims = map[string]any{"sub": 1001, "email": nil, "email_verified": nil}
		s.provider.answers["/userinfo"] = func(w http.ResponseWriter, _ *http.Request) {
			s.provider.answer(w, http.StatusOK, map[string]any{"sub": 1001, "email": "ann@example.com", "email_verified": true})
		}
	})
	b := s.browser()
	b.login("/account").to()
	b.loggedIn()
	if status := s.logoutBy(s.provider.logoutToken(map[string]any{"sub": 1001})); status != http.StatusOK {
		t.Errorf("status %d", status)
	}
	b.anonymous()
}

// The reader returns to exactly their page, also if its URL has many parameters.
func TestLoginLongPage(t *testing.T) {
	s := newLoginSite(t, "")
	page := "/account?" + strings.Repeat("a&", 900)
	if to := s.browser().login(page).to(); to != page {
		t.Errorf("the reader returns to %s", to)
	}
}

// A provider that takes the secret only in the body gets it there, and in no header: with
// client_secret_basic, which is the default, it is the other way round.
func TestLoginSecretInBody(t *testing.T) {
	s := newLoginSite(t, "")
	for name, test := range map[string]struct {
		methods any
		body    bool
	}{
		"post": {[]string{"client_secret_post"}, true}, "both": {[]string{"client_secret_post", "client_secret_basic"}, false}, "not said": {nil, false},
	} {
		s.provider.do(func() { s.provider.meta["token_endpoint_auth_methods_supported"] = test.methods })
		s.configure("client_secret {env.OIDC_SECRET}", loginRules) // a new configuration asks the provider again
		b := s.browser()
		b.login("/account")
		b.loggedIn()
		s.provider.do(func() {
			form, header := s.provider.forms["/token"], s.provider.auth["/token"]
			if body := form.Get("client_secret") == loginSecret && form.Get("client_id") == loginClient && header == ""; body != test.body {
				t.Errorf("%s: the header is %q, the form has %v", name, header, len(form["client_secret"]))
			}
			if !test.body && (form.Has("client_secret") || !strings.HasPrefix(header, "Basic ")) {
				t.Errorf("%s: the header is %q", name, header)
			}
		})
	}
}
