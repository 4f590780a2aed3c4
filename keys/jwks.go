package keys

import (
	"errors"
	"fmt"
	"slices"

	"github.com/go-jose/go-jose/v4"
)

// Maximum size of a JWK Set, in bytes, and maximum number of its keys.
const (
	MaxJWKSSize = 256 << 10
	MaxJWKSKeys = 100
)

// ParseJWKS parses a JWK Set (RFC 7517, section 5). It returns the usable keys,
// and one error for every key that it dropped: private and symmetric keys, keys
// that are not for verifying signatures, keys with the id (`kid`) of another key, keys
// without an id that verify an algorithm of another such key, and keys with the `status`
// "retired". It returns an error when the document as a whole is not a JWK Set or exceeds a
// limit.
func ParseJWKS(data []byte) (set KeySet, dropped []error, err error) {
	if len(data) > MaxJWKSSize {
		return KeySet{}, nil, fmt.Errorf("the key set is larger than %d bytes", MaxJWKSSize)
	}
	document, ok := readObject(data)
	list := document.find("keys")
	if !ok || len(list) == 0 || list[0] != '[' {
		return KeySet{}, nil, errors.New(`the key set is not a JSON object with a "keys" array`)
	}
	elements, ok := readArray(list, MaxJWKSKeys)
	if !ok {
		return KeySet{}, nil, fmt.Errorf("the key set has more than %d keys", MaxJWKSKeys)
	}
	seen := make(map[string]int)
	unnamed := make(map[jose.SignatureAlgorithm]int) // keys without kid, by algorithm
	var keys []PublicKey
	for i, element := range elements {
		key, err := parseJWK(element)
		if err != nil {
			dropped = append(dropped, fmt.Errorf("key %d: %w", i, err))
			continue
		}
		if key.ID == "" {
			for _, algorithm := range key.algorithms {
				unnamed[algorithm]++
			}
		} else {
			seen[key.ID]++
		}
		keys = append(keys, key)
	}
	for _, key := range keys {
		if seen[key.ID] > 1 {
			dropped = append(dropped, errors.New("a key whose kid occurs more than once in the set"))
			continue
		}
		if key.ID == "" && slices.ContainsFunc(key.algorithms, func(a jose.SignatureAlgorithm) bool { return unnamed[a] > 1 }) {
			dropped = append(dropped, errors.New("a key without kid, as another key of its type is: which of them signed is unknown"))
			continue
		}
		set.keys = append(set.keys, key)
	}
	return set, dropped, nil
}

// privateMembers are the members of private and symmetric keys (RFC 7518,
// section 6; `priv` is that of AKP keys).
var privateMembers = [...]string{"d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"}

func parseJWK(text []byte) (PublicKey, error) {
	jwk, ok := readObject(text)
	if !ok {
		return PublicKey{}, errors.New("is not a JSON object with distinct member names")
	}
	id, err := jwk.optionalText("kid", 255)
	if err != nil || id == "" && jwk.find("kid") != nil || jwk.hasCaseVariant([]string{"kid"}) {
		return PublicKey{}, errors.New("has a kid that is empty, too long, not a string or spelled in another case")
	}
	for _, name := range privateMembers {
		if jwk.find(name) != nil {
			return PublicKey{}, errors.New("is a private or symmetric key, which must never be in a key set")
		}
	}
	if status, err := jwk.optionalText("status", 255); err != nil || status == "retired" {
		return PublicKey{}, errors.New("is retired")
	}
	if !jwk.allowsVerify() {
		return PublicKey{}, errors.New("is not for verifying signatures")
	}
	var key jose.JSONWebKey
	if err := key.UnmarshalJSON(text); err != nil {
		return PublicKey{}, errors.New("cannot be parsed as a key")
	}
	if !key.IsPublic() || !key.Valid() {
		return PublicKey{}, errors.New("is not a valid public key")
	}
	return NewPublicKey(id, key.Key, key.Algorithm)
}

// maxKeyOps is the maximum number of elements of `key_ops`.
const maxKeyOps = 16

// allowsVerify reports whether `use` and `key_ops`, if present, allow the key to
// verify signatures (RFC 7517, sections 4.2 and 4.3).
func (o object) allowsVerify() bool {
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
