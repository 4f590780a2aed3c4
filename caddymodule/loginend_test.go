package caddymodule

import (
	"bufio"
	"bytes"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/gatefold/gatefold/caddymodule/login"
	"github.com/gatefold/gatefold/policy/store"
)

// A reader logs out by a button: another site's image, form or script cannot do it for them.
// The session ends, and the browser is sent to the provider, to log out there too.
func TestLogout(t *testing.T) {
	s := newLoginSite(t, "")
	b := s.browser()
	b.login("/account")
	b.open("/.gatefold/logout").shows(http.StatusOK, "Log out")
	b.loggedIn()
	for _, headers := range [][]string{{"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"}, {"Origin", "https://evil.example"}, {"Origin", "http://127.0.0.1:" + s.port}, {"Origin", "null"}} {
		b.send(http.MethodPost, "/.gatefold/logout", "", append([]string{"X-Forwarded-Proto", "https", "Accept", "text/html"}, headers...)...).shows(http.StatusForbidden, "Log out on this page")
	}
	b.loggedIn()
	ticket := b.cookies[login.CookieSession]
	got := b.send(http.MethodPost, "/.gatefold/logout", "", "X-Forwarded-Proto", "https", "Accept", "text/html", "Sec-Fetch-Site", "same-origin", "Origin", s.host())
	if want := providerIssuer + "/end?" + (url.Values{"client_id": {loginClient}, "post_logout_redirect_uri": {s.host() + "/"}}).Encode(); got.to() != want {
		t.Errorf("the browser is sent to %s, want %s", got.to(), want)
	}
	if b.cookies[login.CookieSession] != "" || got.Header.Get("Clear-Site-Data") != `"cache"` {
		t.Errorf("the browser has %v, %v", b.cookies, got.Header)
	}
	b.cookies[login.CookieSession] = ticket
	b.anonymous()
	// A form of another site, in a browser that does not say so, comes without the session's
	// cookie: it changes nothing in the browser, where the cookie is.
	b.login("/account")
	forged := s.do(http.MethodPost, "/.gatefold/logout", "X-Forwarded-Proto", "https", "Accept", "text/html")
	if forged.to(); len(forged.Cookies()) > 0 || forged.Header.Get("Clear-Site-Data") != "" {
		t.Errorf("without a ticket: %v", forged.Header)
	}
	b.loggedIn()
	// Without a provider, and by choice, the logout is of this site.
	s.configure("client_secret {env.OIDC_SECRET}\nlocal_logout", loginRules)
	b = s.browser()
	b.login("/account")
	if to := b.send(http.MethodPost, "/.gatefold/logout", "", "X-Forwarded-Proto", "https").to(); to != "/" {
		t.Errorf("the browser is sent to %s", to)
	}
}

// logoutBy posts a logout token, and returns the status.
func (s *loginSite) logoutBy(token string) int {
	s.Helper()
	got := s.doBody(http.MethodPost, "/.gatefold/backchannel", url.Values{"logout_token": {token}}.Encode(),
		"Content-Type", "application/x-www-form-urlencoded", "X-Forwarded-Proto", "https")
	if got.Header.Get("Cache-Control") != "no-store" || (got.StatusCode == http.StatusServiceUnavailable) != (got.Header.Get("Retry-After") != "") {
		s.Errorf("the header is %v", got.Header)
	}
	return got.StatusCode
}

