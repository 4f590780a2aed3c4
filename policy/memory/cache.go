package memory

import (
	"fmt"
	"hash/maphash"
	"sync/atomic"

	"github.com/dgraph-io/ristretto/v2"
)

// Cache keeps computed values, bounded by their bytes.
//
// An entry is found by a randomly seeded hash and counts only if its whole key is
// equal, so no client can have one key taken for another. A nil Cache keeps
// nothing.
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

// NewCache returns a cache of at most maxBytes, for entries of about entryBytes.
func NewCache[K comparable, V any](maxBytes, entryBytes int64) (*Cache[K, V], error) {
	entries, err := ristretto.NewCache(&ristretto.Config[uint64, *entry[K, V]]{
		// ristretto recommends ten counters per entry.
		NumCounters: max(10*maxBytes/entryBytes, 1000),
		MaxCost:     maxBytes,
		BufferItems: 64,
		// Set gives the cost of an entry in bytes, overhead included.
		IgnoreInternalCost: true,
		// The key is a hash already, and the entry keeps the whole key.
		KeyToHash: func(key uint64) (uint64, uint64) { return key, 0 },
	})
	if err != nil {
		return nil, fmt.Errorf("making a cache of %d bytes: %w", maxBytes, err)
	}
	return &Cache[K, V]{seed: maphash.MakeSeed(), entries: entries}, nil
}

// Get returns the value of a key, if it was computed under this stamp and its end
// has not come at now, in Unix milliseconds.
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

// Set keeps a value that was computed under a stamp, until a moment in Unix
// milliseconds. Size is the memory of key and value in bytes.
func (c *Cache[K, V]) Set(key K, value V, stamp uint64, until, size int64) {
	if c == nil {
		return
	}
	const overhead = 160 // of the entry, ristretto's part included
	c.entries.Set(maphash.Comparable(c.seed, key), &entry[K, V]{key: key, value: value, stamp: stamp, until: until}, size+overhead)
}

// Resize changes how many bytes the cache may take. Excess entries are dropped as
// new ones come.
func (c *Cache[K, V]) Resize(maxBytes int64) {
	if c != nil {
		c.entries.UpdateMaxCost(maxBytes)
	}
}

// Close releases the cache's memory. Closing it twice is no error.
func (c *Cache[K, V]) Close() {
	if c != nil {
		c.entries.Close()
	}
}

// Stats returns the hits and misses so far, and the bytes in use.
func (c *Cache[K, V]) Stats() (hits, misses uint64, bytes int64) {
	if c == nil {
		return 0, 0, 0
	}
	return c.hits.Load(), c.misses.Load(), max(c.entries.MaxCost()-c.entries.RemainingCost(), 0)
}

// MaxBytes returns how many bytes the cache may take.
func (c *Cache[K, V]) MaxBytes() int64 { return c.entries.MaxCost() }

// Wait returns once every earlier Set has taken effect. It is for tests.
func (c *Cache[K, V]) Wait() { c.entries.Wait() }
