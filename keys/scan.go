package keys

import "encoding/base64"

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
}

// Scan checks the form of a token: at most MaxTokenSize bytes; three segments of
// canonical, unpadded base64url (RFC 4648, section 5), so that a token has one
// spelling; a header without `crit`, whose members this package does not understand
// (RFC 7515, section 4.1.11), and without `b64`, which changes what is signed; and a
// payload that is a JSON object without duplicate members. Other members of the header
// are ignored (section 4). Scan returns ErrMalformed otherwise, without an allocation
// when the segments are not base64url, and ErrTooLarge beyond a bound.
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
	if token.Header, ok = readHeader(header); !ok {
		return Token{}, ErrMalformed
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

// headerMembers are the members of a header that are read.
var headerMembers = [...]string{"alg", "typ", "kid", "crit", "b64"}

func readHeader(data []byte) (Header, bool) {
	members, ok := readObject(data)
	if !ok || members.find("crit") != nil || members.find("b64") != nil || members.hasCaseVariant(headerMembers[:]) {
		return Header{}, false
	}
	var header Header
	err := members.readTextFields(
		textField{"alg", 255, &header.Algorithm}, textField{"typ", 255, &header.Type}, textField{"kid", 255, &header.KeyID},
	)
	return header, err == nil && header.Algorithm != ""
}
