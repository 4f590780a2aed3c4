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
	// AccessIssuer is the `iss` of our access tokens. No vendor can have this
	// name: a vendor's slug has no underscore.
	AccessIssuer = "gatefold:_system"
	// AccessAudience is the `aud` of our access tokens: the management API.
	AccessAudience = "management"
)

// AccessClaims say who may do what at the management API.
type AccessClaims struct {
	// Subject is the client to whom the token was given.
	Subject string
	// ID is the token's own; empty for somebody else's tokens without one.
	ID string
	// Vendor is whose records are open to the token (`vendor_id`); empty for
	// an operator's.
	Vendor string
	// Scopes are what it may do (`scope`, RFC 8693, section 4.2).
	Scopes []string
	// Generation counts how often the client's secret was replaced when a token
	// of ours was made.
	Generation int64
	// IssuedAt and ExpiresAt are in Unix seconds.
	IssuedAt, ExpiresAt int64
}

// Bounds of an access token's claims.
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

// accessNames are the claims that have a meaning in an access token.
var accessNames = [...]string{"vendor_id", "scope", "permissions", "gen", "client_id"}

// AccessVerifier verifies access tokens: our own, or those of one other issuer.
type AccessVerifier struct {
	// Issuer and Audience are what `iss` must be, and `aud` must name.
	Issuer, Audience string
	// Own: the tokens are made by SignAccess.
	Own bool
}

// OwnAccessVerifier verifies what SignAccess signs.
func OwnAccessVerifier() AccessVerifier {
	return AccessVerifier{Issuer: AccessIssuer, Audience: AccessAudience, Own: true}
}

// SignAccess signs an access token with the system's key. The error is ErrClaims
// when the claims are ones that Verify would not accept.
func SignAccess(ring *Ring, claims AccessClaims, now time.Time) (string, error) {
	raw, err := ring.signing.sign(typeAccess, accessToken{
		Issuer: AccessIssuer, Audience: AccessAudience, Subject: claims.Subject, ClientID: claims.Subject, ID: claims.ID,
		IssuedAt: now.Unix(), ExpiresAt: claims.ExpiresAt,
		Vendor: claims.Vendor, Scope: strings.Join(claims.Scopes, " "), Generation: claims.Generation,
	})
	if err != nil {
		return "", err
	}
	token, err := Scan(raw)
	if err != nil {
		return "", fmt.Errorf("%w: they do not make a token", ErrClaims)
	}
	verifier := OwnAccessVerifier()
	if _, err := verifier.read(token.claims, now.Unix()); err != nil {
		return "", fmt.Errorf("%w: %w", ErrClaims, err)
	}
	return raw, nil
}

// Verify verifies an access token. The claims are genuine when the error is nil,
// and only then. A token of another kind is refused by its `typ`, and once more
// by its audience.
func (av *AccessVerifier) Verify(raw string, set KeySet, now time.Time) (AccessClaims, error) {
	token, err := Scan(raw)
	if err != nil {
		return AccessClaims{}, err
	}
	key, err := av.key(&token, set)
	if err != nil {
		return AccessClaims{}, err
	}
	claims, err := av.read(token.claims, now.Unix())
	if err != nil {
		return AccessClaims{}, err
	}
	if err := token.verify(key); err != nil {
		return AccessClaims{}, err
	}
	return claims, nil
}

// key returns the key that must have signed a token. Somebody else's tokens may
// be of any `typ` but ours.
func (av *AccessVerifier) key(token *Token, set KeySet) (*PublicKey, error) {
	if av.Own {
		return token.ownKey(typeAccess, set)
	}
	if token.hasOwnType() {
		return nil, ErrType
	}
	return set.find(token.Header)
}

// read reads and judges the claims of an access token.
func (av *AccessVerifier) read(o object, now int64) (AccessClaims, error) {
	if o.ambiguous(accessNames[:]) {
		return AccessClaims{}, ErrMalformed
	}
	issuer, err := o.text("iss", 2048)
	if err != nil {
		return AccessClaims{}, err
	}
	if issuer != av.Issuer {
		return AccessClaims{}, ErrIssuer
	}
	if !o.audienceNames(av.Audience) {
		return AccessClaims{}, ErrAudience
	}
	t, err := o.times()
	if err != nil {
		return AccessClaims{}, err
	}
	if err := t.check(now); err != nil {
		return AccessClaims{}, err
	}
	c := AccessClaims{IssuedAt: t.issuedAt, ExpiresAt: t.expiresAt}
	if c.Subject, err = o.text("sub", 255); err != nil {
		return AccessClaims{}, err
	}
	if c.ID, err = o.optionalText("jti", 255); err != nil {
		return AccessClaims{}, err
	}
	if c.Vendor, err = o.optionalText("vendor_id", 63); err != nil {
		return AccessClaims{}, err
	}
	if c.Vendor == "" && o.find("vendor_id") != nil {
		// An empty vendor must not pass for the absence of one, which is an
		// operator's.
		return AccessClaims{}, &claimError{"vendor_id", "is empty"}
	}
	if c.Generation, err = o.positive("gen", maxGeneration); err != nil {
		return AccessClaims{}, err
	}
	c.Scopes, err = o.scopes()
	return c, err
}

// scopes returns what a token may do: the words of `scope`, and the elements of
// `permissions`, which some issuers write instead.
func (o object) scopes() ([]string, error) {
	text, err := o.optionalText("scope", maxAccessScope)
	if err != nil {
		return nil, err
	}
	scopes := strings.Fields(text)
	if permissions := o.find("permissions"); permissions != nil {
		elements, ok := readArray(permissions, maxAccessScopes)
		if !ok {
			return nil, &claimError{"permissions", "is not an array, or has too many elements"}
		}
		for _, element := range elements {
			permission, ok := unquote(element)
			if !ok {
				return nil, &claimError{"permissions", "is not an array of strings"}
			}
			scopes = append(scopes, permission)
		}
	}
	if len(scopes) > maxAccessScopes {
		return nil, &claimError{"scope", "has too many words"}
	}
	slices.Sort(scopes)
	return slices.Compact(scopes), nil
}
