package caddymodule

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/gatefold/gatefold/caddymodule/login"
)

// Mallory logs in as themselves, stops before the callback, and makes Ann's browser open it, so
// that Ann would read, and pay, as Mallory (login CSRF). Ann's browser has no cookie of this
// attempt: the code is not used, and Ann is sent to log in as themselves.
func TestLoginForgery(t *testing.T) {
	s := newLoginSite(t, "")
	mallory, ann := s.browser(), s.browser()
	s.provider.do(func() { s.provider.subject = "mallory" })
	callback := s.provider.authorize(mallory.begin("/account"))
	to := ann.open(callback).to()
	if !strings.HasPrefix(to, providerIssuer+"/authorize") || s.provider.count("/token") != 0 || ann.cookies[login.CookieSession] != "" {
		t.Fatalf("Ann is sent to %s with %v", to, ann.cookies)
	}
	// Nor does an attempt of Ann's own make Mallory's callback one of Ann.
	ann.begin("/account")
	if ann.open(callback); s.provider.count("/token") != 0 || ann.cookies[login.CookieSession] != "" {
		t.Error("the code of another attempt is used")
	}
	// Logged in, Ann stays who they are.
	s.provider.do(func() { s.provider.subject = "ann" })
	ann.login("/account")
	ticket := ann.cookies[login.CookieSession]
	if to := ann.open(callback).to(); to != "/account" || ann.cookies[login.CookieSession] != ticket {
		t.Errorf("Ann is sent to %s", to)
	}
	// Mallory's own callback still works for Mallory: the code was not wasted.
	if mallory.open(callback).to() != "/account" {
		t.Error("Mallory cannot log in")
	}
}

// Mallory sets the cookies of Ann's browser before Ann logs in: a ticket that Mallory made up,
// one of Mallory's own session, or Ann's old one that leaked. The login makes a new ticket, and
// the old session ends (session fixation).
func TestLoginFixation(t *testing.T) {
	s := newLoginSite(t, "")
	ann := s.browser()
	ann.cookies[login.CookieSession] = strings.Repeat("A", 64)
	ann.login("/account")
	leaked := ann.cookies[login.CookieSession]
	mallory := s.browser()
	mallory.cookies[login.CookieSession] = leaked
	mallory.loggedIn() // the ticket is Ann, until Ann logs in again
	ann.open(s.provider.authorize(loginAgain(t, s)(ann)))
	if now := ann.cookies[login.CookieSession]; now == leaked || now == "" {
		t.Fatal("the ticket is the same after another login")
	}
	ann.loggedIn()
	mallory.anonymous()
}

// loginAgain returns a function that begins a login in a browser that is logged in, as one
// that began before in another tab does.
func loginAgain(t *testing.T, _ *loginSite) func(*loginBrowser) string {
	t.Helper()
	return func(b *loginBrowser) string {
		ticket := b.cookies[login.CookieSession]
		delete(b.cookies, login.CookieSession)
		to := b.begin("/account")
		b.cookies[login.CookieSession] = ticket
		return to
	}
}

// A provider of Mallory's, or one that was talked into it, makes Ann's browser bring its answer
// to this site, or the code of this site's provider to it (mix-up). The answer says which
// provider it is of; a missing word counts as another one where the provider sends it.
func TestLoginMixUp(t *testing.T) {
	s := newLoginSite(t, "")
	for name, iss := range map[string]string{"another": "https://evil.example", "slash": providerIssuer + "/", "none": ""} {
		b := s.browser()
		callback := s.provider.authorize(b.begin("/account"))
		b.open(withParam(t, callback, "iss", iss)).shows(http.StatusForbidden, "The login failed")
		if s.provider.count("/token") != 0 {
			t.Errorf("%s: the code is used", name)
		}
	}
	b := s.browser()
	callback := s.provider.authorize(b.begin("/account"))
	b.open(callback+"&iss="+url.QueryEscape(providerIssuer)).shows(http.StatusForbidden, "The login failed") // twice
}

