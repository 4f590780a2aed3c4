package keys

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// token returns a token with an arbitrary signature, which Scan does not verify.
func token(header, payload string) string {
	return encode(header) + "." + encode(payload) + "." + encode("signature")
}

const es256 = `{"alg":"ES256"}`

func TestScan(t *testing.T) {
	scanned, err := Scan(token(` { "typ" : "a\u002bjwt", "alg":"ES256","kid":"k1" } `, `{"iss":"me","n":[{"iss":1}]}`))
	if err != nil {
		t.Fatal(err)
	}
	if want := (Header{Algorithm: "ES256", Type: "a+jwt", KeyID: "k1"}); scanned.Header != want {
		t.Errorf("got header %+v, want %+v", scanned.Header, want)
	}
	if scanned.Issuer() != "me" {
		t.Errorf("got issuer %q", scanned.Issuer())
	}
}

func TestIssuerIsEmptyUnlessAString(t *testing.T) {
	for _, payload := range []string{`{}`, `{"iss":1}`, `{"iss":null}`, `{"iss":""}`, `{"iss":["me"]}`, `{"iss":"a\u0000b"}`} {
		scanned, err := Scan(token(es256, payload))
		if err != nil {
			t.Fatalf("%s: %v", payload, err)
		}
		if scanned.Issuer() != "" {
			t.Errorf("%s: got issuer %q", payload, scanned.Issuer())
		}
	}
}

func TestScanBoundsTheSize(t *testing.T) {
	// The payload is padded until the token has the size.
	sized := func(size int) string {
		rest := token(es256, `{}`)
		fill := size - len(rest) + len(encode(`{}`))
		// Four digits encode three bytes, three two, and two one.
		payload := `{"a":"` + strings.Repeat("x", fill/4*3+fill%4*3/4-len(`{"a":""}`)) + `"}`
		raw := token(es256, payload)
		if len(raw) != size {
			t.Fatalf("the token has %d bytes, want %d", len(raw), size)
		}
		return raw
	}
	_, err := Scan(sized(MaxTokenSize))
	wantError(t, err, nil)
	_, err = Scan(sized(MaxTokenSize + 1))
	wantError(t, err, ErrMalformed)
}

// A token has one accepted encoding. With a second one it could be used twice
// where tokens are compared as text.
func TestScanRefusesOtherSpellingsOfATokenThatVerifies(t *testing.T) {
	// Payloads and headers of every length modulo three, so that each segment has
	// unused bits in some of them.
	for pad := range 3 {
		key := acmeKey
		header := linkHeader(key)
		header = header[:len(header)-1] + strings.Repeat(" ", pad) + "}"
		raw := forge(key, header, linkPayload().with("sku", `"`+strings.Repeat("s", pad+1)+`"`).String())
		if _, err := verifyAcme(raw); err != nil {
			t.Fatal(err)
		}
		segments := strings.Split(raw, ".")
		for i, segment := range segments {
			for _, other := range otherSpellings(t, segment) {
				changed := append([]string(nil), segments...)
				changed[i] = other
				if _, err := Scan(strings.Join(changed, ".")); err == nil {
					t.Errorf("segment %d: %q was accepted for %q", i, other, segment)
				}
			}
		}
	}
}

// otherSpellings returns texts that lenient decoders decode to the same bytes.
func otherSpellings(t *testing.T, segment string) []string {
	t.Helper()
	const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	want := decode(t, segment)
	middle := len(segment) / 2
	spellings := []string{
		segment + "=", segment + "==", segment + "\n", "\r\n" + segment, segment[:middle] + "\n" + segment[middle:],
		" " + segment, segment + " ", segment + "\t", segment + "\x00", segment + "%3D", segment + "\u200b",
	}
	if standard := strings.NewReplacer("-", "+", "_", "/").Replace(segment); standard != segment {
		spellings = append(spellings, standard)
	}
	for _, digit := range digits {
		other := segment[:len(segment)-1] + string(digit)
		if decoded, err := base64.RawURLEncoding.DecodeString(other); err == nil && other != segment && string(decoded) == string(want) {
			spellings = append(spellings, other)
		}
	}
	return spellings
}

