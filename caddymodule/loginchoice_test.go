package caddymodule

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/gatefold/gatefold/caddymodule/login"
	"github.com/gatefold/gatefold/keys/keystest"
)

// libraryIssuer is a second provider, below the first one's host. It sends no `iss`, as many do.
const libraryIssuer = providerIssuer + "/library"

// twoLogins are two providers of a site.
const twoLogins = `name subscribers
		label "Subscriber account"
		client_secret {env.OIDC_SECRET}
	}
	identify oidc {
		name library
		user_prefix library:
		issuer ` + libraryIssuer + `
		client_id library-client
		client_secret {env.OIDC_SECRET}
		scopes openid offline_access`

// newTwoLogins runs a site with two providers. The second one's reader is the first one's.
func newTwoLogins(t *testing.T) *loginSite {
	t.Helper()
	s := newLoginSite(t, "")
	s.provider.do(func() {
		p := s.provider
		p.answers["/library"+keystest.ConfigurationPath] = func(w http.ResponseWriter, _ *http.Request) {
			p.answer(w, http.StatusOK, map[string]any{
				"issuer": libraryIssuer, "jwks_uri": providerIssuer + "/jwks", "authorization_endpoint": libraryIssuer + "/authorize",
				"token_endpoint": libraryIssuer + "/token", "end_session_endpoint": libraryIssuer + "/end",
			})
		}
		p.answers["/library/token"] = func(w http.ResponseWriter, r *http.Request) {
			now := clock.Now().Unix()
			claims := map[string]any{"iss": libraryIssuer, "aud": "library-client", "sub": p.subject, "iat": now, "exp": now + 300, "nonce": strings.TrimPrefix(r.PostForm.Get("code"), "library-")}
			p.answer(w, http.StatusOK, map[string]any{"access_token": "a", "token_type": "Bearer", "expires_in": 3600, "refresh_token": "library-refresh", "id_token": p.sign(changed(claims, p.claims), "JWT")})
		}
	})
	s.configure(twoLogins, loginRules)
	return s
}

// authorizeAtLibrary is the second provider's login page: it returns the URL to which the browser is redirected.
func (s *loginSite) authorizeAtLibrary(location string) string {
	s.Helper()
	address, err := url.Parse(location)
	if err != nil || !strings.HasPrefix(location, libraryIssuer+"/authorize?") || address.Query().Get("client_id") != "library-client" {
		s.Fatalf("the browser is sent to %s", location)
	}
	query := address.Query()
	return query.Get("redirect_uri") + "?" + url.Values{"code": {"library-" + query.Get("nonce")}, "state": {query.Get("state")}}.Encode()
}

// at begins a login at a provider that the reader chose, and returns its URL.
func (b *loginBrowser) at(name, page string) string {
	b.s.Helper()
	return b.open("/.gatefold/login?next=" + url.QueryEscape(page) + "&idp=" + name).to()
}