// A state that this site did not make, or that is altered, over, or of another host, begins
// nothing, whatever code comes with it. A code counts once.
func TestLoginForgedState(t *testing.T) {
	s := newLoginSite(t, "")
	b := s.browser()
	callback := s.provider.authorize(b.begin("/account"))
	parsed, _ := url.Parse(callback)
	state := parsed.Query().Get("state")
	flipped := state[:len(state)-2] + "AA"
	if state == flipped {
		flipped = state[:len(state)-2] + "BB"
	}
	for _, forged := range []string{"", "x", flipped, state + "A", state[1:], strings.Repeat("A", 5000), base64.RawURLEncoding.EncodeToString([]byte(`{"n":"//evil.example"}`)), b.cookies[attemptOf(b)]} {
		b.open(withParam(t, callback, "state", forged)).shows(http.StatusForbidden, "The login failed")
	}
	b.open(callback, "Host", "127.0.0.1:9").shows(http.StatusForbidden, "The login failed")
	if s.provider.count("/token") != 0 {
		t.Fatal("a code is used")
	}
	if to := b.open(callback).to(); to != "/account" {
		t.Fatal(to)
	}
	// The same callback in a copy of the browser: the attempt was used, and begins again.
	again := s.browser()
	callback = s.provider.authorize(again.begin("/account"))
	copied := s.browser()
	maps.Copy(copied.cookies, again.cookies)
	if to := again.open(callback).to(); to != "/account" {
		t.Fatal(to)
	}
	calls := s.provider.count("/token")
	if to := copied.open(callback).to(); !strings.HasPrefix(to, providerIssuer) || copied.cookies[login.CookieSession] != "" || s.provider.count("/token") != calls {
		t.Errorf("the same callback again leads to %s", to)
	}
	// An attempt that took too long begins again.
	late := s.browser()
	callback = s.provider.authorize(late.begin("/account"))
	clock.Advance(11 * time.Minute)
	if to := late.open(callback).to(); !strings.HasPrefix(to, providerIssuer) || late.cookies[login.CookieSession] != "" {
		t.Errorf("a late callback leads to %s", to)
	}
}

func attemptOf(b *loginBrowser) string {
	for name := range b.cookies {
		if strings.HasPrefix(name, login.CookiePrefix) {
			return name
		}
	}
	return ""
}

// Mallory sends Ann a link to the login that leads on to Mallory's site, where Ann is asked for
// the password again (open redirect). However the address is spelt, Ann stays on this site.
func TestLoginOpenRedirect(t *testing.T) {
	s := newLoginSite(t, "")
	b := s.browser()
	b.login("/account")
	var payloads []string
	for _, host := range []string{"evil.example", "evil.example:443", "127.0.0.1.evil.example", "127.0.0.1@evil.example", "[::1]"} {
		for _, form := range []string{
			"//%s", "///%s", "////%s/..", "/\\%s", "\\/%s", "\\\\%s", "/\t/%s", "/\n/%s", "/\r\n/%s", "\t//%s", " //%s", "\x00//%s", "/%%09/%s", "/%%5c%s", "/%%2f%s", "%%2f%%2f%s",
			"https:%s", "https:/%s", "https://%s", "HTTPS://%s/", "http://%s", "ftp://%s", "//%s#", "/.//%s", "/..//%s", "/a/..//%s", "javascript:alert('%s')", "data:text/html,%s",
			"/;//%s", "?//%s", "#//%s", "@%s", ".%s", "〱%s", "/\u2028/%s", "/%%0d%%0aLocation:%%20//%s", "/\\\t%s", "/%%00//%s", "vbscript:%s", "x:%s", s.host() + "@%s", s.host() + ".%s/", s.host() + "//%s",
		} {
			payloads = append(payloads, fmt.Sprintf(form, host))
		}
	}
	if len(payloads) < 200 {
		t.Fatalf("only %d payloads", len(payloads))
	}
	next := func(page string) string {
		for name := range b.cookies {
			if name != login.CookieSession {
				delete(b.cookies, name) // many logins to one page in a row are a loop
			}
		}
		return b.open("/.gatefold/login?next=" + url.QueryEscape(page)).to()
	}
	for _, payload := range payloads {
		if to := next(payload); !staysOnSite(to) {
			t.Errorf("%q leads to %q", payload, to)
		}
	}
	// Nor do the gate's own pages come after a login: one that logs out, or another login.
	for _, own := range []string{"/.gatefold/logout", "/.gatefold/login?next=/account", "/%2egatefold/logout", "/.gatefol%64/callback?code=x"} {
		if to := next(own); to != "/" {
			t.Errorf("%q leads to %q", own, to)
		}
	}
	for _, page := range []string{"/", "/a?b=c&d=//evil.example", "/a%20b/%2e", "/a?u=https%3A%2F%2Fevil.example", "/ä?ö"} {
		escaped := (&url.URL{Path: page}).EscapedPath()
		if !strings.Contains(page, "ä") {
			escaped = page
		}
		if to := next(escaped); page != "/ä?ö" && to != page {
			t.Errorf("%q leads to %q", page, to)
		}
	}
}

