package keys

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestLinkRoundTrip(t *testing.T) {
	for _, want := range []LinkClaims{
		{PublisherContentID: "article-1"},
		{SKU: "premium", NotBefore: noon.Unix() + 30},
		{SKU: "premium", MaxDevices: 3, IPPrefix: "203.0.113.0/24", PerReader: true},
		{
			URL: "https://news.example/a?x=1&y=<2>#ü", SKU: "sku:1", PurchaseOption: "po_1", PublisherContentID: "ä ö",
			Subject: "user 1", MaxUses: MaxMaxUses, Meta: json.RawMessage(`{"campaign":{"a":[1,"<&>"]}}`),
		},
	} {
		want.Issuer, want.ID, want.IssuedAt, want.ExpiresAt = acme, "link_1", noon.Unix(), noon.Unix()+60
		raw, err := SignLink(acmeRing, want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := verifyAcme(raw)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("got  %+v\nwant %+v", got, want)
		}
	}
}

// Links stay valid across releases: this token was made by the first version, with
// the key of RFC 7515, appendix A.3.
func TestLinkOfEarlierVersion(t *testing.T) {
	const raw = "eyJhbGciOiJFUzI1NiIsImtpZCI6Im9LSXl3dkdVcFRWVHl4TVEzYndJSWVRVXVkZnJfQ2tMTWpDRTE5RUNELVUiLCJ0eXAiOiJnYXRlZm9sZC1saW5rK2p3dCJ9.eyJpc3MiOiJnYXRlZm9sZDphY21lIiwianRpIjoibGlua18xIiwiaWF0IjoxNzcyMzY2NDAwLCJleHAiOjE3NzI5NzEyMDAsInVybCI6Imh0dHBzOi8vbmV3cy5leGFtcGxlL2E_eD0xJnk9MiIsInNrdSI6InByZW1pdW0iLCJwdWJsaXNoZXJDb250ZW50SWQiOiJhcnRpY2xlLTEiLCJtYXhVc2VzIjozLCJtZXRhIjp7ImNhbXBhaWduIjoic3ByaW5nIn19._-rfLYYaYZ5DTXJ_1a1gHCRFTIvkAcK-IoVBnuFwnsfWKQAng8GBnsPAVpExLZw5EGVSAN6QCrzlGU23pN9wXg"
	got, err := verifyAcme(raw)
	if err != nil {
		t.Fatal(err)
	}
	want := LinkClaims{
		Issuer: acme, ID: "link_1", IssuedAt: 1772366400, ExpiresAt: 1772971200,
		URL: "https://news.example/a?x=1&y=2", SKU: "premium", PublisherContentID: "article-1", MaxUses: 3,
		Meta: json.RawMessage(`{"campaign":"spring"}`),
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	again, err := SignLink(acmeRing, want)
	if err != nil {
		t.Fatal(err)
	}
	if input, _ := cutSignature(again); !strings.HasPrefix(raw, input) {
		t.Errorf("the same claims make a different token now: %s", again)
	}
}

func cutSignature(raw string) (input, signature string) {
	last := strings.LastIndexByte(raw, '.')
	return raw[:last], raw[last+1:]
}

func TestLinkHeaders(t *testing.T) {
	payload := linkPayload().String()
	own, other := acmeKey.ID(), stranger.ID()
	jwk := ecJWK(stranger.private, other).String()
	for name, c := range map[string]struct {
		key    *SigningKey
		header string
		want   error
	}{
		"valid":                             {acmeKey, linkHeader(acmeKey), nil},
		"an untrusted key with our kid":     {stranger, linkHeader(acmeKey), ErrSignature},
		"an untrusted key with its own kid": {stranger, linkHeader(stranger), ErrUnknownKey},
		"our key with an unknown kid":       {acmeKey, linkHeader(stranger), ErrUnknownKey},
		"an embedded key, our kid":          {stranger, `{"alg":"ES256","typ":"gatefold-link+jwt","kid":"` + own + `","jwk":` + jwk + `}`, ErrSignature},
		"an embedded key, its own kid":      {stranger, `{"alg":"ES256","typ":"gatefold-link+jwt","kid":"` + other + `","jwk":` + jwk + `}`, ErrUnknownKey},
		"an embedded key, no kid":           {stranger, `{"alg":"ES256","typ":"gatefold-link+jwt","jwk":` + jwk + `}`, ErrUnknownKey},
		"a jku":                             {stranger, `{"alg":"ES256","typ":"gatefold-link+jwt","kid":"` + own + `","jku":"https://evil.example/jwks.json"}`, ErrSignature},
		"a x5u":                             {stranger, `{"alg":"ES256","typ":"gatefold-link+jwt","kid":"` + own + `","x5u":"https://evil.example/c"}`, ErrSignature},
		"an invalid x5c":                    {stranger, `{"alg":"ES256","typ":"gatefold-link+jwt","kid":"` + own + `","x5c":["MA=="]}`, ErrMalformed},
		"no kid":                            {acmeKey, `{"alg":"ES256","typ":"gatefold-link+jwt"}`, ErrUnknownKey},
		"an empty kid":                      {acmeKey, `{"alg":"ES256","typ":"gatefold-link+jwt","kid":""}`, ErrUnknownKey},
		"a kid in capitals":                 {acmeKey, `{"alg":"ES256","typ":"gatefold-link+jwt","kid":"` + strings.ToUpper(own) + `"}`, ErrUnknownKey},
		"the beginning of a kid":            {acmeKey, `{"alg":"ES256","typ":"gatefold-link+jwt","kid":"` + own[:20] + `"}`, ErrUnknownKey},
		"alg none":                          {acmeKey, `{"alg":"none","typ":"gatefold-link+jwt","kid":"` + own + `"}`, ErrAlgorithm},
		"alg None":                          {acmeKey, `{"alg":"None","typ":"gatefold-link+jwt","kid":"` + own + `"}`, ErrAlgorithm},
		"alg es256":                         {acmeKey, `{"alg":"es256","typ":"gatefold-link+jwt","kid":"` + own + `"}`, ErrAlgorithm},
		"alg ES384":                         {acmeKey, `{"alg":"ES384","typ":"gatefold-link+jwt","kid":"` + own + `"}`, ErrAlgorithm},
		"alg RS256":                         {acmeKey, `{"alg":"RS256","typ":"gatefold-link+jwt","kid":"` + own + `"}`, ErrAlgorithm},
		"a reader's token":                  {acmeKey, `{"alg":"ES256","typ":"gatefold-reader+jwt","kid":"` + own + `"}`, ErrType},
		"any JWT":                           {acmeKey, `{"alg":"ES256","typ":"JWT","kid":"` + own + `"}`, ErrType},
		"no typ":                            {acmeKey, `{"alg":"ES256","kid":"` + own + `"}`, ErrType},
		"typ in capitals":                   {acmeKey, `{"alg":"ES256","typ":"GATEFOLD-LINK+JWT","kid":"` + own + `"}`, ErrType},
		"crit":                              {acmeKey, `{"alg":"ES256","typ":"gatefold-link+jwt","kid":"` + own + `","crit":["b64"],"b64":true}`, ErrMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			claims, err := verifyAcme(forge(c.key, c.header, payload))
			wantError(t, err, c.want)
			if err != nil && !reflect.DeepEqual(claims, LinkClaims{}) {
				t.Errorf("claims were returned with the error: %+v", claims)
			}
		})
	}
}