// Signatures of every length have one encoding. RSA signatures have other lengths
// modulo three than ES256.
func TestScanRefusesOtherSpellingsOfAnySignature(t *testing.T) {
	input := encode(es256) + "." + encode(`{}`) + "."
	for signature, want := range map[string]error{
		"AA": nil, "AB": ErrMalformed, "AP": ErrMalformed, "AQ": nil,
		"AAA": nil, "AAB": ErrMalformed, "AAD": ErrMalformed, "AAE": nil,
		"AAAA": nil, "AAAB": nil, "A": ErrMalformed, "AAAAA": ErrMalformed,
	} {
		_, err := Scan(input + signature)
		if !errors.Is(err, want) {
			t.Errorf("%s: got %v, want %v", signature, err, want)
		}
	}
}

func TestScanRefusesOtherForms(t *testing.T) {
	good := token(es256, `{}`)
	h, p, s := encode(es256), encode(`{}`), encode("signature")
	for name, raw := range map[string]string{
		"nothing":                    "",
		"one dot":                    ".",
		"two dots":                   "..",
		"one segment":                h,
		"two segments":               h + "." + p,
		"a fourth segment":           good + "." + s,
		"a trailing dot":             good + ".",
		"a leading dot":              "." + good,
		"the five segments of a JWE": good + "." + s + "." + s,
		"no header":                  "." + p + "." + s,
		"no payload":                 h + ".." + s,
		"no signature":               h + "." + p + ".",
		"a standard alphabet's +":    "a+aa." + p + "." + s,
		"a standard alphabet's /":    "a/aa." + p + "." + s,
		"a percent escape":           h + "%2E" + p + "." + s,
		"a comma":                    h + "," + p + "," + s,
		"a byte beyond ASCII":        h + "." + p + "." + "\xff\xff\xff",
		"a million dots":             strings.Repeat(".", 1<<20),
		"4096 dots":                  strings.Repeat(".", MaxTokenSize),
		"JSON serialisation":         `{"protected":"` + h + `","payload":"` + p + `","signature":"` + s + `"}`,
	} {
		if _, err := Scan(raw); err == nil {
			t.Errorf("%s was accepted", name)
		} else {
			wantError(t, err, ErrMalformed)
		}
	}
}

func TestScanRefusesHeaders(t *testing.T) {
	for name, header := range map[string]string{
		"no object":                       `["ES256"]`,
		"a string":                        `"ES256"`,
		"null":                            `null`,
		"no JSON":                         `{alg:ES256}`,
		"text after the object":           es256 + es256,
		"no alg":                          `{"typ":"JWT"}`,
		"an empty alg":                    `{"alg":""}`,
		"an alg that is not a string":     `{"alg":["ES256"]}`,
		"alg null":                        `{"alg":null}`,
		"alg twice":                       `{"alg":"ES256","alg":"none"}`,
		"alg twice, once escaped":         `{"alg":"ES256","\u0061lg":"none"}`,
		"alg in capitals as well":         `{"alg":"ES256","ALG":"none"}`,
		"alg in capitals only":            `{"Alg":"ES256"}`,
		"kid with a Kelvin sign":          `{"alg":"ES256","` + "\u212a" + `id":"x"}`,
		"crit, a critical extension":      `{"alg":"ES256","crit":["exp"],"exp":1}`,
		"crit, empty":                     `{"alg":"ES256","crit":[]}`,
		"b64, an unencoded payload":       `{"alg":"ES256","b64":false,"crit":["b64"]}`,
		"b64 that is not critical":        `{"alg":"ES256","b64":false}`,
		"crit in capitals":                `{"alg":"ES256","CRIT":["exp"]}`,
		"a member without a name":         `{"alg":"ES256","":1}`,
		"a kid that is not a string":      `{"alg":"ES256","kid":1}`,
		"a kid of 256 bytes":              `{"alg":"ES256","kid":"` + strings.Repeat("k", 256) + `"}`,
		"a kid with a line feed":          `{"alg":"ES256","kid":"a\nb"}`,
		"a typ that is not a string":      `{"alg":"ES256","typ":{}}`,
		"half a surrogate pair":           `{"alg":"ES256","kid":"\ud800"}`,
		"bytes that are not UTF-8":        "{\"alg\":\"ES256\",\"kid\":\"\xff\"}",
		"an overlong encoding of a quote": "{\"alg\":\"ES256\",\"kid\":\"\xc0\xa2\"}",
		"a byte order mark":               "\ufeff" + es256,
	} {
		if _, err := Scan(token(header, `{}`)); err == nil {
			t.Errorf("%s was accepted", name)
		} else {
			wantError(t, err, ErrMalformed)
		}
	}
}

