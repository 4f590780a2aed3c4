package policy

import (
	"context"
	"crypto/sha256"
	"encoding/json"

	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy/memory"
)

// tokenKey is a link token as seen by one verifier: others may judge it differently.
type tokenKey struct {
	verifier    string
	fingerprint [memory.FingerprintSize]byte
}

// linkToken is a verified link token.
type linkToken struct {
	claims keys.LinkClaims
	// The rest is set for the link of a publisher. In the cache publisher is nil: it
	// is looked up for every request, because trust can end.
	claimsSum  [sha256.Size]byte
	keyID      string
	generation uint64
	publisher  *publisher
}

// linkToken verifies the link token of a request. It takes the result from memory if
// the token was verified before.
func (p *Policy) linkToken(ctx context.Context, r *Request) (linkToken, error) {
	raw, site := r.Link.Token, r.Site
	if len(raw) > keys.MaxOwnTokenSize || !keys.LooksLikeToken(raw) {
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
	if token, ok := p.linkTokens.Get(key, stamp, r.Now.UnixMilli()); ok {
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
	if domain, ok := signingDomain(site, raw, r.Link.Share); ok {
		return p.publisherToken(ctx, r, key, stamp, domain)
	}
	set, err := site.Keys.KeySet(ctx)
	if err != nil {
		return linkToken{}, unavailable(err)
	}
	claims, err := keys.VerifyLink(raw, site.issuer, set, r.Now)
	p.linkVerifications.count(err)
	if err != nil {
		return linkToken{}, orUnavailable(err)
	}
	token := linkToken{claims: claims}
	p.linkTokens.Set(key, token, stamp, claims.ExpiresAt*1000, int64(len(raw)))
	return token, nil
}

// signingDomain returns the domain that a token names as its signer. It returns false
// for the vendor's own links and for malformed tokens. In the parameter for
// publishers' tokens every token is a publisher's.
func signingDomain(site *Site, raw string, share bool) (domain string, ok bool) {
	token, err := keys.Scan(raw)
	if err != nil || !share && token.Issuer() == site.issuer {
		return "", false
	}
	domain = token.PublisherOf(share)
	return domain, share || domain != ""
}

// publisherToken verifies a link token that a publisher signed.
func (p *Policy) publisherToken(ctx context.Context, r *Request, key tokenKey, stamp uint64, domain string) (linkToken, error) {
	publisher, err := p.publisher(ctx, r.Site.Vendor, domain)
	if err != nil {
		p.linkVerifications.count(err)
		return linkToken{}, err
	}
	scanned, err := keys.Scan(r.Link.Token)
	if err != nil {
		return linkToken{}, err
	}
	token := linkToken{generation: publisher.Generation()}
	verify := publisher.VerifyLink
	if r.Link.Share {
		verify = publisher.Verify
	}
	verified, err := verify(ctx, &scanned, r.Now)
	err = orUnavailable(err)
	p.linkVerifications.count(err)
	publisher.counts.count(err)
	if err != nil {
		return linkToken{}, err
	}
	token.claims, token.keyID = verified.Claims, verified.KeyID
	if token.claimsSum, err = sumClaims(&token.claims); err != nil {
		return linkToken{}, err
	}
	until := token.claims.ExpiresAt * 1000
	if usable, ends := publisher.UsableUntil(); ends {
		until = min(until, usable.UnixMilli())
	}
	p.linkTokens.Set(key, token, stamp, until, int64(2*len(r.Link.Token)))
	token.publisher = publisher
	return token, nil
}

// sumClaims returns the SHA-256 of a link's claims, which distinguishes two links of
// a publisher with one id.
func sumClaims(claims *keys.LinkClaims) ([sha256.Size]byte, error) {
	text, err := json.Marshal(claims)
	return sha256.Sum256(text), err
}
