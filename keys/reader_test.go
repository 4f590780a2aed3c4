package keys

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

func readerPayload() claims {
	return claims{"iss": `"gatefold:acme"`, "aud": `"news"`, "sub": `"user_1"`, "iat": unix(0), "exp": unix(time.Hour)}
}

func readerHeader(key *SigningKey) string {
	return fmt.Sprintf(`{"alg":"ES256","typ":"gatefold-reader+jwt","kid":%q}`, key.ID())
}

func verifyReader(raw string) (ReaderClaims, error) {
	issuer := OwnReaderIssuer("acme", "news")
	return issuer.Verify(raw, acmeSet, noon)
}

// idp is another issuer, with its own claim names.
var idp = ReaderIssuer{
	Issuer: "https://id.example", Audience: "news",
	Claims: ClaimNames{UserID: "uid", Email: "https://id.example/mail", EmailVerified: "mail_ok", PublisherUserID: "customer"},
}

func idpPayload() claims {
	return claims{"iss": `"https://id.example"`, "aud": `"news"`, "uid": `"u1"`, "exp": unix(time.Hour)}
}

func verifyIDP(payload claims) (ReaderClaims, error) {
	return idp.Verify(forge(acmeKey, fmt.Sprintf(`{"alg":"ES256","kid":%q}`, acmeKey.ID()), payload.String()), acmeSet, noon)
}

func TestReaderRoundTrip(t *testing.T) {
	for _, want := range []ReaderClaims{
		{UserID: "user_1"},
		{UserID: "ü|1 <&>", PublisherUserID: "c-7", Email: "a@example.com"},
		{UserID: "user_1", Email: "a@example.com", EmailVerified: true},
	} {
		want.ExpiresAt = noon.Unix() + 3600
		raw, err := SignReader(acmeRing, "acme", "news", want, noon)
		if err != nil {
			t.Fatal(err)
		}
		got, err := verifyReader(raw)
		if err != nil || got != want {
			t.Errorf("got %+v, %v, want %+v", got, err, want)
		}
	}
}

func TestSignReaderRefuses(t *testing.T) {
	good := ReaderClaims{UserID: "user_1", ExpiresAt: noon.Unix() + 60}
	for name, change := range map[string]func(*ReaderClaims){
		"no user id":              func(c *ReaderClaims) { c.UserID = "" },
		"a long user id":          func(c *ReaderClaims) { c.UserID = strings.Repeat("x", 256) },
		"a user id of two lines":  func(c *ReaderClaims) { c.UserID = "a\nb" },
		"a user id not in UTF-8":  func(c *ReaderClaims) { c.UserID = "\xff" },
		"an address without @":    func(c *ReaderClaims) { c.Email = "a" },
		"an address of two hosts": func(c *ReaderClaims) { c.Email = "a@evil@example.com" },
		"a negative expiry":       func(c *ReaderClaims) { c.ExpiresAt = -1 },
		"no expiry":               func(c *ReaderClaims) { c.ExpiresAt = 0 },
		"an expiry of now":        func(c *ReaderClaims) { c.ExpiresAt = noon.Unix() },
	} {
		t.Run(name, func(t *testing.T) {
			claims := good
			change(&claims)
			_, err := SignReader(acmeRing, "acme", "news", claims, noon)
			wantError(t, err, ErrClaims)
		})
	}
	_, err := SignReader(acmeRing, "acme", "", good, noon)
	wantError(t, err, ErrClaims)
}

