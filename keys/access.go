package keys

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

const (
	// typeAccess is the `typ` of our access tokens.
	typeAccess = "gatefold-access+jwt"
	// AccessIssuer is the `iss` of our access tokens. It differs from the issuer
	// of every vendor: a vendor's slug has no underscore.
	AccessIssuer = "gatefold:_system"
	// AccessAudience is the `aud` of our access tokens: the management API.
	AccessAudience = "management"
)

// AccessClaims describe an API client and what it may do.
type AccessClaims struct {
	// Subject is the client's id.
	Subject string
	// ID is the id of the token, or "" for a token of another issuer without one.
	ID string
	// Vendor restricts the token to the records of one vendor (`vendor_id`). It
	// is "" for an operator.
	Vendor string
	// Scopes are sorted and distinct (`scope`, RFC 8693, section 4.2).
	Scopes []string
	// Generation is the number of times that the client's secret had been
	// replaced when the token was issued.
	Generation int64
	// IssuedAt and ExpiresAt are in Unix seconds.
	IssuedAt, ExpiresAt int64
}

// Maximum values of the claims of an access token; maxAccessScope is in bytes.
const (
	maxAccessScope  = 2048
	maxAccessScopes = 64
	maxGeneration   = 1 << 31
)

// accessToken is the payload of our access tokens.
type accessToken struct {
	Issuer     string `json:"iss"`
	Audience   string `json:"aud"`
	Subject    string `json:"sub"`
	ClientID   string `json:"client_id"` // RFC 9068, section 2.2
	ID         string `json:"jti"`
	IssuedAt   int64  `json:"iat"`
	ExpiresAt  int64  `json:"exp"`
	Vendor     string `json:"vendor_id,omitempty"`
	Scope      string `json:"scope"`
	Generation int64  `json:"gen"`
}

// accessClaims are the private claims of access tokens.
var accessClaims = [...]string{"vendor_id", "scope", "permissions", "gen", "client_id"}

// AccessVerifier verifies access tokens: our own, or those of one other issuer.
type AccessVerifier struct {
	// Issuer is the required `iss`. Audience must be one of `aud`.
	Issuer, Audience string
	// Own selects tokens made by SignAccess.
	Own bool
}

// OwnAccessVerifier verifies the tokens that SignAccess signs.
func OwnAccessVerifier() AccessVerifier {
	return AccessVerifier{Issuer: AccessIssuer, Audience: AccessAudience, Own: true}
}

// SignAccess signs an access token with the system's key. It returns ErrClaims
// when Verify would refuse the token.
func SignAccess(ring *Ring, claims AccessClaims, now time.Time) (string, error) {
	verifier := OwnAccessVerifier()
	return ring.signChecked(typeAccess, accessToken{
		Issuer: AccessIssuer, Audience: AccessAudience, Subject: claims.Subject, ClientID: claims.Subject, ID: claims.ID,
		IssuedAt: now.Unix(), ExpiresAt: claims.ExpiresAt,
		Vendor: claims.Vendor, Scope: strings.Join(claims.Scopes, " "), Generation: claims.Generation,
	}, func(o object) error {
		_, err := verifier.read(o, now.Unix())
		return err
	})
}

// Verify returns the claims of an access token, or an error that wraps one of
// the errors of this package. Tokens of another kind are refused both by their
// `typ` and by their audience.
func (av *AccessVerifier) Verify(raw string, set KeySet, now time.Time) (AccessClaims, error) {
	return verifyToken(raw, signer{own: av.Own, typ: typeAccess}, set, func(o object) (AccessClaims, error) {
		return av.read(o, now.Unix())
	})
}

// read reads and checks the claims of an access token.
func (av *AccessVerifier) read(o object, now int64) (AccessClaims, error) {
	if o.hasCaseVariant(accessClaims[:]) {
		return AccessClaims{}, ErrMalformed
	}
	t, err := o.checkIdentity(av.Issuer, av.Audience, now)
	if err != nil {
		return AccessClaims{}, err
	}
	c := AccessClaims{IssuedAt: t.issuedAt, ExpiresAt: t.expiresAt}
	if c.Subject, err = o.text("sub", 255); err != nil {
		return AccessClaims{}, err
	}
	if err := o.readTextFields(textField{"jti", 255, &c.ID}, textField{"vendor_id", 63, &c.Vendor}); err != nil {
		return AccessClaims{}, err
	}
	if c.Vendor == "" && o.find("vendor_id") != nil {
		// Only the absence of the claim makes an operator's token.
		return AccessClaims{}, &claimError{"vendor_id", "is empty"}
	}
	if c.Generation, err = o.positive("gen", maxGeneration); err != nil {
		return AccessClaims{}, err
	}
	c.Scopes, err = o.scopes()
	return c, err
}

// scopes returns the words of `scope` and the elements of `permissions`, which
// some issuers use instead, sorted and without duplicates.
func (o object) scopes() ([]string, error) {
	text, err := o.optionalText("scope", maxAccessScope)
	if err != nil {
		return nil, err
	}
	scopes := strings.Fields(text)
	if permissions := o.find("permissions"); permissions != nil {
		texts, ok := readTexts(permissions, maxAccessScopes)
		if !ok {
			return nil, &claimError{"permissions", fmt.Sprintf("is not an array of at most %d strings", maxAccessScopes)}
		}
		scopes = append(scopes, texts...)
	}
	if len(scopes) > maxAccessScopes {
		return nil, &claimError{"scope", "has too many words"}
	}
	slices.Sort(scopes)
	return slices.Compact(scopes), nil
}
