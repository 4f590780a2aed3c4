package keys

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"strings"
	"time"
)

// Published is a link that a publisher signed, verified.
type Published struct {
	// Claims are the link's. Issuer is the publisher's domain, and
	// PublisherContentID what the token calls `resourceId`.
	Claims LinkClaims
	// KeyID is the key that signed it.
	KeyID string
}

// typeShare is the claim by which a share token says that it is one.
const typeShare = "dca-share"

// shareNames are the claims that have a meaning in a share token.
var shareNames = [...]string{"type", "domain", "resourceId", "contentNames", "scopes", "maxUses", "data"}

// Bounds of a share token's lists.
const (
	maxContents    = 100
	maxContentName = 255
)

// PublisherOf returns the domain that a token says has signed it, in normal
// form: the claim `domain` of a share token, `iss` of a link in our own format.
// Nothing of it is verified. It is empty when there is none.
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

// isLink says whether a token says that it is in our own link format.
func (t *Token) isLink() bool { return t.mediaType() == typeLink }

// mediaType returns `typ` in lower case; it may be written with or without
// `application/` (RFC 7515, section 4.1.9).
func (t *Token) mediaType() string {
	return strings.TrimPrefix(strings.ToLower(t.Header.Type), "application/")
}

// VerifyLink verifies a link in our own format that the publisher signed. It
// must say by `publisherContentId` what it opens; `url` and `sku` narrow that.
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
	if claims.Issuer != p.domain {
		return Published{}, ErrDomain
	}
	if err := (times{claims.IssuedAt, claims.NotBefore, claims.ExpiresAt}).check(now.Unix()); err != nil {
		return Published{}, err
	}
	if claims.PublisherContentID == "" {
		return Published{}, &claimError{"publisherContentId", "is missing: a publisher's link must say what it opens"}
	}
	if err := token.identify(&claims); err != nil {
		return Published{}, err
	}
	if err := claims.check(); err != nil {
		return Published{}, err
	}
	return Published{Claims: claims, KeyID: keyID}, nil
}

// Verify verifies whatever the publisher signed: a share token, or a link in our
// own format.
func (p *Publisher) Verify(ctx context.Context, token *Token, now time.Time) (Published, error) {
	if token.isLink() {
		return p.VerifyLink(ctx, token, now)
	}
	return p.VerifyShare(ctx, token, now)
}

// VerifyShare verifies a share token (`dca-share`) of the publisher. Its checks
// come in the order of the format's own verifier, and each has an error of its
// own: ErrAlgorithm, ErrUnknownKey, ErrDeniedKey, ErrSignature, ErrShareType,
// ErrDomain, ErrClaims (of `exp`, then of `iat`), ErrExpired, ErrNotYetValid,
// ErrContents, then ErrClaims of `resourceId`, `jti` and `maxUses`. Whether the
// resource is the one that is asked for is the caller's question.
func (p *Publisher) VerifyShare(ctx context.Context, token *Token, now time.Time) (Published, error) {
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

// readShare reads and judges the claims of a share token whose signature is
// good.
func (p *Publisher) readShare(token *Token, now int64) (LinkClaims, error) {
	o := token.claims
	if o.ambiguous(shareNames[:]) {
		return LinkClaims{}, ErrMalformed
	}
	if kind, err := o.optionalText("type", 64); err != nil || kind != typeShare {
		return LinkClaims{}, ErrShareType
	}
	if domain, err := o.optionalText("domain", maxDomain+1); err != nil || domain != p.domain {
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
	c := LinkClaims{Issuer: p.domain, IssuedAt: t.issuedAt, NotBefore: t.notBefore, ExpiresAt: t.expiresAt}
	var ok, alsoOK bool
	c.ContentNames, ok = o.names("contentNames")
	c.Scopes, alsoOK = o.names("scopes")
	if !ok || !alsoOK || (len(c.ContentNames) == 0) == (len(c.Scopes) == 0) {
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
	if err := token.identify(&c); err != nil {
		return LinkClaims{}, err
	}
	return c, c.check()
}

// identify gives a link without `jti` a name: that of what was signed. Its uses
// cannot be counted, because whoever signs once more makes another link.
func (t *Token) identify(c *LinkClaims) error {
	switch {
	case c.ID != "":
		return nil
	case t.claims.find("jti") != nil:
		return &claimError{"jti", "is empty"}
	case c.MaxUses > 0:
		return &claimError{"jti", "is missing: without it uses cannot be counted"}
	}
	sum := sha256.Sum256([]byte(t.raw[:strings.LastIndexByte(t.raw, '.')]))
	c.ID = "sha256:" + base64.RawURLEncoding.EncodeToString(sum[:])
	return nil
}

// names returns a member that is an array of different names; none when it is
// absent.
func (o object) names(name string) ([]string, bool) {
	value := o.find(name)
	if value == nil {
		return nil, true
	}
	elements, ok := readArray(value, maxContents)
	if !ok {
		return nil, false
	}
	var names []string
	for _, element := range elements {
		text, ok := unquote(element)
		if !ok || text == "" || len(text) > maxContentName || !isClean(text) {
			return nil, false
		}
		names = append(names, text)
	}
	return names, true
}

// isClean says whether a text holds no control character: it goes into a header.
func isClean(text string) bool {
	for i := range len(text) {
		if text[i] < 0x20 || text[i] == 0x7f {
			return false
		}
	}
	return true
}
