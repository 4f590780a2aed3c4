package policy

import (
	"fmt"
	"math/big"
	"strings"
	"testing"
)

func (m *Fingerprinter) mark(text string) string { return string(m.Append(nil, text)) }

// A mark is the sum that its definition says, whichever way it is computed.
func TestMarkIsNH(t *testing.T) {
	m := NewFingerprinter()
	modulus := new(big.Int).Lsh(big.NewInt(1), 128)
	word := func(text string, i int) uint64 {
		var w uint64
		for j := range 8 {
			if at := 8*i + j; at < len(text) {
				w |= uint64(text[at]) << (8 * j)
			}
		}
		return w
	}
	for n := range markedText + 1 {
		text := strings.Repeat("text \x00\xff and more, ", 60)[:n]
		var want string
		for _, shift := range []int{0, 2} {
			sum := big.NewInt(int64(n))
			for i := 0; 8*i < n; i += 2 {
				x := new(big.Int).SetUint64(word(text, i) + m.key[i+shift])
				y := new(big.Int).SetUint64(word(text, i+1) + m.key[i+1+shift])
				sum.Add(sum, x.Mul(x, y))
			}
			bytes := sum.Mod(sum, modulus).FillBytes(make([]byte, 16))
			for _, half := range [][]byte{bytes[:8], bytes[8:]} {
				for i := range half {
					want += string([]byte{half[7-i]})
				}
			}
		}
		if got := m.mark(text); got != want {
			t.Fatalf("of %d bytes: %x, want %x", n, got, want)
		}
	}
}

// Whatever is done to a text gives it another mark: a bit, its length, zeros at
// its end, the order of its parts.
func TestMarksTellTextsApart(t *testing.T) {
	m := NewFingerprinter()
	seen := make(map[string]string)
	try := func(text string) {
		mark := m.mark(text)
		if other, taken := seen[mark]; taken && other != text {
			t.Fatalf("%q and %q have one mark", text, other)
		}
		if len(mark) != FingerprintSize || mark[:16] == mark[16:] && text != "" {
			t.Fatalf("%q has the mark %x", text, mark)
		}
		seen[mark] = text
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
		try(strings.Repeat("x", markedText-200+i))
	}
	if other := NewFingerprinter(); other.mark(token) == m.mark(token) {
		t.Error("two processes give a text one mark")
	}
}

func BenchmarkMark(b *testing.B) {
	m := NewFingerprinter()
	token := strings.Repeat("eyJhbGciOiJFUzI1NiJ9.", 30)[:400]
	var space [keySpace]byte
	b.ReportAllocs()
	for b.Loop() {
		m.Append(space[:0], token)
	}
}
