package keys

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// tokenErrors are the errors that a refused token may wrap.
var tokenErrors = []error{
	ErrMalformed, ErrType, ErrAlgorithm, ErrUnknownKey, ErrSignature, ErrExpired, ErrNotYetValid, ErrTooLong, ErrClaims, ErrIssuer, ErrAudience,
}

func isTokenError(err error) bool {
	for _, known := range tokenErrors {
		if errors.Is(err, known) {
			return true
		}
	}
	return false
}

// FuzzScan checks that Scan accepts only canonical encodings, and that it reads
// the same members as encoding/json.
func FuzzScan(f *testing.F) {
	f.Add(forgeLink(linkPayload()))
	f.Add(forge(acmeKey, readerHeader(acmeKey), readerPayload().String()))
	f.Add(token(es256, `{"a":[{"b":"\ud83d\ude00"},-1.5e+3,null,true," \\\" "] , "iss":"\u0061"}`))
	f.Add(token(`{"alg":"none"}`, `{"":0}`))
	f.Add("..")
	f.Add(strings.Repeat(".", 100))
	f.Add("e30.e31.e32")
	f.Add("eyJhbGciOiJhIn0.e30.AA")
	f.Add(token(" \t\r\n"+es256+"\n", "\r {} "))
	for _, raw := range malformedByShape() {
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		scanned, err := Scan(raw)
		if want := acceptable(raw); want != (err == nil) {
			t.Fatalf("Scan returns %v; the reference check accepts the token: %v", err, want)
		}
		if err == nil && !LooksLikeToken(raw) {
			t.Fatal("Scan accepts it, LooksLikeToken does not")
		}
		if err != nil {
			if !errors.Is(err, ErrMalformed) || !reflect.DeepEqual(scanned, Token{}) {
				t.Fatalf("got %+v with error %v", scanned, err)
			}
			return
		}
		if len(raw) > MaxTokenSize {
			t.Fatal("accepted although it is too long")
		}
		for segment := range strings.SplitSeq(raw, ".") {
			if encode(decode(t, segment)) != segment {
				t.Fatalf("%q is not the canonical encoding", segment)
			}
		}
		var header map[string]json.RawMessage
		if err := json.Unmarshal(decode(t, strings.Split(raw, ".")[0]), &header); err != nil {
			t.Fatal(err)
		}
		checkText(t, header, "alg", scanned.Header.Algorithm)
		checkText(t, header, "typ", scanned.Header.Type)
		checkText(t, header, "kid", scanned.Header.KeyID)
		checkObject(t, scanned.claims, decode(t, strings.Split(raw, ".")[1]))
		scanned.Issuer()
	})
}

// acceptable is a slow reference implementation of Scan.
func acceptable(raw string) bool {
	segments := strings.Split(raw, ".")
	if len(raw) > MaxTokenSize || len(segments) != 3 {
		return false
	}
	var decoded [3][]byte
	for i, segment := range segments {
		var err error
		if decoded[i], err = base64.RawURLEncoding.DecodeString(segment); err != nil || segment == "" ||
			base64.RawURLEncoding.EncodeToString(decoded[i]) != segment {
			return false
		}
	}
	if _, _, err := readHeader(decoded[0]); err != nil {
		return false
	}
	claims, ok := readObjectUpTo(decoded[1], maxClaims)
	return ok && !claims.hasCaseVariant(registeredClaims[:])
}

func checkText(t *testing.T, members map[string]json.RawMessage, name, got string) {
	t.Helper()
	var want string
	if text, ok := members[name]; ok {
		if err := json.Unmarshal(text, &want); err != nil {
			t.Fatal(err)
		}
	}
	if got != want {
		t.Fatalf("%s: got %q, encoding/json reads %q", name, got, want)
	}
}

// checkObject compares an object with what encoding/json reads.
func checkObject(t *testing.T, got object, text []byte) {
	t.Helper()
	var want map[string]json.RawMessage
	if err := json.Unmarshal(text, &want); err != nil {
		t.Fatalf("encoding/json refuses it: %v", err)
	}
	if len(got) != len(want) {
		t.Fatalf("got %d members, encoding/json reads %d", len(got), len(want))
	}
	for _, m := range got {
		if string(want[m.name]) != string(m.value) {
			t.Fatalf("%q: got %s, encoding/json reads %s", m.name, m.value, want[m.name])
		}
	}
}