// A link must never identify its visitor, and a reader token must not act as a
// link.
func TestLinksAndReaderTokensAreDistinct(t *testing.T) {
	both := linkPayload().with("aud", `"news"`).with("sub", `"user_1"`).String()
	link, reader := forge(acmeKey, linkHeader(acmeKey), both), forge(acmeKey, readerHeader(acmeKey), both)

	_, err := verifyAcme(link)
	wantError(t, err, nil)
	_, err = verifyReader(reader)
	wantError(t, err, nil)
	_, err = verifyAcme(reader)
	wantError(t, err, ErrType)
	_, err = verifyReader(link)
	wantError(t, err, ErrType)

	// Also if another issuer's key set contains our keys, with any spelling of the
	// type.
	foreign := ReaderIssuer{Issuer: acme, Audience: "news", Claims: DefaultClaimNames}
	for typ, want := range map[string]error{
		"gatefold-link+jwt":               ErrType,
		"gatefold-reader+jwt":             ErrType,
		"GateFold-Link+JWT":               ErrType,
		"application/gatefold-link+jwt":   ErrType,
		"Application/Gatefold-Reader+jwt": ErrType,
		"gatefold-access+jwt":             ErrType,
		"JWT":                             nil,
		"at+jwt":                          nil,
		"":                                nil,
	} {
		raw := forge(acmeKey, fmt.Sprintf(`{"alg":"ES256","typ":%q,"kid":%q}`, typ, acmeKey.ID()), both)
		_, err := foreign.Verify(raw, acmeSet, noon)
		if !errors.Is(err, want) {
			t.Errorf("typ %q: got %v, want %v", typ, err, want)
		}
	}
}

func TestReaderHeaders(t *testing.T) {
	for _, c := range []struct {
		name   string
		key    *SigningKey
		header string
		want   error
	}{
		{"an untrusted key with our kid", stranger, readerHeader(acmeKey), ErrSignature},
		{"an untrusted key with its own kid", stranger, readerHeader(stranger), ErrUnknownKey},
		{"no kid", acmeKey, `{"alg":"ES256","typ":"gatefold-reader+jwt"}`, ErrUnknownKey},
		{"alg none", acmeKey, `{"alg":"none","typ":"gatefold-reader+jwt","kid":"` + acmeKey.ID() + `"}`, ErrAlgorithm},
		{"any JWT", acmeKey, `{"alg":"ES256","typ":"JWT","kid":"` + acmeKey.ID() + `"}`, ErrType},
		{"our type with the prefix application/", acmeKey, `{"alg":"ES256","typ":"application/gatefold-reader+jwt","kid":"` + acmeKey.ID() + `"}`, ErrType},
	} {
		_, err := verifyReader(forge(c.key, c.header, readerPayload().String()))
		if !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", c.name, err, c.want)
		}
	}
}

func TestReaderClaims(t *testing.T) {
	text := func(size int) string { return `"` + strings.Repeat("x", size) + `"` }
	audiences := func(n int) string { return `["news"` + strings.Repeat(`,"x"`, n-1) + `]` }
	for _, c := range []struct {
		name, claim, value string
		want               error
	}{
		{"another vendor", "iss", `"gatefold:beta"`, ErrIssuer},
		{"no issuer", "iss", ``, ErrClaims},
		{"a list of issuers", "iss", `["gatefold:acme"]`, ErrClaims},

		{"no audience", "aud", ``, ErrAudience},
		{"an empty audience", "aud", `""`, ErrAudience},
		{"another site", "aud", `"blog"`, ErrAudience},
		{"a site that begins like ours", "aud", `"news2"`, ErrAudience},
		{"our site in capitals", "aud", `"News"`, ErrAudience},
		{"our site in a list", "aud", `["news"]`, nil},
		{"our site among others", "aud", ` [ "blog" , "n\u0065ws" ] `, nil},
		{"a list without our site", "aud", `["blog","shop"]`, ErrAudience},
		{"an empty list", "aud", `[]`, ErrAudience},
		{"a list in a list", "aud", `[["news"]]`, ErrAudience},
		{"an array with a number", "aud", `["news",1]`, ErrAudience},
		{"an array with null", "aud", `[null,"news"]`, ErrAudience},
		{"an object", "aud", `{"news":true}`, ErrAudience},
		{"all audiences, by null", "aud", `null`, ErrAudience},
		{"all audiences, by true", "aud", `true`, ErrAudience},
		{"500 audiences", "aud", audiences(500), nil},

		{"no user id", "sub", ``, ErrClaims},
		{"an empty user id", "sub", `""`, ErrClaims},
		{"a user id that is a number", "sub", `1`, ErrClaims},
		{"the longest user id", "sub", text(255), nil},
		{"a longer user id", "sub", text(256), ErrClaims},
		{"a user id with a NUL", "sub", `"user_1\u0000"`, ErrClaims},
		{"a user id with a line feed", "sub", `"user_1\nX-Admin: 1"`, ErrClaims},
		{"a user id in another case", "Sub", `"user_2"`, ErrMalformed},

		{"no expiry", "exp", ``, ErrClaims},
		{"expired at this second", "exp", unix(0), ErrExpired},
		{"expires in a second", "exp", unix(time.Second), nil},
		{"an expiry as text", "exp", `"` + unix(time.Hour) + `"`, ErrClaims},
		{"issued in a minute", "iat", unix(time.Minute), nil},
		{"issued in a minute and a second", "iat", unix(61 * time.Second), ErrNotYetValid},
		{"valid in a minute and a second", "nbf", unix(61 * time.Second), ErrNotYetValid},

		{"an address", "email", `"a@example.com"`, nil},
		{"an address null", "email", `null`, ErrClaims},
		{"a list of addresses", "email", `["a@example.com"]`, ErrClaims},
		{"an address of two hosts (CVE-2026-40574)", "email", `"a@evil@example.com"`, ErrClaims},
		{"an address without host", "email", `"example.com"`, ErrClaims},
		{"a longer address", "email", `"` + strings.Repeat("x", 243) + `@example.com"`, ErrClaims},
		{"an address in another case", "Email", `"a@example.com"`, ErrMalformed},
		{"verified as text", "email_verified", `"true"`, ErrClaims},
		{"verified as another text", "email_verified", `"True"`, ErrClaims},
		{"verified as a number", "email_verified", `1`, ErrClaims},
		{"verified null", "email_verified", `null`, ErrClaims},
		{"verified in another case", "EMAIL_VERIFIED", `true`, ErrMalformed},
		{"a publisher's id that is a number", "publisher_user_id", `7`, ErrClaims},
		{"the publisher's id with a long s", "publi\u017fher_user_id", `"7"`, ErrMalformed},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := verifyReader(forge(acmeKey, readerHeader(acmeKey), readerPayload().with(c.claim, c.value).String()))
			wantError(t, err, c.want)
		})
	}
}

