package keys

import (
	"fmt"
	"strings"
	"time"
)

const (
	// typeReader is the `typ` of our reader tokens.
	typeReader = "gatefold-reader+jwt"
	// ownTypes begins every `typ` of ours.
	ownTypes = "gatefold-"
)

// ReaderClaims say who a reader is.
type ReaderClaims struct {
	// UserID is the reader's stable key.
	UserID string
	// PublisherUserID is the publisher's own key; empty when there is none.
	PublisherUserID string
	// Email counts only if EmailVerified is set.
	Email         string
	EmailVerified bool
	// ExpiresAt is in Unix seconds.
	ExpiresAt int64
}

// ClaimNames says which claims of a token tell what of a reader.
type ClaimNames struct {
	UserID, Email, EmailVerified, PublisherUserID string
}

// DefaultClaimNames are those of our own tokens, and of OpenID Connect Core,
// section 5.1.
var DefaultClaimNames = ClaimNames{
	UserID: "sub", Email: "email", EmailVerified: "email_verified", PublisherUserID: "publisher_user_id",
}

// ReaderIssuer is somebody who tells us who a reader is.
type ReaderIssuer struct {
	// Issuer and Audience are what `iss` must be, and `aud` must name.
	Issuer, Audience string
	// Own: the tokens are made by SignReader.
	Own bool
	// Claims names the claims of somebody else's tokens.
	Claims ClaimNames
}

// OwnReaderIssuer is the vendor itself, for one of its sites.
func OwnReaderIssuer(vendor, site string) ReaderIssuer {
	return ReaderIssuer{Issuer: VendorIssuer(vendor), Audience: site, Own: true, Claims: DefaultClaimNames}
}

// readerToken is the payload of our reader tokens.
type readerToken struct {
	Issuer          string `json:"iss"`
	Audience        string `json:"aud"`
	UserID          string `json:"sub"`
	IssuedAt        int64  `json:"iat"`
	ExpiresAt       int64  `json:"exp"`
	Email           string `json:"email,omitempty"`
	EmailVerified   bool   `json:"email_verified,omitempty"`
	PublisherUserID string `json:"publisher_user_id,omitempty"`
}

// SignReader signs a reader's token for one site of a vendor. The error is
// ErrClaims when the claims are ones that Verify would not accept.
func SignReader(ring *Ring, vendor, site string, claims ReaderClaims, now time.Time) (string, error) {
	raw, err := ring.signing.sign(typeReader, readerToken{
		Issuer: VendorIssuer(vendor), Audience: site,
		UserID: claims.UserID, PublisherUserID: claims.PublisherUserID,
		Email: claims.Email, EmailVerified: claims.EmailVerified,
		IssuedAt: now.Unix(), ExpiresAt: claims.ExpiresAt,
	})
	if err != nil {
		return "", err
	}
	token, err := Scan(raw)
	if err != nil {
		return "", fmt.Errorf("%w: they do not make a token", ErrClaims)
	}
	issuer := OwnReaderIssuer(vendor, site)
	if _, err := issuer.read(token.claims, now.Unix()); err != nil {
		return "", fmt.Errorf("%w: %w", ErrClaims, err)
	}
	return raw, nil
}

// Verify verifies a reader's token. The claims are genuine when the error is
// nil, and only then.
func (ri *ReaderIssuer) Verify(raw string, set KeySet, now time.Time) (ReaderClaims, error) {
	token, err := Scan(raw)
	if err != nil {
		return ReaderClaims{}, err
	}
	key, err := ri.key(&token, set)
	if err != nil {
		return ReaderClaims{}, err
	}
	claims, err := ri.read(token.claims, now.Unix())
	if err != nil {
		return ReaderClaims{}, err
	}
	if err := token.verify(key); err != nil {
		return ReaderClaims{}, err
	}
	return claims, nil
}

// key returns the key that must have signed a token. Somebody else's tokens may
// be of any `typ` but ours.
func (ri *ReaderIssuer) key(token *Token, set KeySet) (*PublicKey, error) {
	if ri.Own {
		return token.ownKey(typeReader, set)
	}
	if token.hasOwnType() {
		return nil, ErrType
	}
	return set.find(token.Header)
}

// hasOwnType says whether a token's `typ` is one of ours. It may be written with
// or without `application/` (RFC 7515, section 4.1.9).
func (t *Token) hasOwnType() bool {
	return strings.HasPrefix(strings.TrimPrefix(strings.ToLower(t.Header.Type), "application/"), ownTypes)
}

// read reads and judges the claims of a reader's token.
func (ri *ReaderIssuer) read(o object, now int64) (ReaderClaims, error) {
	names := ri.Claims
	if o.ambiguous([]string{names.UserID, names.Email, names.EmailVerified, names.PublisherUserID}) {
		return ReaderClaims{}, ErrMalformed
	}
	issuer, err := o.text("iss", 2048)
	if err != nil {
		return ReaderClaims{}, err
	}
	if issuer != ri.Issuer {
		return ReaderClaims{}, ErrIssuer
	}
	if !o.audienceNames(ri.Audience) {
		return ReaderClaims{}, ErrAudience
	}
	t, err := o.times()
	if err != nil {
		return ReaderClaims{}, err
	}
	if err := t.check(now); err != nil {
		return ReaderClaims{}, err
	}
	c := ReaderClaims{ExpiresAt: t.expiresAt}
	if c.UserID, err = o.text(names.UserID, 255); err != nil {
		return ReaderClaims{}, err
	}
	if c.PublisherUserID, err = o.optionalText(names.PublisherUserID, 255); err != nil {
		return ReaderClaims{}, err
	}
	if c.Email, err = o.optionalText(names.Email, 254); err != nil {
		return ReaderClaims{}, err
	}
	if c.EmailVerified, err = o.boolean(names.EmailVerified); err != nil {
		return ReaderClaims{}, err
	}
	if c.Email != "" && strings.Count(c.Email, "@") != 1 {
		return ReaderClaims{}, &claimError{names.Email, "is not an address"}
	}
	return c, nil
}

// maxAudiences bounds how many audiences a token may name.
const maxAudiences = 16

// audienceNames says whether `aud`, a string or an array of strings (RFC 7519,
// section 4.1.3), names an audience.
func (o object) audienceNames(audience string) bool {
	value := o.find("aud")
	if len(value) == 0 || audience == "" {
		return false
	}
	if value[0] != '[' {
		text, ok := unquote(value)
		return ok && text == audience
	}
	elements, ok := readArray(value, maxAudiences)
	if !ok {
		return false
	}
	named := false
	for _, element := range elements {
		text, ok := unquote(element)
		if !ok {
			return false
		}
		named = named || text == audience
	}
	return named
}
