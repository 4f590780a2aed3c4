package policy

import (
	"bytes"
	"encoding/binary"
	"hash/maphash"
	"math/bits"
	"sync"
	"sync/atomic"
	"unsafe"
)

// packed keeps many small records in memory, bounded by their bytes. It keeps
// what cache keeps, and holds to the same rules: a key is found by a hash whose
// seed the process draws at random and compared whole; a record counts only
// while its stamp is today's, and until the earliest moment at which it could
// change; whether one is kept never changes an answer. A nil one keeps nothing.
//
// Records lie one behind the other in blocks of bytes, without a pointer in
// them, so that a hundred thousand readers cost the garbage collector nothing:
// as objects they are half a million, looked at in every collection. Reading
// takes no lock and no memory. What is read points into a block, which is never
// written again where something stands, and lives for as long as it is looked
// at.
//
// The oldest block makes room for new ones. A record in it that was asked for
// since it was written moves to the newest block instead.
type RecordCache struct {
	seed  maphash.Seed
	table atomic.Pointer[recordTable]

	counts *[countShards]recordCounts

	mu          sync.Mutex // of those who write
	maxBytes    int64
	bytes       int64  // of blocks and slots
	filled      int    // slots that are not zero
	first, next uint64 // number of the oldest block, and of the one to come
	newest      *block
}

// kind is a kind of record. Only counters tell kinds apart: keys of two kinds must
// differ.
type RecordKind int

const (
	kindEntitlements RecordKind = iota
	kindReaderTokens
	kinds
)

// packedCounts are hits and misses by kind, in one line of the processor's
// memory. There are many of them, see shard.
type recordCounts struct {
	hits, misses [kinds]atomic.Uint64
	// decisions is for Policy.checkDue, which comes with every question.
	decisions atomic.Uint64
	_         [64 - 8 - 16*kinds]byte
}

const countShards = 64

// shard chooses among counters by where the caller's stack lies. A connection's
// requests mostly come to one goroutine, which mostly stays on one processor, so
// that processors seldom take a counter from one another.
func shard() int {
	var here byte
	return int(uint64(uintptr(unsafe.Pointer(&here))>>11) * stripeFactor >> 58) //nolint:gosec // G103: its address alone; less than countShards
}

func (p *RecordCache) Count(k RecordKind, hit bool) {
	counts := &p.counts[shard()]
	if hit {
		counts.hits[k].Add(1)
		return
	}
	counts.misses[k].Add(1)
}

// packedTable is where records are. Slots stand in groups of slotGroup, one of
// which a hash chooses; a slot is zero, or says where a record is:
//
//	used 1 | part of the hash 15 | number of the block 24 | offset in units of 8 bytes 24
type recordTable struct {
	slots  []atomic.Uint64
	blocks []atomic.Pointer[block] // by number, round and round
}

const (
	slotGroup = 8 // 64 bytes, as a processor reads them
	slotUsed  = 1 << 63

	blockBytes  = 8 << 10
	blockNumber = 1<<24 - 1
	blockCost   = 16 // what a block takes besides its bytes
	minSlots    = 64
)

// block holds records. It is the head of one piece of memory, and its records lie
// behind it: whoever looks for one needs both. Only the end is written.
type block struct {
	number uint64
	size   int // of the whole, in bytes
	end    int // of what is written; only writers look at it
}

const blockHead = int(unsafe.Sizeof(block{}))

// newBlock returns a block with room for a number of bytes besides its head.
func newBlock(number uint64, room int) *block {
	memory := make([]uint64, (blockHead+room+7)/8)
	b := (*block)(unsafe.Pointer(unsafe.SliceData(memory))) //nolint:gosec // G103: memory without pointers, for a struct without pointers
	b.number, b.size, b.end = number, len(memory)*8, blockHead
	return b
}

// data returns the block's memory, the head at its start.
func (b *block) data() []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(b)), b.size) //nolint:gosec // G103: as newBlock made it
}

// A record is a header and its key and value:
//
//	hash 8 | stamp 8 | until 8 | length of the value 3 | length of the key 2
const (
	recordHeader = 29
	maxKey       = 1<<16 - 1
)

func NewRecordCache(maxBytes int64) *RecordCache {
	p := &RecordCache{seed: maphash.MakeSeed(), maxBytes: maxBytes, counts: new([countShards]recordCounts)}
	p.reset()
	return p
}

func newPackedTable(slots int, maxBytes int64) *recordTable {
	blocks := min(max(maxBytes/blockBytes, 1)+2, blockNumber)
	return &recordTable{
		slots:  make([]atomic.Uint64, slots),
		blocks: make([]atomic.Pointer[block], 1<<bits.Len64(uint64(blocks))), //nolint:gosec // it is positive
	}
}

// group returns the slots that a hash may have.
func (t *recordTable) group(hash uint64) []atomic.Uint64 {
	at := int(hash&uint64(len(t.slots)/slotGroup-1)) * slotGroup //nolint:gosec // less than the number of slots
	return t.slots[at : at+slotGroup : at+slotGroup]
}

