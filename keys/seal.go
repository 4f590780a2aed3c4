package keys

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
)

// ErrSealed says that what was sealed cannot be opened with this secret.
var ErrSealed = errors.New("sealed with another secret, or altered: set the secret that it was sealed with")

// MinSecretSize is the shortest secret that is accepted, in bytes.
const MinSecretSize = 16

// Sealer seals private keys under the operator's secret, with AES-256-GCM and a
// random nonce. It is safe for concurrent use, and never shows its key.
type Sealer struct {
	secret []byte
	aead   cipher.AEAD
}

// The purposes for which keys are derived from the secret. They never change:
// what was made under one must open under it.
const (
	purposeSeal = "gatefold seal v1"
	// PurposeLinkCookie is for the MAC of link cookies.
	PurposeLinkCookie = "gatefold link cookie v1"
)

// NewSealer returns a sealer whose key is derived from a secret (HKDF-SHA256,
// RFC 5869).
func NewSealer(secret []byte) (*Sealer, error) {
	if len(secret) < MinSecretSize {
		return nil, fmt.Errorf("the secret is shorter than %d bytes: make one with `openssl rand -base64 32`", MinSecretSize)
	}
	s := &Sealer{secret: append([]byte(nil), secret...)}
	key, err := s.Derive(purposeSeal)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key[:])
	if err != nil {
		return nil, fmt.Errorf("making a cipher: %w", err)
	}
	if s.aead, err = cipher.NewGCMWithRandomNonce(block); err != nil {
		return nil, fmt.Errorf("making a cipher: %w", err)
	}
	return s, nil
}

// Seal encrypts a text, bound to additional data that Open must be given again.
func (s *Sealer) Seal(plaintext, additional []byte) []byte {
	return s.aead.Seal(nil, nil, plaintext, additional) //nolint:gosec // this AEAD makes its nonce itself
}

// Open decrypts what Seal made, or returns ErrSealed.
func (s *Sealer) Open(sealed, additional []byte) ([]byte, error) {
	plaintext, err := s.aead.Open(nil, nil, sealed, additional)
	if err != nil {
		return nil, ErrSealed
	}
	return plaintext, nil
}

// Derive returns a key for another purpose, from the same secret.
func (s *Sealer) Derive(purpose string) (key [sha256.Size]byte, err error) {
	derived, err := hkdf.Key(sha256.New, s.secret, nil, purpose, len(key))
	if err != nil {
		return key, fmt.Errorf("deriving a key: %w", err)
	}
	copy(key[:], derived)
	return key, nil
}

// Format keeps the secret out of whatever prints a Sealer.
func (s Sealer) Format(f fmt.State, _ rune) { fmt.Fprint(f, "sealer") }

// MarshalJSON keeps the secret out of JSON.
func (s Sealer) MarshalJSON() ([]byte, error) { return json.Marshal("sealer") }
