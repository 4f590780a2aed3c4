package pagecache

import (
	"bytes"
	"fmt"
	"hash/maphash"
	"slices"
	"sync/atomic"
	"time"

	"github.com/dgraph-io/ristretto/v2"
)

// index finds entries by their keys. Ristretto admits and evicts them, so that a scan does
// not evict what is asked for often.
type index struct {
	seed    maphash.Seed
	entries *entries
	found   *ristretto.Cache[uint64, handle]

	// byEncoding has a bit for each hash of a key without its encoding: whether some
	// response of the key varied by encoding. Bits are never cleared: two keys on one bit,
	// and pages that do not vary any more, only have more variants than they need.
	byEncoding [bitsEncoding / 64]atomic.Uint64
	// marks hold the keys that were not storable a moment ago: the upper half is a part of
	// the hash, the lower one why, in whyBits bits, and the time until which it counts.
	marks [marksSize]atomic.Uint64

	evicted, rejected atomic.Uint64
}

const (
	bitsEncoding = 1 << 20
	marksSize    = 1 << 16
)

// entryCost is what an entry takes besides its blocks, in bytes: its place in the table, and
// ristretto's records and counters.
const entryCost = 256

func newIndex(memory int64) (*index, error) {
	// An eighth is for what ristretto takes, and for pages that wait for their admission.
	arena, err := newArena(memory - memory/8)
	if err != nil {
		return nil, err
	}
	x := &index{seed: maphash.MakeSeed(), entries: &entries{arena: arena}}
	x.found, err = ristretto.NewCache(&ristretto.Config[uint64, handle]{
		NumCounters:        max(10*memory/(4<<10), 10_000),
		MaxCost:            memory - memory/6,
		BufferItems:        64,
		IgnoreInternalCost: true,
		KeyToHash:          func(key uint64) (uint64, uint64) { return key, 0 },
		OnEvict:            func(*ristretto.Item[handle]) { x.evicted.Add(1) },
		OnReject:           func(*ristretto.Item[handle]) { x.rejected.Add(1) },
		OnExit: func(h handle) {
			if h != 0 {
				x.entries.release(h)
			}
		},
	})
	if err != nil {
		_ = arena.close()
		return nil, fmt.Errorf("making a page cache of %d bytes: %w", memory, err)
	}
	return x, nil
}

func (x *index) hash(key []byte) uint64 { return maphash.Bytes(x.seed, key) }

// variant returns the key of a page with the encoding, if responses vary by it.
func (x *index) variant(base []byte, encoding uint8) []byte {
	if bit := x.hash(base) % bitsEncoding; x.byEncoding[bit/64].Load()&(1<<(bit%64)) == 0 {
		encoding = anyEncoding
	}
	return append(base, encoding)
}

// anyEncoding is the encoding in the key of a page that does not vary by it.
const anyEncoding = 0xff

// vary makes the encoding a part of a key from now on.
func (x *index) vary(base []byte) {
	bit := x.hash(base) % bitsEncoding
	x.byEncoding[bit/64].Or(1 << (bit % 64))
}

// get returns the entry of a key. The caller releases it.
func (x *index) get(key []byte) (entry, bool) {
	h, ok := x.found.Get(x.hash(key))
	if !ok {
		return entry{}, false
	}
	e, ok := x.entries.use(h)
	if ok && !bytes.Equal(e.key(), key) {
		e.release()
		return entry{}, false
	}
	return e, ok
}

// put stores a page. It may be refused: there is no memory, or pages that are asked for
// more often would have to go.
func (x *index) put(p *page) error {
	h, taken, err := x.entries.put(p)
	if err != nil {
		return err
	}
	if !x.found.Set(x.hash(p.key), h, taken+entryCost) {
		x.entries.release(h)
	}
	return nil
}

func (x *index) remove(key []byte) { x.found.Del(x.hash(key)) }

// whyBits are the bits of a mark with its Why, an index in whys.
const whyBits = 5

// timeOf returns the part of a mark with its time: seconds, which repeat after four years.
func timeOf(at time.Time) uint32 { return uint32(at.Unix()) << whyBits >> whyBits }

// mark makes the pages of a key pass until a time.
func (x *index) mark(base []byte, why Why, until time.Time) {
	hash := x.hash(base)
	x.marks[hash%marksSize].Store(hash>>32<<32 | uint64(slices.Index(whys[:], why))<<(32-whyBits) | uint64(timeOf(until)))
}

// marked returns why the pages of a key pass, or WhyNone if they do not.
func (x *index) marked(base []byte, now time.Time) Why {
	hash := x.hash(base)
	mark := x.marks[hash%marksSize].Load()
	if left := (uint32(mark) - timeOf(now)) << whyBits >> whyBits; mark>>32 != hash>>32 || left == 0 || left > uint32(markFor/time.Second) {
		return WhyNone
	}
	return whys[uint32(mark)>>(32-whyBits)]
}

func (x *index) close() {
	x.found.Close()
	x.entries.close()
}

// Wait returns once what was stored before is found, and fetches have ended. It is for
// tests.
func (c *Cache) Wait() {
	for {
		c.flights.mu.Lock()
		idle := len(c.flights.all) == 0
		c.flights.mu.Unlock()
		if idle {
			break
		}
		time.Sleep(time.Millisecond)
	}
	c.index.found.Wait()
}