// slotOf makes a slot.
func slotOf(hash, number uint64, offset int) uint64 {
	return hash>>49<<48 | (number&blockNumber)<<24 | uint64(offset/8) //nolint:gosec // offsets are positive
}

// place is a slot without what changes in it.
func place(slot uint64) uint64 { return slot &^ slotUsed }

// record returns the bytes from the start of the record of a slot, or nil when
// its block is gone.
func (t *recordTable) record(slot uint64) []byte {
	number := slot >> 24 & blockNumber
	b := t.blocks[number&uint64(len(t.blocks)-1)].Load()
	if b == nil || b.number&blockNumber != number {
		return nil
	}
	return b.data()[slot&blockNumber*8:]
}

// parts cuts a record.
func parts(record []byte) (hash, stamp uint64, until int64, key, value []byte) {
	header := record[:recordHeader]
	keyEnd := recordHeader + int(binary.LittleEndian.Uint16(header[27:]))
	valueEnd := keyEnd + int(binary.LittleEndian.Uint32(header[24:])&(1<<24-1))
	return binary.LittleEndian.Uint64(header), binary.LittleEndian.Uint64(header[8:]),
		int64(binary.LittleEndian.Uint64(header[16:])), //nolint:gosec // written from the same type
		record[recordHeader:keyEnd], record[keyEnd:valueEnd:valueEnd]
}

// whole returns a record without what follows it.
func whole(record []byte) []byte {
	_, _, _, key, value := parts(record) //nolint:dogsled // its lengths alone
	return record[:recordHeader+len(key)+len(value)]
}

// find returns the slot of a key and its record, or nil.
func (t *recordTable) find(hash uint64, key []byte) (*atomic.Uint64, []byte) {
	group := t.group(hash)
	for i := range group {
		slot := group[i].Load()
		if slot == 0 || slot<<1>>49 != hash>>49 {
			continue
		}
		if record := t.record(slot); record != nil && binary.LittleEndian.Uint64(record) == hash {
			if _, _, _, k, _ := parts(record); bytes.Equal(k, key) {
				return &group[i], record
			}
		}
	}
	return nil, nil
}

// get returns the value of a key, if it was computed under this stamp and still
// holds. The value must not be changed.
func (p *RecordCache) Get(k RecordKind, key []byte, stamp uint64, now int64) (value []byte, ok bool) {
	record := p.Look(k, key, stamp, now)
	if record == nil {
		return nil, false
	}
	return record[recordHeader+len(key):], true
}

// look returns the whole record of a key, under the same conditions, or nil.
func (p *RecordCache) Look(k RecordKind, key []byte, stamp uint64, now int64) []byte {
	if p == nil {
		return nil
	}
	slot, record := p.table.Load().find(maphash.Bytes(p.seed, key), key)
	if record == nil {
		p.Count(k, false)
		return nil
	}
	was, until := binary.LittleEndian.Uint64(record[8:]), int64(binary.LittleEndian.Uint64(record[16:])) //nolint:gosec // written from the same type
	if was != stamp || now >= until {
		p.Count(k, false)
		return nil
	}
	if asked := slot.Load(); asked&slotUsed == 0 && asked != 0 {
		slot.CompareAndSwap(asked, asked|slotUsed)
	}
	p.Count(k, true)
	return whole(record)
}

// peek returns the whole record of a key, whether it still counts or not; nil
// when there is none.
func (p *RecordCache) Peek(key []byte) []byte {
	_, record := p.table.Load().find(maphash.Bytes(p.seed, key), key)
	if record == nil {
		return nil
	}
	return whole(record)
}

// set keeps a value that was computed under a stamp, until a moment in Unix
// milliseconds.
func (p *RecordCache) Set(key, value []byte, stamp uint64, until int64) {
	if p == nil {
		return
	}
	size := recordHeader + len(key) + len(value)
	p.mu.Lock()
	defer p.mu.Unlock()
	if int64(size) > p.maxBytes/8 || size >= blockNumber || len(key) > maxKey {
		return // one record must not drive out all others
	}
	hash := maphash.Bytes(p.seed, key)
	record, slot := p.room(hash, size)
	binary.LittleEndian.PutUint64(record, hash)
	binary.LittleEndian.PutUint64(record[8:], stamp)
	binary.LittleEndian.PutUint64(record[16:], uint64(until))      //nolint:gosec // read as the same type
	binary.LittleEndian.PutUint32(record[24:], uint32(len(value))) //nolint:gosec // bounded above, and its last byte is the next field's
	binary.LittleEndian.PutUint16(record[27:], uint16(len(key)))   //nolint:gosec // bounded above
	copy(record[recordHeader:], key)
	copy(record[recordHeader+len(key):], value)
	p.point(hash, key, slot)
	p.shrink()
}

