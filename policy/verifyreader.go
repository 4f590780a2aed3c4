package policy

import (
	"context"
	"encoding/binary"
	"errors"
	"sync"
	"time"

	"github.com/gatefold/gatefold/keys"
)

// ReaderVerifier verifies the reader tokens of one issuer for one site.
// NewReaderVerifier makes it; the results of any other are not cached.
type ReaderVerifier struct {
	Issuer keys.ReaderIssuer
	Keys   KeySource

	number uint32
}

// NewReaderVerifier returns a verifier. Its id must name everything that decides how
// it verifies: verifiers with one id share cached results.
func NewReaderVerifier(id string, issuer keys.ReaderIssuer, source KeySource) ReaderVerifier {
	return ReaderVerifier{Issuer: issuer, Keys: source, number: verifierNumber(id)}
}

// Same reports whether another verifier has the same id. One that NewReaderVerifier did not make
// has none.
func (v *ReaderVerifier) Same(other *ReaderVerifier) bool {
	return v.number != 0 && v.number == other.number
}

// verifierNumbers holds a number for the id of each verifier of this process. It
// grows with the configurations that were loaded.
var verifierNumbers struct {
	sync.Mutex
	byID map[string]uint32
}

func verifierNumber(id string) uint32 {
	verifierNumbers.Lock()
	defer verifierNumbers.Unlock()
	if verifierNumbers.byID == nil {
		verifierNumbers.byID = make(map[string]uint32)
	}
	number, ok := verifierNumbers.byID[id]
	if !ok {
		number = uint32(len(verifierNumbers.byID) + 1) //nolint:gosec // few configurations
		verifierNumbers.byID[id] = number
	}
	return number
}

// RefreshedKeys are the keys of another party, which change there, such as a
// *keys.Remote.
type RefreshedKeys interface {
	KeySource
	// Generation changes whenever the keys do.
	Generation() uint64
	// UsableUntil returns the moment from which the keys in memory do not count.
	UsableUntil() time.Time
	// Try calls verify with the keys in memory, and again with newer ones if the
	// token names an unknown key.
	Try(ctx context.Context, verify func(keys.KeySet) error) error
}

// fingerprintFirst is the length of the longest token that is fingerprinted before
// it is scanned, in bytes.
const fingerprintFirst = 1024

// Reader returns the reader whom a token identifies, from memory if the token was
// verified before. The error is one of package keys, or ErrUnavailable if the keys
// cannot be read; it holds no part of the token.
func (p *Policy) Reader(ctx context.Context, verifier *ReaderVerifier, raw string, now time.Time) (Reader, error) {
	stamp := p.versions.Shared()
	remote, refreshed := verifier.Keys.(RefreshedKeys)
	if refreshed {
		stamp += remote.Generation()
	}
	// Reject malformed tokens before any lookup. Fingerprinting a token of common
	// size costs less than scanning it, so those are looked up first.
	scanned := len(raw) > fingerprintFirst
	if scanned {
		if err := keys.CheckShape(raw); err != nil {
			p.readerVerifications.count(err)
			return Reader{}, err
		}
	}
	cached := p.readers != nil && verifier.number != 0
	var space [tokenKeySize]byte
	key := space[:0]
	if cached {
		key = p.appendTokenKey(key, verifier, raw)
		if record := p.readers.Get(key, stamp, now.UnixMilli()); record.Exists() {
			p.counts.readerTokens.hits.Add()
			return readerRecord{p.readers, record}.reader(), nil
		}
		p.counts.readerTokens.misses.Add()
	}
	if !scanned {
		if err := keys.CheckShape(raw); err != nil {
			p.readerVerifications.count(err)
			return Reader{}, err
		}
	}
	claims, err := p.verifyReader(ctx, verifier, raw, now)
	if err != nil {
		return Reader{}, err
	}
	reader := Reader{UserID: claims.UserID, PublisherUserID: claims.PublisherUserID, ACR: claims.ACR, AMR: claims.AMR, AuthTime: claims.AuthTime}
	if claims.EmailVerified {
		reader.Email = LowerEmail(claims.Email)
	}
	until := claims.ExpiresAt * 1000
	if refreshed {
		until = min(until, remote.UsableUntil().UnixMilli())
	}
	if value, ok := appendReaderRecord(nil, &reader, nil); ok && cached {
		if record := p.readers.Set(key, value, stamp, until); record.Exists() {
			reader.record = readerRecord{p.readers, record}
		}
	}
	return reader, nil
}

// appendTokenKey appends the key of a token's record: the number of its verifier,
// doubled so that the first byte is even, and the token's fingerprint.
func (p *Policy) appendTokenKey(key []byte, verifier *ReaderVerifier, raw string) []byte {
	return p.fingerprints.Append(binary.LittleEndian.AppendUint32(key, verifier.number<<1), raw)
}

// verifyReader verifies a reader token, and counts the result unless the keys could
// not be read.
func (p *Policy) verifyReader(ctx context.Context, verifier *ReaderVerifier, raw string, now time.Time) (claims keys.ReaderClaims, err error) {
	var issuedAt int64
	err = verifier.try(ctx, raw, func(set keys.KeySet) (err error) {
		claims, issuedAt, err = verifier.Issuer.VerifyIssued(raw, set, now)
		return err
	})
	p.clocks.issued(verifier.Issuer.Issuer, claims.UserID, issuedAt, now)
	if !errors.Is(err, ErrUnavailable) || errors.Is(err, keys.ErrBusy) {
		p.readerVerifications.count(err)
	}
	return claims, err
}

// try calls verify with the verifier's keys. Only a token that names the verifier's
// issuer can cause a fetch of newer ones.
func (v *ReaderVerifier) try(ctx context.Context, raw string, verify func(keys.KeySet) error) error {
	if remote, ok := v.Keys.(RefreshedKeys); ok {
		token, err := keys.Scan(raw)
		if err == nil && token.Issuer() == v.Issuer.Issuer {
			return orUnavailable(remote.Try(ctx, verify))
		}
	}
	set, err := v.Keys.KeySet(ctx)
	if err != nil {
		return unavailable(err)
	}
	return orUnavailable(verify(set))
}