// Issuers write header members of their own, such as Clerk's cat, Entra's rh and
// Salesforce's ver. Only crit says that one must be understood (RFC 7515, section 4).
func TestScanIgnoresHeaderMembers(t *testing.T) {
	for name, header := range map[string]string{
		"Clerk":      `{"alg":"RS256","cat":"cl_B7d4PD111AAA","kid":"ins_1","typ":"JWT"}`,
		"Entra":      `{"typ":"JWT","alg":"RS256","x5t":"abc","kid":"abc","nonce":"n","rh":"0.A"}`,
		"Salesforce": `{"alg":"RS256","kid":"246","tnk":"core/prod/00D","typ":"JWT","tty":"sfdc-core-token","ver":"1.0"}`,
		"Ping":       `{"alg":"RS256","kid":"default","pi.atm":"g0n2","pi.acr":1}`,
		"of a JWE":   `{"alg":"ES256","zip":"DEF","enc":"A256GCM","p2c":2147483647}`,
		"a key":      `{"alg":"ES256","jwk":{"kty":"EC"},"jku":"https://evil.example/jwks.json"}`,
	} {
		if _, err := Scan(token(header, `{}`)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A token that is too large is refused as that, so that the operator need not guess.
func TestScanNamesTheBound(t *testing.T) {
	groups := func(n int) string {
		claims := make([]string, n)
		for i := range claims {
			claims[i] = fmt.Sprintf(`"g%d":0`, i)
		}
		return token(es256, "{"+strings.Join(claims, ",")+"}")
	}
	for name, c := range map[string]struct {
		raw  string
		want error
	}{
		"as many claims as are read": {groups(maxClaims), nil},
		"one claim more":             {groups(maxClaims + 1), ErrTooLarge},
		"many claims, one twice":     {token(es256, payloadOf(groups(100))[:len(payloadOf(groups(100)))-1]+`,"g7":1}`), ErrMalformed},
		"15 KiB of groups":           {token(es256, `{"groups":["`+strings.Repeat("x", 11<<10)+`"]}`), nil},
		"more header members":        {token(`{"alg":"ES256",`+strings.Trim(payloadOf(groups(maxMembers)), "{}")+`}`, `{}`), ErrTooLarge},
		"a longer kid":               {token(`{"alg":"ES256","kid":"`+strings.Repeat("k", maxHeaderText+1)+`"}`, `{}`), ErrTooLarge},
		"20 KiB of groups":           {token(es256, `{"groups":["`+strings.Repeat("x", 15<<10)+`"]}`), ErrTooLarge},
	} {
		_, err := Scan(c.raw)
		if tooLarge := errors.Is(c.want, ErrTooLarge); !errors.Is(err, c.want) || errors.Is(err, ErrTooLarge) != tooLarge {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

// payloadOf returns the payload of a token.
func payloadOf(raw string) string {
	decoded, _ := base64.RawURLEncoding.DecodeString(strings.Split(raw, ".")[1])
	return string(decoded)
}

func TestScanRefusesPayloads(t *testing.T) {
	many := make([]string, maxClaims+1)
	for i := range many {
		many[i] = fmt.Sprintf(`"m%d":0`, i)
	}
	for name, payload := range map[string]string{
		"a number":                          `1`,
		"an array":                          `[{"iss":"me"}]`,
		"null":                              `null`,
		"another token":                     token(es256, `{}`),
		"another token, quoted":             `"` + token(es256, `{}`) + `"`,
		"half an object":                    `{"iss":"me"`,
		"two objects":                       `{}{}`,
		"a trailing comma":                  `{"a":1,}`,
		"a comment":                         `{/**/}`,
		"NaN":                               `{"exp":NaN}`,
		"exp twice":                         `{"exp":1,"exp":9999999999}`,
		"exp twice, once escaped":           `{"exp":1,"\u0065xp":9999999999}`,
		"exp in capitals as well":           `{"exp":1,"EXP":9999999999}`,
		"iss with a long s":                 "{\"iss\":\"a\",\"is\u017f\":\"b\"}",
		"a claim of the publisher's, twice": `{"x":1,"x":1}`,
		"a claim without a name":            `{"":1}`,
		"a name of half a surrogate pair":   `{"a\udfff":1}`,
		"too many members":                  "{" + strings.Join(many, ",") + "}",
		"bytes that are not UTF-8":          "{\"a\":\"\xff\"}",
		"a surrogate written in UTF-8":      "{\"a\":\"\xed\xa0\x80\"}",
		"unterminated nesting":              `{"a":` + strings.Repeat("[", 2900),
		"a raw control character":           "{\"a\":\"\x00\"}",
	} {
		if _, err := Scan(token(es256, payload)); err == nil {
			t.Errorf("%s was accepted", name)
		} else {
			wantError(t, err, ErrMalformed)
		}
	}
	if _, err := Scan(token(es256, "{"+strings.Join(many[1:], ",")+"}")); err != nil {
		t.Errorf("%d members: %v", maxClaims, err)
	}
}

func TestScanReadsNestedJSON(t *testing.T) {
	depth := 1400
	payload := `{"a":` + strings.Repeat("[", depth) + strings.Repeat("]", depth) +
		`,"b":{"iss":"no","x":["}","\"]",{"exp":1}]},"c":-1.5e3 ,"iss":"yes"}`
	scanned, err := Scan(token(es256, payload))
	if err != nil {
		t.Fatal(err)
	}
	if scanned.Issuer() != "yes" {
		t.Errorf("got issuer %q: a nested member was read as a claim", scanned.Issuer())
	}
	if c := string(scanned.claims.find("c")); c != "-1.5e3" {
		t.Errorf("got %q", c)
	}
}

// encoding/json decodes an unpaired surrogate to U+FFFD. Such text is refused;
// U+FFFD itself is accepted.
func TestScanReadsTheReplacementCharacter(t *testing.T) {
	for text, want := range map[string]string{
		`"` + "\ufffd" + `"`:         "\ufffd",
		`"\"` + "\ufffd" + `"`:       "\"\ufffd",
		`"\ud83d\ude00"`:             "\U0001f600",
		`"\ud83d` + "\ufffd" + `"`:   "",
		`"\ud83d"`:                   "",
		`"\ude00\ud83d"`:             "",
		`"\ufffd"`:                   "", // what encoding/json writes for invalid UTF-8
		`"\ud83d\ud83d\ude00"`:       "",
		`"` + "\u2028\ufffd" + `\""`: "\u2028\ufffd\"",
	} {
		scanned, err := Scan(token(es256, `{"iss":`+text+`}`))
		if err != nil {
			t.Fatal(err)
		}
		if scanned.Issuer() != want {
			t.Errorf("%s: got %q, want %q", text, scanned.Issuer(), want)
		}
	}
}
