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

// BenchmarkVerifyBare is what cannot be spared of BenchmarkVerifyLink: the
// signature itself.
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
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Scan(raw); err == nil {
					b.Fatal("accepted")
				}
			}
		})
	}
}

// malformedByShape are texts that need no look at their bytes' meaning.
func malformedByShape() map[string]string {
	good := forgeLink(linkPayload())
	return map[string]string{
		"dots":       strings.Repeat(".", 1<<20),
		"long":       strings.Repeat("A", 1<<20),
		"4KiB":       strings.Repeat("A", MaxTokenSize),
		"standard":   good[:len(good)-1] + "/",
		"padded":     good + "=",
		"two":        good[:strings.LastIndexByte(good, '.')],
		"four":       good + ".AAAA",
		"last_bits":  good[:len(good)-1] + "B",
		"no_base64":  "not a token at all",
		"line_feed":  good + "\n",
		"empty_text": "",
	}
}
