package memory

import (
	"hash/maphash"
	"strings"
	"sync/atomic"
)

// Recent keeps the last results computed from texts that clients repeat, such as
// cookies. Its memory is bounded by the number of its places: a text has one place
// and replaces the text that had it. A nil Recent keeps nothing. Reading it takes
// no lock.
//
// A text's place depends on a random seed, and texts are compared whole only when
// all 64 bits of their hashes are equal: a client can neither have one text taken
// for another nor learn another's beginning from the time of a comparison.
type Recent[V any] struct {
	seed   maphash.Seed
	places []atomic.Pointer[recentEntry[V]]
}

type recentEntry[V any] struct {
	hash  uint64
	text  string
	value V
}

// MaxRecentText is the length of the longest text that Recent keeps, in bytes.
const MaxRecentText = 1024

// NewRecent returns a Recent with the given number of places, at least one.
func NewRecent[V any](places int) *Recent[V] {
	return &Recent[V]{seed: maphash.MakeSeed(), places: make([]atomic.Pointer[recentEntry[V]], max(places, 1))}
}

// Get returns the result of a text, or nil. The caller must not change it.
func (r *Recent[V]) Get(text string) *V {
	if r == nil || len(text) > MaxRecentText {
		return nil
	}
	hash := maphash.String(r.seed, text)
	found := r.places[hash%uint64(len(r.places))].Load()
	if found == nil || found.hash != hash || found.text != text {
		return nil
	}
	return &found.value
}

// Put keeps the result of a text.
func (r *Recent[V]) Put(text string, value V) {
	if r == nil || len(text) > MaxRecentText {
		return
	}
	hash := maphash.String(r.seed, text)
	// The text is cloned: it may be a part of a request that must not stay in memory.
	r.places[hash%uint64(len(r.places))].Store(&recentEntry[V]{hash: hash, text: strings.Clone(text), value: value})
}
