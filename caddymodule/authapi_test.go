package caddymodule

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gatefold/gatefold/caddymodule/login"
	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy/store"
)

const authRules = `
		rule /api any {
			local
		}
		rule /account authenticated
		rule / any
		local {
			gatefold_accounts
		}
`

// A page of the site logs its reader out by DjaoApp's path: the session ends, its cookies are
// removed, and a copy of the cookie is worth nothing. The page of another site cannot do it.
func TestLogoutByTheAPI(t *testing.T) {
	s := newLoginSite(t, "")
	s.configure("client_secret {env.OIDC_SECRET}", authRules)
	b := s.browser()
	b.login("/account")
	ticket := b.cookies[login.CookieSession]
	for _, headers := range [][]string{{"Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site"}, {"Origin", "null"}, nil} {
		got := b.send(http.MethodPost, "/api/auth/logout", "", append([]string{"X-Forwarded-Proto", "https", "Content-Type", "application/json"}, headers...)...)
		if got.StatusCode != http.StatusForbidden {
			t.Errorf("%v: %d %s", headers, got.StatusCode, got.body)
		}
	}
	b.loggedIn()
	got := b.send(http.MethodPost, "/api/auth/logout", "", "X-Forwarded-Proto", "https", "Content-Type", "application/json", "Origin", s.host(), "Sec-Fetch-Site", "same-origin")
	if got.StatusCode != http.StatusNoContent || b.cookies[login.CookieSession] != "" || got.Header.Get("Clear-Site-Data") != `"cache"` || got.Header.Get("Cache-Control") != "no-store" {
		t.Fatalf("%d %v, the browser has %v", got.StatusCode, got.Header, b.cookies)
	}
	b.cookies[login.CookieSession] = ticket
	b.anonymous()
}

// A program renews the token of its reader before it ends, for 30 days after the login and not
// for ever; neither the token of another reader or site nor one that is over is renewed.
func TestTokensOfTheAPI(t *testing.T) {
	s := newTestSite(t, "identify jwt {\n issuer self\n}\n"+authRules)
	keepClock(t)
	s.grant(store.Grant{UserID: "ann", SKU: "premium"})
	call := func(path, bearer, token string) answer {
		t.Helper()
		return s.doBody(http.MethodPost, path, `{"token": "`+token+`"}`, "Authorization", "Bearer "+bearer, "Content-Type", "application/json")
	}
	renew := func(token string) (string, answer) {
		t.Helper()
		got := call("/api/auth/tokens", token, token)
		var made struct{ Token string }
		_ = json.Unmarshal([]byte(got.body), &made)
		return made.Token, got
	}
	began := clock.Now()
	first := s.reader(keys.ReaderClaims{UserID: "ann", Email: "ann@example.com", EmailVerified: true, ExpiresAt: began.Unix() + 86400})
	token := first
	for clock.Now().Sub(began) < 30*24*time.Hour-20*time.Hour {
		clock.Advance(20 * time.Hour)
		next, got := renew(token)
		if got.StatusCode != http.StatusOK || next == token {
			t.Fatalf("after %v: %d %s", clock.Now().Sub(began), got.StatusCode, got.body)
		}
		if got := call("/api/auth/tokens/verify", next, next); got.StatusCode != http.StatusOK || !strings.Contains(got.body, next) {
			t.Fatalf("%d %s", got.StatusCode, got.body)
		}
		token = next
	}
	s.get("/account", "Authorization", "Bearer "+token).page()
	clock.Set(began.Add(30*24*time.Hour - time.Second))
	if token, _ = renew(token); token == "" {
		t.Fatal("within 30 days the token is not renewed")
	}
	clock.Advance(time.Second)
	s.get("/account", "Authorization", "Bearer "+token).denied(http.StatusUnauthorized, "bad_credential")
	ann, bob := s.reader(keys.ReaderClaims{UserID: "ann"}), s.reader(keys.ReaderClaims{UserID: "bob"})
	// Support ends all sessions of Ann: tokens of before are not renewed, those of a later login are.
	if _, err := s.running().Store.As(store.Actor{}).EndLoginSessionsOf(t.Context(), defaultVendor, "ann"); err != nil {
		t.Fatal(err)
	}
	clock.Advance(time.Second)
	if _, got := renew(ann); got.StatusCode != http.StatusUnprocessableEntity || !strings.Contains(got.body, "all sessions of the reader ended") {
		t.Errorf("after the end of all sessions: %d %s", got.StatusCode, got.body)
	}
	if _, got := renew(bob); got.StatusCode != http.StatusOK {
		t.Errorf("another reader: %d %s", got.StatusCode, got.body)
	}
	ann = s.reader(keys.ReaderClaims{UserID: "ann"})
	if _, got := renew(ann); got.StatusCode != http.StatusOK {
		t.Errorf("a token of a later login: %d %s", got.StatusCode, got.body)
	}
	for name, refused := range map[string]string{"another reader's": bob, "one that is over": first, "no token": "x.y.z", "altered": ann[:len(ann)-4] + "AAAA"} {
		for _, path := range []string{"/api/auth/tokens", "/api/auth/tokens/verify"} {
			if got := call(path, ann, refused); got.StatusCode != http.StatusUnprocessableEntity || !strings.Contains(got.body, "body.token") || strings.Contains(got.body, refused) {
				t.Errorf("%s: %s answers %d %s", name, path, got.StatusCode, got.body)
			}
		}
	}
	if got := s.doBody(http.MethodPost, "/api/auth/tokens", `{"token": "`+ann+`"}`, "Content-Type", "application/json"); got.StatusCode != http.StatusForbidden && got.StatusCode != http.StatusUnauthorized {
		t.Errorf("an anonymous caller gets %d %s", got.StatusCode, got.body)
	}
}
