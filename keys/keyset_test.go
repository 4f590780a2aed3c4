package keys

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"math/big"
	"slices"
	"testing"
)

func mustKey(t *testing.T, id string, key any, err error, algorithm string) PublicKey {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	public, err := NewPublicKey(id, key.(interface{ Public() crypto.PublicKey }).Public(), algorithm)
	if err != nil {
		t.Fatal(err)
	}
	return public
}

// rsa2048 is an RSA key of the usual size, generated once.
var rsa2048 = func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
}()

// The type of the key determines the algorithms; the header cannot choose another.
func TestKeyTypeDeterminesAlgorithm(t *testing.T) {
	p384, err384 := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	p521, err521 := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	_, edwards, errEd := ed25519.GenerateKey(rand.Reader)
	for _, c := range []struct {
		name string
		key  PublicKey
		want []string
	}{
		{"P-256", acmeKey.Public(), []string{"ES256"}},
		{"P-384", mustKey(t, "k", p384, err384, ""), []string{"ES384"}},
		{"P-521", mustKey(t, "k", p521, err521, ""), []string{"ES512"}},
		{"Ed25519", mustKey(t, "k", edwards, errEd, ""), []string{"EdDSA", "Ed25519"}},
		{"Ed25519 that states its algorithm", mustKey(t, "k", edwards, errEd, "EdDSA"), []string{"EdDSA"}},
		{"Ed25519 by the name of RFC 9864", mustKey(t, "k", edwards, errEd, "Ed25519"), []string{"Ed25519"}},
		{"RSA", mustKey(t, "k", rsa2048, nil, ""), []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}},
		{"RSA that states its algorithm", mustKey(t, "k", rsa2048, nil, "PS256"), []string{"PS256"}},
	} {
		for _, algorithm := range []string{
			"", "none", "HS256", "HS384", "HS512", "ES256", "ES256K", "ES384", "ES512", "EdDSA", "Ed25519",
			"RS1", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "RSA-OAEP", "es256",
		} {
			_, err := NewKeySet(c.key).find(Header{KeyID: c.key.ID, Algorithm: algorithm})
			if found := err == nil; found != slices.Contains(c.want, algorithm) {
				t.Errorf("%s: alg %q is found: %v", c.name, algorithm, found)
			}
		}
	}
}

