package memory

import (
	"fmt"
	"hash/maphash"
	"strings"
	"sync"
	"testing"
)

type cacheKey struct{ a, b string }

func newTestCache(t *testing.T, maxBytes int64) *Cache[cacheKey, string] {
	t.Helper()
	c, err := NewCache[cacheKey, string](maxBytes, 256)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestCacheGetChecksStampAndExpiry(t *testing.T) {
	c := newTestCache(t, 1<<20)
	key := cacheKey{"a", "b"}
	c.Set(key, "value", 7, 1000, 10)
	c.entries.Wait()
	for _, q := range []struct {
		key   cacheKey
		stamp uint64
		now   int64
		ok    bool
	}{
		{key, 7, 0, true},
		{key, 7, 999, true},
		{key, 7, 1000, false},
		{key, 7, 1001, false},
		{key, 8, 0, false},
		{key, 6, 0, false},
		{cacheKey{"ab", ""}, 7, 0, false},
		{cacheKey{"", "ab"}, 7, 0, false},
		{cacheKey{"b", "a"}, 7, 0, false},
	} {
		value, ok := c.Get(q.key, q.stamp, q.now)
		if ok != q.ok || ok != (value == "value") {
			t.Errorf("%+v: %q, %t", q, value, ok)
		}
	}
	if hits, misses := c.hits.Load(), c.misses.Load(); hits != 2 || misses != 7 {
		t.Errorf("%d hits and %d misses are counted, want 2 and 7", hits, misses)
	}
}

// Two keys with the same hash do not share an entry.
func TestCacheComparesWholeKeys(t *testing.T) {
	c := newTestCache(t, 1<<20)
	own, other := cacheKey{"own", ""}, cacheKey{"other", ""}
	c.entries.Set(maphash.Comparable(c.seed, own), &entry[cacheKey, string]{key: other, value: "other", stamp: 1, until: never}, 1)
	c.entries.Wait()
	if value, ok := c.Get(own, 1, 0); ok {
		t.Errorf("got %q", value)
	}
	c.Set(own, "own", 1, never, 10)
	c.entries.Wait()
	if value, ok := c.Get(own, 1, 0); !ok || value != "own" {
		t.Errorf("got %q, %t, want the newer entry", value, ok)
	}
}

func TestCacheIsBounded(t *testing.T) {
	const bound = 64 << 10
	c := newTestCache(t, bound)
	fill := func() (kept int, bytes int64) {
		for i := range 1000 {
			c.Set(cacheKey{"k", fmt.Sprint(i)}, strings.Repeat("x", 1000), 1, never, 1000)
			c.entries.Wait()
		}
		for i := range 1000 {
			if _, ok := c.Get(cacheKey{"k", fmt.Sprint(i)}, 1, 0); ok {
				kept++
			}
		}
		return kept, int64(kept) * 1000
	}
	kept, bytes := fill()
	if kept < 10 || bytes > bound {
		t.Errorf("%d entries with %d bytes are kept in %d bytes", kept, bytes, bound)
	}
	c.Resize(bound / 4)
	if kept, bytes = fill(); kept < 3 || bytes > bound/4 {
		t.Errorf("%d entries with %d bytes are kept in %d bytes", kept, bytes, bound/4)
	}
	c.Set(cacheKey{"huge", ""}, "", 1, never, bound)
	c.entries.Wait()
	if _, ok := c.Get(cacheKey{"huge", ""}, 1, 0); ok {
		t.Error("an entry larger than the cache is kept")
	}
}

// A nil cache keeps nothing.
func TestNilCache(t *testing.T) {
	var c *Cache[cacheKey, string]
	c.Set(cacheKey{}, "value", 1, never, 1)
	if _, ok := c.Get(cacheKey{}, 1, 0); ok {
		t.Error("a nil cache returned a value")
	}
	c.Resize(1 << 20)
	c.Close()
}

func TestClosedCacheKeepsNothing(t *testing.T) {
	c := newTestCache(t, 1<<20)
	c.Set(cacheKey{"a", "b"}, "value", 1, never, 1)
	c.entries.Wait()
	c.Close()
	c.Set(cacheKey{"a", "b"}, "value", 1, never, 1)
	if _, ok := c.Get(cacheKey{"a", "b"}, 1, 0); ok {
		t.Error("a closed cache returned a value")
	}
	c.Close()
}

func TestCacheIsConcurrent(t *testing.T) {
	c := newTestCache(t, 64<<10)
	var group sync.WaitGroup
	for worker := range 4 {
		group.Go(func() {
			for i := range 2000 {
				key := cacheKey{fmt.Sprint(i % 50), ""}
				if value, ok := c.Get(key, uint64(i%3), 0); ok && value != key.a {
					t.Errorf("%q for %q", value, key.a)
				}
				c.Set(key, key.a, uint64(i%3), never, 100)
				if worker == 0 && i%500 == 0 {
					c.Resize(int64(32+i) << 10)
				}
			}
		})
	}
	group.Wait()
}
