package policy

import (
	"context"
	"crypto/sha256"
	"errors"
	"time"

	"github.com/gatefold/gatefold/keys"
)

// tokenKey is a token as one verifier sees it: the same token means something
// else to another site or issuer.
type tokenKey struct {
	verifier string
	sum      [sha256.Size]byte
}

// tokenSum returns a token's SHA-256. The copy is on the stack, where a
// conversion would allocate.
func tokenSum(raw string) [sha256.Size]byte {
	var token [keys.MaxTokenSize]byte
	return sha256.Sum256(token[:copy(token[:], raw)])
}

// ReaderVerifier verifies the reader tokens of one issuer for one site.
type ReaderVerifier struct {
	// ID tells this verifier from every other one: whatever decides how it
	// verifies must be in it.
	ID     string
	Issuer keys.ReaderIssuer
	Keys   KeySource
}

// Reader verifies a reader's token, from memory where it was verified before.
// The error says what failed, without any part of the token in it; an error
// that is ErrUnavailable means that the keys could not be read.
func (p *Policy) Reader(ctx context.Context, verifier *ReaderVerifier, raw string, now time.Time) (Reader, error) {
	if len(raw) > keys.MaxTokenSize {
		return Reader{}, keys.ErrMalformed
	}
	stamp := p.versions.Shared()
	if known := p.recentTokens.Get(raw); known.holds(verifier, stamp, now.UnixMilli()) {
		p.readerTokens.hits.Add(1)
		return known.reader, nil
	}
	key := tokenKey{verifier: verifier.ID, sum: tokenSum(raw)}
	if known, ok := p.readerTokens.get(key, stamp, now.UnixMilli()); ok {
		p.recentTokens.Put(raw, recentToken{verifiedReader: known, verifier: verifier.ID, stamp: stamp})
		return known.reader, nil
	}
	set, err := verifier.Keys.KeySet(ctx)
	if err != nil {
		return Reader{}, unavailable(err)
	}
	claims, err := verifier.Issuer.Verify(raw, set, now)
	p.readerVerifications.count(err)
	if err != nil {
		return Reader{}, err
	}
	reader := Reader{UserID: claims.UserID, PublisherUserID: claims.PublisherUserID}
	if claims.EmailVerified {
		reader.Email = LowerEmail(claims.Email)
	}
	size := int64(len(key.verifier) + len(reader.UserID) + len(reader.PublisherUserID) + len(reader.Email))
	known := verifiedReader{reader: reader, until: claims.ExpiresAt * 1000}
	p.readerTokens.set(key, known, stamp, known.until, size)
	return reader, nil
}

// verifiedReader is what a token that was verified says.
type verifiedReader struct {
	reader Reader
	until  int64 // Unix milliseconds
}

// recentToken is what is known of a token that came a moment ago. It spares the
// SHA-256 by which all others are found.
type recentToken struct {
	verifiedReader
	verifier string
	stamp    uint64
}

// holds says whether it still holds, for this verifier. Nothing is known of nil.
func (t *recentToken) holds(verifier *ReaderVerifier, stamp uint64, now int64) bool {
	return t != nil && t.stamp == stamp && now < t.until && t.verifier == verifier.ID
}

// linkClaims verifies a link's token, from memory where it was verified before.
func (p *Policy) linkClaims(ctx context.Context, site *Site, raw string, now time.Time) (keys.LinkClaims, error) {
	if len(raw) > keys.MaxTokenSize {
		return keys.LinkClaims{}, keys.ErrMalformed
	}
	key := tokenKey{verifier: site.issuer, sum: tokenSum(raw)}
	stamp := p.versions.Shared()
	if claims, ok := p.linkTokens.get(key, stamp, now.UnixMilli()); ok {
		return claims, nil
	}
	set, err := site.Keys.KeySet(ctx)
	if err != nil {
		return keys.LinkClaims{}, unavailable(err)
	}
	claims, err := keys.VerifyLink(raw, site.issuer, set, now)
	p.linkVerifications.count(err)
	if err != nil {
		return keys.LinkClaims{}, err
	}
	p.linkTokens.set(key, claims, stamp, claims.ExpiresAt*1000, int64(len(raw)))
	return claims, nil
}

// ErrUnavailable is what an error is when something that decides could not be
// read: the answer is unknown, not no.
var ErrUnavailable = errors.New("the store is unavailable")

type unavailableError struct{ err error }

func (e *unavailableError) Error() string        { return ErrUnavailable.Error() + ": " + e.err.Error() }
func (e *unavailableError) Unwrap() error        { return e.err }
func (e *unavailableError) Is(target error) bool { return target == ErrUnavailable }

func unavailable(err error) error { return &unavailableError{err} }