// A verifier that takes the algorithm from the token would use the public key as
// an HMAC secret.
func TestLinkSignedWithThePublicKeyAsSecret(t *testing.T) {
	der, err := x509.MarshalPKIXPublicKey(acmeKey.private.Public())
	if err != nil {
		t.Fatal(err)
	}
	point, err := acmeKey.private.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range [][]byte{der, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), point, nil} {
		for _, typ := range []string{typeLink, typeReader} {
			input := encode(fmt.Sprintf(`{"alg":"HS256","typ":%q,"kid":%q}`, typ, acmeKey.ID())) + "." +
				encode(linkPayload().with("aud", `"news"`).with("sub", `"u"`).String())
			mac := hmac.New(sha256.New, secret)
			mac.Write([]byte(input))
			raw := input + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
			if typ == typeLink {
				_, err = verifyAcme(raw)
			} else {
				issuer := OwnReaderIssuer("acme", "news")
				_, err = issuer.Verify(raw, acmeSet, noon)
			}
			wantError(t, err, ErrAlgorithm)
		}
	}
}

func TestLinkClaims(t *testing.T) {
	text := func(size int) string { return `"` + strings.Repeat("x", size) + `"` }
	for _, c := range []struct {
		name, claim, value string
		want               error
	}{
		{"no issuer", "iss", ``, ErrClaims},
		{"an empty issuer", "iss", `""`, ErrClaims},
		{"an issuer that is not a string", "iss", `["gatefold:acme"]`, ErrClaims},
		{"another vendor", "iss", `"gatefold:beta"`, ErrIssuer},
		{"a vendor whose slug starts with ours", "iss", `"gatefold:acme2"`, ErrIssuer},
		{"the bare slug", "iss", `"acme"`, ErrIssuer},
		{"our vendor in capitals", "iss", `"gatefold:ACME"`, ErrIssuer},
		{"our vendor and a space", "iss", `"gatefold:acme "`, ErrIssuer},

		{"no id", "jti", ``, ErrClaims},
		{"an empty id", "jti", `""`, ErrClaims},
		{"an id that is a number", "jti", `1`, ErrClaims},
		{"the longest id", "jti", text(MaxLinkID), nil},
		{"a longer id", "jti", text(MaxLinkID + 1), ErrClaims},
		{"an id of two lines", "jti", `"a\nb"`, ErrClaims},
		{"an id with a space", "jti", `"a b"`, ErrClaims},
		{"an id that is not ASCII", "jti", `"ä"`, ErrClaims},

		{"no resource", "publisherContentId", ``, ErrClaims},
		{"an empty resource", "publisherContentId", `""`, ErrClaims},
		{"a content id that is a number", "publisherContentId", `1`, ErrClaims},
		{"the longest content id", "publisherContentId", text(MaxLinkText), nil},
		{"a longer content id", "publisherContentId", text(MaxLinkText + 1), ErrClaims},
		{"a content id with a NUL", "publisherContentId", `"article-1\u0000"`, ErrClaims},
		{"a list of skus", "sku", `["premium"]`, ErrClaims},
		{"a longer sku", "sku", text(MaxLinkText + 1), ErrClaims},
		{"the longest url", "url", text(MaxLinkURL), nil},
		{"a longer url", "url", text(MaxLinkURL + 1), ErrClaims},
		{"a longer user", "sub", text(MaxLinkText + 1), ErrClaims},
		{"a longer purchase option", "purchaseOption", text(MaxLinkText + 1), ErrClaims},

		{"one use", "maxUses", `1`, nil},
		{"the most uses", "maxUses", `2147483647`, nil},
		{"more uses", "maxUses", `2147483648`, ErrClaims},
		{"uses beyond int64", "maxUses", `99999999999999999999`, ErrClaims},
		{"zero uses", "maxUses", `0`, ErrClaims},
		{"negative uses", "maxUses", `-1`, ErrClaims},
		{"half a use", "maxUses", `1.5`, ErrClaims},
		{"an integer spelled as a fraction", "maxUses", `1.0`, ErrClaims},
		{"an integer with an exponent", "maxUses", `1e3`, ErrClaims},
		{"uses as text", "maxUses", `"1"`, ErrClaims},
		{"uses null", "maxUses", `null`, ErrClaims},
		{"uses in a list", "maxUses", `[1]`, ErrClaims},

		{"meta of the publisher", "meta", `{"a":[1]}`, nil},
		{"meta that is an array", "meta", `[1]`, ErrClaims},
		{"meta that is a string", "meta", `"{}"`, ErrClaims},
		{"meta that is null", "meta", `null`, ErrClaims},
		{"the longest meta", "meta", `{"a":` + text(MaxLinkMeta-8) + `}`, nil},
		{"a longer meta", "meta", `{"a":` + text(MaxLinkMeta-7) + `}`, ErrClaims},

		{"an unknown claim", "whatever", `{"exp":1}`, nil},
		{"uses in another case", "maxuses", `5`, ErrMalformed},
		{"a content id in another case", "publisherContentID", `"article-2"`, ErrMalformed},
		{"a case variant of url", "URL", `"https://news.example/"`, ErrMalformed},
		{"a sku with a long s", "\u017fku", `"premium"`, ErrMalformed},
		{"a sku with a Kelvin sign", "s\u212au", `"premium"`, ErrMalformed},
		{"an issuer in another case", "Iss", `"gatefold:beta"`, ErrMalformed},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := verifyAcme(forgeLink(linkPayload().with(c.claim, c.value)))
			wantError(t, err, c.want)
		})
	}
}

