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
	// ErrTooLarge: the token has more bytes, claims or header members than are read, or
	// longer ones. It wraps ErrMalformed.
	ErrTooLarge = fmt.Errorf("%w: it has more than %d bytes, %d claims or %d header members, or an alg, typ or kid of more than %d bytes",
		ErrMalformed, MaxTokenSize, maxClaims, maxMembers, maxHeaderText)
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

// errOwnTooLarge: the token is of a kind that only we or a publisher sign, and is larger
// than these are.
var errOwnTooLarge = fmt.Errorf("%w: it has more than %d bytes or %d claims", ErrMalformed, MaxOwnTokenSize, maxMembers)

// errUnnamedKey is the ErrSignature of a token for which only one key could have signed,
// because the token or the key has no id. It is an ErrUnknownKey as well: the issuer may
// have another key by now, so that Remote.Try fetches the set.
var errUnnamedKey error = unnamedKeyError{}

type unnamedKeyError struct{}

func (unnamedKeyError) Error() string { return ErrSignature.Error() }
func (unnamedKeyError) Is(target error) bool {
	return target == ErrSignature || target == ErrUnknownKey
}

// claimError is an ErrClaims that names the claim.
type claimError struct{ claim, problem string }

// tooLong is the problem of a claim that is longer than it may be.
const tooLong = "is too long"

func (e *claimError) Error() string        { return "claim " + e.claim + " " + e.problem }
func (e *claimError) Is(target error) bool { return target == ErrClaims }

// checks are the names of what is checked of a token, by the error of the check. The
// first that fits counts.
var checks = []struct {
	err  error
	name string
}{
	{ErrTooLarge, "size"},
	{errOwnTooLarge, "size"},
	{ErrMalformed, "form"},
	{ErrType, "type"},
	{ErrAlgorithm, "algorithm"},
	{ErrSignature, "signature"},
	{ErrUnknownKey, "key"},
	{ErrDeniedKey, "key"},
	{ErrExpired, "time"},
	{ErrNotYetValid, "time"},
	{ErrTooLong, "time"},
	{ErrIssuer, "issuer"},
	{ErrUntrusted, "issuer"},
	{ErrDomain, "issuer"},
	{ErrAudience, "audience"},
	{ErrClaims, "claims"},
	{ErrShareType, "claims"},
	{ErrContents, "claims"},
	{ErrKeysUnavailable, "keys"},
}

// FailedCheck returns the name of the check of a token that failed with an error of this
// package: size, form, type, algorithm, key, signature, time, issuer, audience, claims or
// keys. It returns "" for any other error.
func FailedCheck(err error) string {
	for i := range checks {
		if errors.Is(err, checks[i].err) {
			return checks[i].name
		}
	}
	return ""
}
