package keys

// VerifyExpiredLink verifies the signature and the issuer of a vendor's link whatever the
// time, and returns its id. It returns the errors of VerifyLink other than those of times.
// What it returns says who a link was from, not that it opens anything.
func VerifyExpiredLink(raw, issuer string, set KeySet) (id string, err error) {
	claims, err := verifyToken(raw, signer{own: true, typ: typeLink}, set, func(o object) (LinkClaims, error) {
		claims, err := readLinkClaims(o)
		if err == nil && claims.Issuer != issuer {
			err = ErrIssuer
		}
		return claims, err
	})
	return claims.ID, err
}
