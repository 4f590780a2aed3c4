package keys

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
)

// ErrSealed says that a sealed value cannot be opened with this secret.
var ErrSealed = errors.New("sealed with another secret, or altered: set the secret that it was sealed with")

// MinSecretSize is the minimum length of a secret, in bytes.
const MinSecretSize = 16

// Sealer encrypts private keys under the operator's secret, with AES-256-GCM and
// a random nonce. It is safe for concurrent use, and formats as a constant that
// does not reveal the secret.
type Sealer struct {
	secret []byte
	aead   cipher.AEAD
}

// Purposes of keys derived from the secret (the `info` of HKDF). They never
// change: a value sealed under a purpose must open under it.
const (
	purposeSeal = "gatefold seal v1"
	// PurposeLinkCookie is the purpose of the MAC key of link cookies.
	PurposeLinkCookie = "gatefold link cookie v1"
	// PurposeLinkReader is the purpose of the MAC key of the ids under which the uses of
	// readers are counted.
	PurposeLinkReader = "gatefold link reader v1"
	// PurposeLinkNetwork is the purpose of the MAC key of the networks from which links
	// are opened.
	PurposeLinkNetwork = "gatefold link network v1"
	// PurposeLoginTicket is the purpose of the MAC key of the tickets of login sessions.
	PurposeLoginTicket = "gatefold login ticket v1"
	// PurposeSnapshot is the purpose of the key that seals the snapshots of a node.
	PurposeSnapshot = "gatefold node snapshot v1"
	// PurposeAPIKey is the purpose of the MAC key of the API keys of readers, and PurposeFeed of
	// those in the URLs of their feeds.
	PurposeAPIKey = "gatefold api key v1" //nolint:gosec // names a purpose
	PurposeFeed   = "gatefold feed v1"
)

// NewSealer returns a Sealer whose key is derived from the secret with
// HKDF-SHA256 (RFC 5869). It returns an error when the secret is shorter than
// MinSecretSize.
func NewSealer(secret []byte) (*Sealer, error) {
	if len(secret) < MinSecretSize {
		return nil, fmt.Errorf("the secret is shorter than %d bytes: make one with `openssl rand -base64 32`", MinSecretSize)
	}
	s := &Sealer{secret: slices.Clone(secret)}
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

// Seal encrypts plaintext and authenticates it together with the additional
// data, which Open needs again.
func (s *Sealer) Seal(plaintext, additional []byte) []byte {
	return s.aead.Seal(nil, nil, plaintext, additional) //nolint:gosec // this AEAD makes its nonce itself
}

// Open decrypts a result of Seal. It returns ErrSealed when the secret, the
// additional data or the sealed bytes differ.
func (s *Sealer) Open(sealed, additional []byte) ([]byte, error) {
	plaintext, err := s.aead.Open(nil, nil, sealed, additional)
	if err != nil {
		return nil, ErrSealed
	}
	return plaintext, nil
}

// Derive returns the key for a purpose, derived from the secret.
func (s *Sealer) Derive(purpose string) (key [sha256.Size]byte, err error) {
	derived, err := hkdf.Key(sha256.New, s.secret, nil, purpose, len(key))
	if err != nil {
		return key, fmt.Errorf("deriving a key: %w", err)
	}
	copy(key[:], derived)
	return key, nil
}

// Format prints a constant, so that no log shows the secret.
func (s Sealer) Format(f fmt.State, _ rune) { fmt.Fprint(f, "sealer") }

// MarshalJSON writes a constant, so that no JSON shows the secret.
func (s Sealer) MarshalJSON() ([]byte, error) { return json.Marshal("sealer") }
