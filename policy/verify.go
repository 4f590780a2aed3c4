package policy

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy/memory"
)

// tokenKey is a link's token as one verifier sees it: another site or issuer may
// judge the same token differently.
type tokenKey struct {
	verifier    string
	fingerprint [memory.FingerprintSize]byte
}

// ReaderVerifier verifies the reader tokens of one issuer for one site.
type ReaderVerifier struct {
	// ID tells this verifier from every other one: whatever decides how it
	// verifies must be in it.
	ID     string
	Issuer keys.ReaderIssuer
	Keys   KeySource

	number unsafe.Pointer // *verifierNumber
}

// Reader verifies a reader's token, from memory where it was verified before.
// The error says what failed, without any part of the token in it; an error
// that is ErrUnavailable means that the keys could not be read.
func (p *Policy) Reader(ctx context.Context, verifier *ReaderVerifier, raw string, now time.Time) (Reader, error) {
	stamp := p.versions.Shared()
	remote, refreshed := verifier.Keys.(RefreshedKeys)
	if refreshed {
		// Other keys may not have signed it, and what they did sign counts as
		// long as they do.
		stamp += remote.Generation()
	}
	// Reject malformed tokens before anything is asked. Fingerprinting a token of
	// common size costs less than scanning it, so those are looked up first.
	scanned := len(raw) > fingerprintFirst
	if scanned && !keys.LooksLikeToken(raw) {
		p.readerVerifications.count(keys.ErrMalformed)
		return Reader{}, keys.ErrMalformed
	}
	var space [tokenKeySize]byte
	key := space[:0]
	if p.readers != nil {
		key = p.appendTokenKey(key, verifier, raw)
		if record := p.readers.Get(key, stamp, now.UnixMilli()); record.Exists() {
			p.counts.readerTokens.hits.Add()
			return readerRecord{p.readers, record}.reader(), nil
		}
		p.counts.readerTokens.misses.Add()
	}
	if !scanned && !keys.LooksLikeToken(raw) {
		p.readerVerifications.count(keys.ErrMalformed)
		return Reader{}, keys.ErrMalformed
	}
	var claims keys.ReaderClaims
	err := p.tryReader(ctx, verifier, raw, func(set keys.KeySet) (err error) {
		claims, err = verifier.Issuer.Verify(raw, set, now)
		return err
	})
	if errors.Is(err, ErrUnavailable) && !errors.Is(err, keys.ErrBusy) {
		return Reader{}, err
	}
	p.readerVerifications.count(err)
	if err != nil {
		return Reader{}, err
	}
	reader := Reader{UserID: claims.UserID, PublisherUserID: claims.PublisherUserID}
	if claims.EmailVerified {
		reader.Email = LowerEmail(claims.Email)
	}
	until := claims.ExpiresAt * 1000
	if refreshed {
		until = min(until, remote.UsableUntil().UnixMilli())
	}
	if value, ok := appendReaderRecord(nil, &reader, nil); ok && p.readers != nil {
		if record := p.readers.Set(key, value, stamp, until); record.Exists() {
			reader.record = readerRecord{p.readers, record}
		}
	}
	return reader, nil
}

// fingerprintFirst is the length of the longest token that is fingerprinted before
// it is scanned, in bytes.
const fingerprintFirst = 1024

// appendTokenKey appends the key of a token's record: the number of its verifier in
// this process, doubled, and the token's fingerprint.
func (p *Policy) appendTokenKey(key []byte, verifier *ReaderVerifier, raw string) []byte {
	return p.fingerprints.Append(binary.LittleEndian.AppendUint32(key, verifier.numberOf()<<1), raw)
}

// verifiers holds a number for each verifier that there was, by its ID: as many
// as there were configurations of them.
var verifiers struct {
	numbers sync.Map // ID -> *verifierNumber
	count   atomic.Uint32
}

type verifierNumber struct {
	id     string
	number uint32
}

// numberOf returns the verifier's number. It remembers it together with the ID,
// for a verifier that was copied and given another.
func (v *ReaderVerifier) numberOf() uint32 {
	known := (*verifierNumber)(atomic.LoadPointer(&v.number))
	if known == nil || known.id != v.ID {
		found, ok := verifiers.numbers.Load(v.ID)
		if !ok {
			found, _ = verifiers.numbers.LoadOrStore(v.ID, &verifierNumber{v.ID, verifiers.count.Add(1)})
		}
		known, _ = found.(*verifierNumber)
		atomic.StorePointer(&v.number, unsafe.Pointer(known)) //nolint:gosec // G103: an atomic.Pointer could not be copied with the rest
	}
	return known.number
}

