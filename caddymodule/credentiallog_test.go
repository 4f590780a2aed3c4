package caddymodule

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gatefold/gatefold/keys"
)

// A reader cannot log in, and the operator looks at the log's `error`, as
// docs/operations.md says: it tells a token that has expired from one that is not valid
// yet, is for another site, is forged, or is signed by a retired key.
func TestLogSaysWhyACredentialFailed(t *testing.T) {
	s := newTestSite(t, standardRules)
	ring, err := s.running().keyring.Ring(t.Context(), defaultVendor)
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
	} {
		logged.Reset()
		s.get("/account", "Authorization", "Bearer "+c.token).denied(http.StatusUnauthorized, "bad_credential")
		entries := logged.entries(t, "http.handlers.gatefold")
		if !slices.ContainsFunc(entries, func(e map[string]any) bool { return e["msg"] == "denied" && e["error"] == c.want.Error() }) {
			t.Errorf("%s: the log says %v, want the error %q", name, entries, c.want)
		}
	}
}
