package keys

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"strings"
	"testing"
	"time"
)

// noon is the current time in every test.
var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// acme is the vendor of the tests. Its key is that of RFC 7515, appendix A.3, so
// that all processes of a fuzz run have the same.
var (
	acmeKey  = mustRead("jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI")
	acmeRing = NewRing(acmeKey, []PublicKey{acmeKey.Public()})
	acmeSet  = acmeRing.KeySet()
	acme     = VendorIssuer("acme")
)

// stranger is an untrusted key.
var stranger = mustGenerate()

func mustRead(scalar string) *SigningKey {
	decoded, err := base64.RawURLEncoding.DecodeString(scalar)
	if err != nil {
		panic(err)
	}
	private, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), decoded)
	if err != nil {
		panic(err)
	}
	key, err := newSigningKey(private)
	if err != nil {
		panic(err)
	}
	return key
}

func mustGenerate() *SigningKey {
	key, err := GenerateSigningKey()
	if err != nil {
		panic(err)
	}
	return key
}

// claims are the members of a payload as JSON text, by name.
type claims map[string]string

// with returns a copy with one claim changed, or removed when text is empty.
func (c claims) with(name, text string) claims {
	changed := maps.Clone(c)
	if changed[name] = text; text == "" {
		delete(changed, name)
	}
	return changed
}

func (c claims) String() string {
	members := make([]string, 0, len(c))
	for name, text := range c {
		members = append(members, fmt.Sprintf("%q:%s", name, text))
	}
	return "{" + strings.Join(members, ",") + "}"
}

// linkPayload returns the payload of a valid link of acme, issued at noon.
func linkPayload() claims {
	return claims{
		"iss": `"gatefold:acme"`, "jti": `"link_1"`, "iat": unix(0), "exp": unix(time.Hour),
		"publisherContentId": `"article-1"`,
	}
}

// unix returns a time after noon as a NumericDate.
func unix(after time.Duration) string { return fmt.Sprint(noon.Add(after).Unix()) }

func linkHeader(key *SigningKey) string {
	return fmt.Sprintf(`{"alg":"ES256","typ":"gatefold-link+jwt","kid":%q}`, key.ID())
}

// encode returns the segment of a token that encodes the text.
func encode[T string | []byte](text T) string {
	return base64.RawURLEncoding.EncodeToString([]byte(text))
}

func decode(t *testing.T, segment string) []byte {
	t.Helper()
	decoded, err := base64.RawURLEncoding.DecodeString(segment)
	if err != nil {
		t.Fatal(err)
	}
	return decoded
}

// forge signs any header and payload, valid or not.
func forge(key *SigningKey, header, payload string) string {
	input := encode(header) + "." + encode(payload)
	r, s := signES256(key, input)
	return input + "." + encode(rawSignature(r, s))
}

func forgeLink(payload claims) string { return forge(acmeKey, linkHeader(acmeKey), payload.String()) }

func signES256(key *SigningKey, input string) (r, s *big.Int) {
	digest := sha256.Sum256([]byte(input))
	r, s, err := ecdsa.Sign(rand.Reader, key.private, digest[:])
	if err != nil {
		panic(err)
	}
	return r, s
}

// rawSignature encodes a signature as in RFC 7518, section 3.4.
func rawSignature(r, s *big.Int) []byte {
	return append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
}

// order is the order of the curve P-256.
var order = elliptic.P256().Params().N

func verifyAcme(raw string) (LinkClaims, error) { return VerifyLink(raw, acme, acmeSet, noon) }

// wantError fails the test unless err is want, or both are nil.
func wantError(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("got error %v, want %v", err, want)
	}
}

func sameJSON(t *testing.T, a, b any) bool {
	t.Helper()
	left, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	right, err := json.Marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Equal(left, right)
}