// room returns where a record of a size can be written, and its slot.
func (p *RecordCache) room(hash uint64, size int) ([]byte, uint64) {
	if p.newest == nil || p.newest.size-p.newest.end < size {
		p.newest = newBlock(p.next, max(size, blockBytes-blockHead))
		blocks := p.table.Load().blocks
		for p.next-p.first >= uint64(len(blocks)) {
			p.drop()
		}
		blocks[p.next&uint64(len(blocks)-1)].Store(p.newest)
		p.next++
		p.bytes += int64(p.newest.size + blockCost)
	}
	at := p.newest.end
	p.newest.end = at + (size+7)&^7
	return p.newest.data()[at : at+size], slotOf(hash, p.newest.number, at)
}

// point lets a key's slot say where its record is.
func (p *RecordCache) point(hash uint64, key []byte, to uint64) {
	t := p.table.Load()
	if slot, _ := t.find(hash, key); slot != nil {
		slot.Store(to)
		return
	}
	for {
		group := t.group(hash)
		for i := range group {
			if group[i].Load() == 0 {
				group[i].Store(to)
				p.filled++
				return
			}
		}
		// A full group among many that are not is bad luck, and costs a record.
		// Slots are an eighth of what is kept, at the most.
		if p.filled < len(t.slots)*3/8 || int64(len(t.slots))*16 > p.maxBytes/8 {
			victim(group, hash).Store(to)
			return
		}
		t = p.grow(t)
	}
}

// victim chooses a slot that another record gets: one that nobody asked for.
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
func (p *RecordCache) grow(old *recordTable) *recordTable {
	t := &recordTable{slots: make([]atomic.Uint64, 2*len(old.slots)), blocks: old.blocks}
	p.bytes += int64(len(old.slots) * 8)
	p.filled = 0
	for i := range old.slots {
		slot := old.slots[i].Load()
		if slot == 0 {
			continue
		}
		record := old.record(slot)
		if record == nil {
			continue
		}
		group := t.group(binary.LittleEndian.Uint64(record))
		for j := range group {
			// There is one: the old group's slots go to two groups.
			if group[j].Load() == 0 {
				group[j].Store(slot)
				p.filled++
				break
			}
		}
	}
	p.table.Store(t)
	return t
}

// maxMoves is how many blocks are dropped at once in which records that are worth
// keeping are kept.
const maxMoves = 4

// shrink makes room until the bound is kept.
func (p *RecordCache) shrink() {
	for moves := 0; p.bytes > p.maxBytes && p.next-p.first > 1; moves++ {
		b := p.drop()
		for at := blockHead; b != nil && at < b.end; {
			hash, _, _, key, value := parts(b.data()[at:])
			size := recordHeader + len(key) + len(value)
			p.leave(b, at, size, hash, moves < maxMoves)
			at += (size + 7) &^ 7
		}
	}
}

// drop takes the oldest block away. Slots that lead to it lead nowhere.
// (No room is made that way but where blocks are as many as can be numbered.)
func (p *RecordCache) drop() *block {
	blocks := p.table.Load().blocks
	b := blocks[p.first&uint64(len(blocks)-1)].Swap(nil)
	p.first++
	if b != nil {
		p.bytes -= int64(b.size + blockCost)
	}
	return b
}

// leave frees the slot of a record of a dropped block. One that was asked for may
// be written anew instead.
func (p *RecordCache) leave(b *block, at, size int, hash uint64, move bool) {
	group := p.table.Load().group(hash)
	from := slotOf(hash, b.number, at)
	for i := range group {
		slot := group[i].Load()
		if place(slot) != place(from) {
			continue
		}
		if !move || slot&slotUsed == 0 {
			group[i].Store(0)
			p.filled--
			return
		}
		record, to := p.room(hash, size)
		copy(record, b.data()[at:at+size])
		group[i].Store(to)
		return
	}
}

// resize changes how many bytes may be taken.
func (p *RecordCache) Resize(maxBytes int64) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	old := p.table.Load()
	t := newPackedTable(0, maxBytes)
	t.slots = old.slots
	if len(t.blocks) > len(old.blocks) {
		for number := p.first; number < p.next; number++ {
			t.blocks[number&uint64(len(t.blocks)-1)].Store(old.blocks[number&uint64(len(old.blocks)-1)].Load())
		}
		p.table.Store(t)
	}
	p.maxBytes = maxBytes
	if len(old.slots) > minSlots && int64(len(old.slots))*8 > maxBytes/8 {
		p.reset() // to fewer slots; that is rare
	}
	p.shrink()
}

// close releases the memory; twice is no error. Nothing is kept from then on.
func (p *RecordCache) Close() {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.maxBytes = 0
	p.reset()
}

// reset forgets everything.
func (p *RecordCache) reset() {
	p.table.Store(newPackedTable(minSlots, p.maxBytes))
	p.newest, p.first, p.next, p.filled, p.bytes = nil, 1, 1, 0, minSlots*8
}

// size returns how many bytes are taken.
func (p *RecordCache) Size() int64 {
	if p == nil {
		return 0
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.bytes
}

// counted returns the hits and misses of a kind.
func (p *RecordCache) Counted(k RecordKind) (hits, misses uint64) {
	if p == nil {
		return 0, 0
	}
	for i := range p.counts {
		hits += p.counts[i].hits[k].Load()
		misses += p.counts[i].misses[k].Load()
	}
	return hits, misses
}