// staysOnSite reports whether a browser that gets a Location stays on the site (WHATWG URL:
// controls and blanks at the ends, and tabs and line feeds, are dropped, and a backslash is a
// slash).
func staysOnSite(location string) bool {
	text := strings.NewReplacer("\t", "", "\n", "", "\r", "", "\\", "/").Replace(strings.TrimFunc(location, func(r rune) bool { return r <= ' ' }))
	return strings.HasPrefix(text, "/") && !strings.HasPrefix(text, "//")
}

// A sibling host, evil.example.com beside news.example.com, sets cookies for both (cookie
// tossing). A name with __Host- a browser takes of the host itself only; two of one name count
// as none.
func TestLoginCookieTossing(t *testing.T) {
	s := newLoginSite(t, "")
	ann, mallory := s.browser(), s.browser()
	ann.login("/account")
	s.provider.do(func() { s.provider.subject = "mallory" })
	mallory.login("/account")
	tossed, own := mallory.cookies[login.CookieSession], ann.cookies[login.CookieSession]
	for _, cookie := range []string{
		strings.TrimPrefix(login.CookieSession, "__Host-") + "=" + tossed, "__Secure-gatefold-session=" + tossed, "__host-gatefold-session=" + tossed,
		login.CookieSession + "=" + tossed + "; " + login.CookieSession + "=" + own,
	} {
		if got := s.get("/account", append([]string{"Cookie", cookie}, overTLS...)...); got.StatusCode != http.StatusSeeOther {
			t.Errorf("%s: status %d", cookie, got.StatusCode)
		}
	}
	// An attempt of Mallory's, tossed into Ann's browser, is one of another state.
	mallory.cookies = map[string]string{}
	mallory.begin("/account")
	name := attemptOf(mallory)
	forged := s.browser()
	begun := s.provider.authorize(forged.begin("/account"))
	forged.cookies[attemptOf(forged)] = mallory.cookies[name]
	asked := s.provider.count("/token")
	if forged.open(begun); s.provider.count("/token") != asked || forged.cookies[login.CookieSession] != "" {
		t.Error("the attempt of another browser is taken")
	}
}