func TestLinkTimes(t *testing.T) {
	for _, c := range []struct {
		name, claim, value string
		want               error
	}{
		{"no expiry", "exp", ``, ErrClaims},
		{"an expiry as text", "exp", `"` + unix(time.Hour) + `"`, ErrClaims},
		{"an expiry in a list", "exp", `[` + unix(time.Hour) + `]`, ErrClaims},
		{"an expiry null", "exp", `null`, ErrClaims},
		{"an expiry true", "exp", `true`, ErrClaims},
		{"a negative expiry", "exp", `-1`, ErrClaims},
		{"an expiry below int64", "exp", `-9223372036854775809`, ErrClaims},
		{"an expiry beyond the integers of float64", "exp", `9007199254740992`, ErrClaims},
		{"an expiry beyond int64", "exp", `18446744073709551616`, ErrClaims},
		{"an expiry beyond float64", "exp", `1e400`, ErrClaims},
		{"an infinitesimal expiry", "exp", `1e-400`, ErrExpired},
		{"the last expiry", "exp", `9007199254740991`, nil},
		{"an expiry with an exponent", "exp", `4e9`, nil},
		{"expiry at zero", "exp", `0`, ErrExpired},
		{"expiry at minus zero", "exp", `-0`, ErrExpired},
		{"expired a second ago", "exp", unix(-time.Second), ErrExpired},
		{"expires now", "exp", unix(0), ErrExpired},
		{"expires in half a second: rounded down", "exp", unix(0) + `.5`, ErrExpired},
		{"expires in a second", "exp", unix(time.Second), nil},
		{"expires in milliseconds, by mistake", "exp", unix(time.Hour) + `000`, nil},

		{"issued in a minute, within the leeway", "iat", unix(Leeway * time.Second), nil},
		{"issued in a minute and a second", "iat", unix((Leeway + 1) * time.Second), ErrNotYetValid},
		{"issued in a minute and a millisecond: rounded up", "iat", unix(Leeway*time.Second) + `.001`, ErrNotYetValid},
		{"issued long ago", "iat", `0`, nil},
		{"no time of issue", "iat", ``, nil},
		{"issued before 1970", "iat", `-1`, ErrClaims},
		{"a time of issue that is a string", "iat", `"0"`, ErrClaims},
		{"issued beyond float64", "iat", `1e400`, ErrClaims},

		{"valid in a minute, within the leeway", "nbf", unix(Leeway * time.Second), nil},
		{"valid in a minute and a second", "nbf", unix((Leeway + 1) * time.Second), ErrNotYetValid},
		{"valid in a minute and a millisecond: rounded up", "nbf", unix(Leeway*time.Second) + `.001`, ErrNotYetValid},
		{"an nbf that is a string", "nbf", `"0"`, ErrClaims},
		{"an nbf that is null", "nbf", `null`, ErrClaims},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := verifyAcme(forgeLink(linkPayload().with(c.claim, c.value)))
			wantError(t, err, c.want)
		})
	}
}