// The provider says that a reader logged out: the sessions of its own session end, or all of
// the reader. The next request is anonymous; what it does not say ends nothing.
func TestBackchannelLogout(t *testing.T) {
	s := newLoginSite(t, "")
	p := s.provider
	phone, laptop, bob := s.browser(), s.browser(), s.browser()
	p.do(func() { p.claims = map[string]any{"sid": "s1"} })
	phone.login("/account")
	p.do(func() { p.claims = map[string]any{"sid": "s2"} })
	laptop.login("/account")
	p.do(func() { p.claims, p.subject = map[string]any{}, "bob" })
	bob.login("/account")
	for _, b := range []*loginBrowser{phone, laptop, bob} {
		b.loggedIn()
	}
	now := clock.Now().Unix()
	for name, token := range map[string]string{
		"nothing": "", "no token": "x.y.z", "an ID token": p.sign(map[string]any{"iss": providerIssuer, "aud": loginClient, "sub": "ann", "iat": now, "exp": now + 60, "jti": "a"}, "JWT"),
		"a nonce": p.logoutToken(map[string]any{"nonce": "x"}), "another event": p.logoutToken(map[string]any{"events": map[string]any{"x": map[string]any{}}}),
		"an event that is no object": p.logoutToken(map[string]any{"events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": "x"}}),
		"another client":             p.logoutToken(map[string]any{"aud": "other"}), "another issuer": p.logoutToken(map[string]any{"iss": "https://evil.example"}),
		"no reader": p.logoutToken(map[string]any{"sub": nil}), "no jti": p.logoutToken(map[string]any{"jti": nil}), "no iat": p.logoutToken(map[string]any{"iat": nil}),
		"no exp": p.logoutToken(map[string]any{"exp": nil}), "expired": p.logoutToken(map[string]any{"exp": now - 1}), "for ever": p.logoutToken(map[string]any{"exp": now + 1e6}),
		"an access token": p.sign(map[string]any{"iss": providerIssuer, "aud": loginClient, "sub": "ann", "iat": now, "exp": now + 60, "jti": "b", "events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}}}, "at+jwt"),
		"altered":         p.logoutToken(nil)[:200] + "AAAA", "too long": strings.Repeat("x", 70<<10),
	} {
		if status := s.logoutBy(token); status != http.StatusBadRequest {
			t.Errorf("%s: status %d", name, status)
		}
	}
	for _, b := range []*loginBrowser{phone, laptop, bob} {
		b.loggedIn()
	}
	// A token that names another issuer, or none, makes the gate fetch nothing, whatever its key is.
	fetched := p.count("/jwks")
	clock.Advance(time.Hour)
	stranger := signWith(t, jose.SigningKey{Algorithm: jose.ES256, Key: p.key}, "an unknown key", "logout+jwt", map[string]any{
		"iss": "https://evil.example", "aud": loginClient, "iat": clock.Now().Unix(), "exp": clock.Now().Unix() + 60, "jti": "c", "sub": "ann",
		"events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}},
	})
	if status := s.logoutBy(stranger); status != http.StatusBadRequest || p.count("/jwks") != fetched {
		t.Errorf("another issuer's token: status %d, and the keys are fetched %d times", status, p.count("/jwks")-fetched)
	}
	token := p.logoutToken(map[string]any{"sid": "s1"})
	if status := s.logoutBy(token); status != http.StatusOK {
		t.Fatalf("status %d", status)
	}
	phone.anonymous()
	laptop.loggedIn()
	if status := s.logoutBy(token); status != http.StatusBadRequest {
		t.Errorf("the same token again: status %d", status)
	}
	if status := s.logoutBy(p.logoutToken(nil)); status != http.StatusOK {
		t.Fatalf("status %d", status)
	}
	laptop.anonymous()
	bob.loggedIn()
	if err := s.shared().Engine.Close(); err != nil {
		t.Fatal(err)
	}
	if status := s.logoutBy(p.logoutToken(nil)); status != http.StatusServiceUnavailable {
		t.Errorf("without the store: status %d", status)
	}
}

// The provider says that a reader logged out while they are between its login page and the
// callback. They are not logged in after that, until they log in again.
func TestLogoutDuringLogin(t *testing.T) {
	s := newLoginSite(t, "")
	b := s.browser()
	callback := s.provider.authorize(b.begin("/account"))
	clock.Advance(time.Second)
	if status := s.logoutBy(s.provider.logoutToken(nil)); status != http.StatusOK {
		t.Fatalf("status %d", status)
	}
	b.open(callback).shows(http.StatusForbidden, "You are not logged in")
	b.anonymous()
	b.login("/account")
	b.loggedIn()
}

// The stream of a reader is cut when their session ends, by a logout or at its declared end,
// and not before.
func TestLogoutCutsStreams(t *testing.T) {
	s := newLoginSite(t, "lifetime 2h")
	s.origin.Handle(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = w.Write([]byte("data: hello\n\n"))
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	for name, end := range map[string]func(){
		"logout": func() {
			if status := s.logoutBy(s.provider.logoutToken(nil)); status != http.StatusOK {
				t.Fatalf("status %d", status)
			}
		},
		"declared end": func() { clock.Advance(2 * time.Hour) },
	} {
		b := s.browser()
		b.login("/account")
		cut := b.stream("/account")
		clock.Advance(10 * time.Second) // decided again, and still allowed
		select {
		case <-cut:
			t.Fatalf("%s: the stream is cut while the session goes on", name)
		case <-time.After(300 * time.Millisecond):
		}
		end()
		select {
		case <-cut:
		case <-time.After(10 * time.Second):
			t.Fatalf("%s: the stream goes on after the session", name)
		}
		s.waitFor("the stream to end", func() bool { return openStreams.count() == 0 })
	}
}

// stream opens an event stream, and returns a channel that is sent to when it ends.
func (b *loginBrowser) stream(path string) <-chan error {
	t := b.s
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, t.site+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Cookie", b.cookie())
	request.Header.Set("X-Forwarded-Proto", "https")
	response, err := browser.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = response.Body.Close() })
	lines := bufio.NewReader(response.Body)
	if line, err := lines.ReadString('\n'); err != nil || line != "data: hello\n" {
		t.Fatalf("%q, %v", line, err)
	}
	t.waitFor("the stream to be watched", func() bool { return openStreams.count() == 1 })
	cut := make(chan error, 1)
	go func() {
		for {
			if _, err := lines.ReadString('\n'); err != nil {
				cut <- err
				return
			}
		}
	}()
	return cut
}

