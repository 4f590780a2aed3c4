package keys

import "errors"

// What can be wrong with a token. The errors of this package wrap one of these,
// and never hold any part of a token.
var (
	// ErrMalformed: it is not a compact JWS of a shape that is accepted.
	ErrMalformed = errors.New("malformed token")
	// ErrType: it is a token of another kind.
	ErrType = errors.New("token of another type")
	// ErrAlgorithm: its algorithm is not the one of the key.
	ErrAlgorithm = errors.New("algorithm does not fit the key")
	// ErrUnknownKey: it names a key that is not known, or none where one must
	// be named.
	ErrUnknownKey = errors.New("unknown signing key")
	// ErrSignature: the signature is not by the key that it names.
	ErrSignature = errors.New("signature does not verify")
	// ErrExpired: its time is over.
	ErrExpired = errors.New("token has expired")
	// ErrNotYetValid: its time has not come.
	ErrNotYetValid = errors.New("token is not valid yet")
	// ErrClaims: a claim is missing, of the wrong type or out of bounds.
	ErrClaims = errors.New("claims are not acceptable")
	// ErrIssuer: it is by another issuer.
	ErrIssuer = errors.New("token of another issuer")
	// ErrUntrusted: the domain that it says has signed it is not trusted.
	ErrUntrusted = errors.New("the domain is not a trusted publisher")
	// ErrDomain: it names another domain than the one whose key signed it, or
	// that one in another spelling than the normal one.
	ErrDomain = errors.New("the token names its domain otherwise")
	// ErrDeniedKey: it is signed by a key that the vendor denied.
	ErrDeniedKey = errors.New("the signing key is denied")
	// ErrShareType: it is not a share token, by its claim `type`.
	ErrShareType = errors.New("not a share token: its type is another")
	// ErrContents: it does not name either contents or scopes.
	ErrContents = errors.New("either contentNames or scopes must be a list of names")
	// ErrAudience: it is meant for somebody else.
	ErrAudience = errors.New("token for another audience")
)

// claimError is an ErrClaims that names the claim.
type claimError struct{ claim, problem string }

func (e *claimError) Error() string        { return "claim " + e.claim + " " + e.problem }
func (e *claimError) Is(target error) bool { return target == ErrClaims }
