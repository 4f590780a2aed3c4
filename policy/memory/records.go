package memory

import (
	"hash/maphash"
	"sync"
	"sync/atomic"
)

// RecordCache keeps many small byte records, bounded by their bytes. A nil
// RecordCache keeps nothing.
//
// Records are stored in blocks of bytes without pointers, so that a hundred
// thousand of them cost the garbage collector nothing; as objects they would be
// half a million, scanned in every collection. Reading takes no lock and no
// memory.
//
// The oldest block makes room for new ones. A record in it that was read since it
// was written moves to the newest block instead.
type RecordCache struct {
	seed  maphash.Seed
	table atomic.Pointer[recordTable]

	mu          sync.Mutex // guards the rest; held by writers only
	maxBytes    int64
	bytes       int64  // of blocks and slots
	filled      int    // slots that are not zero
	first, next uint64 // numbers of the oldest block and of the next one
	newest      *block
}

// NewRecordCache returns a cache of at most maxBytes.
func NewRecordCache(maxBytes int64) *RecordCache {
	c := &RecordCache{seed: maphash.MakeSeed(), maxBytes: maxBytes}
	c.reset()
	return c
}

// Get returns the record of a key, if it was computed under this stamp and its end
// has not come at now, in Unix milliseconds; otherwise a record that does not exist.
func (c *RecordCache) Get(key []byte, stamp uint64, now int64) Record {
	if c == nil {
		return Record{}
	}
	slot, record := c.table.Load().find(maphash.Bytes(c.seed, key), key)
	if slot == nil || record.stamp() != stamp || now >= record.until() {
		return Record{}
	}
	if read := slot.Load(); read&slotUsed == 0 && read != 0 {
		slot.CompareAndSwap(read, read|slotUsed)
	}
	return record
}

// Set keeps a value that was computed under a stamp, until a moment in Unix
// milliseconds, and returns its record. A record of more than an eighth of the
// cache is not kept.
func (c *RecordCache) Set(key, value []byte, stamp uint64, until int64) Record {
	if c == nil {
		return Record{}
	}
	size := recordHeader + len(key) + len(value)
	c.mu.Lock()
	defer c.mu.Unlock()
	if int64(size) > c.maxBytes/8 || size >= blockNumber || len(key) > maxKey {
		return Record{}
	}
	hash := maphash.Bytes(c.seed, key)
	written, slot := c.allocate(hash, size)
	writeRecord(written, hash, stamp, until, key, value)
	c.point(hash, key, slot)
	c.shrink()
	return newRecord(written)
}

// Replace keeps another value in the place of a record, under its key, stamp and
// end. It returns the new record, or the old one where the new is not kept.
func (c *RecordCache) Replace(old Record, value []byte) Record {
	if record := c.Set([]byte(old.key()), value, old.stamp(), old.until()); record.Exists() {
		return record
	}
	return old
}

// allocate returns the bytes for a record of a size, and its slot.
func (c *RecordCache) allocate(hash uint64, size int) ([]byte, uint64) {
	if c.newest == nil || c.newest.size-c.newest.end < size {
		c.newest = newBlock(c.next, max(size, blockBytes-blockHead))
		blocks := c.table.Load().blocks
		for c.next-c.first >= uint64(len(blocks)) {
			c.drop()
		}
		blocks[c.next&uint64(len(blocks)-1)].Store(c.newest)
		c.next++
		c.bytes += int64(c.newest.size + blockCost)
	}
	at := c.newest.end
	c.newest.end = at + (size+7)&^7
	return c.newest.data()[at : at+size : at+size], newSlot(hash, c.newest.number, at)
}

// point makes a key's slot locate its record.
func (c *RecordCache) point(hash uint64, key []byte, to uint64) {
	t := c.table.Load()
	if slot, _ := t.find(hash, key); slot != nil {
		slot.Store(to)
		return
	}
	for {
		group := t.group(hash)
		for i := range group {
			if group[i].Load() == 0 {
				group[i].Store(to)
				c.filled++
				return
			}
		}
		// A full group in a table that is mostly empty costs one record. Slots take
		// an eighth of the memory at most.
		if c.filled < len(t.slots)*3/8 || int64(len(t.slots))*16 > c.maxBytes/8 {
			victim(group, hash).Store(to)
			return
		}
		t = c.grow(t)
	}
}

