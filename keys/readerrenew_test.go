package keys

import (
	"testing"
	"time"
)

// A token that says when its reader logged in says so after it is renewed, and is renewed for
// so long after that. One that does not say never does: a renewal is no login.
func TestRenewedTokenKeepsItsLogin(t *testing.T) {
	ring := acmeRing
	now := time.Unix(1_800_000_000, 0)
	const most = 24 * time.Hour
	for name, authTime := range map[string]int64{"stated": now.Unix() - 3600, "not stated": 0} {
		token, err := SignReader(ring, "acme", "news", ReaderClaims{UserID: "ann", ACR: "phr", AuthTime: authTime, ExpiresAt: now.Unix() + 7200}, now)
		if err != nil {
			t.Fatal(err)
		}
		at, until := now, now.Add(most)
		if authTime != 0 {
			until = time.Unix(authTime, 0).Add(most)
		}
		for renewals := 0; ; renewals++ {
			at = at.Add(time.Hour)
			next, claims, err := RenewReader(ring, "acme", "news", token, most, at)
			if err != nil {
				if !at.Equal(until) || renewals < 20 {
					t.Errorf("%s: %v after %v, want an end at %v", name, err, at.Sub(now), until.Sub(now))
				}
				break
			}
			issuer := OwnReaderIssuer("acme", "news")
			verified, err := issuer.Verify(next, ring.KeySet(), at)
			if err != nil || verified.AuthTime != authTime || claims.AuthTime != authTime || verified.ACR != "phr" {
				t.Fatalf("%s: the renewed token is %+v, %v", name, verified, err)
			}
			token = next
		}
	}
}
