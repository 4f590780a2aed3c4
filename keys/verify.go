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
	"slices"

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

// minRSABits is the smallest RSA key that is accepted (RFC 7518, section 3.3).
const minRSABits = 2048

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
		return []jose.SignatureAlgorithm{jose.EdDSA}, nil
	case *rsa.PublicKey:
		if key.N.BitLen() < minRSABits {
			return nil, fmt.Errorf("an RSA key of less than %d bits", minRSABits)
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

// IDs lists the key ids of the set.
func (s KeySet) IDs() []string {
	ids := make([]string, len(s.keys))
	for i := range s.keys {
		ids[i] = s.keys[i].ID
	}
	return ids
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

// verify checks the signature of a token by a key.
func (t *Token) verify(key *PublicKey) error {
	signed, err := jose.ParseSignedCompact(t.raw, []jose.SignatureAlgorithm{jose.SignatureAlgorithm(t.Header.Algorithm)})
	if err != nil {
		return ErrMalformed
	}
	if _, err := signed.Verify(key.Key); err != nil {
		return ErrSignature
	}
	return nil
}

// Bounds of a JWK Set.
const (
	MaxJWKSSize = 256 << 10
	MaxJWKSKeys = 100
)

// ParseJWKS reads a JWK Set (RFC 7517, section 5). A key that cannot be used is
// left out and reported; the others count. What the set as a whole cannot be is
// the last result. Left out are private and symmetric keys, keys for encryption,
// keys without id or whose id stands twice, and those whose `status` says
// "retired".
func ParseJWKS(data []byte) (set KeySet, dropped []error, err error) {
	if len(data) > MaxJWKSSize {
		return KeySet{}, nil, fmt.Errorf("the key set is larger than %d bytes", MaxJWKSSize)
	}
	var document struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(data, &document); err != nil || document.Keys == nil {
		return KeySet{}, nil, errors.New(`the key set is not a JSON object with a "keys" array`)
	}
	if len(document.Keys) > MaxJWKSKeys {
		return KeySet{}, nil, fmt.Errorf("the key set has more than %d keys", MaxJWKSKeys)
	}
	seen := make(map[string]int)
	var keys []PublicKey
	for i, raw := range document.Keys {
		key, err := parseJWK(raw)
		if err != nil {
			dropped = append(dropped, fmt.Errorf("key %d: %w", i, err))
			continue
		}
		seen[key.ID]++
		keys = append(keys, key)
	}
	for _, key := range keys {
		if seen[key.ID] > 1 {
			dropped = append(dropped, errors.New("a key whose kid stands twice in the set"))
			continue
		}
		set.keys = append(set.keys, key)
	}
	return set, dropped, nil
}

func parseJWK(raw json.RawMessage) (PublicKey, error) {
	var traits struct {
		Status string `json:"status"`
		Use    string `json:"use"`
		ID     string `json:"kid"`
	}
	if err := json.Unmarshal(raw, &traits); err != nil {
		return PublicKey{}, errors.New("is not a JSON object")
	}
	switch {
	case traits.ID == "":
		return PublicKey{}, errors.New("has no kid")
	case traits.Status == "retired":
		return PublicKey{}, errors.New("is retired")
	case traits.Use != "" && traits.Use != "sig":
		return PublicKey{}, errors.New("is not for signatures")
	}
	var jwk jose.JSONWebKey
	if err := jwk.UnmarshalJSON(raw); err != nil {
		return PublicKey{}, errors.New("cannot be read as a key")
	}
	if !jwk.IsPublic() || !jwk.Valid() {
		return PublicKey{}, errors.New("is not a valid public key")
	}
	return NewPublicKey(jwk.KeyID, jwk.Key, jwk.Algorithm)
}
