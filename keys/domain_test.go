package keys

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"
)

func TestNormalDomain(t *testing.T) {
	for text, want := range map[string]string{
		"example.com": "example.com", "Example.COM.": "example.com", "example.wordpress.com": "example.wordpress.com",
		"bücher.example": "xn--bcher-kva.example", "BÜCHER.example": "xn--bcher-kva.example", "xn--bcher-kva.example": "xn--bcher-kva.example",
		"XN--BCHER-KVA.example": "xn--bcher-kva.example", "localhost": "localhost", "a-b.1x.example": "a-b.1x.example", "faß.example": "xn--fa-hia.example",
	} {
		got, err := NormalDomain(text)
		if err != nil || got != want {
			t.Errorf("%q is %q, %v; want %q", text, got, err, want)
		}
		if again, err := NormalDomain(got); err != nil || again != got {
			t.Errorf("the normal form %q is not stable: %q, %v", got, again, err)
		}
	}
	for _, text := range []string{
		"", ".", "..", "https://example.com", "example.com:443", "*.example.com", "a..example", "a.b...", "-a.example", "a-.example", "a_b.example",
		" example.com", "example.com\n", "example.com/path", "user@example.com", "127.0.0.1", "127.1", "2130706433", "1.2.3.4.", "[::1]", "::1",
		"xn--a.example", "xn--bcher-kvA1.example\x00", "a\u200db.example\u2028", strings.Repeat("a", 64) + ".example", strings.Repeat("a.", 130) + "example", "example。com:1", "ex%61mple.com",
	} {
		if got, err := NormalDomain(text); err == nil {
			t.Errorf("%q is accepted as %q", text, got)
		}
	}
}

// spki returns a public key as a PEM block.
func spki(t *testing.T, key any) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

func TestPinnedKeys(t *testing.T) {
	one, two := mustGenerate(), mustGenerate()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "news.example"}, NotAfter: noon.Add(-time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, two.private.Public(), two.private)
	if err != nil {
		t.Fatal(err)
	}
	certificate := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	for name, test := range map[string]struct {
		text string
		want []string
	}{
		"one key":                 {spki(t, one.private.Public()), []string{one.ID()}},
		"no final newline":        {strings.TrimSpace(spki(t, one.private.Public())), []string{one.ID()}},
		"CRLF line ends":          {strings.ReplaceAll(spki(t, one.private.Public()), "\n", "\r\n"), []string{one.ID()}},
		"a key and its successor": {spki(t, one.private.Public()) + certificate, []string{one.ID(), two.ID()}},
		"a text before the key":   {"our key of 2026\n" + spki(t, one.private.Public()), []string{one.ID()}},
	} {
		set, err := ParsePinnedKeys(test.text)
		if err != nil || strings.Join(set.IDs(), " ") != strings.Join(test.want, " ") {
			t.Errorf("%s: %v, %v", name, set.IDs(), err)
		}
	}

	p384, _ := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	rsaKey, _ := rsa.GenerateKey(rand.Reader, 2048)
	edKey, _, _ := ed25519.GenerateKey(rand.Reader)
	private, _ := one.MarshalPrivate()
	good := spki(t, one.private.Public())
	for name, test := range map[string]struct{ text, says string }{
		"empty":             {"", "no PEM block"},
		"no PEM":            {"MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE", "no PEM block"},
		"P-384":             {spki(t, p384.Public()), "P-384"},
		"RSA":               {spki(t, rsaKey.Public()), "RSA"},
		"Ed25519":           {spki(t, edKey), "another type"},
		"a private key":     {string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})), "private key"},
		"a request":         {string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})), "neither"},
		"no key within":     {string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: []byte("x")})), "cannot be parsed"},
		"a damaged block":   {strings.Replace(good, "\n", "\n!", 1) + good, "of which 1 can be parsed"},
		"text after":        {good + "and more", "text after"},
		"too many":          {strings.Repeat(good, MaxPinnedKeys+1), "more than 8"},
		"much too long":     {good + strings.Repeat("\n", MaxPinnedSize), "longer"},
		"the second is RSA": {good + spki(t, rsaKey.Public()), "block 2 is an RSA key"},
	} {
		_, err := ParsePinnedKeys(test.text)
		if err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: %v, want an error with %q", name, err, test.says)
		}
	}
}

func TestPublisherJWKSAddress(t *testing.T) {
	for _, address := range []string{
		"https://news.example/.well-known/dca-publishers.json", "https://news.example:443/keys", "https://NEWS.example/keys?v=2",
	} {
		if err := CheckPublisherJWKS("news.example", address); err != nil {
			t.Errorf("%s: %v", address, err)
		}
	}
	for _, address := range []string{
		"", "http://news.example/keys", "https://evil.example/keys", "https://www.news.example/keys", "https://news.example.evil.example/keys",
		"https://news.example:8443/keys", "https://user@news.example/keys", "https://news.example/keys#x", "https://evil.example\\@news.example/",
		"https://news.example@evil.example/keys", "//news.example/keys", "file://news.example/etc/passwd", "https://127.0.0.1/keys",
	} {
		if err := CheckPublisherJWKS("news.example", address); err == nil {
			t.Errorf("%s is accepted", address)
		}
	}
}

// An id matches literally, whatever characters it contains; only an entry that
// starts with prefix: is a pattern.
func TestAllowedResources(t *testing.T) {
	ids := []string{"article-1", "a*", "x.y", "prefix:series/*", "prefix:literal"}
	for id, want := range map[string]bool{
		"article-1": true, "article-10": false, "Article-1": false, "a*": true, "abc": false, "x.y": true, "xzy": false,
		"series/1": true, "series/": true, "series": false, "prefix:literal": true, "literal": false, "prefix:series/*": true, "": false,
	} {
		if got := allowsResource(ids, id); got != want {
			t.Errorf("%q: %v", id, got)
		}
	}
	if !allowsResource(nil, "anything") {
		t.Error("an empty list does not allow every resource")
	}
	if err := CheckAllowedResources(append(ids, "ä")); err != nil {
		t.Error(err)
	}
	for name, ids := range map[string][]string{
		"an empty id": {""}, "a line": {"a\nb"}, "a long id": {strings.Repeat("x", 300)}, "too many": make([]string, MaxAllowedResources+1), "not UTF-8": {"\xff"},
	} {
		if CheckAllowedResources(ids) == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}
