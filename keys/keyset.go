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
	// ID is the key id, the `kid` of tokens that it verifies.
	ID string
	// Key is an *ecdsa.PublicKey, an *rsa.PublicKey or an ed25519.PublicKey.
	Key crypto.PublicKey

	algorithms []jose.SignatureAlgorithm
}

// Accepted sizes of RSA keys, in bits: at least what RFC 7518, section 3.3,
// requires, and at most what verifies in acceptable time.
const (
	minRSABits = 2048
	maxRSABits = 4096
)

// NewPublicKey returns a key that verifies the algorithms of its type: a token
// cannot choose another one. A non-empty algorithm restricts the key to it
// (`alg`, RFC 7517, section 4.4). It returns an error for symmetric keys, for
// curves and sizes that are not supported, and ErrAlgorithm when the key cannot
// be used with the algorithm.
func NewPublicKey(id string, key crypto.PublicKey, algorithm string) (PublicKey, error) {
	algorithms, err := algorithmsOf(key)
	if err != nil {
		return PublicKey{}, err
	}
	if algorithm != "" {
		if !slices.Contains(algorithms, jose.SignatureAlgorithm(algorithm)) {
			return PublicKey{}, fmt.Errorf("%w: a key of this type cannot be used with its stated algorithm", ErrAlgorithm)
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
		return nil, errors.New("an unsupported elliptic curve")
	case ed25519.PublicKey:
		if len(key) != ed25519.PublicKeySize {
			return nil, errors.New("an Ed25519 key of the wrong length")
		}
		return []jose.SignatureAlgorithm{jose.EdDSA, algEd25519}, nil
	case *rsa.PublicKey:
		if key.N == nil || key.N.BitLen() < minRSABits || key.N.BitLen() > maxRSABits {
			return nil, fmt.Errorf("an RSA key of less than %d or more than %d bits", minRSABits, maxRSABits)
		}
		if key.E < 3 || key.E%2 == 0 || key.E > math.MaxInt32 {
			return nil, errors.New("an RSA key whose exponent is not an odd number from 3 to 2^31-1")
		}
		return []jose.SignatureAlgorithm{jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512}, nil
	default:
		return nil, errors.New("not a public key of a supported type")
	}
}

func (k *PublicKey) supports(algorithm string) bool {
	return slices.Contains(k.algorithms, jose.SignatureAlgorithm(algorithm))
}

// KeySet is a set of keys that verify tokens. It is immutable and safe for
// concurrent use. The zero KeySet is empty.
type KeySet struct {
	keys []PublicKey
}

// NewKeySet returns a set of the given keys.
func NewKeySet(keys ...PublicKey) KeySet { return KeySet{keys: slices.Clone(keys)} }

// Len returns the number of keys.
func (s KeySet) Len() int { return len(s.keys) }

// MarshalJSON returns the set as a JWK Set (RFC 7517, section 5), ordered by key
// id.
func (s KeySet) MarshalJSON() ([]byte, error) {
	document := jose.JSONWebKeySet{Keys: make([]jose.JSONWebKey, len(s.keys))}
	for i, key := range s.keys {
		document.Keys[i] = jose.JSONWebKey{Key: key.Key, KeyID: key.ID, Use: "sig"}
		if len(key.algorithms) == 1 {
			document.Keys[i].Algorithm = string(key.algorithms[0])
		}
	}
	slices.SortFunc(document.Keys, func(a, b jose.JSONWebKey) int { return strings.Compare(a.KeyID, b.KeyID) })
	return json.Marshal(document)
}

// IDs returns the ids of the keys.
func (s KeySet) IDs() []string {
	ids := make([]string, len(s.keys))
	for i := range s.keys {
		ids[i] = s.keys[i].ID
	}
	return ids
}

// algES256 is the algorithm of our own keys and of publishers' keys. algEd25519 is the
// name of EdDSA with an Ed25519 key in RFC 9864, which go-jose does not know.
const (
	algES256   = string(jose.ES256)
	algEd25519 = jose.SignatureAlgorithm("Ed25519")
)

// publishers returns the number of keys that verify publishers' tokens: those for ES256
// that have an id.
func (s KeySet) publishers() int {
	n := 0
	for i := range s.keys {
		if s.keys[i].ID != "" && s.keys[i].supports(algES256) {
			n++
		}
	}
	return n
}

// count returns the number of keys that support an algorithm.
func (s KeySet) count(algorithm string) int {
	n := 0
	for i := range s.keys {
		if s.keys[i].supports(algorithm) {
			n++
		}
	}
	return n
}

// find returns the key that must have signed a token with this header. Without a
// `kid` it returns the only key that supports the algorithm, or ErrUnknownKey
// when there is not exactly one. A set of one key that has no id verifies the tokens of
// every `kid`; beside other keys such a key is only for tokens without.
func (s KeySet) find(header Header) (*PublicKey, error) {
	if header.KeyID == "" || len(s.keys) == 1 && s.keys[0].ID == "" {
		if s.count(header.Algorithm) != 1 {
			return nil, ErrUnknownKey
		}
		i := slices.IndexFunc(s.keys, func(key PublicKey) bool { return key.supports(header.Algorithm) })
		return &s.keys[i], nil
	}
	i := slices.IndexFunc(s.keys, func(key PublicKey) bool { return key.ID == header.KeyID })
	switch {
	case i < 0:
		return nil, ErrUnknownKey
	case !s.keys[i].supports(header.Algorithm):
		return nil, ErrAlgorithm
	}
	return &s.keys[i], nil
}