// An address is marked as verified only by the value true.
func TestReaderEmailIsVerifiedOnlyIfTheIssuerSaysSo(t *testing.T) {
	for value, want := range map[string]bool{``: false, `false`: false, `true`: true} {
		payload := readerPayload().with("email", `"a@example.com"`).with("email_verified", value)
		got, err := verifyReader(forge(acmeKey, readerHeader(acmeKey), payload.String()))
		if err != nil || got.Email != "a@example.com" || got.EmailVerified != want {
			t.Errorf("email_verified %s: got %+v, %v", value, got, err)
		}
	}
}

func TestReaderClaimsOfAnotherIssuer(t *testing.T) {
	full := idpPayload().with("https://id.example/mail", `"a@example.com"`).with("mail_ok", `true`).with("customer", `"c-7"`).
		// Our own claim names have no meaning here.
		with("sub", `"another"`).with("email", `"b@example.com"`).with("publisher_user_id", `"c-8"`)
	got, err := verifyIDP(full)
	want := ReaderClaims{
		UserID: "u1", PublisherUserID: "c-7", Email: "a@example.com", EmailVerified: true, ExpiresAt: noon.Unix() + 3600,
	}
	if err != nil || got != want {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	for _, c := range []struct {
		name, claim, value string
		want               error
	}{
		{"no user, though there is a sub", "uid", ``, ErrClaims},
		{"the user in another case", "UID", `"u2"`, ErrMalformed},
		{"a case variant of the email claim", "https://id.example/Mail", `"c@example.com"`, ErrMalformed},
		{"another issuer", "iss", `"https://evil.example"`, ErrIssuer},
		{"the issuer and a slash", "iss", `"https://id.example/"`, ErrIssuer},
		{"another audience", "aud", `"blog"`, ErrAudience},
		{"no audience", "aud", ``, ErrAudience},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := verifyIDP(full.with(c.claim, c.value))
			wantError(t, err, c.want)
		})
	}
}