// The session of a reader ends at its declared end, when it is unused, and when it is one too
// many; not because the provider is down.
func TestSessionEnds(t *testing.T) {
	s := newLoginSite(t, "idle 48h\nlifetime 96h\nmax_sessions 2")
	b := s.browser()
	b.login("/account")
	s.provider.Fail(http.StatusBadGateway)
	for range 3 {
		clock.Advance(31 * time.Hour)
		b.loggedIn()
		s.waitFor("the use to be written", func() bool {
			sessions, err := s.running().Store.LoginSessionsOf(t.Context(), defaultVendor, "ann")
			return err == nil && len(sessions) == 1 && sessions[0].SeenAt.Equal(clock.Now())
		})
	}
	clock.Advance(3 * time.Hour)
	b.anonymous()
	s.provider.Handle(s.provider.serve)
	b.login("/account")
	clock.Advance(48 * time.Hour)
	b.anonymous()
	first, second, third := s.browser(), s.browser(), s.browser()
	for _, b := range []*loginBrowser{first, second, third} {
		b.login("/account")
		clock.Advance(time.Second)
	}
	first.anonymous()
	second.loggedIn()
	third.loggedIn()
}

// Tokens are renewed beside the requests, once, before their end. A provider that is down ends
// nothing; one that refuses the refresh token ends the session.
func TestLoginRenewal(t *testing.T) {
	s := newLoginSite(t, "scopes openid email offline_access")
	p := s.provider
	p.do(func() { p.meta["offline"] = true })
	b := s.browser()
	b.login("/account")
	session := func() store.LoginSession {
		sessions, err := s.running().Store.LoginSessionsOf(t.Context(), defaultVendor, "ann")
		if err != nil || len(sessions) != 1 {
			t.Fatalf("%d sessions, %v", len(sessions), err)
		}
		return sessions[0]
	}
	began := session()
	if strings.Contains(string(began.Tokens), "refresh-") || len(began.Tokens) == 0 {
		t.Fatalf("the tokens are %q", began.Tokens)
	}
	b.loggedIn()
	if n := p.count("/token"); n != 1 {
		t.Fatalf("%d calls before it is time", n)
	}
	clock.Advance(time.Hour - time.Minute)
	p.do(func() { p.claims = map[string]any{"email": "new@example.com"} })
	for range 20 {
		b.loggedIn()
	}
	s.waitFor("the renewal", func() bool { return session().Email == "new@example.com" })
	if n := p.count("/token"); n != 2 {
		t.Errorf("%d calls for a renewal", n)
	}
	// An ID token of another reader: their claims are not taken, the new refresh token is.
	clock.Advance(time.Hour)
	p.do(func() { p.claims = map[string]any{"sub": "mallory", "email": "mallory@example.com"} })
	b.loggedIn()
	s.waitFor("the renewal", func() bool { return p.count("/token") == 3 && session().RenewingUntil.IsZero() })
	if now := session(); now.Email != "new@example.com" || now.UserID != "ann" || now.Subject != "ann" || bytes.Equal(now.Tokens, began.Tokens) {
		t.Errorf("the session is that of %s with %s", now.UserID, now.Email)
	}
	p.do(func() { p.claims = map[string]any{} })
	// Down: the session goes on, and the renewal is tried again later.
	p.do(func() {
		p.answers["/token"] = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }
	})
	clock.Advance(time.Hour)
	b.loggedIn()
	s.waitFor("the failed renewal", func() bool { return p.count("/token") == 4 && session().RenewingUntil.IsZero() })
	b.loggedIn()
	// Refused: the account is closed.
	p.do(func() { p.answers = map[string]http.HandlerFunc{}; p.refresh = map[string]string{} })
	clock.Advance(10 * time.Minute)
	b.open("/account")
	s.waitFor("the end of the session", func() bool {
		sessions, err := s.running().Store.LoginSessionsOf(t.Context(), defaultVendor, "ann")
		return err == nil && len(sessions) == 0
	})
	b.anonymous()
}