// victim chooses the slot of a record that another replaces: one that was not read
// recently.
func victim(group []atomic.Uint64, hash uint64) *atomic.Uint64 {
	start := int(hash >> 40 % slotGroup) //nolint:gosec // less than slotGroup
	for i := range group {
		if slot := &group[(start+i)%slotGroup]; slot.Load()&slotUsed == 0 {
			return slot
		}
	}
	for i := range group {
		group[i].And(^uint64(slotUsed))
	}
	return &group[start]
}

// grow doubles the slots.
func (c *RecordCache) grow(old *recordTable) *recordTable {
	t := &recordTable{slots: make([]atomic.Uint64, 2*len(old.slots)), blocks: old.blocks}
	c.bytes += int64(len(old.slots) * 8)
	c.filled = 0
	for i := range old.slots {
		slot := old.slots[i].Load()
		if slot == 0 {
			continue
		}
		record := old.record(slot)
		if record == nil {
			continue
		}
		group := t.group(recordAt(record).hash())
		for j := range group {
			// One is free: an old group's slots go to two new groups.
			if group[j].Load() == 0 {
				group[j].Store(slot)
				c.filled++
				break
			}
		}
	}
	c.table.Store(t)
	return t
}

// maxMoves bounds how many dropped blocks have their used records moved in one
// call.
const maxMoves = 4

// shrink drops the oldest blocks until the bound holds.
func (c *RecordCache) shrink() {
	for moves := 0; c.bytes > c.maxBytes && c.next-c.first > 1; moves++ {
		b := c.drop()
		for at := blockHead; b != nil && at < b.end; {
			record := recordAt(b.data()[at:])
			c.release(b, at, record, moves < maxMoves)
			at += (len(record.text) + 7) &^ 7
		}
	}
}

// drop removes the oldest block. Slots that locate its records find nothing from
// then on.
func (c *RecordCache) drop() *block {
	blocks := c.table.Load().blocks
	b := blocks[c.first&uint64(len(blocks)-1)].Swap(nil)
	c.first++
	if b != nil {
		c.bytes -= int64(b.size + blockCost)
	}
	return b
}

// release frees the slot of a record of a dropped block, or moves the record to the
// newest block if it was read and may move.
func (c *RecordCache) release(b *block, at int, record Record, move bool) {
	hash := record.hash()
	group := c.table.Load().group(hash)
	from := newSlot(hash, b.number, at)
	for i := range group {
		slot := group[i].Load()
		if location(slot) != location(from) {
			continue
		}
		if !move || slot&slotUsed == 0 {
			group[i].Store(0)
			c.filled--
			return
		}
		moved, to := c.allocate(hash, len(record.text))
		copy(moved, record.text)
		group[i].Store(to)
		return
	}
}

// Resize changes how many bytes the cache may take.
func (c *RecordCache) Resize(maxBytes int64) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	old := c.table.Load()
	t := newRecordTable(0, maxBytes)
	t.slots = old.slots
	if len(t.blocks) > len(old.blocks) {
		for number := c.first; number < c.next; number++ {
			t.blocks[number&uint64(len(t.blocks)-1)].Store(old.blocks[number&uint64(len(old.blocks)-1)].Load())
		}
		c.table.Store(t)
	}
	c.maxBytes = maxBytes
	if len(old.slots) > minSlots && int64(len(old.slots))*8 > maxBytes/8 {
		c.reset() // to fewer slots, which is rare
	}
	c.shrink()
}

// Close releases the memory; the cache keeps nothing from then on. Closing it twice
// is no error.
func (c *RecordCache) Close() {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.maxBytes = 0
	c.reset()
}

// reset drops all records.
func (c *RecordCache) reset() {
	c.table.Store(newRecordTable(minSlots, c.maxBytes))
	c.newest, c.first, c.next, c.filled, c.bytes = nil, 1, 1, 0, minSlots*8
}

// Bytes returns how many bytes the cache takes.
func (c *RecordCache) Bytes() int64 {
	if c == nil {
		return 0
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.bytes
}

// MaxBytes returns how many bytes the cache may take.
func (c *RecordCache) MaxBytes() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.maxBytes
}
