package keys

import "time"

const typeEntitlement = "gatefold-entitlement+jwt"

// EntitlementLifetime is how long a statement about an entitlement is good, if
// the entitlement does not end before.
const EntitlementLifetime = time.Hour

// EntitlementClaims say that a reader may have a sku.
type EntitlementClaims struct {
	// ID is the entitlement, UserID the reader.
	ID, UserID, SKU string
	// EndsAt is when the entitlement ends; nil if it does not.
	EndsAt *time.Time
}

type entitlementToken struct {
	Issuer    string `json:"iss"`
	ID        string `json:"jti"`
	UserID    string `json:"sub"`
	SKU       string `json:"sku"`
	IssuedAt  int64  `json:"iat"`
	ExpiresAt int64  `json:"exp"`
}

// SignEntitlement signs the statement that a reader may have a sku, for services
// besides the gate, which verify it with the vendor's published keys. It is a
// statement and no key: its `typ` is one that the gate takes for no credential
// and for no link.
func SignEntitlement(ring *Ring, vendor string, claims EntitlementClaims, now time.Time) (string, error) {
	end := now.Add(EntitlementLifetime)
	if claims.EndsAt != nil && claims.EndsAt.Before(end) {
		end = *claims.EndsAt
	}
	return ring.signing.sign(typeEntitlement, entitlementToken{
		Issuer: VendorIssuer(vendor), ID: claims.ID, UserID: claims.UserID, SKU: claims.SKU,
		IssuedAt: now.Unix(), ExpiresAt: end.Unix(),
	})
}
