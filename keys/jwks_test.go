package keys

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"
)

// ecJWK returns the JWK of a public key, for tests to change.
func ecJWK(key *ecdsa.PrivateKey, id string) claims {
	point, err := key.PublicKey.Bytes()
	if err != nil {
		panic(err)
	}
	x, y := point[1:1+len(point)/2], point[1+len(point)/2:]
	return claims{
		"kty": `"EC"`, "kid": fmt.Sprintf("%q", id), "crv": fmt.Sprintf("%q", key.Curve.Params().Name),
		"x": fmt.Sprintf("%q", encode(x)), "y": fmt.Sprintf("%q", encode(y)),
	}
}

func rsaJWK(n, e *big.Int, id string) claims {
	return claims{
		"kty": `"RSA"`, "kid": fmt.Sprintf("%q", id),
		"n": fmt.Sprintf("%q", encode(n.Bytes())), "e": fmt.Sprintf("%q", encode(e.Bytes())),
	}
}

func jwks(keys ...claims) []byte {
	texts := make([]string, len(keys))
	for i, key := range keys {
		texts[i] = key.String()
	}
	return []byte(`{"keys":[` + strings.Join(texts, ",") + `]}`)
}

func TestParseJWKSKeeps(t *testing.T) {
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	edwards, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ec := ecJWK(acmeKey.private, "ec")
	data := jwks(
		ec,
		ecJWK(p384, "p384").with("use", `"sig"`).with("alg", `"ES384"`),
		ec.with("kid", `"ops"`).with("key_ops", `["sign", "verify"]`),
		ec.with("kid", `"active"`).with("status", `"active"`),
		ec.with("kid", `"more"`).with("a member of their own", `{"k":1}`),
		rsaJWK(rsa2048.N, big.NewInt(65537), "rsa").with("alg", `"RS256"`),
		claims{"kty": `"OKP"`, "crv": `"Ed25519"`, "kid": `"ed"`, "x": fmt.Sprintf("%q", encode([]byte(edwards)))},
	)
	set, dropped, err := ParseJWKS(data)
	if err != nil || len(dropped) > 0 {
		t.Fatal(err, dropped)
	}
	if want := []string{"ec", "p384", "ops", "active", "more", "rsa", "ed"}; !slices.Equal(set.IDs(), want) {
		t.Errorf("got %v, want %v", set.IDs(), want)
	}
	for header, want := range map[Header]error{
		{Algorithm: "ES256", KeyID: "ec"}:   nil,
		{Algorithm: "RS256", KeyID: "rsa"}:  nil,
		{Algorithm: "PS256", KeyID: "rsa"}:  ErrAlgorithm, // the key is restricted to RS256
		{Algorithm: "ES256", KeyID: "p384"}: ErrAlgorithm,
		{Algorithm: "EdDSA", KeyID: "ed"}:   nil,
		{Algorithm: "HS256", KeyID: "rsa"}:  ErrAlgorithm,
	} {
		_, err := set.find(header)
		if !errors.Is(err, want) {
			t.Errorf("%+v: got %v, want %v", header, err, want)
		}
	}
}

