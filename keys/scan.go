package keys

import (
	"encoding/base64"
	"slices"
)

// MaxTokenSize is the maximum length of a token, in bytes.
const MaxTokenSize = 4096

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
// spelling; a header of known members (RFC 7515, section 4.1; `crit`, `b64` and
// `zip` change what is signed and are refused); and a payload that is a JSON
// object without duplicate members. It returns ErrMalformed otherwise, without
// an allocation when the segments are not base64url.
func Scan(raw string) (Token, error) {
	first, second, ok := splitSegments(raw)
	if !ok {
		return Token{}, ErrMalformed
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
	if token.claims, ok = readObject(payload); !ok || token.claims.hasCaseVariant(registeredClaims[:]) {
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

// headerMembers are the members that a header may have. All but the first three
// are ignored.
var headerMembers = [...]string{"alg", "typ", "kid", "cty", "jku", "jwk", "x5u", "x5c", "x5t", "x5t#S256"}

func readHeader(data []byte) (Header, bool) {
	members, ok := readObject(data)
	if !ok {
		return Header{}, false
	}
	for _, m := range members {
		if !slices.Contains(headerMembers[:], m.name) {
			return Header{}, false
		}
	}
	var header Header
	err := members.readTextFields(
		textField{"alg", 255, &header.Algorithm}, textField{"typ", 255, &header.Type}, textField{"kid", 255, &header.KeyID},
	)
	return header, err == nil && header.Algorithm != ""
}