func TestNewPublicKeyRefuses(t *testing.T) {
	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	modulus := func(bits uint) *big.Int {
		n := new(big.Int).Lsh(big.NewInt(1), bits-1)
		return n.SetBit(n, 0, 1)
	}
	for name, key := range map[string]crypto.PublicKey{
		"nothing":                       nil,
		"bytes, a secret":               []byte("a secret that HS256 could use"),
		"text":                          "a key",
		"a private key":                 acmeKey.private,
		"a private RSA key":             rsa2048,
		"P-224":                         p224.Public(),
		"no curve":                      &ecdsa.PublicKey{},
		"an Ed25519 key too short":      ed25519.PublicKey(make([]byte, 31)),
		"an empty Ed25519 key":          ed25519.PublicKey(nil),
		"RSA without modulus":           &rsa.PublicKey{E: 65537},
		"RSA of 1024 bits":              &rsa.PublicKey{N: modulus(1024), E: 65537},
		"RSA of 2047 bits":              &rsa.PublicKey{N: modulus(2047), E: 65537},
		"RSA of 4097 bits":              &rsa.PublicKey{N: modulus(4097), E: 65537},
		"RSA of a million bits":         &rsa.PublicKey{N: modulus(1 << 20), E: 65537},
		"RSA that signs nothing, e = 1": &rsa.PublicKey{N: modulus(2048), E: 1},
		"RSA with e = 0":                &rsa.PublicKey{N: modulus(2048)},
		"RSA with a negative e":         &rsa.PublicKey{N: modulus(2048), E: -3},
		"RSA with an even e":            &rsa.PublicKey{N: modulus(2048), E: 65536},
		"RSA with a slow e":             &rsa.PublicKey{N: modulus(2048), E: 1<<31 + 1},
	} {
		if _, err := NewPublicKey("k", key, ""); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
	for _, key := range []crypto.PublicKey{
		&rsa.PublicKey{N: modulus(2048), E: 3}, &rsa.PublicKey{N: modulus(4096), E: 1<<31 - 1},
	} {
		if _, err := NewPublicKey("k", key, ""); err != nil {
			t.Error(err)
		}
	}
	for _, algorithm := range []string{"HS256", "none", "ES384", "RS256", "ECDH-ES", "es256"} {
		_, err := NewPublicKey("k", acmeKey.private.Public(), algorithm)
		wantError(t, err, ErrAlgorithm)
	}
}

func TestKeySetFind(t *testing.T) {
	p256 := func(id string) PublicKey { return mustKey(t, id, mustGenerate().private, nil, "") }
	rs := mustKey(t, "rs", rsa2048, nil, "RS256")
	one, two := p256("one"), p256("two")
	twin := p256("one")
	for _, c := range []struct {
		name    string
		set     KeySet
		header  Header
		want    *PublicKey
		problem error
	}{
		{"by its id", NewKeySet(one, two), Header{"ES256", "", "two"}, &two, nil},
		{"by an id that is not there", NewKeySet(one, two), Header{"ES256", "", "three"}, nil, ErrUnknownKey},
		{"by an id of a key that signs otherwise", NewKeySet(one, rs), Header{"ES256", "", "rs"}, nil, ErrAlgorithm},
		{"without id, the only key", NewKeySet(one), Header{"ES256", "", ""}, &one, nil},
		{"without id, the only one that signs so", NewKeySet(rs, one), Header{"ES256", "", ""}, &one, nil},
		{"without id, several keys that could", NewKeySet(one, rs, two), Header{"ES256", "", ""}, nil, ErrUnknownKey},
		{"without id, no key that could", NewKeySet(one, two), Header{"RS256", "", ""}, nil, ErrUnknownKey},
		{"no keys", KeySet{}, Header{"ES256", "", ""}, nil, ErrUnknownKey},
		// NewKeySet does not check for duplicate ids; ParseJWKS drops both keys.
		{"two keys with one id: the first alone", NewKeySet(one, twin), Header{"ES256", "", "one"}, &one, nil},
		{"two keys with one id: the other would fit", NewKeySet(rs, mustKey(t, "rs", mustGenerate().private, nil, "")), Header{"ES256", "", "rs"}, nil, ErrAlgorithm},
	} {
		t.Run(c.name, func(t *testing.T) {
			key, err := c.set.find(c.header)
			if !errors.Is(err, c.problem) {
				t.Fatalf("got error %v, want %v", err, c.problem)
			}
			if c.want != nil && key.Key != c.want.Key {
				t.Error("got another key")
			}
		})
	}
}

// Our own tokens must be ES256, even if the set has keys of other types.
func TestLinkByAnRSAKey(t *testing.T) {
	input := encode(`{"alg":"RS256","typ":"gatefold-link+jwt","kid":"rs"}`) + "." + encode(linkPayload().String())
	digest := sha256.Sum256([]byte(input))
	signature, err := rsa.SignPKCS1v15(rand.Reader, rsa2048, crypto.SHA256, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	raw := input + "." + encode(signature)
	token, err := Scan(raw)
	if err != nil {
		t.Fatal(err)
	}
	key := mustKey(t, "rs", rsa2048, nil, "")
	wantError(t, token.verify(&key), nil)
	_, err = VerifyLink(raw, acme, NewKeySet(key), noon)
	wantError(t, err, ErrAlgorithm)
}

// A link signed by the second of two keys with the same id is refused: only the
// first one is tried.
func TestLinkByKeyWithDuplicateID(t *testing.T) {
	impostor := stranger.Public()
	impostor.ID = acmeKey.ID()
	raw := forge(stranger, linkHeader(acmeKey), linkPayload().String())
	_, err := VerifyLink(raw, acme, NewKeySet(acmeKey.Public(), impostor), noon)
	wantError(t, err, ErrSignature)
}