// Even if two vendors share a key by mistake, a link of one opens nothing at the
// other.
func TestLinkOfAnotherVendorWithTheSameKey(t *testing.T) {
	raw := forgeLink(linkPayload().with("iss", `"gatefold:beta"`))
	_, err := VerifyLink(raw, VendorIssuer("beta"), acmeSet, noon)
	wantError(t, err, nil)
	_, err = verifyAcme(raw)
	wantError(t, err, ErrIssuer)
	_, err = VerifyLink(forgeLink(linkPayload()), "", acmeSet, noon)
	wantError(t, err, ErrIssuer)
}

func TestLinkWithoutKeys(t *testing.T) {
	_, err := VerifyLink(forgeLink(linkPayload()), acme, KeySet{}, noon)
	wantError(t, err, ErrUnknownKey)
}

// SignLink refuses what VerifyLink would refuse.
func TestSignLinkRefuses(t *testing.T) {
	good := LinkClaims{Issuer: acme, ID: "link_1", IssuedAt: noon.Unix(), ExpiresAt: noon.Unix() + 60, SKU: "premium"}
	for name, change := range map[string]func(*LinkClaims){
		"no issuer":                 func(c *LinkClaims) { c.Issuer = "" },
		"no id":                     func(c *LinkClaims) { c.ID = "" },
		"an id with a space":        func(c *LinkClaims) { c.ID = "a b" },
		"a long id":                 func(c *LinkClaims) { c.ID = strings.Repeat("x", MaxLinkID+1) },
		"no resource":               func(c *LinkClaims) { c.SKU = "" },
		"a long sku":                func(c *LinkClaims) { c.SKU = strings.Repeat("x", MaxLinkText+1) },
		"a long url":                func(c *LinkClaims) { c.URL = strings.Repeat("x", MaxLinkURL+1) },
		"a sku that is not UTF-8":   func(c *LinkClaims) { c.SKU = "\xff" },
		"a sku of two lines":        func(c *LinkClaims) { c.SKU = "a\nb" },
		"negative uses":             func(c *LinkClaims) { c.MaxUses = -1 },
		"too many uses":             func(c *LinkClaims) { c.MaxUses = MaxMaxUses + 1 },
		"no expiry":                 func(c *LinkClaims) { c.ExpiresAt = 0 },
		"a negative expiry":         func(c *LinkClaims) { c.ExpiresAt = -1 },
		"an expiry beyond a double": func(c *LinkClaims) { c.ExpiresAt = 1 << 53 },
		"expiry when it is issued":  func(c *LinkClaims) { c.ExpiresAt = c.IssuedAt },
		"expiry before it is valid": func(c *LinkClaims) { c.NotBefore = c.ExpiresAt },
		"a negative time of issue":  func(c *LinkClaims) { c.IssuedAt = -1 },
		"meta that is an array":     func(c *LinkClaims) { c.Meta = json.RawMessage(`[]`) },
		"meta that is not JSON":     func(c *LinkClaims) { c.Meta = json.RawMessage(`{"a"`) },
		"a long meta":               func(c *LinkClaims) { c.Meta = json.RawMessage(`{"a":"` + strings.Repeat("x", MaxLinkMeta) + `"}`) },
		"every claim at its maximum": func(c *LinkClaims) {
			c.URL = strings.Repeat("x", MaxLinkURL)
			c.Meta = json.RawMessage(`{"a":"` + strings.Repeat("x", MaxLinkMeta-8) + `"}`)
		},
	} {
		t.Run(name, func(t *testing.T) {
			claims := good
			change(&claims)
			raw, err := SignLink(acmeRing, claims)
			wantError(t, err, ErrClaims)
			if raw != "" {
				t.Error("a token was returned with the error")
			}
		})
	}
}

