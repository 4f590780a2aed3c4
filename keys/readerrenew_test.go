package keys

import (
	"errors"
	"testing"
	"time"
)

// A token that says when its reader logged in says so after it is renewed, and is renewed for
// so long after that. One that does not say never does: a renewal is no login.
func TestRenewedTokenKeepsItsLogin(t *testing.T) {
	ring := acmeRing
	now := time.Unix(1_800_000_000, 0)
	const most = 24 * time.Hour
	token, err := SignReader(ring, "acme", "news", ReaderClaims{UserID: "ann", AuthTime: now.Unix() + 30, ExpiresAt: now.Unix() + 7200}, now)
	if err != nil {
		t.Fatal(err)
	}
	renewed, _, err := RenewReader(ring, "acme", "news", token, most, now.Add(-time.Second), now.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	for name, one := range map[string]string{"the first token": token, "a renewed one": renewed} {
		if _, _, err := RenewReader(ring, "acme", "news", one, most, now, now.Add(time.Hour)); !errors.Is(err, ErrLoggedOut) {
			t.Errorf("%s of before the end of all sessions: %v", name, err)
		}
	}
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
			next, claims, err := RenewReader(ring, "acme", "news", token, most, time.Time{}, at)
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
