package keys

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
)

// system signs access tokens; here with the key that acme has as well, so that
// nothing is refused for its key alone.
var systemRing, systemSet = acmeRing, acmeSet

func accessPayload() claims {
	return claims{
		"iss": `"gatefold:_system"`, "aud": `"management"`, "sub": `"client_1"`, "client_id": `"client_1"`, "jti": `"t1"`,
		"vendor_id": `"acme"`, "scope": `"links:read links:write"`, "gen": "1", "iat": unix(0), "exp": unix(time.Hour),
	}
}

func forgeAccess(payload claims) string {
	return forge(acmeKey, fmt.Sprintf(`{"alg":"ES256","typ":"gatefold-access+jwt","kid":%q}`, acmeKey.ID()), payload.String())
}

func verifyAccess(raw string) (AccessClaims, error) {
	verifier := OwnAccessVerifier()
	return verifier.Verify(raw, systemSet, noon)
}

func TestAccessRoundTrip(t *testing.T) {
	for _, want := range []AccessClaims{
		{Subject: "client_1", ID: "t1", Vendor: "acme", Scopes: []string{"grants:*", "links:read"}, Generation: 3},
		{Subject: "client_2", ID: "t2", Scopes: []string{"vendors:*"}, Generation: 1},
	} {
		want.IssuedAt, want.ExpiresAt = noon.Unix(), noon.Unix()+3600
		raw, err := SignAccess(systemRing, want, noon)
		if err != nil {
			t.Fatal(err)
		}
		got, err := verifyAccess(raw)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, %v, want %+v", got, err, want)
		}
	}
	if _, err := SignAccess(systemRing, AccessClaims{Subject: "c", ExpiresAt: noon.Unix()}, noon); !errors.Is(err, ErrClaims) {
		t.Errorf("a token that has expired was signed: %v", err)
	}
	if _, err := SignAccess(systemRing, AccessClaims{ExpiresAt: noon.Unix() + 60}, noon); !errors.Is(err, ErrClaims) {
		t.Errorf("a token without subject was signed: %v", err)
	}
}

func TestAccessRefuses(t *testing.T) {
	good := accessPayload()
	if _, err := verifyAccess(forgeAccess(good)); err != nil {
		t.Fatal(err)
	}
	many := `"` + strings.TrimSpace(strings.Repeat("a:b ", 65)) + `"`
	for name, test := range map[string]struct {
		claim, text string
		want        error
	}{
		"another issuer":           {"iss", `"gatefold:acme"`, ErrIssuer},
		"no issuer":                {"iss", "", ErrClaims},
		"another audience":         {"aud", `"news"`, ErrAudience},
		"no audience":              {"aud", "", ErrAudience},
		"no subject":               {"sub", "", ErrClaims},
		"expired":                  {"exp", unix(0), ErrExpired},
		"never expires":            {"exp", "", ErrClaims},
		"from the future":          {"iat", unix(2 * time.Minute), ErrNotYetValid},
		"an empty vendor":          {"vendor_id", `""`, ErrClaims},
		"a vendor that is a list":  {"vendor_id", `["acme"]`, ErrClaims},
		"a vendor that is null":    {"vendor_id", `null`, ErrClaims},
		"a scope that is a list":   {"scope", `["links:read"]`, ErrClaims},
		"too many scopes":          {"scope", many, ErrClaims},
		"a case variant":           {"Vendor_ID", `"other"`, ErrMalformed},
		"permissions of a text":    {"permissions", `"links:read"`, ErrClaims},
		"permissions with numbers": {"permissions", `[1]`, ErrClaims},
		"a generation of zero":     {"gen", "0", ErrClaims},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := verifyAccess(forgeAccess(good.with(test.claim, test.text)))
			wantError(t, err, test.want)
		})
	}
	if _, err := verifyAccess(forge(stranger, fmt.Sprintf(`{"alg":"ES256","typ":"gatefold-access+jwt","kid":%q}`, acmeKey.ID()), good.String())); !errors.Is(err, ErrSignature) {
		t.Errorf("the signature of an untrusted key: %v", err)
	}
}

// Another issuer may use scope or permissions, and cannot make tokens of our
// types.
func TestAccessOfAnotherIssuer(t *testing.T) {
	idp := AccessVerifier{Issuer: "https://id.example", Audience: "https://api.example"}
	payload := claims{"iss": `"https://id.example"`, "aud": `["https://api.example","x"]`, "sub": `"m2m"`, "vendor_id": `"acme"`, "exp": unix(time.Hour)}
	verify := func(typ string, payload claims) (AccessClaims, error) {
		return idp.Verify(forge(acmeKey, fmt.Sprintf(`{"alg":"ES256",%s"kid":%q}`, typ, acmeKey.ID()), payload.String()), acmeSet, noon)
	}
	got, err := verify(`"typ":"at+jwt",`, payload.with("scope", `"links:read grants:*"`).with("permissions", `["links:read","rules:write"]`))
	if want := []string{"grants:*", "links:read", "rules:write"}; err != nil || !reflect.DeepEqual(got.Scopes, want) || got.Vendor != "acme" {
		t.Errorf("got %+v, %v", got, err)
	}
	for _, typ := range []string{"gatefold-access+jwt", "application/gatefold-reader+jwt", "GATEFOLD-link+jwt"} {
		_, err := verify(fmt.Sprintf(`"typ":%q,`, typ), payload)
		wantError(t, err, ErrType)
	}
	_, err = verify("", payload.with("aud", `"management"`))
	wantError(t, err, ErrAudience)
}

// Every kind of token is verified as every other kind. One key signs them all,
// with the issuer and audience that the verifier expects, so only the type can
// distinguish them. Then the type is the expected one, and only the audience can.
func TestEveryKindAsEveryOther(t *testing.T) {
	kinds := map[string]struct {
		payload claims
		verify  func(raw string) error
	}{
		"gatefold-link+jwt":   {linkPayload(), func(raw string) error { _, err := verifyAcme(raw); return err }},
		"gatefold-reader+jwt": {readerPayload(), func(raw string) error { _, err := verifyReader(raw); return err }},
		"gatefold-access+jwt": {accessPayload(), func(raw string) error { _, err := verifyAccess(raw); return err }},
	}
	for kind := range kinds {
		for expected, verifier := range kinds {
			header := fmt.Sprintf(`{"alg":"ES256","typ":%q,"kid":%q}`, kind, acmeKey.ID())
			err := verifier.verify(forge(acmeKey, header, verifier.payload.String()))
			if kind == expected && err != nil {
				t.Errorf("%s as itself: %v", kind, err)
			}
			if kind != expected && !errors.Is(err, ErrType) {
				t.Errorf("%s as %s: %v", kind, expected, err)
			}
		}
	}
	_, err := verifyAccess(forgeAccess(accessPayload().with("aud", `"news"`)))
	wantError(t, err, ErrAudience)
	reader := forge(acmeKey, readerHeader(acmeKey), readerPayload().with("aud", `"management"`).String())
	_, err = verifyReader(reader)
	wantError(t, err, ErrAudience)
}
