package keys

import "time"

const typeEntitlement = "gatefold-entitlement+jwt"

// EntitlementLifetime is the lifetime of an entitlement token, unless the
// entitlement itself ends earlier.
const EntitlementLifetime = time.Hour

// EntitlementClaims describes one entitlement of a reader.
type EntitlementClaims struct {
	// ID identifies the entitlement, UserID the reader.
	ID, UserID, SKU string
	// EndsAt is the end of the entitlement, or nil when it has none.
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

// SignEntitlement signs a statement that a reader is entitled to a sku, for
// services other than the gate, which verify it with the vendor's published
// keys. The gate accepts it neither as a credential nor as a link, because of
// its `typ`.
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