// FuzzVerifyLink checks, for any payload that a trusted key signs, that the
// returned claims are within bounds and survive another round of signing.
func FuzzVerifyLink(f *testing.F) {
	f.Add(linkHeader(acmeKey), linkPayload().String(), int64(0))
	f.Add(linkHeader(acmeKey), linkPayload().with("maxUses", "3").with("meta", `{"a":{}}`).String(), int64(0))
	f.Add(linkHeader(acmeKey), linkPayload().with("url", `"https://news.example/\u0026?<>"`).with("nbf", unix(0)).String(), int64(-60))
	f.Add(linkHeader(acmeKey), linkPayload().with("exp", "1.5e9").with("iat", "1e-9").String(), int64(3600))
	f.Add(linkHeader(stranger), linkPayload().String(), int64(0))
	f.Add(`{"alg":"none"}`, `{"exp":1,"EXP":2}`, int64(0))
	f.Fuzz(func(t *testing.T, header, payload string, seconds int64) {
		now := noon.Add(time.Duration(seconds%(1<<31)) * time.Second)
		raw := forge(acmeKey, header, payload)
		got, err := VerifyLink(raw, acme, acmeSet, now)
		if err != nil {
			if !isTokenError(err) || !reflect.DeepEqual(got, LinkClaims{}) {
				t.Fatalf("got %+v with error %v", got, err)
			}
			return
		}
		switch {
		case got.Issuer != acme, got.ID == "", len(got.ID) > MaxLinkID, got.URL+got.SKU+got.PublisherContentID == "",
			got.MaxUses < 0, got.MaxUses > MaxMaxUses, len(got.Meta) > MaxLinkMeta:
			t.Fatalf("out of bounds: %+v", got)
		case now.Unix() >= got.ExpiresAt, got.NotBefore > now.Unix()+Leeway, got.IssuedAt > now.Unix()+Leeway:
			t.Fatalf("outside its validity: %+v at %d", got, now.Unix())
		}
		again, err := SignLink(acmeRing, got)
		if err != nil {
			// Our encoding of the claims may be longer than theirs, and exp may
			// precede iat or nbf within the leeway.
			if errors.Is(err, ErrClaims) && (len(raw) > MaxTokenSize/2 || got.ExpiresAt <= max(got.IssuedAt, got.NotBefore)) {
				return
			}
			t.Fatal(err)
		}
		second, err := VerifyLink(again, acme, acmeSet, now)
		if err != nil || !sameJSON(t, got, second) {
			t.Fatalf("signed again, %+v is %+v, %v", got, second, err)
		}
	})
}

// FuzzParseJWKS checks that every returned key has a unique id, or none if no other key
// without one has its algorithms, and only algorithms of its type, none of them symmetric.
func FuzzParseJWKS(f *testing.F) {
	ec := ecJWK(acmeKey.private, "one")
	f.Add(jwks(ec, ec.with("kid", `"two"`).with("key_ops", `["verify"]`).with("use", `"sig"`)))
	f.Add(jwks(ec, ec, claims{"kty": `"oct"`, "kid": `"k"`, "k": `"AAAA"`}))
	f.Add(jwks(claims{"kty": `"OKP"`, "crv": `"Ed25519"`, "kid": `"ed"`, "x": ec["x"]}))
	f.Add(jwks(rsaJWK(rsa2048.N, rsa2048.Primes[0], "r"), rsaJWK(rsa2048.N, order, "s").with("alg", `"PS256"`)))
	f.Add(jwks(ec.with("kid", ""), ec))
	f.Add(jwks(ec.with("kid", ""), ec.with("kid", ""), rsaJWK(rsa2048.N, order, "r").with("kid", "")))
	f.Add([]byte(`{"keys":[null,{},[],""]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		set, dropped, err := ParseJWKS(data)
		if err != nil && (set.Len() != 0 || dropped != nil) {
			t.Fatal("keys were returned with the error")
		}
		if set.Len()+len(dropped) > MaxJWKSKeys {
			t.Fatal("too many keys")
		}
		seen, unnamed := make(map[string]bool), make(map[jose.SignatureAlgorithm]bool)
		for _, key := range set.keys {
			if key.ID != "" && seen[key.ID] {
				t.Fatalf("a second key with the id %q", key.ID)
			}
			seen[key.ID] = true
			for _, algorithm := range key.algorithms {
				if key.ID == "" && unnamed[algorithm] {
					t.Fatalf("a second key without an id for %s", algorithm)
				}
				unnamed[algorithm] = unnamed[algorithm] || key.ID == ""
			}
			if kinds, err := algorithmsOf(key.Key); err != nil || len(key.algorithms) == 0 || len(key.algorithms) > len(kinds) {
				t.Fatalf("a key of an unsupported type: %v", err)
			}
			if key.supports("none") || key.supports("HS256") {
				t.Fatal("a key without id")
			}
			if err := (&Token{raw: forgeLink(linkPayload()), Header: Header{Algorithm: string(key.algorithms[0])}}).verify(&key); err == nil &&
				!acmeKey.private.PublicKey.Equal(key.Key) {
				t.Fatal("another key verifies our signature")
			}
		}
	})
}

// FuzzParseExpiresIn checks that a lifetime is positive, within bounds, and equal
// to its digits times its unit.
func FuzzParseExpiresIn(f *testing.F) {
	for _, text := range []string{"7d", "0s", "-1s", "367d", "7 d", "٧d", "99999999999999999999d", "8784h", "007m", ""} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := ParseExpiresIn(text)
		if err != nil {
			if got != 0 {
				t.Fatalf("got %v with an error", got)
			}
			return
		}
		unit := map[string]time.Duration{"s": time.Second, "m": time.Minute, "h": time.Hour, "d": 24 * time.Hour}[text[len(text)-1:]]
		if got <= 0 || got > MaxExpiresIn || got%unit != 0 {
			t.Fatalf("got %v", got)
		}
		if want := strings.TrimLeft(text, "0"); fmt.Sprint(int64(got/unit))+text[len(text)-1:] != want {
			t.Fatalf("%q was parsed as %v", text, got)
		}
	})
}
