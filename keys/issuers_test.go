package keys

import (
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"testing"
)

// Issuers name EdDSA with an Ed25519 key as RFC 8037 did, or as RFC 9864 does. One key
// verifies both, and no signature of another key or input.
func TestEd25519ByBothNames(t *testing.T) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	data, err := NewKeySet(mustKey(t, "ed", private, nil, "")).MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	set, dropped, err := ParseJWKS(data)
	if err != nil || dropped != nil {
		t.Fatal(err, dropped)
	}
	for _, algorithm := range []string{"EdDSA", "Ed25519"} {
		input := encode(fmt.Sprintf(`{"alg":%q,"kid":"ed"}`, algorithm)) + "." + encode(idpPayload().String())
		signature := ed25519.Sign(private, []byte(input))
		claims, err := idp.Verify(input+"."+encode(string(signature)), set, noon)
		if err != nil || claims.UserID != "u1" {
			t.Errorf("%s: %+v, %v", algorithm, claims, err)
		}
		for name, bad := range map[string][]byte{
			"altered": append(signature[:63:63], signature[63]^1), "short": signature[:32], "of another input": ed25519.Sign(private, []byte(input+"x")),
		} {
			if _, err := idp.Verify(input+"."+encode(string(bad)), set, noon); !errors.Is(err, ErrSignature) {
				t.Errorf("%s, %s: %v", algorithm, name, err)
			}
		}
	}
	// The name does not make another key an Ed25519 key.
	raw := forge(acmeKey, fmt.Sprintf(`{"alg":"Ed25519","kid":%q}`, acmeKey.ID()), idpPayload().String())
	if _, err := idp.Verify(raw, acmeSet, noon); !errors.Is(err, ErrAlgorithm) {
		t.Errorf("an ES256 key verifies Ed25519: %v", err)
	}
}

// A key set of one key needs no kid (RFC 7517, section 4.5): the signature decides. Of
// several keys without one, it would be unknown which signed.
func TestKeySetWithoutKeyID(t *testing.T) {
	without := ecJWK(acmeKey.private, "x").with("kid", ``)
	set, dropped, err := ParseJWKS([]byte(`{"keys":[` + without.String() + `]}`))
	if err != nil || dropped != nil || set.Len() != 1 {
		t.Fatal(set.IDs(), dropped, err)
	}
	for header, want := range map[string]error{
		`{"alg":"ES256"}`:             nil,
		`{"alg":"ES256","kid":"any"}`: nil,
		`{"alg":"RS256"}`:             ErrUnknownKey,
	} {
		if _, err := idp.Verify(forge(acmeKey, header, idpPayload().String()), set, noon); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", header, err, want)
		}
	}
	if _, err := idp.Verify(forge(stranger, `{"alg":"ES256"}`, idpPayload().String()), set, noon); !errors.Is(err, ErrSignature) {
		t.Errorf("a token of a stranger: %v", err)
	}
	two := `{"keys":[` + without.String() + `,` + ecJWK(stranger.private, "named").String() + `]}`
	set, dropped, err = ParseJWKS([]byte(two))
	if err != nil || len(dropped) != 1 || set.Len() != 1 || set.IDs()[0] != "named" {
		t.Errorf("of two keys: %v, dropped %v, %v", set.IDs(), dropped, err)
	}
}

// Some issuers number their users, although sub must be a string. The operator says so:
// otherwise 1e2 and 100 could be two spellings of one reader.
func TestIntegerUserIDs(t *testing.T) {
	numbered := idp
	numbered.IntegerIDs = true
	for value, want := range map[string]string{
		`42`: "42", `-7`: "-7", `"42"`: "42", `18446744073709551615`: "18446744073709551615",
		`4.2`: "", `1e2`: "", `true`: "", `null`: "", `[42]`: "", `-`: "", `123456789012345678901`: "",
	} {
		raw := forge(acmeKey, fmt.Sprintf(`{"alg":"ES256","kid":%q}`, acmeKey.ID()), idpPayload().with("uid", value).String())
		claims, err := numbered.Verify(raw, acmeSet, noon)
		if claims.UserID != want || (err == nil) != (want != "") {
			t.Errorf("%s: %q, %v", value, claims.UserID, err)
		}
	}
	raw := forge(acmeKey, fmt.Sprintf(`{"alg":"ES256","kid":%q}`, acmeKey.ID()), idpPayload().with("uid", `42`).String())
	if _, err := idp.Verify(raw, acmeSet, noon); !errors.Is(err, ErrClaims) {
		t.Errorf("without the option: %v", err)
	}
}