// A claim without a mapped name is empty; a member with an empty name is not read.
func TestReaderClaimsWithoutName(t *testing.T) {
	issuer := ReaderIssuer{Issuer: "https://id.example", Audience: "news", Claims: ClaimNames{UserID: "sub"}}
	header := fmt.Sprintf(`{"alg":"ES256","kid":%q}`, acmeKey.ID())
	payload := idpPayload().with("sub", `"u1"`).with("email", `"a@example.com"`).with("email_verified", `true`)
	got, err := issuer.Verify(forge(acmeKey, header, payload.String()), acmeSet, noon)
	if want := (ReaderClaims{UserID: "u1", ExpiresAt: noon.Unix() + 3600}); err != nil || got != want {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	_, err = issuer.Verify(forge(acmeKey, header, payload.with("", `"b@example.com"`).String()), acmeSet, noon)
	wantError(t, err, ErrMalformed)
}

// An issuer configured without audience accepts no token.
func TestReaderIssuerWithoutAudience(t *testing.T) {
	issuer := OwnReaderIssuer("acme", "")
	for _, audience := range []string{``, `""`, `[""]`, `"news"`} {
		_, err := issuer.Verify(forge(acmeKey, readerHeader(acmeKey), readerPayload().with("aud", audience).String()), acmeSet, noon)
		wantError(t, err, ErrAudience)
	}
}

func TestReaderTokenWithoutKid(t *testing.T) {
	raw := forge(acmeKey, `{"alg":"ES256"}`, idpPayload().String())
	_, err := idp.Verify(raw, acmeSet, noon)
	wantError(t, err, nil)
	_, err = idp.Verify(raw, NewKeySet(stranger.Public(), acmeKey.Public()), noon)
	wantError(t, err, ErrUnknownKey)
	_, err = idp.Verify(raw, NewKeySet(stranger.Public()), noon)
	wantError(t, err, ErrSignature)
}

// A token that another issuer made for another use, for the same client and with the
// same key, identifies no reader and no API client.
func TestTypedTokensOfAnotherIssuerAreNoReaderTokens(t *testing.T) {
	verify := func(typ string, payload claims) (error, error) {
		raw := forge(acmeKey, fmt.Sprintf(`{"alg":"ES256",%s"kid":%q}`, typ, acmeKey.ID()), payload.String())
		_, asReader := idp.Verify(raw, acmeSet, noon)
		access := AccessVerifier{Issuer: "https://id.example", Audience: "news"}
		_, asClient := access.Verify(raw, acmeSet, noon)
		return asReader, asClient
	}
	payload := idpPayload()
	payload["sub"] = `"u1"`
	for _, typ := range []string{"", "JWT", "jwt", "application/jwt", "at+jwt", "AT+JWT", "application/at+jwt"} {
		header := ""
		if typ != "" {
			header = fmt.Sprintf(`"typ":%q,`, typ)
		}
		if asReader, asClient := verify(header, payload); asReader != nil || asClient != nil {
			t.Errorf("typ %q: %v, %v", typ, asReader, asClient)
		}
	}
	for _, typ := range []string{
		"logout+jwt", "application/logout+jwt", "LOGOUT+JWT", "secevent+jwt", "dpop+jwt", "token-introspection+jwt", "client-authentication+jwt",
		"oauth-authz-req+jwt", "entity-statement+jwt", "vc+sd-jwt", "kb+jwt", "dca-share+jwt", "gatefold-link+jwt", "gatefold-reader+jwt", "gatefold-access+jwt", "x", " jwt",
	} {
		if asReader, asClient := verify(fmt.Sprintf(`"typ":%q,`, typ), payload); !errors.Is(asReader, ErrType) || !errors.Is(asClient, ErrType) {
			t.Errorf("typ %q: %v, %v", typ, asReader, asClient)
		}
	}
	other := idpPayload()
	other["aud"], other["sub"] = `"another-api"`, `"u1"`
	if asReader, asClient := verify(`"typ":"at+jwt",`, other); !errors.Is(asReader, ErrAudience) || !errors.Is(asClient, ErrAudience) {
		t.Errorf("an access token of another audience: %v, %v", asReader, asClient)
	}
	payload["events"] = `{"http://schemas.openid.net/event/backchannel-logout":{}}`
	if asReader, asClient := verify("", payload); !errors.Is(asReader, ErrType) || !errors.Is(asClient, ErrType) {
		t.Errorf("a logout token without a typ: %v, %v", asReader, asClient)
	}
}