// An unusable key does not affect the other keys of the set.
func TestParseJWKSDrops(t *testing.T) {
	good := ecJWK(acmeKey.private, "good")
	ec := ecJWK(stranger.private, "bad")
	public := rsaJWK(rsa2048.N, big.NewInt(65537), "bad")
	bits := func(n uint) *big.Int { n0 := new(big.Int).Lsh(big.NewInt(1), n-1); return n0.SetBit(n0, 0, 1) }
	scalar, err := stranger.private.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	private := fmt.Sprintf("%q", encode(scalar))
	for name, key := range map[string]claims{
		"a symmetric key":                       {"kty": `"oct"`, "kid": `"bad"`, "k": `"AAAA"`},
		"a symmetric key with an algorithm":     {"kty": `"oct"`, "kid": `"bad"`, "k": `"AAAA"`, "alg": `"HS256"`},
		"a private key":                         ec.with("d", private),
		"a private key, invalid":                ec.with("d", `"AAAA"`),
		"a private key that is null":            ec.with("d", `null`),
		"a prime of the modulus":                public.with("p", fmt.Sprintf("%q", encode(rsa2048.Primes[0].Bytes()))),
		"a public key with a secret":            ec.with("k", `"AAAA"`),
		"an empty id":                           ec.with("kid", `""`),
		"an id that is a number":                ec.with("kid", `1`),
		"a case variant of kid":                 ec.with("kid", ``).with("KID", `"bad"`),
		"for encryption":                        ec.with("use", `"enc"`),
		"for an unknown use":                    ec.with("use", `"SIG"`),
		"for a use that is not a string":        ec.with("use", `["sig"]`),
		"a case variant of use":                 ec.with("use", `"enc"`).with("Use", `"sig"`),
		"for signing only":                      ec.with("key_ops", `["sign"]`),
		"for deriving":                          ec.with("key_ops", `["deriveKey","deriveBits"]`),
		"for no operation":                      ec.with("key_ops", `[]`),
		"for an operation that is not an array": ec.with("key_ops", `"verify"`),
		"for an operation null":                 ec.with("key_ops", `null`),
		"retired":                               ec.with("status", `"retired"`),
		"with a status that is not a string":    ec.with("status", `1`),
		"a case variant of status":              ec.with("status", `"retired"`).with("Status", `"active"`),
		"no kty":                                ec.with("kty", ``),
		"an unknown kty":                        ec.with("kty", `"ec"`),
		"another kty":                           ec.with("kty", `"RSA"`),
		"a curve that is another":               ec.with("crv", `"P-384"`),
		"an unknown curve":                      ec.with("crv", `"P-257"`),
		"the curve secp256k1":                   ec.with("crv", `"secp256k1"`),
		"no curve":                              ec.with("crv", ``),
		"a point that is not on the curve":      ec.with("y", ec["x"]),
		"the point zero":                        ec.with("x", `"`+encode(make([]byte, 32))+`"`).with("y", `"`+encode(make([]byte, 32))+`"`),
		"no y":                                  ec.with("y", ``),
		"a short x":                             ec.with("x", `"AAAA"`),
		"a huge x":                              ec.with("x", `"`+strings.Repeat("A", 100_000)+`"`),
		"an x that is not base64url":            ec.with("x", `"!"`),
		"an algorithm of another kind":          ec.with("alg", `"RS256"`),
		"an algorithm of another curve":         ec.with("alg", `"ES384"`),
		"an algorithm for encryption":           ec.with("alg", `"ECDH-ES"`),
		"an algorithm with a secret":            ec.with("alg", `"HS256"`),
		"an algorithm none":                     ec.with("alg", `"none"`),
		"an algorithm that is not a string":     ec.with("alg", `["ES256"]`),
		"an invalid certificate":                ec.with("x5c", `["MA=="]`),
		"RSA of 1024 bits":                      rsaJWK(bits(1024), big.NewInt(65537), "bad"),
		"RSA of 2047 bits":                      rsaJWK(bits(2047), big.NewInt(65537), "bad"),
		"RSA of 4097 bits":                      rsaJWK(bits(4097), big.NewInt(65537), "bad"),
		"RSA of a million bits":                 rsaJWK(bits(1<<20), big.NewInt(65537), "bad"),
		"RSA whose every signature is right":    rsaJWK(rsa2048.N, big.NewInt(1), "bad"),
		"RSA with an even exponent":             rsaJWK(rsa2048.N, big.NewInt(4), "bad"),
		"RSA with a slow exponent":              rsaJWK(rsa2048.N, bits(33), "bad"),
		"RSA with an endless exponent":          rsaJWK(rsa2048.N, rsa2048.N, "bad"),
		"RSA without exponent":                  public.with("e", ``),
		"RSA without modulus":                   public.with("n", ``),
		"RSA for encryption":                    public.with("alg", `"RSA-OAEP"`),
		"RSA with a secret's algorithm":         public.with("alg", `"HS256"`),
		"X25519":                                {"kty": `"OKP"`, "crv": `"X25519"`, "kid": `"bad"`, "x": ec["x"]},
		"Ed25519 of 31 bytes":                   {"kty": `"OKP"`, "crv": `"Ed25519"`, "kid": `"bad"`, "x": `"` + encode(make([]byte, 31)) + `"`},
		"Ed25519 without key":                   {"kty": `"OKP"`, "crv": `"Ed25519"`, "kid": `"bad"`},
	} {
		t.Run(name, func(t *testing.T) {
			set, dropped, err := ParseJWKS(jwks(key, good))
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(set.IDs(), []string{"good"}) || len(dropped) != 1 {
				t.Errorf("got %v, dropped %v", set.IDs(), dropped)
			}
			if strings.Contains(fmt.Sprint(dropped), private) {
				t.Error("the error contains a private key")
			}
		})
	}
}

