package keys

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"slices"
	"strings"
	"time"
)

// Published is a verified link that a publisher signed.
type Published struct {
	// Claims are the claims of the link. Issuer is the publisher's domain. Of a
	// share token, PublisherContentID is `resourceId`.
	Claims LinkClaims
	// KeyID is the id of the signing key.
	KeyID string
}

// typeShare is the claim `type` of share tokens.
const typeShare = "dca-share"

// shareClaims are the private claims of share tokens.
var shareClaims = [...]string{"type", "domain", "resourceId", "contentNames", "scopes", "maxUses", "data"}

// Maximum length of the lists of a share token, and of their elements in bytes.
const (
	maxContents    = 100
	maxContentName = 255
)

// PublisherOf returns the unverified domain, in normal form, that signed the
// token: the claim `domain` of a share token, `iss` of a link in our own format.
// Share selects between them for tokens that are not in our own format. It
// returns "" when there is no valid domain.
func (t *Token) PublisherOf(share bool) string {
	claim := "iss"
	if share && !t.isLink() {
		claim = "domain"
	}
	text, err := t.claims.text(claim, maxDomain+1)
	if err != nil {
		return ""
	}
	domain, err := NormalDomain(text)
	if err != nil {
		return ""
	}
	return domain
}

// isLink reports whether the token is in our own link format, by its `typ`.
func (t *Token) isLink() bool { return t.mediaType() == typeLink }

// Verify verifies a token of the publisher: a link in our own format, or else a
// share token. It returns an error that wraps one of the errors of this package.
func (p *Publisher) Verify(ctx context.Context, token *Token, now time.Time) (Published, error) {
	if token.isLink() {
		return p.VerifyLink(ctx, token, now)
	}
	return p.verifyShare(ctx, token, now)
}

// VerifyLink verifies a link in our own format that the publisher signed. The
// link must have `publisherContentId`; `url` and `sku` restrict it further.
func (p *Publisher) VerifyLink(ctx context.Context, token *Token, now time.Time) (Published, error) {
	if !token.isLink() {
		return Published{}, ErrType
	}
	keyID, err := p.verify(ctx, token)
	if err != nil {
		return Published{}, err
	}
	claims, err := readLinkFields(token.claims)
	if err != nil {
		return Published{}, err
	}
	if claims.Issuer != p.options.Domain {
		return Published{}, ErrDomain
	}
	if err := claims.checkTimes(now); err != nil {
		return Published{}, err
	}
	if claims.PublisherContentID == "" {
		return Published{}, &claimError{"publisherContentId", "is missing: a publisher's link needs it"}
	}
	if err := token.complete(&claims); err != nil {
		return Published{}, err
	}
	if err := claims.checkLifetime(now.Unix()); err != nil {
		return Published{}, err
	}
	return Published{Claims: claims, KeyID: keyID}, nil
}

// checkLifetime returns ErrTooLong for a link that is valid for longer than the vendor's
// own can be. A publisher's token with `exp` in milliseconds would in effect never expire.
func (c *LinkClaims) checkLifetime(now int64) error {
	if c.ExpiresAt-now > maxExpiresInSeconds+Leeway {
		return ErrTooLong
	}
	return nil
}

// verifyShare verifies a share token (`dca-share`) of the publisher. The checks
// run in the order of the format's reference verifier, and return in this order:
// ErrType, ErrAlgorithm, ErrUnknownKey, ErrDeniedKey, ErrSignature, ErrShareType,
// ErrDomain, ErrClaims (`exp`, then `iat`), ErrExpired, ErrNotYetValid,
// ErrContents, ErrClaims (`resourceId`, `jti`, `maxUses`), and ErrTooLong. The caller checks
// that the resource is the requested one.
func (p *Publisher) verifyShare(ctx context.Context, token *Token, now time.Time) (Published, error) {
	switch token.mediaType() {
	case "", "jwt", typeShare + "+jwt":
	default:
		return Published{}, ErrType
	}
	keyID, err := p.verify(ctx, token)
	if err != nil {
		return Published{}, err
	}
	claims, err := p.readShare(token, now.Unix())
	if err != nil {
		return Published{}, err
	}
	return Published{Claims: claims, KeyID: keyID}, nil
}

// readShare reads and checks the claims of a share token.
func (p *Publisher) readShare(token *Token, now int64) (LinkClaims, error) {
	o := token.claims
	if o.hasCaseVariant(shareClaims[:]) {
		return LinkClaims{}, ErrMalformed
	}
	if kind, err := o.optionalText("type", 64); err != nil || kind != typeShare {
		return LinkClaims{}, ErrShareType
	}
	if domain, err := o.optionalText("domain", maxDomain+1); err != nil || domain != p.options.Domain {
		return LinkClaims{}, ErrDomain
	}
	t, err := o.times()
	if err != nil {
		return LinkClaims{}, err
	}
	if o.find("iat") == nil {
		return LinkClaims{}, &claimError{"iat", "is missing"}
	}
	if err := t.check(now); err != nil {
		return LinkClaims{}, err
	}
	c := LinkClaims{Issuer: p.options.Domain, IssuedAt: t.issuedAt, NotBefore: t.notBefore, ExpiresAt: t.expiresAt}
	var namesOK, scopesOK bool
	c.ContentNames, namesOK = o.nameList("contentNames")
	c.Scopes, scopesOK = o.nameList("scopes")
	if !namesOK || !scopesOK || (len(c.ContentNames) == 0) == (len(c.Scopes) == 0) {
		return LinkClaims{}, ErrContents
	}
	if c.PublisherContentID, err = o.text("resourceId", MaxLinkText); err != nil {
		return LinkClaims{}, err
	}
	if c.ID, err = o.optionalText("jti", MaxLinkID); err != nil {
		return LinkClaims{}, err
	}
	if c.MaxUses, err = o.positive("maxUses", MaxMaxUses); err != nil {
		return LinkClaims{}, err
	}
	if err := token.complete(&c); err != nil {
		return LinkClaims{}, err
	}
	return c, c.checkLifetime(now)
}

// complete sets the id of a link without `jti` to the hash of its signing input,
// and checks the claims that every link needs. Uses of a link without `jti` are
// not counted: signing it again makes another id.
func (t *Token) complete(c *LinkClaims) error {
	switch {
	case c.ID != "":
	case t.claims.find("jti") != nil:
		return &claimError{"jti", "is empty"}
	case c.MaxUses > 0 || c.MaxDevices > 0:
		return &claimError{"jti", "is missing: without it uses and devices cannot be counted"}
	default:
		sum := sha256.Sum256([]byte(t.raw[:strings.LastIndexByte(t.raw, '.')]))
		c.ID = "sha256:" + base64.RawURLEncoding.EncodeToString(sum[:])
	}
	return c.check()
}

// nameList returns a member that is an array of non-empty names, or nil when it
// is absent. Names have no control characters, because they go into a header.
func (o object) nameList(member string) ([]string, bool) {
	value := o.find(member)
	if value == nil {
		return nil, true
	}
	names, ok := readTexts(value, maxContents)
	return names, ok && !slices.ContainsFunc(names, func(name string) bool {
		return name == "" || len(name) > maxContentName || hasControl(name)
	})
}
