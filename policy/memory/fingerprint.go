package memory

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"fmt"
	"sync"
	"unsafe"
)

// FingerprintSize is the length of a fingerprint in bytes.
const FingerprintSize = 16

// Fingerprinter computes fingerprints of texts: AES-GMAC tags (NIST SP 800-38D)
// under a random key that lives as long as the process. Without knowing the key,
// two different texts of n bytes have equal fingerprints with a probability of at
// most n/2^131.
//
// The nonce is fixed, so a fingerprint must not leave the process: a tag that an
// attacker sees would help to forge others.
type Fingerprinter struct {
	aead cipher.AEAD
	sums sync.Pool // of *[FingerprintSize]byte: cipher.AEAD lets its arguments escape
}

// NewFingerprinter returns a Fingerprinter with a key of its own.
func NewFingerprinter() (*Fingerprinter, error) {
	var key [32]byte
	_, _ = rand.Read(key[:]) // never fails, see crypto/rand
	block, err := aes.NewCipher(key[:])
	if err != nil {
		return nil, fmt.Errorf("making a fingerprinter: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("making a fingerprinter: %w", err)
	}
	return &Fingerprinter{aead: aead, sums: sync.Pool{New: func() any { return new([FingerprintSize]byte) }}}, nil
}

var fixedNonce [12]byte

// Append appends the fingerprint of a text. It allocates nothing if to has room.
func (f *Fingerprinter) Append(to []byte, text string) []byte {
	sum, _ := f.sums.Get().(*[FingerprintSize]byte)
	//nolint:gosec // G407: see Fingerprinter about the nonce
	f.aead.Seal(sum[:0], fixedNonce[:], nil, unsafe.Slice(unsafe.StringData(text), len(text)))
	to = append(to, sum[:]...)
	f.sums.Put(sum)
	return to
}
