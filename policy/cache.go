package policy

import (
	"fmt"
	"hash/maphash"
	"sync/atomic"

	"github.com/dgraph-io/ristretto/v2"
)

// cache keeps computed values in memory, bounded by their bytes.
//
// An entry is found by a hash whose seed the process draws at random, and
// counts only if its whole key is equal: no two keys can be taken for one
// another, however a client chooses them. It counts only while its stamp is
// today's (see Versions), and until the earliest moment at which its value could
// change. Whether ristretto keeps or drops an entry never changes an answer.
// A nil cache keeps nothing.
type Cache[K comparable, V any] struct {
	seed    maphash.Seed
	entries *ristretto.Cache[uint64, *entry[K, V]]

	hits, misses atomic.Uint64
}

type entry[K comparable, V any] struct {
	key   K
	value V
	stamp uint64
	until int64 // Unix milliseconds
}

// newCache returns a cache of at most the given bytes, for entries of about the
// given size.
func NewCache[K comparable, V any](maxBytes, entryBytes int64) (*Cache[K, V], error) {
	entries, err := ristretto.NewCache(&ristretto.Config[uint64, *entry[K, V]]{
		// Ten counters an entry are what its policy is tuned for.
		NumCounters: max(10*maxBytes/entryBytes, 1000),
		MaxCost:     maxBytes,
		BufferItems: 64,
		// The cost of an entry is counted by us, in bytes.
		IgnoreInternalCost: true,
		// The key is a hash already, and the entry keeps the whole key.
		KeyToHash: func(key uint64) (uint64, uint64) { return key, 0 },
	})
	if err != nil {
		return nil, fmt.Errorf("making a cache of %d bytes: %w", maxBytes, err)
	}
	return &Cache[K, V]{seed: maphash.MakeSeed(), entries: entries}, nil
}

// get returns the value of a key, if it was computed under this stamp and still
// holds.
func (c *Cache[K, V]) Get(key K, stamp uint64, now int64) (value V, ok bool) {
	if c == nil {
		return value, false
	}
	found, ok := c.entries.Get(maphash.Comparable(c.seed, key))
	if !ok || found.key != key || found.stamp != stamp || now >= found.until {
		c.misses.Add(1)
		return value, false
	}
	c.hits.Add(1)
	return found.value, true
}

// set keeps a value that was computed under a stamp, until a moment in Unix
// milliseconds. Size is what key and value take in memory, in bytes.
func (c *Cache[K, V]) Set(key K, value V, stamp uint64, until, size int64) {
	if c == nil {
		return
	}
	const overhead = 160 // the entry, and ristretto's own of it
	c.entries.Set(maphash.Comparable(c.seed, key), &entry[K, V]{key: key, value: value, stamp: stamp, until: until}, size+overhead)
}

// resize changes how many bytes the cache may take. What is too much is dropped
// as new entries come.
func (c *Cache[K, V]) Resize(maxBytes int64) {
	if c != nil {
		c.entries.UpdateMaxCost(maxBytes)
	}
}

// close releases the cache's memory; twice is no error.
func (c *Cache[K, V]) Close() {
	if c != nil {
		c.entries.Close()
	}
}
