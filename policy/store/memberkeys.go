package store

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
)

// memberKeySize is the number of random bytes of a key that accepts an invitation or a
// request: 160 bits.
const memberKeySize = 20

// newMemberKey returns a new key as 40 hex characters, and its hash, which is stored.
func newMemberKey() (key, hash string) {
	var random [memberKeySize]byte
	_, _ = rand.Read(random[:]) // never fails, see crypto/rand
	key = hex.EncodeToString(random[:])
	return key, hashMemberKey(key)
}

func hashMemberKey(key string) string {
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:])
}

// isMemberKey compares a key with a stored hash in constant time. An empty hash has no key.
func isMemberKey(hash, key string) bool {
	return hash != "" && subtle.ConstantTimeCompare([]byte(hashMemberKey(key)), []byte(hash)) == 1
}
