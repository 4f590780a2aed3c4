package policy

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"math/bits"
)

// marker gives texts marks of 32 bytes, by which they are known without being
// kept: one text is never taken for another. It is what each request waits for,
// and takes a sixth of the time that SHA-256 takes.
//
// A mark is the hash NH of UMAC (RFC 4418, section 5.2) with words of 64 bits,
// made twice under a key that the process draws at random and tells nobody: of
// two texts, whichever they are, the marks are equal under one key in 2^126. That
// is proven of whoever chooses the texts without knowing the key; it does not
// make a mark a signature, or a secret. No mark leaves the process.
type Fingerprinter struct {
	key [markedText/8 + 2]uint64
}

// markSize is the length of a mark. markedText is the length of the longest text
// that has one of this kind, in bytes; longer ones have a SHA-256.
const (
	FingerprintSize   = sha256.Size
	markedText = 1024
)

// newMarker returns a marker with a key of its own.
func NewFingerprinter() *Fingerprinter {
	m := new(Fingerprinter)
	var random [len(m.key) * 8]byte
	_, _ = rand.Read(random[:]) // it never fails
	for i := range m.key {
		m.key[i] = binary.LittleEndian.Uint64(random[8*i:])
	}
	return m
}

// appendMark appends a text's mark.
func (m *Fingerprinter) Append(to []byte, text string) []byte {
	if len(text) > markedText {
		sum := tokenSum(text)
		return append(to, sum[:]...)
	}
	var aHigh, aLow, bHigh, bLow, carry uint64
	key, rest := m.key[:], text
	for {
		var x, y uint64
		switch {
		case len(rest) >= 16:
			x, y, rest = load64(rest), load64(rest[8:]), rest[16:]
		case len(rest) > 0:
			var last [16]byte
			copy(last[:], rest)
			x, y, rest = binary.LittleEndian.Uint64(last[:]), binary.LittleEndian.Uint64(last[8:]), ""
		default:
			// Texts that differ in nothing but the zeros at their end differ in
			// length.
			aLow, carry = bits.Add64(aLow, uint64(len(text)), 0)
			aHigh += carry
			bLow, carry = bits.Add64(bLow, uint64(len(text)), 0)
			bHigh += carry
			to = binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(to, aHigh), aLow)
			return binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(to, bHigh), bLow)
		}
		k := (*[4]uint64)(key)
		high, low := bits.Mul64(x+k[0], y+k[1])
		aLow, carry = bits.Add64(aLow, low, 0)
		aHigh += high + carry
		high, low = bits.Mul64(x+k[2], y+k[3])
		bLow, carry = bits.Add64(bLow, low, 0)
		bHigh += high + carry
		key = key[2:]
	}
}
