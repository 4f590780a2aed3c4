package keys

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/go-jose/go-jose/v4"
)

// PublicKey is a key that verifies signatures.
type PublicKey struct {
	// ID is the key id (`kid`), by which tokens name it.
	ID string
	// Key is an *ecdsa.PublicKey, an *rsa.PublicKey or an ed25519.PublicKey.
	Key crypto.PublicKey

	algorithms []jose.SignatureAlgorithm
}

// The sizes of RSA keys that are accepted: not less than RFC 7518, section 3.3,
// asks for, and not so much that one verification takes long.
const (
	minRSABits = 2048
	maxRSABits = 4096
)

// NewPublicKey returns a key that verifies what its kind can sign: the
// algorithm is bound to the key and never chosen by a token. An algorithm that
// is not empty narrows it to that one (`alg`, RFC 7517, section 4.4). Symmetric
// keys are refused.
func NewPublicKey(id string, key crypto.PublicKey, algorithm string) (PublicKey, error) {
	algorithms, err := algorithmsOf(key)
	if err != nil {
		return PublicKey{}, err
	}
	if algorithm != "" {
		if !slices.Contains(algorithms, jose.SignatureAlgorithm(algorithm)) {
			return PublicKey{}, fmt.Errorf("%w: a key of this kind does not sign with the algorithm that it states", ErrAlgorithm)
		}
		algorithms = []jose.SignatureAlgorithm{jose.SignatureAlgorithm(algorithm)}
	}
	return PublicKey{ID: id, Key: key, algorithms: algorithms}, nil
}

func algorithmsOf(key crypto.PublicKey) ([]jose.SignatureAlgorithm, error) {
	switch key := key.(type) {
	case *ecdsa.PublicKey:
		switch key.Curve {
		case elliptic.P256():
			return []jose.SignatureAlgorithm{jose.ES256}, nil
		case elliptic.P384():
			return []jose.SignatureAlgorithm{jose.ES384}, nil
		case elliptic.P521():
			return []jose.SignatureAlgorithm{jose.ES512}, nil
		}
		return nil, errors.New("an elliptic curve that is not supported")
	case ed25519.PublicKey:
		if len(key) != ed25519.PublicKeySize {
			return nil, errors.New("an Ed25519 key of another length")
		}
		return []jose.SignatureAlgorithm{jose.EdDSA}, nil
	case *rsa.PublicKey:
		if key.N == nil || key.N.BitLen() < minRSABits || key.N.BitLen() > maxRSABits {
			return nil, fmt.Errorf("an RSA key of less than %d or more than %d bits", minRSABits, maxRSABits)
		}
		if key.E < 3 || key.E%2 == 0 || key.E > math.MaxInt32 {
			return nil, errors.New("an RSA key whose exponent is not an odd number from 3 to 2^31-1")
		}
		return []jose.SignatureAlgorithm{jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512}, nil
	default:
		return nil, errors.New("a key that is not public, or of a kind that is not supported")
	}
}

func (k *PublicKey) signsWith(algorithm string) bool {
	return slices.Contains(k.algorithms, jose.SignatureAlgorithm(algorithm))
}

// KeySet is a set of keys that may verify a token. It is immutable and safe for
// concurrent use; the zero value has no keys.
type KeySet struct {
	keys []PublicKey
}

// NewKeySet returns a set of keys.
func NewKeySet(keys ...PublicKey) KeySet { return KeySet{keys: slices.Clone(keys)} }

// Len returns how many keys the set has.
func (s KeySet) Len() int { return len(s.keys) }

// MarshalJSON writes the set as a JWK Set (RFC 7517, section 5), in the order of
// the keys' ids.
func (s KeySet) MarshalJSON() ([]byte, error) {
	document := jose.JSONWebKeySet{Keys: make([]jose.JSONWebKey, 0, len(s.keys))}
	for i := range s.keys {
		key := &s.keys[i]
		jwk := jose.JSONWebKey{Key: key.Key, KeyID: key.ID, Use: "sig"}
		if len(key.algorithms) == 1 {
			jwk.Algorithm = string(key.algorithms[0])
		}
		document.Keys = append(document.Keys, jwk)
	}
	slices.SortFunc(document.Keys, func(a, b jose.JSONWebKey) int { return strings.Compare(a.KeyID, b.KeyID) })
	return json.Marshal(document)
}

// IDs lists the key ids of the set.
func (s KeySet) IDs() []string {
	ids := make([]string, len(s.keys))
	for i := range s.keys {
		ids[i] = s.keys[i].ID
	}
	return ids
}

// algES256 is the algorithm of publishers' keys.
const algES256 = string(jose.ES256)

// signers counts the keys that could sign with an algorithm.
func (s KeySet) signers(algorithm string) int {
	count := 0
	for i := range s.keys {
		if s.keys[i].signsWith(algorithm) {
			count++
		}
	}
	return count
}

// find returns the key that must have signed a token with this header. A header
// without `kid` finds a key only if exactly one could have signed.
func (s KeySet) find(header Header) (*PublicKey, error) {
	var found *PublicKey
	for i := range s.keys {
		key := &s.keys[i]
		if header.KeyID != "" {
			if key.ID != header.KeyID {
				continue
			}
			if !key.signsWith(header.Algorithm) {
				return nil, ErrAlgorithm
			}
			return key, nil
		}
		if !key.signsWith(header.Algorithm) {
			continue
		}
		if found != nil {
			return nil, ErrUnknownKey
		}
		found = key
	}
	if found == nil {
		return nil, ErrUnknownKey
	}
	return found, nil
}

// verify checks the signature of a token by a key, when its turn has come. The
// error is ErrBusy when it is not looked at.
func (t *Token) verify(key *PublicKey) error {
	signed, err := jose.ParseSignedCompact(t.raw, []jose.SignatureAlgorithm{jose.SignatureAlgorithm(t.Header.Algorithm)})
	if err != nil {
		return ErrMalformed
	}
	return VerifyLimiter.Do(func() error {
		if _, err := signed.Verify(key.Key); err != nil {
			return ErrSignature
		}
		return nil
	})
}