// Who can answer for the provider, or is a reader there, tries every way to be another reader:
// unsigned tokens, tokens signed with the client's secret or with another key, tokens of
// another client, issuer, login or kind. None logs in.
func TestLoginTokenGames(t *testing.T) {
	s := newLoginSite(t, "")
	p := s.provider
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	unsigned := func(alg string) func(map[string]any) string {
		return func(claims map[string]any) string {
			payload, _ := json.Marshal(claims)
			header := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"` + alg + `","kid":"k1"}`))
			return header + "." + base64.RawURLEncoding.EncodeToString(payload) + "."
		}
	}
	now := clock.Now().Unix()
	for name, test := range map[string]struct {
		claims map[string]any
		signer func(map[string]any) string
	}{
		"alg none":     {nil, unsigned("none")},
		"alg None":     {nil, unsigned("nOnE")},
		"no signature": {nil, unsigned("ES256")},
		"the client's secret": {nil, func(c map[string]any) string {
			return signWith(t, jose.SigningKey{Algorithm: jose.HS256, Key: []byte(loginSecret + strings.Repeat(" ", 32))}, "k1", "JWT", c)
		}},
		"another key": {nil, func(c map[string]any) string {
			return signWith(t, jose.SigningKey{Algorithm: jose.ES256, Key: other}, "k1", "JWT", c)
		}},
		"an unknown key": {nil, func(c map[string]any) string {
			return signWith(t, jose.SigningKey{Algorithm: jose.ES256, Key: other}, "k2", "JWT", c)
		}},
		"an access token":  {nil, func(c map[string]any) string { return p.sign(c, "at+jwt") }},
		"a logout token":   {map[string]any{"events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}}}, nil},
		"another client":   {map[string]any{"aud": "other"}, nil},
		"others as well":   {map[string]any{"aud": []string{loginClient, "other"}}, nil},
		"made for another": {map[string]any{"aud": []string{loginClient, "other"}, "azp": "other"}, nil},
		"another issuer":   {map[string]any{"iss": "https://evil.example"}, nil},
		"another login":    {map[string]any{"nonce": "another"}, nil},
		"no login":         {map[string]any{"nonce": nil}, nil},
		"NONCE":            {map[string]any{"Nonce": "x"}, nil},
		"expired":          {map[string]any{"exp": now - 1}, nil},
		"of the future":    {map[string]any{"iat": now + 600}, nil},
		"no iat":           {map[string]any{"iat": nil}, nil},
		"no sub":           {map[string]any{"sub": nil}, nil},
		"empty sub":        {map[string]any{"sub": ""}, nil},
		"a number as sub":  {map[string]any{"sub": 7}, nil},
		"another access":   {map[string]any{"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"}, nil},
		"no token":         {nil, func(map[string]any) string { return "" }},
		"too long":         {map[string]any{"x": strings.Repeat("x", 20<<10)}, nil},
	} {
		p.do(func() {
			if test.claims == nil {
				test.claims = map[string]any{}
			}
			p.claims, p.signer = test.claims, test.signer
		})
		b := s.browser()
		got := b.login("/account")
		if b.cookies[login.CookieSession] != "" || got.StatusCode == http.StatusSeeOther {
			t.Errorf("%s: status %d, cookies %v", name, got.StatusCode, b.cookies)
		}
		if strings.Contains(got.body, "eyJ") || strings.Contains(got.body, "code-") {
			t.Errorf("%s: the page is %s", name, got.body)
		}
	}
	p.do(func() { p.claims, p.signer = map[string]any{"aud": []string{loginClient}, "azp": loginClient}, nil })
	b := s.browser()
	b.login("/account")
	b.loggedIn()
}

// A provider that answers a gigabyte, slowly, as another issuer, with errors or with pages of
// HTML costs the gate a bounded time and memory, and logs no reader in. Sessions go on.
func TestLoginBadProvider(t *testing.T) {
	s := newLoginSite(t, "")
	p := s.provider
	ann := s.browser()
	ann.login("/account")
	huge := func(w http.ResponseWriter, _ *http.Request) {
		chunk := make([]byte, 1<<20)
		for range 1 << 10 {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	}
	for name, answer := range map[string]http.HandlerFunc{
		"a gigabyte": huge,
		"html":       func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) },
		"nothing":    func(http.ResponseWriter, *http.Request) {},
		"502":        func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) },
		"a redirect": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "https://evil.example/")
			w.WriteHeader(http.StatusTemporaryRedirect)
		},
		"an error": func(w http.ResponseWriter, _ *http.Request) {
			p.answer(w, http.StatusUnauthorized, map[string]any{"error": "invalid_client", "error_description": "secret-" + loginSecret})
		},
	} {
		for _, path := range []string{"/token", "/jwks"} {
			p.do(func() { p.answers = map[string]http.HandlerFunc{path: answer} })
			if path == "/jwks" {
				p.do(func() {
					p.signer = func(c map[string]any) string {
						return signWith(t, jose.SigningKey{Algorithm: jose.ES256, Key: p.key}, "k"+name, "JWT", c)
					}
				})
			}
			b := s.browser()
			got := b.login("/account")
			p.do(func() { p.answers, p.signer = map[string]http.HandlerFunc{}, nil })
			if b.cookies[login.CookieSession] != "" || got.StatusCode != http.StatusServiceUnavailable && got.StatusCode != http.StatusForbidden || strings.Contains(got.body, "secret-") {
				t.Errorf("%s of %s: status %d %s", name, path, got.StatusCode, got.body)
			}
			clock.Advance(time.Second)
		}
	}
	if strings.Contains(logged.String(), "secret-") {
		t.Error("the provider's text is in the log")
	}
	ann.loggedIn()
	if ann.cookies[login.CookieSession] == "" {
		t.Error("the session ended")
	}
	// Another issuer's configuration is not taken, and is asked for again later.
	clock.Advance(2 * time.Hour)
	s.configure("client_secret {env.OIDC_SECRET}\nscopes openid", loginRules)
	for _, meta := range []map[string]any{{"issuer": "https://evil.example"}, {"token_endpoint": "http://" + providerHost + "/token"}, {"authorization_endpoint": nil}} {
		p.do(func() { p.meta = meta })
		to := s.browser().open("/account").to()
		s.browser().open(to).shows(http.StatusServiceUnavailable, "Login is not available at the moment")
		clock.Advance(3 * time.Second)
	}
	p.do(func() { p.meta = map[string]any{} })
	b := s.browser()
	b.login("/account")
	b.loggedIn()
	ann.loggedIn()
}

// Mallory finds Ann's code, in a log or a history, and answers an attempt of their own with it
// (code injection), or Ann's attempt a second time (code replay). The code is bound to Ann's
// attempt by PKCE and nonce, and counts once.
func TestLoginCodeReplay(t *testing.T) {
	s := newLoginSite(t, "")
	ann, mallory := s.browser(), s.browser()
	callback, own := s.provider.authorize(ann.begin("/account")), s.provider.authorize(mallory.begin("/account"))
	stolen, _ := url.Parse(callback)
	mallory.open(withParam(t, own, "code", stolen.Query().Get("code"))).shows(http.StatusForbidden, "The login failed")
	if mallory.cookies[login.CookieSession] != "" {
		t.Fatal("Mallory is logged in by Ann's code")
	}
	// A provider that does not know PKCE gives tokens for the code: they have Ann's nonce.
	callback, own = s.provider.authorize(ann.begin("/account")), s.provider.authorize(mallory.begin("/account"))
	stolen, _ = url.Parse(callback)
	mine, _ := url.Parse(own)
	s.provider.do(func() {
		s.provider.codes[mine.Query().Get("code")].Set("nonce", s.provider.codes[stolen.Query().Get("code")].Get("nonce"))
	})
	mallory.open(own).shows(http.StatusForbidden, "The login failed")
	if mallory.cookies[login.CookieSession] != "" {
		t.Fatal("Mallory is logged in by tokens of Ann's attempt")
	}
	kept := maps.Clone(ann.cookies)
	if to := ann.open(callback).to(); to != "/account" {
		t.Fatal(to)
	}
	calls := s.provider.count("/token")
	copied := s.browser()
	copied.cookies = kept
	copied.open(callback)
	if copied.cookies[login.CookieSession] != "" || s.provider.count("/token") != calls {
		t.Error("the code is used twice")
	}
}

// Who wants a reader out, or to learn what a logout token may look like, signs one in every way
// that is not the provider's. None ends a session.
func TestLogoutTokenGames(t *testing.T) {
	s := newLoginSite(t, "")
	p := s.provider
	ann := s.browser()
	ann.login("/account")
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(&p.key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	claims := claimsOf(t, p.logoutToken(nil))
	payload, _ := json.Marshal(claims)
	encode := base64.RawURLEncoding.EncodeToString
	unsigned := func(header string) string { return encode([]byte(header)) + "." + encode(payload) + "." }
	good := p.logoutToken(nil)
	for name, token := range map[string]string{
		"none": unsigned(`{"alg":"none","typ":"logout+jwt"}`), "None": unsigned(`{"alg":"nOnE","typ":"logout+jwt","kid":"k1"}`), "no signature": unsigned(`{"alg":"ES256","typ":"logout+jwt","kid":"k1"}`),
		"no alg":              unsigned(`{"typ":"logout+jwt","kid":"k1"}`),
		"the client's secret": signWith(t, jose.SigningKey{Algorithm: jose.HS256, Key: []byte(loginSecret + strings.Repeat(" ", 32))}, "k1", "logout+jwt", claims),
		"the public key":      signWith(t, jose.SigningKey{Algorithm: jose.HS256, Key: public}, "k1", "logout+jwt", claims),
		"another key":         signWith(t, jose.SigningKey{Algorithm: jose.ES256, Key: other}, "k1", "logout+jwt", claims),
		"an unknown key":      signWith(t, jose.SigningKey{Algorithm: jose.ES256, Key: other}, "k2", "logout+jwt", claims),
		"a key of its own": signWithOptions(t, jose.SigningKey{Algorithm: jose.ES256, Key: other},
			(&jose.SignerOptions{EmbedJWK: true}).WithType("logout+jwt"), claims),
		"another header": encode([]byte(`{"alg":"ES256","typ":"JWT","kid":"k1"}`)) + good[strings.IndexByte(good, '.'):],
		"critical":       signWithOptions(t, jose.SigningKey{Algorithm: jose.ES256, Key: p.key}, (&jose.SignerOptions{}).WithType("logout+jwt").WithHeader("kid", "k1").WithHeader("crit", []string{"x"}).WithHeader("x", 1), claims),
	} {
		if status := s.logoutBy(token); status != http.StatusBadRequest {
			t.Errorf("%s: status %d", name, status)
		}
		ann.loggedIn()
	}
	if status := s.logoutBy(good); status != http.StatusOK {
		t.Fatalf("the provider's own: status %d", status)
	}
	ann.anonymous()
}
