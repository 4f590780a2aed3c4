package keys

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"strings"
	"testing"
)

func BenchmarkVerifyLink(b *testing.B) {
	raw := forgeLink(linkPayload())
	b.ReportAllocs()
	for b.Loop() {
		if _, err := verifyAcme(raw); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkVerifyBare measures the signature alone, the lower bound of
// BenchmarkVerifyLink.
func BenchmarkVerifyBare(b *testing.B) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	sum := sha256.Sum256([]byte("a text"))
	r, s, err := ecdsa.Sign(rand.Reader, key, sum[:])
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if !ecdsa.Verify(&key.PublicKey, sum[:], r, s) {
			b.Fatal("refused")
		}
	}
}

func BenchmarkSignLink(b *testing.B) {
	claims := LinkClaims{Issuer: acme, ID: "link_1", IssuedAt: noon.Unix(), ExpiresAt: noon.Unix() + 60, SKU: "premium"}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := SignLink(acmeRing, claims); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkScanMalformed(b *testing.B) {
	for name, raw := range malformedByShape() {
		b.Run(name, func(b *testing.B) { benchmarkRefusal(b, raw) })
	}
}

// BenchmarkScanDecoded measures tokens that must be decoded to be refused. They
// cost an attacker as much to make as tokens that need a signature check.
func BenchmarkScanDecoded(b *testing.B) {
	filled := strings.Repeat("a", MaxOwnTokenSize*3/4-200)
	for name, raw := range map[string]string{
		"no_json_4KiB":          token(es256, "{"+filled+"}"),
		"invalid_json_at_end":   token(es256, `{"a":"`+filled+`"]}`),
		"case_variant_claim":    token(es256, `{"exp":1,"EXP":2}`),
		"unknown_header_member": token(`{"alg":"ES256","crit":["exp"]}`, `{}`),
	} {
		b.Run(name, func(b *testing.B) { benchmarkRefusal(b, raw) })
	}
}

func benchmarkRefusal(b *testing.B, raw string) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Scan(raw); err == nil {
			b.Fatal("accepted")
		}
	}
}

// malformedByShape returns texts that are refused without decoding. Most have the
// maximum length.
func malformedByShape() map[string]string {
	good := forgeLink(linkPayload())
	header, rest, _ := strings.Cut(good, ".")
	payload, signature, _ := strings.Cut(rest, ".")
	letters := strings.Repeat("AbhZ7xu_", MaxOwnTokenSize/8)
	long := token(es256, `{"a":"`+strings.Repeat("a", (MaxOwnTokenSize-64)*3/4)+`"}`)
	return map[string]string{
		"dots":            strings.Repeat(".", 1<<20),
		"dots_4KiB":       strings.Repeat(".", MaxOwnTokenSize),
		"each_second_dot": strings.Repeat("A.", MaxOwnTokenSize/2),
		"dots_behind":     good + strings.Repeat(".", MaxOwnTokenSize-len(good)),
		"long":            strings.Repeat("A", 1<<20),
		"4KiB":            strings.Repeat("A", MaxOwnTokenSize),
		"letters":         "eyJ" + letters[3:],
		"letters_header":  "eyJ" + letters[:MaxOwnTokenSize-len(rest)-4] + "." + rest,
		"letters_payload": header + "." + letters[:MaxOwnTokenSize-len(header)-len(signature)-2] + "." + signature,
		"letters_behind":  header + ".eyJ" + letters[:MaxOwnTokenSize-len(header)-5],
		"letters_as_json": header + ".eyJ" + letters[:MaxOwnTokenSize-len(header)-len(signature)-6] + "." + signature,
		"standard":        good[:len(good)-1] + "/",
		"standard_4KiB":   long[:len(long)-len("signature")-20] + "+" + long[len(long)-len("signature")-19:],
		"padded":          good + "=",
		"two":             good[:strings.LastIndexByte(good, '.')],
		"four":            good + ".AAAA",
		"last_bits":       good[:len(good)-1] + "B",
		"no_base64":       "not a token at all",
		"line_feed":       good + "\n",
		"line_feeds":      strings.ReplaceAll(good, "A", "\n"),
		"spaces":          strings.Repeat(" ", MaxOwnTokenSize),
		"spaces_inside":   header + "." + strings.Repeat(" ", MaxOwnTokenSize-len(good)) + payload + "." + signature,
		"beyond_ascii":    strings.Repeat("\u200b", MaxOwnTokenSize/3),
		"empty_text":      "",
	}
}