// An attacker who can add a key to a set could add one under another key's id.
// Both are dropped. So is every key that JSON parsers could read differently.
func TestParseJWKSDropsAmbiguousKeys(t *testing.T) {
	a, b := ecJWK(acmeKey.private, "one"), ecJWK(stranger.private, "one")
	good := ecJWK(mustGenerate().private, "good")
	set, dropped, err := ParseJWKS(jwks(a, good, b))
	if err != nil || !slices.Equal(set.IDs(), []string{"good"}) || len(dropped) != 2 {
		t.Errorf("got %v, dropped %v, error %v", set.IDs(), dropped, err)
	}
	// A duplicate kid within one key; a key that is not an object.
	twice := strings.Replace(a.String(), "{", `{"kid":"good",`, 1)
	for _, bad := range []string{twice, `null`, `[]`, `"key"`, `1`, `{}`, `[` + good.String() + `]`} {
		set, dropped, err = ParseJWKS([]byte(`{"keys":[` + bad + `,` + good.String() + `]}`))
		if err != nil || !slices.Equal(set.IDs(), []string{"good"}) || len(dropped) != 1 {
			t.Errorf("%.20s: got %v, dropped %v, error %v", bad, set.IDs(), dropped, err)
		}
	}
}

func TestParseJWKSRefuses(t *testing.T) {
	key := ecJWK(acmeKey.private, "k").String()
	many := strings.Repeat("{},", MaxJWKSKeys)
	for name, text := range map[string]string{
		"nothing":                    ``,
		"HTML":                       `<!doctype html>`,
		"null":                       `null`,
		"an array":                   `[` + key + `]`,
		"one key":                    key,
		"no keys":                    `{}`,
		"keys null":                  `{"keys":null}`,
		"keys that are not an array": `{"keys":{"0":` + key + `}}`,
		"a case variant of keys":     `{"Keys":[` + key + `]}`,
		"keys twice":                 `{"keys":[],"keys":[` + key + `]}`,
		"half a set":                 `{"keys":[` + key,
		"a set and more":             `{"keys":[` + key + `]}{}`,
		"bytes that are not UTF-8":   "{\"keys\":[],\"a\":\"\xff\"}",
		"too many keys":              `{"keys":[` + many + `{}]}`,
		"too large":                  `{"keys":[]` + strings.Repeat(" ", MaxJWKSSize) + `}`,
		"deep nesting":               `{"keys":` + strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000) + `}`,
	} {
		set, _, err := ParseJWKS([]byte(text))
		if err == nil || set.Len() != 0 {
			t.Errorf("%s was accepted", name)
		}
	}
	for name, text := range map[string]string{
		"an empty set":                 `{"keys":[]}`,
		"more about the set":           `{"issuer":"x","keys":[]}`,
		"the maximum number of keys":   `{"keys":[` + strings.TrimSuffix(many, ",") + `]}`,
		"the maximum size":             `{"keys":[]` + strings.Repeat(" ", MaxJWKSSize-len(`{"keys":[]}`)) + `}`,
		"a list in a list, not a keys": `{"keys":[ [ ] , [[]] ]}`,
	} {
		set, _, err := ParseJWKS([]byte(text))
		if err != nil || set.Len() != 0 {
			t.Errorf("%s: got %v, %v", name, set.IDs(), err)
		}
	}
}

// A marshaled set can be parsed again, and contains no private member.
func TestMarshalKeySet(t *testing.T) {
	ring := NewRing(acmeKey, []PublicKey{acmeKey.Public(), stranger.Public()})
	text, err := ring.KeySet().MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	set, dropped, err := ParseJWKS(text)
	if err != nil || len(dropped) != 0 || set.Len() != 2 {
		t.Fatalf("%d keys, %v, %v: %s", set.Len(), dropped, err, text)
	}
	if want := slices.Sorted(slices.Values(ring.KeySet().IDs())); !slices.Equal(set.IDs(), want) || strings.Contains(string(text), `"d"`) {
		t.Errorf("the set is %s", text)
	}
	raw, err := SignLink(ring, LinkClaims{Issuer: acme, ID: "x", SKU: "s", IssuedAt: noon.Unix(), ExpiresAt: noon.Unix() + 60})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := VerifyLink(raw, acme, set, noon); err != nil {
		t.Errorf("with the published set: %v", err)
	}
	if text, err := (KeySet{}).MarshalJSON(); err != nil || string(text) != `{"keys":[]}` {
		t.Errorf("the empty set is %s, %v", text, err)
	}
}
