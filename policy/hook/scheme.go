package hook

import (
	"encoding/base64"
	"errors"
	"strings"
)

// The signature schemes.
const (
	// Standard is Standard Webhooks 1.0 with symmetric signatures.
	Standard = "standard"
	// Stripe is that of Stripe: the header Stripe-Signature.
	Stripe = "stripe"
)

// SecretPrefix begins the secrets of both schemes.
const SecretPrefix = "whsec_"

const (
	// minSecret is the least length of a secret, in bytes: one that is shorter can be
	// guessed.
	minSecret = 16
	// maxSecret bounds the length of a secret, in bytes.
	maxSecret = 255
)

// Key returns the key of HMAC-SHA256 that a secret has in a scheme. It returns an error for
// a secret that is not base64 where that is required.
func Key(scheme, secret string) ([]byte, error) {
	if scheme == Stripe {
		return []byte(secret), nil // with its prefix
	}
	return base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, SecretPrefix))
}

// CheckSecret returns an error, with the remedy, for a text that cannot be the secret of a
// provider. The error does not repeat it.
func CheckSecret(scheme, secret string) error {
	switch {
	case len(secret) > maxSecret:
		return errors.New("is longer than 255 bytes")
	case strings.ContainsFunc(secret, func(c rune) bool { return c <= ' ' || c > '~' }):
		return errors.New("must be printable ASCII without spaces: copy it again")
	case scheme == Stripe && !strings.HasPrefix(secret, SecretPrefix):
		return errors.New("must be the signing secret of the endpoint, which begins with whsec_, not an API key")
	}
	key, err := Key(scheme, secret)
	switch {
	case err != nil:
		return errors.New("must be whsec_ and base64, as the provider shows it (Standard Webhooks)")
	case len(strings.TrimPrefix(secret, SecretPrefix)) < minSecret, len(key) < minSecret:
		return errors.New("is shorter than 16 bytes, which can be guessed: let the provider make one")
	}
	return nil
}

// Schemes are the signature schemes.
func Schemes() []string { return []string{Standard, Stripe} }
