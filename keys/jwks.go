package keys

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/go-jose/go-jose/v4"
)

// Bounds of a JWK Set.
const (
	MaxJWKSSize = 256 << 10
	MaxJWKSKeys = 100
)

// ParseJWKS reads a JWK Set (RFC 7517, section 5). A key that cannot be used is
// left out and reported; the others count. What the set as a whole cannot be is
// the last result. Left out are private and symmetric keys, keys that are not
// for verifying signatures, keys without id or whose id stands twice, and those
// whose `status` says "retired".
func ParseJWKS(data []byte) (set KeySet, dropped []error, err error) {
	if len(data) > MaxJWKSSize {
		return KeySet{}, nil, fmt.Errorf("the key set is larger than %d bytes", MaxJWKSSize)
	}
	document, ok := readObject(data)
	if !ok || len(document.find("keys")) == 0 || document.find("keys")[0] != '[' {
		return KeySet{}, nil, errors.New(`the key set is not a JSON object with a "keys" array`)
	}
	elements, ok := readArray(document.find("keys"), MaxJWKSKeys)
	if !ok {
		return KeySet{}, nil, fmt.Errorf("the key set has more than %d keys", MaxJWKSKeys)
	}
	seen := make(map[string]int)
	var keys []PublicKey
	for i, element := range elements {
		key, err := parseJWK(element)
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

// MarshalJWKS writes a set as a JWK Set, for others who verify (RFC 7517, section
// 5).
func (s KeySet) MarshalJWKS() ([]byte, error) {
	set := jose.JSONWebKeySet{Keys: make([]jose.JSONWebKey, len(s.keys))}
	for i, key := range s.keys {
		set.Keys[i] = jose.JSONWebKey{Key: key.Key, KeyID: key.ID, Use: "sig"}
		if len(key.algorithms) == 1 {
			set.Keys[i].Algorithm = string(key.algorithms[0])
		}
	}
	return json.Marshal(set)
}

// privateMembers are those that only a private or symmetric key has (RFC 7518,
// section 6).
var privateMembers = [...]string{"d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"}

func parseJWK(text []byte) (PublicKey, error) {
	jwk, ok := readObject(text)
	if !ok {
		return PublicKey{}, errors.New("is not a JSON object of members with different names")
	}
	id, err := jwk.text("kid", 255)
	if err != nil {
		return PublicKey{}, errors.New("has no kid, or one that is too long")
	}
	for _, name := range privateMembers {
		if jwk.find(name) != nil {
			return PublicKey{}, errors.New("is a private or symmetric key, which must never be in a key set")
		}
	}
	if status, err := jwk.optionalText("status", 255); err != nil || status == "retired" {
		return PublicKey{}, errors.New("is retired")
	}
	if !jwk.verifies() {
		return PublicKey{}, errors.New("is not for verifying signatures")
	}
	var key jose.JSONWebKey
	if err := key.UnmarshalJSON(text); err != nil {
		return PublicKey{}, errors.New("cannot be read as a key")
	}
	if !key.IsPublic() || !key.Valid() {
		return PublicKey{}, errors.New("is not a valid public key")
	}
	return NewPublicKey(id, key.Key, key.Algorithm)
}

// maxKeyOps bounds how many operations a key may list.
const maxKeyOps = 16

// verifies says whether a key's `use` and `key_ops`, where it has them, admit
// verifying signatures (RFC 7517, sections 4.2 and 4.3).
func (o object) verifies() bool {
	if use, err := o.optionalText("use", 255); err != nil || use != "" && use != "sig" {
		return false
	}
	operations := o.find("key_ops")
	if operations == nil {
		return true
	}
	elements, ok := readArray(operations, maxKeyOps)
	return ok && slices.ContainsFunc(elements, func(element []byte) bool {
		operation, ok := unquote(element)
		return ok && operation == "verify"
	})
}
