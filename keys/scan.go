package keys

import (
	"encoding/base64"
	"slices"
)

// MaxTokenSize is the longest token that is looked at, in bytes.
const MaxTokenSize = 4096

// Header is the part of a JOSE header (RFC 7515, section 4.1) that counts. Keys
// and addresses of keys that a header brings along are never used.
type Header struct {
	Algorithm string
	Type      string
	KeyID     string
}

// Token is a token whose shape was found acceptable. Nothing in it is verified:
// it only says who would have to verify it.
type Token struct {
	Header Header
	raw    string
	claims object
}

// Scan looks at the shape of a token: at most MaxTokenSize bytes, three
// segments of canonical base64url (RFC 4648, section 5, without padding; of
// the many spellings that a lax decoder takes for one token, one is accepted),
// a header whose members are known (RFC 7515, section 4.1; `crit`, `b64` and
// `zip` change what is signed and are refused), and a payload that is a JSON
// object in which no member stands twice. It refuses with ErrMalformed, and
// does so without allocating for whatever is not even base64url.
func Scan(raw string) (Token, error) {
	first, second, ok := segments(raw)
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
	if token.claims, ok = readObject(payload); !ok || token.claims.ambiguous(registeredNames[:]) {
		return Token{}, ErrMalformed
	}
	return token, nil
}

// Issuer returns the unverified `iss` claim, by which the one who must verify
// the token is chosen; empty when there is none.
func (t *Token) Issuer() string {
	issuer, err := t.claims.text("iss", 2048)
	if err != nil {
		return ""
	}
	return issuer
}

func decodeSegment(segment string) ([]byte, bool) {
	decoded, err := base64.RawURLEncoding.Strict().DecodeString(segment)
	return decoded, err == nil
}

// headerNames are the members that a header may have. Only the first three are
// used; the others are known and ignored.
var headerNames = [...]string{"alg", "typ", "kid", "cty", "jku", "jwk", "x5u", "x5c", "x5t", "x5t#S256"}

func readHeader(data []byte) (Header, bool) {
	members, ok := readObject(data)
	if !ok {
		return Header{}, false
	}
	for _, m := range members {
		if !slices.Contains(headerNames[:], m.name) {
			return Header{}, false
		}
	}
	var header Header
	for _, field := range []struct {
		name string
		to   *string
	}{{"alg", &header.Algorithm}, {"typ", &header.Type}, {"kid", &header.KeyID}} {
		value, err := members.optionalText(field.name, 255)
		if err != nil {
			return Header{}, false
		}
		*field.to = value
	}
	return header, header.Algorithm != ""
}