// A reader chooses one of two providers, and is back at exactly their page. The page of choices
// has the style and the policy of the others, in the reader's language, and no script. A reader
// of one provider is not the reader of the other with the same name there. A logout leads to
// the provider where they logged in.
func TestLoginChoice(t *testing.T) {
	s := newTwoLogins(t)
	b := s.browser()
	const page = "/account?a=1&b=%2F"
	to := b.open(page).to()
	if to != s.host()+login.URL(page) {
		t.Fatalf("the browser is sent to %s", to)
	}
	choice := b.open(to, "Accept-Language", "sv-SE, en;q=0.5").shows(http.StatusOK, "Logga in")
	for _, part := range []string{
		`<html lang="sv">`, `>Subscriber account</a>`, `>` + providerHost + `</a>`, `href="/.gatefold/login?next=%2Faccount%3Fa%3D1%26b%3D%252F&amp;idp=subscribers"`, `idp=library"`,
	} {
		if !strings.Contains(choice.body, part) {
			t.Errorf("the page has no %s: %s", part, choice.body)
		}
	}
	policy := choice.Header.Get("Content-Security-Policy")
	if !strings.HasPrefix(policy, "default-src 'none'; style-src 'sha256-") || !strings.Contains(policy, "frame-ancestors 'none'") || strings.Contains(choice.body, "<script") {
		t.Errorf("the policy is %s", policy)
	}
	if len(choice.Cookies()) > 0 || !strings.Contains(strings.Join(choice.Header.Values("Vary"), ","), "Accept-Language") {
		t.Errorf("the header is %v", choice.Header)
	}
	b.open(to).shows(http.StatusOK, "Log in")
	b.open(to+"&idp=unknown").shows(http.StatusOK, "Log in")

	at := b.at("library", page)
	if redirect, _ := url.Parse(at); redirect.Query().Get("redirect_uri") != s.host()+"/.gatefold/callback/library" {
		t.Errorf("the browser is sent to %s", at)
	}
	if to := b.open(s.authorizeAtLibrary(at)).to(); to != page {
		t.Errorf("the reader returns to %s", to)
	}
	b.loggedIn()
	if to := b.open("/.gatefold/login?next=/account").to(); to != "/account" {
		t.Errorf("a reader who is logged in is sent to %s", to)
	}
	ann := s.browser()
	ann.open(s.provider.authorize(ann.at("subscribers", "/account"))).to()
	ann.loggedIn()
	for user, issuer := range map[string]string{"library:ann": libraryIssuer, "ann": providerIssuer} {
		sessions, err := s.running().Store.LoginSessionsOf(t.Context(), defaultVendor, user)
		if err != nil || len(sessions) != 1 || sessions[0].Issuer != issuer || sessions[0].Subject != "ann" {
			t.Errorf("the sessions of %s are %+v, %v", user, sessions, err)
		}
	}
	// Who can choose their name at the first provider does not become a reader of the second.
	s.provider.do(func() { s.provider.subject = "library:ann" })
	mallory := s.browser()
	mallory.open(s.provider.authorize(mallory.at("subscribers", "/account"))).shows(http.StatusForbidden, "The login failed")
	s.provider.do(func() { s.provider.subject = "ann" })

	for b, end := range map[*loginBrowser]string{b: libraryIssuer + "/end?", ann: providerIssuer + "/end?"} {
		b.open("/.gatefold/logout").shows(http.StatusOK, "Log out")
		if to := b.send(http.MethodPost, "/.gatefold/logout", "", "X-Forwarded-Proto", "https", "Origin", s.host()).to(); !strings.HasPrefix(to, end) {
			t.Errorf("the logout leads to %s", to)
		}
		b.anonymous()
	}
	b.open("/.gatefold/callback/other").shows(http.StatusNotFound, "There is no such login")
	b.open("/.gatefold/callback").shows(http.StatusNotFound, "There is no such login")
}