// A login that leads to a login again ends in a page that says why: with cookies that the
// browser refuses, after a session that is lost at once, and after a login that is cancelled.
func TestLoginLoops(t *testing.T) {
	s := newLoginSite(t, "")
	refusing := s.browser()
	callback := s.provider.authorize(refusing.begin("/account"))
	refusing.cookies = map[string]string{}
	again := refusing.open(callback).to()
	refusing.cookies = map[string]string{}
	refusing.open(s.provider.authorize(again)).shows(http.StatusForbidden, "You logged in, but this site does not see it")
	if n := s.provider.count("/token"); n != 0 {
		t.Errorf("%d codes are used", n)
	}

	losing := s.browser()
	for range 2 {
		losing.login("/account")
		delete(losing.cookies, login.CookieSession)
	}
	page := losing.open(losing.open("/account").to()).shows(http.StatusForbidden, "You logged in, but this site does not see it")
	if !strings.Contains(page.body, "<small>") || !strings.Contains(page.body, `href="/.gatefold/login?next=%2Faccount"`) {
		t.Errorf("the page is %s", page.body)
	}
	losing.login("/account") // by the reader's own choice
	losing.loggedIn()

	b := s.browser()
	callback = s.provider.authorize(b.begin("/account"))
	denied := withParam(t, withParam(t, callback, "code", ""), "error", "access_denied")
	if got := b.open(denied).shows(http.StatusForbidden, "You are not logged in"); strings.Contains(got.body, "access_denied") {
		t.Errorf("the page is %s", got.body)
	}
	callback = s.provider.authorize(b.begin("/account"))
	b.open(withParam(t, withParam(t, callback, "code", ""), "error", "temporarily_unavailable")).shows(http.StatusServiceUnavailable, "Login is not available at the moment")
}

