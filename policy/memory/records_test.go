package memory

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"sync"
	"testing"
)

const never = 1<<63 - 1

func (c *RecordCache) get(key []byte, stamp uint64, now int64) (value string, ok bool) {
	if record := c.Get(key, stamp, now); record.Exists() {
		return record.Value(), true
	}
	return "", false
}

func TestRecordCacheGetChecksStampAndExpiry(t *testing.T) {
	p := NewRecordCache(1 << 20)
	p.Set([]byte("key"), []byte("value"), 7, 1000)
	for _, q := range []struct {
		key   string
		stamp uint64
		now   int64
		ok    bool
	}{
		{"key", 7, 0, true},
		{"key", 7, 999, true},
		{"key", 7, 1000, false},
		{"key", 8, 0, false},
		{"key", 6, 0, false},
		{"ke", 7, 0, false},
		{"keyv", 7, 0, false},
		{"", 7, 0, false},
	} {
		if value, ok := p.get([]byte(q.key), q.stamp, q.now); ok != q.ok || ok != (value == "value") {
			t.Errorf("%+v: %q, %t", q, value, ok)
		}
	}
	p.Set([]byte("key"), []byte("newer"), 8, never)
	if value, ok := p.get([]byte("key"), 8, 1<<60); !ok || value != "newer" {
		t.Errorf("the newer value is %q", value)
	}
	p.Set(nil, nil, 1, never)
	if value, ok := p.get(nil, 1, 0); !ok || len(value) != 0 {
		t.Errorf("the empty value is kept as %q", value)
	}
}

// A slot may lead to another key's record, if the hashes are equal or if the block's
// number was used again. Neither is returned.
func TestRecordCacheComparesWholeKeys(t *testing.T) {
	p := NewRecordCache(1 << 20)
	p.Set([]byte("other"), []byte("other value"), 1, never)
	record, slot := p.allocate(maphash.Bytes(p.seed, []byte("own")), 100)
	copy(record, p.newest.data()[blockHead:][:recordHeader+len("other")+len("other value")])
	binary.LittleEndian.PutUint64(record, maphash.Bytes(p.seed, []byte("own")))
	p.table.Load().group(maphash.Bytes(p.seed, []byte("own")))[0].Store(slot)
	if value, ok := p.get([]byte("own"), 1, 0); ok {
		t.Errorf("a key got the value %q of another key with the same hash", value)
	}
	// The slot of a record whose block was replaced.
	group := p.table.Load().group(maphash.Bytes(p.seed, []byte("gone")))
	for _, offset := range []int{0, 8, 16, 24, 32, 40, 48, 56} {
		group[0].Store(newSlot(maphash.Bytes(p.seed, []byte("gone")), p.newest.number, offset))
		if value, ok := p.get([]byte("gone"), 1, 0); ok {
			t.Errorf("a slot into the middle of a record gave %q", value)
		}
	}
	group[0].Store(newSlot(maphash.Bytes(p.seed, []byte("gone")), p.newest.number+1, 0))
	if value, ok := p.get([]byte("gone"), 1, 0); ok {
		t.Errorf("a slot without a block gave %q", value)
	}
}

func TestRecordCacheIsBounded(t *testing.T) {
	const bound = 256 << 10
	p := NewRecordCache(bound)
	fill := func(bound int64) (kept int) {
		value := bytes.Repeat([]byte("v"), 200)
		for i := range 20_000 {
			p.Set(fmt.Append(nil, "key", i), value, 1, never)
			if taken := p.Bytes(); taken > bound {
				t.Fatalf("%d bytes are in use, of %d", taken, bound)
			}
		}
		for i := range 20_000 {
			if value, ok := p.get(fmt.Append(nil, "key", i), 1, 0); ok {
				kept++
				if len(value) != 200 {
					t.Fatalf("a value of %d bytes", len(value))
				}
			}
		}
		return kept
	}
	// A record takes 248 bytes; most of the memory is used.
	if kept := fill(bound); kept < 700 || kept > bound/248 {
		t.Errorf("%d records are kept in %d bytes", kept, bound)
	}
	p.Resize(bound / 4)
	if kept := fill(bound / 4); kept < 150 || kept > bound/4/248 {
		t.Errorf("%d records are kept in %d bytes", kept, bound/4)
	}
	p.Resize(4 * bound)
	if kept := fill(4 * bound); kept < 2800 {
		t.Errorf("%d records are kept in %d bytes", kept, 4*bound)
	}
	huge := make([]byte, bound)
	p.Set([]byte("huge"), huge, 1, never)
	if _, ok := p.get([]byte("huge"), 1, 0); ok {
		t.Error("a record of more than an eighth of the cache is kept")
	}
	// A record that is larger than a block, but not than its share, is kept.
	p.Set([]byte("large"), huge[:4*blockBytes], 1, never)
	if value, ok := p.get([]byte("large"), 1, 0); !ok || len(value) != 4*blockBytes {
		t.Error("a large record is not kept")
	}
}

// Records in use stay, however many others are written once.
func TestRecordCacheKeepsRecordsInUse(t *testing.T) {
	p := NewRecordCache(128 << 10)
	value := make([]byte, 100)
	for i := range 100 {
		p.Set(fmt.Append(nil, "used", i), value, 1, never)
	}
	for i := range 20_000 {
		p.Set(fmt.Append(nil, "other", i), value, 1, never)
		p.get(fmt.Append(nil, "used", i%100), 1, 0)
	}
	kept := 0
	for i := range 100 {
		if _, ok := p.get(fmt.Append(nil, "used", i), 1, 0); ok {
			kept++
		}
	}
	if kept < 90 {
		t.Errorf("only %d of 100 records in use are kept", kept)
	}
}

func TestNilRecordCacheKeepsNothing(t *testing.T) {
	var none *RecordCache
	none.Set([]byte("a"), []byte("b"), 1, never)
	if _, ok := none.get([]byte("a"), 1, 0); ok {
		t.Error("a nil cache returned a value")
	}
	none.Resize(1 << 20)
	none.Close()

	p := NewRecordCache(1 << 20)
	p.Set([]byte("a"), []byte("b"), 1, never)
	held, _ := p.get([]byte("a"), 1, 0)
	p.Close()
	p.Set([]byte("a"), []byte("b"), 1, never)
	if _, ok := p.get([]byte("a"), 1, 0); ok || held != "b" {
		t.Error("a closed cache returned a value, or changed one that was read")
	}
	p.Close()
}

// Concurrent reads and writes in so little memory that blocks are dropped: every value
// found is complete and of its key.
func TestRecordCacheIsConcurrent(t *testing.T) {
	p := NewRecordCache(64 << 10)
	var group sync.WaitGroup
	for worker := range 4 {
		group.Go(func() {
			random := rand.New(rand.NewPCG(uint64(worker), 1)) //nolint:gosec // not a secret
			for i := range 5000 {
				key := fmt.Append(nil, "key", random.IntN(500))
				want := append(bytes.Repeat(key, 1+int(key[len(key)-1]%9)), key...)
				if value, ok := p.get(key, uint64(i%2), 0); ok && value != string(want) {
					t.Errorf("%q for %q", value, key)
				}
				p.Set(key, want, uint64(i%2), never)
				if worker == 0 && i%500 == 0 {
					p.Resize(int64(32+i/50) << 10)
				}
			}
		})
	}
	group.Wait()
}