// Ann begins at one provider in one tab and at the other in another: each tab has its attempt.
// Mallory runs one of two providers, and lets Ann log in at the other one with Mallory's state
// (mix-up). The code arrives where the other provider's answers do, where the state is unknown:
// it is never sent to Mallory.
func TestLoginMixUpOfTwo(t *testing.T) {
	s := newTwoLogins(t)
	b := s.browser()
	first, second := b.at("subscribers", "/account?tab=1"), b.at("library", "/account?tab=2")
	honest, malicious := s.provider.authorize(first), s.authorizeAtLibrary(second)
	state := func(address string) string {
		parsed, _ := url.Parse(address)
		return parsed.Query().Get("state")
	}
	for _, mixed := range []string{
		withParam(t, honest, "state", state(malicious)), withParam(t, withParam(t, honest, "state", state(malicious)), "iss", ""), withParam(t, malicious, "state", state(honest)),
		strings.Replace(honest, "/callback/subscribers?", "/callback/library?", 1), strings.Replace(malicious, "/callback/library?", "/callback/subscribers?", 1),
	} {
		b.open(mixed).shows(http.StatusForbidden, "The login failed")
	}
	if s.provider.count("/token")+s.provider.count("/library/token") != 0 || b.cookies[login.CookieSession] != "" {
		t.Fatal("a code is used")
	}
	if to := b.open(malicious).to(); to != "/account?tab=2" {
		t.Errorf("the second tab is sent to %s", to)
	}
	if to := b.open(honest).to(); to != "/account?tab=1" {
		t.Errorf("the first tab is sent to %s", to)
	}
	// Tokens of one are not those of the other, nor is a logout.
	s.provider.do(func() { s.provider.claims = map[string]any{"iss": providerIssuer, "aud": loginClient} })
	other := s.browser()
	other.open(s.authorizeAtLibrary(other.at("library", "/account"))).shows(http.StatusForbidden, "The login failed")
	s.provider.do(func() { s.provider.claims = map[string]any{} })
	other.open(s.authorizeAtLibrary(other.at("library", "/account"))).to()
	other.loggedIn()
	logout := func(path, token string) int {
		return s.doBody(http.MethodPost, path, url.Values{"logout_token": {token}}.Encode(), "Content-Type", "application/x-www-form-urlencoded", "X-Forwarded-Proto", "https").StatusCode
	}
	ofFirst := s.provider.logoutToken(nil)
	ofSecond := s.provider.logoutToken(map[string]any{"iss": libraryIssuer, "aud": "library-client"})
	if a, b := logout("/.gatefold/backchannel/library", ofFirst), logout("/.gatefold/backchannel/subscribers", ofSecond); a != http.StatusBadRequest || b != http.StatusBadRequest {
		t.Errorf("logouts of others: %d, %d", a, b)
	}
	if status := logout("/.gatefold/backchannel/subscribers", ofFirst); status != http.StatusOK {
		t.Errorf("status %d", status)
	}
	b.anonymous()
	other.loggedIn()
	// The tokens of a session are renewed where the reader logged in.
	clock.Advance(time.Hour)
	asked := s.provider.count("/library/token")
	other.loggedIn()
	s.waitFor("the renewal", func() bool { return s.provider.count("/library/token") == asked+1 })
	if form, _ := s.provider.last("/library/token"); form.Get("refresh_token") != "library-refresh" {
		t.Errorf("the refresh token is %q", form.Get("refresh_token"))
	}
	ofSecond = s.provider.logoutToken(map[string]any{"iss": libraryIssuer, "aud": "library-client"})
	if status := logout("/.gatefold/backchannel/library", ofSecond); status != http.StatusOK {
		t.Errorf("status %d", status)
	}
	other.anonymous()
}

// What several logins need is refused with the remedy where it is missing.
func TestLoginChoiceConfig(t *testing.T) {
	t.Setenv("OIDC_SECRET", loginSecret)
	one := func(lines string) string {
		return "identify oidc {\nissuer https://a.example.com\nclient_id a\nclient_secret {env.OIDC_SECRET}\n" + lines + "\n}\n"
	}
	other := func(lines string) string { return strings.ReplaceAll(one(lines), "a.example.com", "b.example.com") }
	var many strings.Builder
	for i := range login.MaxLogins + 1 {
		many.WriteString(strings.Replace(one(fmt.Sprintf("name n%d\nuser_prefix %d:", i, i)), "client_id a", fmt.Sprintf("client_id %d", i), 1))
	}
	s := newTestSite(t, "rule / any")
	for identities, want := range map[string]string{
		one("") + other("name b"):                                      "give each a name",
		one("name a") + other("name a\nuser_prefix a:"):                "is given twice",
		one("name a") + other("name b"):                                "user_prefix",
		one("name a\nuser_prefix a") + other("name b\nuser_prefix a:"): "user_prefix",
		one("name a") + one("name b\nuser_prefix b:"):                  "are those of",
		one("name A"):                            "lower-case",
		one("label " + strings.Repeat("x", 101)): "label must have",
		one(`user_prefix "a b"`):                 "user_prefix must be",
		many.String():                            "at most 8",
	} {
		if err := load(s.config("", identities+"rule / any", "")); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", identities, err, want)
		}
	}
}
