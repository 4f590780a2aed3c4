package keys

import (
	"errors"
	"slices"
	"strings"
	"time"
)

// typeReader is the `typ` of our reader tokens.
const typeReader = "gatefold-reader+jwt"

// ReaderClaims identify a reader.
type ReaderClaims struct {
	// UserID is the reader's stable key.
	UserID string
	// PublisherUserID is the publisher's key of the reader, or "".
	PublisherUserID string
	// Email must be ignored unless EmailVerified is set.
	Email         string
	EmailVerified bool
	// ACR is the authentication context class (`acr`), and AMR the methods (`amr`, RFC
	// 8176) separated by spaces. A claim that is not as OpenID Connect Core 1.0, section 2,
	// has it, or is too long, counts as absent: it can only be missing where a rule asks for
	// it.
	ACR, AMR string
	// AuthTime is when the reader logged in (`auth_time`), in Unix seconds; zero if it is
	// absent, or no time.
	AuthTime int64
	// ExpiresAt is in Unix seconds.
	ExpiresAt int64
}

// ClaimNames are the names of the claims from which ReaderClaims are read.
type ClaimNames struct {
	UserID, Email, EmailVerified, PublisherUserID string
}

// DefaultClaimNames are the names in our own tokens and in OpenID Connect Core
// 1.0, section 5.1.
var DefaultClaimNames = ClaimNames{
	UserID: "sub", Email: "email", EmailVerified: "email_verified", PublisherUserID: "publisher_user_id",
}

// ReaderIssuer verifies the reader tokens of one issuer.
type ReaderIssuer struct {
	// Issuer is the required `iss`. Audience must be one of `aud`.
	Issuer, Audience string
	// Own selects tokens made by SignReader.
	Own bool
	// Claims are the names of the claims in the issuer's tokens.
	Claims ClaimNames
	// IntegerIDs accepts a user id that is an integer, not a string as RFC 7519, section
	// 4.1.2, requires of `sub`. The reader's id is then its digits. A string of digits is
	// then refused: it could be another reader's.
	IntegerIDs bool
}

// OwnReaderIssuer verifies the tokens that SignReader signs for a site.
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
	AuthTime        int64  `json:"auth_time,omitempty"`
	FirstIssuedAt   int64  `json:"orig_iat,omitempty"` // of tokens that RenewReader signs
	Email           string `json:"email,omitempty"`
	EmailVerified   bool   `json:"email_verified,omitempty"`
	PublisherUserID string `json:"publisher_user_id,omitempty"`

	ACR string   `json:"acr,omitempty"`
	AMR []string `json:"amr,omitempty"`
}

// SignReader signs a reader token for one site of a vendor. It returns ErrClaims
// when Verify would refuse the token.
func SignReader(ring *Ring, vendor, site string, claims ReaderClaims, now time.Time) (string, error) {
	return signReader(ring, vendor, site, claims, 0, now)
}

func signReader(ring *Ring, vendor, site string, claims ReaderClaims, firstIssuedAt int64, now time.Time) (string, error) {
	issuer := OwnReaderIssuer(vendor, site)
	return ring.signChecked(typeReader, readerToken{
		Issuer: issuer.Issuer, Audience: site,
		UserID: claims.UserID, PublisherUserID: claims.PublisherUserID,
		Email: claims.Email, EmailVerified: claims.EmailVerified,
		IssuedAt: now.Unix(), ExpiresAt: claims.ExpiresAt, AuthTime: claims.AuthTime, FirstIssuedAt: firstIssuedAt, ACR: claims.ACR, AMR: strings.Fields(claims.AMR),
	}, func(o object) error {
		_, err := issuer.read(o, now.Unix())
		return err
	})
}

// Verify returns the claims of a reader token, or an error that wraps one of the
// errors of this package.
func (ri *ReaderIssuer) Verify(raw string, set KeySet, now time.Time) (ReaderClaims, error) {
	claims, _, err := ri.VerifyIssued(raw, set, now)
	if err != nil {
		return ReaderClaims{}, err
	}
	return claims, nil
}

