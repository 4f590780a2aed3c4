package policy

import (
	"hash/maphash"
	"strings"
	"sync/atomic"
)

// Recent keeps what was found out of the texts that came last, such as cookies,
// which a client sends with every request. It stands before what is
// slower, and bounds its memory by the number of its places: a text has one
// place, and takes it from the text that had it. A nil one keeps nothing.
//
// A text's place depends on a seed that the process draws at random. Texts are
// compared whole, and only once their hashes are equal in all 64 bits: a client
// can neither have one taken for another, nor learn from the time that a
// comparison takes how another's begins.
//
// It is safe for concurrent use, and reading it waits for nobody.
type Recent[V any] struct {
	seed   maphash.Seed
	places []atomic.Pointer[remembered[V]]
}

type remembered[V any] struct {
	hash  uint64
	text  string
	value V
}

// MaxRecentText is the longest text that is kept, in bytes.
const MaxRecentText = 1024

// NewRecent returns one with a number of places, at least one.
func NewRecent[V any](places int) *Recent[V] {
	return &Recent[V]{seed: maphash.MakeSeed(), places: make([]atomic.Pointer[remembered[V]], max(places, 1))}
}

// Get returns what is known of a text, or nil. It must not be changed.
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

// Put keeps what was found out of a text.
func (r *Recent[V]) Put(text string, value V) {
	if r == nil || len(text) > MaxRecentText {
		return
	}
	hash := maphash.String(r.seed, text)
	// A copy, which does not keep the rest of a request in memory.
	r.places[hash%uint64(len(r.places))].Store(&remembered[V]{hash: hash, text: strings.Clone(text), value: value})
}