// The paths of the login are the gate's, on every site; without TLS they set no cookie.
func TestLoginPaths(t *testing.T) {
	s := newLoginSite(t, "")
	for _, path := range []string{"/.gatefold/login", "/.gatefold/callback", "/.gatefold/logout"} {
		if got := s.get(path, "Accept", "text/html"); got.StatusCode != http.StatusBadRequest || len(got.Cookies()) > 0 {
			t.Errorf("%s without TLS: %d", path, got.StatusCode)
		}
		if got := s.do(http.MethodPut, path, overTLS...); got.StatusCode != http.StatusMethodNotAllowed || got.Header.Get("Allow") == "" {
			t.Errorf("PUT %s: %d", path, got.StatusCode)
		}
	}
	for _, path := range []string{"/.gatefold/other", "/.gatefold/login/x", "/.gatefold/LOGIN", "/.gatefold/"} {
		if got := s.get(path, overTLS...); got.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: %d", path, got.StatusCode)
		}
	}
	s.origin.WantNone(t)
	without := newTestSite(t, "rule / any")
	if got := without.get("/.gatefold/login"); got.StatusCode != http.StatusBadRequest {
		t.Errorf("on a site without a login: %d", got.StatusCode)
	}
}

// An operator lists and ends the sessions of a reader by the API. It shows neither tickets nor
// tokens, and what it did is in the audit log.
func TestSessionsByAPI(t *testing.T) {
	s := newLoginSite(t, "scopes openid offline_access")
	s.provider.do(func() { s.provider.meta["offline"] = true })
	first, second := s.browser(), s.browser()
	first.login("/account")
	clock.Advance(time.Second)
	second.login("/account")
	text := s.api(http.MethodGet, "/management/sessions?userId=ann", "", http.StatusOK)
	var sessions []struct{ ID, UserID, Site, Issuer string }
	if err := json.Unmarshal([]byte(text), &sessions); err != nil || len(sessions) != 2 || sessions[0].UserID != "ann" || sessions[0].Issuer != providerIssuer {
		t.Fatal(text)
	}
	for _, secret := range []string{first.cookies[login.CookieSession], second.cookies[login.CookieSession], "tokens", "refresh"} {
		if strings.Contains(text, secret) {
			t.Errorf("the API shows %s", secret)
		}
	}
	s.api(http.MethodGet, "/management/sessions", "", http.StatusUnprocessableEntity)
	s.api(http.MethodDelete, "/management/sessions/"+sessions[0].ID, "", http.StatusNoContent)
	s.api(http.MethodDelete, "/management/sessions/"+sessions[0].ID, "", http.StatusNotFound)
	first.anonymous()
	second.loggedIn()
	if ended := s.api(http.MethodPost, "/management/sessions/end", `{"userId":"ann"}`, http.StatusOK); !strings.Contains(ended, `"ended":1`) {
		t.Errorf("ended are %s", ended)
	}
	second.anonymous()
	log := s.api(http.MethodGet, "/management/audit", "", http.StatusOK)
	if !strings.Contains(log, "end-session") || !strings.Contains(log, sessions[0].ID) || strings.Contains(log, `"tokens"`) {
		t.Errorf("the audit log is %s", log)
	}
}

// The site of a PHP application sends every path to index.php before the gate. The pages of the
// login are no pages of the application: readers log in and out.
func TestLoginBehindARewrite(t *testing.T) {
	s := newLoginSite(t, "")
	s.outside = "route {\n\t\trewrite * /index.php?{query}\n\t}"
	s.configure("client_secret {env.OIDC_SECRET}", "paths {\njudge received\n}\n"+loginRules)
	b := s.browser()
	if back := b.login("/account?a=1").to(); back != "/account?a=1" {
		t.Fatalf("the reader is sent back to %s", back)
	}
	b.loggedIn()
	b.open("/.gatefold/logout").shows(http.StatusOK, "Log out")
}

// The operator gives the readers of a login another prefix, because a second provider comes. A
// session of before has an id that may be another reader's there: it counts no more.
func TestSessionOfAnotherPrefix(t *testing.T) {
	s := newLoginSite(t, "")
	b := s.browser()
	b.login("/account")
	b.loggedIn()
	s.configure("client_secret {env.OIDC_SECRET}\nuser_prefix old:", loginRules)
	b.anonymous()
	b.login("/account")
	b.loggedIn()
}
