package caddymodule

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gatefold/gatefold/admin"
	"github.com/gatefold/gatefold/keys"
)

// A reader cannot log in, and the operator looks at the log's `error`, as
// docs/operations.md says: it tells a token that has expired from one that is not valid
// yet, is for another site, is forged, or is signed by a retired key.
func TestLogSaysWhyACredentialFailed(t *testing.T) {
	s := newTestSite(t, standardRules)
	ring, err := s.running().Keyring.Ring(t.Context(), defaultVendor)
	if err != nil {
		t.Fatal(err)
	}
	sign := func(site string, at time.Time) string {
		token, err := keys.SignReader(ring, defaultVendor, site, keys.ReaderClaims{UserID: "ada", ExpiresAt: at.Unix() + 60}, at)
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	good := sign(defaultVendor, clock.Now())
	for name, c := range map[string]struct {
		token string
		want  error
	}{
		"expired":          {sign(defaultVendor, clock.Now().Add(-time.Hour)), keys.ErrExpired},
		"of the future":    {sign(defaultVendor, clock.Now().Add(time.Hour)), keys.ErrNotYetValid},
		"for another site": {sign("other", clock.Now()), keys.ErrAudience},
		"forged":           {good[:strings.LastIndex(good, ".")+1] + strings.Repeat("A", 86), keys.ErrSignature},
		"too large":        {good[:strings.LastIndex(good, ".")+1] + strings.Repeat("A", keys.MaxTokenSize-200), keys.ErrTooLarge},
	} {
		logged.Reset()
		s.get("/account", "Authorization", "Bearer "+c.token).denied(http.StatusUnauthorized, "bad_credential")
		entries := logged.entries(t, "http.handlers.gatefold")
		if !slices.ContainsFunc(entries, func(e map[string]any) bool { return e["msg"] == "denied" && e["error"] == c.want.Error() }) {
			t.Errorf("%s: the log says %v, want the error %q", name, entries, c.want)
		}
		s.wantAccessError(name, c.want.Error(), c.token)
		// The command says which check failed, as the gate decides.
		explained := s.explain(admin.ExplainRequest{URL: "/account", ReaderToken: c.token})
		if explained.Decision.Reason != "bad_credential" || explained.Reader.FailedCheck != keys.FailedCheck(c.want) || explained.Reader.Error != c.want.Error() {
			t.Errorf("%s: explain says %q for %+v", name, explained.Decision.Reason, explained.Reader)
		}
	}
}

// wantAccessError checks that the access log has the failed check of the last request,
// and nothing of its token.
func (s *testSite) wantAccessError(name, want, token string) {
	s.Helper()
	entries := logged.entries(s, "http.log.access")
	if len(entries) != 1 {
		s.Fatalf("%s: %d requests were logged", name, len(entries))
	}
	fields, _ := entries[0]["gatefold"].(map[string]any)
	if fields["reason"] != "bad_credential" || fields["error"] != want {
		s.Errorf("%s: the access log says %v, want the error %q", name, fields, want)
	}
	if text := fmt.Sprint(fields); token != "" && strings.Contains(text, strings.Split(token, ".")[1]) {
		s.Errorf("%s: the access log has the token: %s", name, text)
	}
}

// A cookie may hold what is no token of any issuer of the site, and a reader whose login
// failed may open a link: whatever the way, the access log has the failed check.
func TestAccessLogSaysWhyOnEveryWay(t *testing.T) {
	s := newTestSite(t, standardRules)
	foreign, _ := foreignToken(t, "https://unknown.example.com", "default", map[string]any{"sub": "u"})
	expired := expiredReader(s)
	own, _ := s.link(keys.LinkClaims{PerReader: true})
	ended, _ := s.link(keys.LinkClaims{ExpiresAt: clock.Now().Unix() + 1})
	clock.Advance(2e9)
	for name, c := range map[string]struct {
		path, cookie string
		want         error
	}{
		"of another issuer":                 {"/account", foreign, keys.ErrIssuer},
		"no token":                          {"/account", "garbage", keys.ErrIssuer},
		"expired, with a link for readers":  {own, expired, keys.ErrExpired},
		"expired, with a link that expired": {ended, expired, keys.ErrExpired},
	} {
		logged.Reset()
		s.get(c.path, "Cookie", "reader="+c.cookie).denied(http.StatusUnauthorized, "bad_credential")
		s.wantAccessError(name, c.want.Error(), "")
	}
}
