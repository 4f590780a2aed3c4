package memory

import (
	"fmt"
	"strings"
	"testing"
)

func (f *Fingerprinter) of(text string) string { return string(f.Append(nil, text)) }

func newTestFingerprinter(t testing.TB) *Fingerprinter {
	t.Helper()
	f, err := NewFingerprinter()
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// Every change of a text changes its fingerprint: of a bit, of the length, of trailing
// zeros, of the order of parts.
func TestFingerprintsTellTextsApart(t *testing.T) {
	f := newTestFingerprinter(t)
	seen := make(map[string]string)
	try := func(text string) {
		t.Helper()
		print := f.of(text)
		if other, taken := seen[print]; taken && other != text {
			t.Fatalf("%q and %q have the same fingerprint", text, other)
		}
		if len(print) != FingerprintSize {
			t.Fatalf("%q has the fingerprint %x", text, print)
		}
		if again := f.of(text); again != print {
			t.Fatalf("%q has two fingerprints", text)
		}
		seen[print] = text
	}
	token := strings.Repeat("eyJhbGciOiJFUzI1NiJ9.", 30)
	for i := range 400 {
		for bit := range 8 {
			changed := []byte(token[:400])
			changed[i] ^= 1 << bit
			try(string(changed))
		}
		try(token[:i])
		try(strings.Repeat("\x00", i))
		try(token[:16] + strings.Repeat("\x00", i))
		try(token[i:] + token[:i] + fmt.Sprint(i))
	}
	if newTestFingerprinter(t).of(token) == f.of(token) {
		t.Error("two keys give the same fingerprint")
	}
}

func BenchmarkFingerprint(b *testing.B) {
	f := newTestFingerprinter(b)
	token := strings.Repeat("eyJhbGciOiJFUzI1NiJ9.", 30)[:400]
	var space [64]byte
	b.ReportAllocs()
	for b.Loop() {
		f.Append(space[:0], token)
	}
}
