package keys

import (
	"cmp"
	"errors"
	"time"
)

// ErrLoggedOut is the error of a token that is not renewed, because all sessions of its reader
// ended since it was issued.
var ErrLoggedOut = errors.New("all sessions of the reader ended since the token was first issued: log in again")

// RenewReader verifies one of our reader tokens for a site of a vendor and signs it again: with
// the same claims, the same lifetime, and never longer than most after its reader logged in
// (`auth_time`), or after the first token was issued. It returns the new token with the claims,
// an error that wraps one of the errors of this package, ErrExpired if that time is over, or
// ErrLoggedOut for a token that was first issued until ended, which is zero for never.
func RenewReader(ring *Ring, vendor, site, raw string, most time.Duration, ended, now time.Time) (string, ReaderClaims, error) {
	issuer := OwnReaderIssuer(vendor, site)
	type renewable struct {
		claims        ReaderClaims
		issued, first int64
	}
	old, err := verifyToken(raw, signer{own: true, typ: typeReader}, ring.KeySet(), func(o object) (found renewable, err error) {
		if found.claims, err = issuer.read(o, now.Unix()); err != nil {
			return found, err
		}
		t, err := o.times()
		if err != nil {
			return found, err
		}
		found.issued = t.issuedAt
		found.first, _, err = o.date("orig_iat", true)
		return found, err
	})
	if err != nil {
		return "", ReaderClaims{}, err
	}
	if old.issued == 0 {
		old.issued = now.Unix()
	}
	if old.first == 0 {
		old.first = old.issued
	}
	if !ended.IsZero() && old.first <= ended.Unix() {
		return "", ReaderClaims{}, ErrLoggedOut
	}
	// A token that does not say when its reader logged in does not after it is renewed either: it
	// would satisfy a rule with max_age that it does not satisfy now.
	claims, from := old.claims, cmp.Or(old.claims.AuthTime, old.first)
	claims.ExpiresAt = min(now.Unix()+claims.ExpiresAt-old.issued, from+int64(most/time.Second))
	if claims.ExpiresAt <= now.Unix() {
		return "", ReaderClaims{}, ErrExpired
	}
	token, err := signReader(ring, vendor, site, claims, old.first, now)
	return token, claims, err
}
