package keys

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"
)

// Key ids are arguments of commands such as `key retire <kid>`.
func TestKeyIDsAreNotFlags(t *testing.T) {
	for range 500 {
		if id := mustGenerate().ID(); strings.HasPrefix(id, "-") {
			t.Fatalf("a command would take %s for a flag", id)
		}
	}
}

func TestSigningKeyRoundTrip(t *testing.T) {
	key := mustGenerate()
	der, err := key.MarshalPrivate()
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := ParseSigningKey(der)
	if err != nil {
		t.Fatal(err)
	}
	if parsed.ID() != key.ID() || parsed.Public().ID != key.ID() || !parsed.private.Equal(key.private) {
		t.Error("a different key was parsed")
	}
	if acmeKey.ID() == key.ID() {
		t.Error("two keys have the same id")
	}
}

// The id is the RFC 7638 thumbprint: SHA-256 of the required members in the
// order of their names, without spaces.
func TestSigningKeyID(t *testing.T) {
	for jwk, want := range map[[2]string]string{
		// From RFC 9449, section 6.1.
		{"l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs", "9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA"}: "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I",
		{"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}: "oKIywvGUpTVTyxMQ3bwIIeQUudfr_CkLMjCE19ECD-U",
	} {
		x, y := jwk[0], jwk[1]
		public, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), slices.Concat([]byte{4}, decode(t, x), decode(t, y)))
		if err != nil {
			t.Fatal(err)
		}
		key, err := newSigningKey(&ecdsa.PrivateKey{PublicKey: *public})
		if err != nil {
			t.Fatal(err)
		}
		if key.ID() != want {
			t.Errorf("got %s, want %s", key.ID(), want)
		}
		digest := sha256.Sum256(fmt.Appendf(nil, `{"crv":"P-256","kty":"EC","x":%q,"y":%q}`, x, y))
		if by := base64.RawURLEncoding.EncodeToString(digest[:]); key.ID() != by {
			t.Errorf("got %s, computed %s", key.ID(), by)
		}
	}
}

func TestParseSigningKeyRefuses(t *testing.T) {
	der, err := acmeKey.MarshalPrivate()
	if err != nil {
		t.Fatal(err)
	}
	pkcs8 := func(key any, err error) []byte {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		marshalled, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		return marshalled
	}
	sec1, err := x509.MarshalECPrivateKey(acmeKey.private)
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(acmeKey.private.Public())
	if err != nil {
		t.Fatal(err)
	}
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	for name, data := range map[string][]byte{
		"nothing":      nil,
		"text":         []byte("-----BEGIN PRIVATE KEY-----"),
		"zeros":        make([]byte, 138),
		"half a key":   der[:len(der)/2],
		"all but one":  der[:len(der)-1],
		"SEC 1":        sec1,
		"a public key": public,
		"P-224":        pkcs8(ecdsa.GenerateKey(elliptic.P224(), rand.Reader)),
		"P-384":        pkcs8(ecdsa.GenerateKey(elliptic.P384(), rand.Reader)),
		"P-521":        pkcs8(ecdsa.GenerateKey(elliptic.P521(), rand.Reader)),
		"RSA":          pkcs8(rsa.GenerateKey(rand.Reader, 2048)),
		"Ed25519":      pkcs8(edwards, err),
	} {
		if key, err := ParseSigningKey(data); err == nil || key != nil {
			t.Errorf("%s was accepted", name)
		}
	}
}

// No way of printing or encoding reveals a key or a secret.
func TestSecretsAreNotPrinted(t *testing.T) {
	der, err := acmeKey.MarshalPrivate()
	if err != nil {
		t.Fatal(err)
	}
	secret := []byte("0123456789abcdefSECRET")
	sealer, err := NewSealer(secret)
	if err != nil {
		t.Fatal(err)
	}
	scalar, err := acmeKey.private.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	for _, private := range [][]byte{der, scalar, secret} {
		for _, value := range []any{
			acmeKey, *acmeKey, sealer, *sealer, acmeRing, *acmeRing,
			struct {
				Key    *SigningKey
				Sealer *Sealer
			}{acmeKey, sealer},
		} {
			encoded, err := json.Marshal(value)
			if err != nil {
				t.Fatal(err)
			}
			printed := string(encoded)
			for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
				printed += " " + fmt.Sprintf(verb, value)
			}
			for _, form := range []string{
				string(private), hex.EncodeToString(private), base64.StdEncoding.EncodeToString(private),
				strings.Trim(fmt.Sprintf("%d", private), "[]"), new(big.Int).SetBytes(private).String(),
			} {
				if strings.Contains(printed, form) {
					t.Errorf("%T reveals a secret", value)
				}
			}
		}
	}
}

// A new key signs at once, and links of the old key stay valid until it is removed.
func TestRingRotation(t *testing.T) {
	older, newer := mustGenerate(), mustGenerate()
	before := NewRing(older, []PublicKey{older.Public()})
	during := NewRing(newer, []PublicKey{newer.Public(), older.Public()})
	after := NewRing(newer, []PublicKey{newer.Public()})

	claims := LinkClaims{Issuer: acme, ID: "link_1", IssuedAt: noon.Unix(), ExpiresAt: noon.Unix() + 60, SKU: "premium"}
	old, err := SignLink(before, claims)
	wantError(t, err, nil)
	young, err := SignLink(during, claims)
	wantError(t, err, nil)
	if during.SigningKeyID() != newer.ID() {
		t.Error("the old key still signs")
	}
	for _, c := range []struct {
		name, raw string
		ring      *Ring
		want      error
	}{
		{"old link, old ring", old, before, nil},
		{"old link, while both count", old, during, nil},
		{"old link, old key taken out", old, after, ErrUnknownKey},
		{"new link, old ring", young, before, ErrUnknownKey},
		{"new link, while both count", young, during, nil},
		{"new link, new ring", young, after, nil},
	} {
		_, err := VerifyLink(c.raw, acme, c.ring.KeySet(), noon)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", c.name, err, c.want)
		}
	}
}

// Changing the slice passed to NewRing does not change the ring's key set.
func TestKeySetIsImmutable(t *testing.T) {
	list := []PublicKey{acmeKey.Public()}
	set := NewKeySet(list...)
	list[0] = stranger.Public()
	set.IDs()[0] = "changed"
	if set.Len() != 1 || set.IDs()[0] != acmeKey.ID() {
		t.Errorf("got %v", set.IDs())
	}
}

func TestPublicHasNoPrivateKey(t *testing.T) {
	key := acmeKey.Public()
	if _, ok := key.Key.(*ecdsa.PublicKey); !ok {
		t.Fatalf("got a %T", key.Key)
	}
	if !key.Key.(interface{ Equal(crypto.PublicKey) bool }).Equal(acmeKey.private.Public()) {
		t.Error("got a different key")
	}
}
