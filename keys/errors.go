package keys

import (
	"errors"
	"fmt"
)

// Reasons for which a token is refused. The errors of this package wrap one of
// them and never contain any part of a token.
var (
	// ErrMalformed: not a compact JWS, or one with a header or payload that
	// Scan does not accept.
	ErrMalformed = errors.New("malformed token")
	// ErrTooLarge: the token has more bytes or claims than are read. It wraps
	// ErrMalformed.
	ErrTooLarge = fmt.Errorf("%w: it has more than %d bytes or %d claims", ErrMalformed, MaxTokenSize, maxClaims)
	// ErrType: `typ` is that of another kind of token.
	ErrType = errors.New("token of another type")
	// ErrAlgorithm: `alg` is not an algorithm of the key.
	ErrAlgorithm = errors.New("algorithm does not fit the key")
	// ErrUnknownKey: `kid` names no key of the set, or is absent and more than
	// one key, or none, could have signed.
	ErrUnknownKey = errors.New("unknown signing key")
	// ErrSignature: the signature does not verify with the key.
	ErrSignature = errors.New("signature does not verify")
	// ErrExpired: `exp` has passed.
	ErrExpired = errors.New("token has expired")
	// ErrNotYetValid: `iat` or `nbf` is more than Leeway seconds ahead.
	ErrNotYetValid = errors.New("token is not valid yet")
	// ErrTooLong: `exp` of a publisher's link is more than MaxExpiresIn ahead.
	ErrTooLong = errors.New("exp is more than 366 days ahead: it is in seconds (RFC 7519), not in milliseconds")
	// ErrClaims: a claim is missing, of the wrong type or out of bounds.
	ErrClaims = errors.New("claims are not acceptable")
	// ErrIssuer: `iss` is another issuer.
	ErrIssuer = errors.New("token of another issuer")
	// ErrAudience: `aud` does not name the expected audience.
	ErrAudience = errors.New("token for another audience")
	// ErrUntrusted: the domain that the token names as its signer is not a
	// trusted publisher.
	ErrUntrusted = errors.New("the domain is not a trusted publisher")
	// ErrDomain: the token names a domain other than the one whose key signed
	// it, or does not spell that domain in its normal form.
	ErrDomain = errors.New("the token does not name the domain that signed it")
	// ErrDeniedKey: the vendor denied the signing key.
	ErrDeniedKey = errors.New("the signing key is denied")
	// ErrShareType: the claim `type` is not that of a share token.
	ErrShareType = errors.New("not a share token: the claim type is not dca-share")
	// ErrContents: not exactly one of `contentNames` and `scopes` is a valid,
	// non-empty list.
	ErrContents = errors.New("either contentNames or scopes must be a list of names")
)

// ErrKeysUnavailable says that no usable keys are in memory and none could be
// fetched, so whether a token is valid is unknown.
var ErrKeysUnavailable = errors.New("the keys are not available")

// ErrBusy says that a signature was not verified because too many callers
// already wait. It wraps ErrKeysUnavailable: whether the token is valid is
// unknown.
var ErrBusy = fmt.Errorf("%w: too many signatures wait to be verified", ErrKeysUnavailable)

// claimError is an ErrClaims that names the claim.
type claimError struct{ claim, problem string }

func (e *claimError) Error() string        { return "claim " + e.claim + " " + e.problem }
func (e *claimError) Is(target error) bool { return target == ErrClaims }
