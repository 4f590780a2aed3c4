package keys

import (
	"encoding/base64"
	"errors"
	"slices"
)

// MaxTokenSize is the maximum length of a token, in bytes: issuers put the groups of a
// user into tokens. MaxOwnTokenSize is that of the tokens that this package signs and
// of links, which are parts of URLs.
const (
	MaxTokenSize    = 16 << 10
	MaxOwnTokenSize = 4 << 10
)

// Header holds the members of a JOSE header (RFC 7515, section 4.1) that this
// package uses. Keys and key URLs in a header are never used.
type Header struct {
	Algorithm string
	Type      string
	KeyID     string
}

// Token is a token that Scan accepted. It is not verified.
type Token struct {
	Header Header
	raw    string
	claims object
	// extended reports whether the header has members that RFC 7515 does not define.
	extended bool
}

// Scan checks the form of a token: at most MaxTokenSize bytes; three segments of
// canonical, unpadded base64url (RFC 4648, section 5), so that a token has one
// spelling; a header without `crit`, whose members this package does not understand
// (RFC 7515, section 4.1.11), and without `b64`, which changes what is signed; and a
// payload that is a JSON object without duplicate members. Other members of the header
// are ignored (section 4); strictForm refuses them in tokens that no other issuer makes.
// Scan returns ErrMalformed otherwise, without an allocation when the segments are not
// base64url, and ErrTooLarge beyond a bound.
func Scan(raw string) (Token, error) {
	first, second, ok := splitSegments(raw)
	if !ok {
		return Token{}, shapeError(raw)
	}
	header, ok := decodeSegment(raw[:first])
	if !ok {
		return Token{}, ErrMalformed
	}
	token := Token{raw: raw}
	var err error
	if token.Header, token.extended, err = readHeader(header); err != nil {
		return Token{}, err
	}
	payload, ok := decodeSegment(raw[first+1 : second])
	if !ok {
		return Token{}, ErrMalformed
	}
	token.claims, ok = readObjectUpTo(payload, maxClaims)
	switch {
	case !ok && len(token.claims) == maxClaims:
		return Token{}, ErrTooLarge
	case !ok || token.claims.hasCaseVariant(registeredClaims[:]):
		return Token{}, ErrMalformed
	}
	return token, nil
}

// Issuer returns the unverified `iss` claim, which selects the verifier, or ""
// when it is absent.
func (t *Token) Issuer() string {
	issuer, err := t.claims.text("iss", maxIssuer)
	if err != nil {
		return ""
	}
	return issuer
}

// maxIssuer is the maximum length of an `iss` claim, in bytes.
const maxIssuer = 2048

func decodeSegment(segment string) ([]byte, bool) {
	decoded, err := base64.RawURLEncoding.Strict().DecodeString(segment)
	return decoded, err == nil
}

// strictForm returns an error for a token that is within the bounds of an issuer's
// tokens and not within those of ours: at most MaxOwnTokenSize bytes, maxMembers claims
// and the header members of RFC 7515. Our own keys and those of publishers sign no other.
func (t *Token) strictForm() error {
	switch {
	case len(t.raw) > MaxOwnTokenSize || len(t.claims) > maxMembers:
		return errOwnTooLarge
	case t.extended:
		return ErrMalformed
	}
	return nil
}

// headerMembers are the members of a header: first those that are read, then the others
// of RFC 7515, section 4.1.
var headerMembers = [...]string{"alg", "typ", "kid", "crit", "b64", "cty", "jku", "jwk", "x5u", "x5c", "x5t", "x5t#S256"}

// readMembers is the number of headerMembers that are read.
const readMembers = 5

// maxHeaderText is the maximum length of `alg`, `typ` and `kid`, in bytes.
const maxHeaderText = 255

func readHeader(data []byte) (header Header, extended bool, err error) {
	members, ok := readObject(data)
	switch {
	case !ok && len(members) == maxMembers:
		return Header{}, false, ErrTooLarge
	case !ok || members.find("crit") != nil || members.find("b64") != nil || members.hasCaseVariant(headerMembers[:readMembers]):
		return Header{}, false, ErrMalformed
	}
	err = members.readTextFields(
		textField{"alg", maxHeaderText, &header.Algorithm}, textField{"typ", maxHeaderText, &header.Type}, textField{"kid", maxHeaderText, &header.KeyID},
	)
	if failed, ok := errors.AsType[*claimError](err); ok && failed.problem == tooLong {
		return Header{}, false, ErrTooLarge
	}
	if err != nil || header.Algorithm == "" {
		return Header{}, false, ErrMalformed
	}
	extended = slices.ContainsFunc(members, func(m member) bool { return !slices.Contains(headerMembers[:], m.name) })
	return header, extended, nil
}