func TestSignLinkRefusesTooLongToken(t *testing.T) {
	_, err := SignLink(acmeRing, LinkClaims{
		Issuer: acme, ID: "link_1", IssuedAt: noon.Unix(), ExpiresAt: noon.Unix() + 60,
		URL: strings.Repeat("x", MaxLinkURL), Meta: json.RawMessage(`{"a":"` + strings.Repeat("x", MaxLinkMeta-8) + `"}`),
	})
	if err == nil || !strings.Contains(err.Error(), "4096") {
		t.Errorf("got %v", err)
	}
}

// A URL of the maximum length fits into a token, because & and < are not escaped
// as six bytes.
func TestSignLinkOfTheLongestURL(t *testing.T) {
	claims := LinkClaims{Issuer: acme, ID: "link_1", IssuedAt: noon.Unix(), ExpiresAt: noon.Unix() + 60}
	claims.URL = "https://news.example/?" + strings.Repeat("a=1&", 506)
	raw, err := SignLink(acmeRing, claims)
	if err != nil {
		t.Fatal(err)
	}
	got, err := verifyAcme(raw)
	if err != nil || got.URL != claims.URL {
		t.Errorf("got %q, %v", got.URL, err)
	}
}

// Errors contain no part of a token: tokens are secrets, and errors are logged.
func TestErrorsContainNoToken(t *testing.T) {
	for _, claim := range []string{"iss", "jti", "url", "sku", "sub", "exp", "maxUses", "meta"} {
		for _, value := range []string{`"SECRET\u0000"`, `["SECRET"]`, `"` + strings.Repeat("SECRET", 400) + `"`} {
			if _, err := verifyAcme(forgeLink(linkPayload().with(claim, value))); err == nil || strings.Contains(err.Error(), "SECRET") {
				t.Errorf("%s: got %v", claim, err)
			}
		}
	}
}
