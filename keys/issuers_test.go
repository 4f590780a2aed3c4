package keys

import (
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"
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
	// Beside other keys it verifies the tokens that name none: of its algorithm it must be
	// the only one. Of two keys it would be unknown which signed.
	set, dropped, err = ParseJWKS(jwks(without, rsaJWK(rsa2048.N, big.NewInt(int64(rsa2048.E)), "rs").with("kid", ``)))
	if err != nil || dropped != nil || set.Len() != 2 {
		t.Fatal(set.IDs(), dropped, err)
	}
	for header, want := range map[string]error{`{"alg":"ES256"}`: nil, `{"alg":"ES256","kid":"any"}`: ErrUnknownKey} {
		if _, err := idp.Verify(forge(acmeKey, header, idpPayload().String()), set, noon); !errors.Is(err, want) {
			t.Errorf("of two keys of two types, %s: %v, want %v", header, err, want)
		}
	}
	set, dropped, err = ParseJWKS(jwks(without, ecJWK(stranger.private, "y").with("kid", ``), ecJWK(stranger.private, "named")))
	if err != nil || len(dropped) != 2 || !slices.Equal(set.IDs(), []string{"named"}) {
		t.Errorf("of two keys of one type: %v, dropped %v, %v", set.IDs(), dropped, err)
	}
}

// Some issuers number their users, although sub must be a string. The operator says so. A
// number has one spelling, and where users are numbered a reader who chose the name "42"
// must not become number 42.
func TestIntegerUserIDs(t *testing.T) {
	numbered := idp
	numbered.IntegerIDs = true
	for value, want := range map[string]string{
		`42`: "42", `-7`: "-7", `0`: "0", `18446744073709551615`: "18446744073709551615", `"u42"`: "u42", `"042"`: "042",
		`"42"`: "", `"-7"`: "", `"0"`: "", `1.0`: "", `1e0`: "", `-0`: "", `4.2`: "", `1e2`: "", `true`: "", `null`: "", `[42]`: "", `-`: "", `123456789012345678901`: "",
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

// What other issuers may write, our own keys and publishers never do: their tokens keep
// the narrow form, so that a token with more is not ours whatever its signature.
func TestOurTokensKeepTheirForm(t *testing.T) {
	long := `"` + strings.Repeat("x", MaxOwnTokenSize) + `"`
	verifiers := map[string]struct {
		typ     string
		payload claims
		verify  func(string) error
	}{
		"reader": {typeReader, readerPayload(), func(raw string) error { _, err := verifyReader(raw); return err }},
		"link":   {typeLink, linkPayload(), func(raw string) error { _, err := verifyAcme(raw); return err }},
		"access": {typeAccess, accessPayload(), func(raw string) error { _, err := verifyAccess(raw); return err }},
		"publisher": {typeShare + "+jwt", claims{
			"type": `"dca-share"`, "domain": `"news.example"`, "resourceId": `"article-1"`, "scopes": `["all"]`, "jti": `"j"`, "iat": unix(0), "exp": unix(time.Hour),
		}, func(raw string) error { _, err := news.share(t, raw); return err }},
	}
	for name, v := range verifiers {
		header := func(more string) string {
			return fmt.Sprintf(`{"alg":"ES256","typ":%q,"kid":%q%s}`, v.typ, acmeKey.ID(), more)
		}
		wide := v.payload
		for i := range maxMembers {
			wide = wide.with(fmt.Sprint("claim", i), "0")
		}
		for what, c := range map[string]struct {
			header  string
			payload claims
			want    error
		}{
			"as signed":                    {header(""), v.payload, nil},
			"with a member of an issuer":   {header(`,"rh":"0.A"`), v.payload, ErrMalformed},
			"with a critical member":       {header(`,"crit":["exp"]`), v.payload, ErrMalformed},
			"with as many claims":          {header(""), wide, errOwnTooLarge},
			"with as many bytes as groups": {header(""), v.payload.with("groups", long), errOwnTooLarge},
		} {
			if err := v.verify(forge(acmeKey, c.header, c.payload.String())); !errors.Is(err, c.want) {
				t.Errorf("a token of kind %s %s: %v, want %v", name, what, err, c.want)
			}
		}
	}
}

// Cognito and Apple write email_verified as a string. Exactly "true" counts.
func TestIssuersVerifyAddressesByText(t *testing.T) {
	for value, want := range map[string]error{`"true"`: nil, `"false"`: nil, `true`: nil, `"True"`: ErrClaims, `"1"`: ErrClaims, `1`: ErrClaims, `"true "`: ErrClaims} {
		claims, err := verifyIDP(idpPayload().with("https://id.example/mail", `"a@example.com"`).with("mail_ok", value))
		if !errors.Is(err, want) || claims.EmailVerified != (value == `true` || value == `"true"`) {
			t.Errorf("%s: %+v, %v", value, claims, err)
		}
	}
}

// The name of a failed check is in explanations.
func TestFailedCheck(t *testing.T) {
	for err, want := range map[error]string{
		ErrTooLarge: "size", errOwnTooLarge: "size", ErrMalformed: "form", ErrType: "type", ErrAlgorithm: "algorithm", ErrUnknownKey: "key",
		ErrSignature: "signature", errUnnamedKey: "signature", ErrExpired: "time", ErrNotYetValid: "time", ErrIssuer: "issuer", ErrAudience: "audience",
		&claimError{"sub", tooLong}: "claims", ErrBusy: "keys", errors.New("another"): "", nil: "",
	} {
		if got := FailedCheck(err); got != want {
			t.Errorf("%v: %q, want %q", err, got, want)
		}
	}
}