// RefreshedKeys are somebody else's keys, which change there: a *keys.Remote.
type RefreshedKeys interface {
	KeySource
	// Generation changes whenever the keys do.
	Generation() uint64
	// UsableUntil is from when on they do not count.
	UsableUntil() time.Time
	// Try verifies with the keys in memory, and with newer ones if the token
	// names an unknown one.
	Try(ctx context.Context, verify func(keys.KeySet) error) error
}

// tryReader calls verify with the keys of a verifier. Only a token that says it
// is by this issuer may make it look for newer ones.
func (p *Policy) tryReader(ctx context.Context, verifier *ReaderVerifier, raw string, verify func(keys.KeySet) error) error {
	if remote, ok := verifier.Keys.(RefreshedKeys); ok {
		token, err := keys.Scan(raw)
		if err == nil && token.Issuer() == verifier.Issuer.Issuer {
			return orUnavailable(remote.Try(ctx, verify))
		}
	}
	set, err := verifier.Keys.KeySet(ctx)
	if err != nil {
		return unavailable(err)
	}
	return orUnavailable(verify(set))
}

// linkToken is a link's token that was verified.
type linkToken struct {
	claims keys.LinkClaims
	// print, keyID and generation are of a publisher's link; publisher is whom
	// the vendor trusts now.
	fingerprint [sha256.Size]byte
	keyID       string
	generation  uint64
	publisher   *publisher
}

// linkToken verifies a link's token, from memory where it was verified before.
func (p *Policy) linkToken(ctx context.Context, r *Request) (linkToken, error) {
	raw, now, site := r.Link.Token, r.Now, r.Site
	if !keys.LooksLikeToken(raw) {
		p.linkVerifications.count(keys.ErrMalformed)
		return linkToken{}, keys.ErrMalformed
	}
	key := tokenKey{verifier: site.issuer}
	if p.linkTokens != nil {
		p.fingerprints.Append(key.fingerprint[:0], raw)
	}
	if r.Link.Share {
		key.verifier = site.shareTokens
	}
	stamp := p.versions.Shared()
	if token, ok := p.linkTokens.Get(key, stamp, now.UnixMilli()); ok {
		if token.keyID == "" {
			return token, nil
		}
		publisher, err := p.publisher(ctx, site.Vendor, token.claims.Issuer)
		if err != nil {
			return linkToken{}, err
		}
		if publisher.Generation() == token.generation {
			token.publisher = publisher
			return token, nil
		}
	}
	if publisher, ok := publisherOf(site, raw, r.Link.Share); ok {
		return p.publishedToken(ctx, r, key, stamp, publisher)
	}
	set, err := site.Keys.KeySet(ctx)
	if err != nil {
		return linkToken{}, unavailable(err)
	}
	claims, err := keys.VerifyLink(raw, site.issuer, set, now)
	p.linkVerifications.count(err)
	if err != nil {
		return linkToken{}, orUnavailable(err)
	}
	token := linkToken{claims: claims}
	p.linkTokens.Set(key, token, stamp, claims.ExpiresAt*1000, int64(len(raw)))
	return token, nil
}

// publisherOf returns the domain that a token says has signed it; false for the
// vendor's own links, and for what is no token of anybody. Where only publishers'
// tokens count, every token is one.
func publisherOf(site *Site, raw string, share bool) (domain string, ok bool) {
	token, err := keys.Scan(raw)
	if err != nil || !share && token.Issuer() == site.issuer {
		return "", false
	}
	domain = token.PublisherOf(share)
	return domain, share || domain != ""
}

// publishedToken verifies the token of a link that a publisher signed.
func (p *Policy) publishedToken(ctx context.Context, r *Request, key tokenKey, stamp uint64, domain string) (linkToken, error) {
	publisher, err := p.publisher(ctx, r.Site.Vendor, domain)
	if err != nil {
		p.linkVerifications.count(err)
		return linkToken{}, err
	}
	token, err := keys.Scan(r.Link.Token)
	if err != nil {
		return linkToken{}, err
	}
	verified := linkToken{generation: publisher.Generation(), publisher: publisher}
	verify := publisher.VerifyLink
	if r.Link.Share {
		verify = publisher.Verify
	}
	published, err := verify(ctx, &token, r.Now)
	err = orUnavailable(err)
	p.linkVerifications.count(err)
	publisher.counts.count(err)
	if err != nil {
		return linkToken{}, err
	}
	verified.claims, verified.keyID = published.Claims, published.KeyID
	if verified.fingerprint, err = fingerprint(&verified.claims); err != nil {
		return linkToken{}, err
	}
	until := verified.claims.ExpiresAt * 1000
	if usable, ends := publisher.UsableUntil(); ends {
		until = min(until, usable.UnixMilli())
	}
	kept := verified
	kept.publisher = nil // looked up anew each time: it may be trusted no more
	p.linkTokens.Set(key, kept, stamp, until, int64(2*len(r.Link.Token)))
	return verified, nil
}