// VerifyIssued is Verify, and returns as well when the token was issued, in Unix
// seconds; zero if the token does not say. With ErrNotYetValid it returns both too,
// provided that the signature is valid: they show that a clock is wrong. With every
// other error both are zero.
func (ri *ReaderIssuer) VerifyIssued(raw string, set KeySet, now time.Time) (claims ReaderClaims, issuedAt int64, err error) {
	early := false
	claims, err = verifyToken(raw, signer{own: ri.Own, typ: typeReader}, set, func(o object) (ReaderClaims, error) {
		claims, err := ri.read(o, now.Unix())
		if early = errors.Is(err, ErrNotYetValid); early || err == nil {
			var t times
			if t, err = o.times(); early && err == nil {
				claims, err = ri.read(o, max(t.issuedAt, t.notBefore))
			}
			issuedAt = t.issuedAt
		}
		return claims, err
	})
	switch {
	case err == nil && early:
		return claims, issuedAt, ErrNotYetValid
	case early:
		return ReaderClaims{}, 0, ErrNotYetValid
	case err != nil:
		return ReaderClaims{}, 0, err
	}
	return claims, issuedAt, nil
}

// read reads and checks the claims of a reader token.
func (ri *ReaderIssuer) read(o object, now int64) (ReaderClaims, error) {
	names := ri.Claims
	if o.hasCaseVariant([]string{names.UserID, names.Email, names.EmailVerified, names.PublisherUserID}) {
		return ReaderClaims{}, ErrMalformed
	}
	t, err := o.checkIdentity(ri.Issuer, ri.Audience, now)
	if err != nil {
		return ReaderClaims{}, err
	}
	c := ReaderClaims{ExpiresAt: t.expiresAt}
	userID := o.text
	if ri.IntegerIDs {
		userID = o.textOrInteger
	}
	if c.UserID, err = userID(names.UserID, 255); err != nil {
		return ReaderClaims{}, err
	}
	err = o.readTextFields(textField{names.PublisherUserID, 255, &c.PublisherUserID}, textField{names.Email, 254, &c.Email})
	if err != nil {
		return ReaderClaims{}, err
	}
	verified := o.booleanOrText
	if ri.Own {
		verified = o.boolean
	}
	if c.EmailVerified, err = verified(names.EmailVerified); err != nil {
		return ReaderClaims{}, err
	}
	if c.Email != "" && strings.Count(c.Email, "@") != 1 {
		return ReaderClaims{}, &claimError{names.Email, "is not an email address"}
	}
	c.ACR, c.AMR = o.authentication()
	if seconds, _, err := o.date("auth_time", false); err == nil {
		c.AuthTime = seconds
	}
	return c, nil
}

// Limits of the claims about how a reader was authenticated.
const (
	maxACR    = 255
	maxAMR    = 16
	maxMethod = 32
)

// authentication returns `acr`, and the methods of `amr` separated by spaces.
func (o object) authentication() (acr, amr string) {
	if text, err := o.optionalText("acr", maxACR); err == nil {
		acr = text
	}
	value := o.find("amr")
	if len(value) == 0 || value[0] != '[' {
		return acr, ""
	}
	methods, ok := readTexts(value, maxAMR)
	if !ok || slices.ContainsFunc(methods, func(m string) bool { return m == "" || len(m) > maxMethod || strings.ContainsAny(m, " \t\r\n") }) {
		return acr, ""
	}
	return acr, strings.Join(methods, " ")
}

// checkIdentity checks the issuer, audience and times of a token that
// identifies a reader or an API client.
func (o object) checkIdentity(issuer, audience string, now int64) (times, error) {
	got, err := o.text("iss", maxIssuer)
	switch {
	case err != nil:
		return times{}, err
	case got != issuer:
		return times{}, ErrIssuer
	case !o.hasAudience(audience):
		return times{}, ErrAudience
	}
	t, err := o.times()
	if err != nil {
		return times{}, err
	}
	return t, t.check(now)
}

// hasAudience reports whether `aud`, a string or an array of strings (RFC 7519,
// section 4.1.3), names the audience.
func (o object) hasAudience(audience string) bool {
	value := o.find("aud")
	if len(value) == 0 || audience == "" {
		return false
	}
	if value[0] == '"' {
		text, ok := unquote(value)
		return ok && text == audience
	}
	audiences, ok := readTexts(value, len(value)) // the token's length bounds their number
	return ok && slices.Contains(audiences, audience)
}
