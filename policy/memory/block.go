package memory

import (
	"encoding/binary"
	"math/bits"
	"sync/atomic"
	"unsafe"
)

// recordTable finds records. Slots form groups of slotGroup, one of which a hash
// chooses; a slot is zero, or locates a record:
//
//	used 1 | part of the hash 15 | number of the block 24 | offset in units of 8 bytes 24
type recordTable struct {
	slots  []atomic.Uint64
	blocks []atomic.Pointer[block] // a ring, by block number
}

const (
	slotGroup = 8 // 64 bytes, a cache line
	slotUsed  = 1 << 63

	blockBytes  = 8 << 10
	blockNumber = 1<<24 - 1
	blockCost   = 16 // memory of a block besides its bytes
	minSlots    = 64
)

// block is the head of one allocation that holds records behind it. Written bytes
// are immutable; a block stays alive while it is referenced.
type block struct {
	number uint64
	size   int // of the whole allocation, in bytes
	end    int // of the written part; used by writers only
}

const blockHead = int(unsafe.Sizeof(block{}))

// newBlock returns a block for the given number of bytes besides its head.
func newBlock(number uint64, size int) *block {
	memory := make([]uint64, (blockHead+size+7)/8)
	b := (*block)(unsafe.Pointer(unsafe.SliceData(memory))) //nolint:gosec // G103: memory without pointers, for a struct without pointers
	b.number, b.size, b.end = number, len(memory)*8, blockHead
	return b
}

// data returns the whole allocation, head included.
func (b *block) data() []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(b)), b.size) //nolint:gosec // G103: as newBlock made it
}

func newRecordTable(slots int, maxBytes int64) *recordTable {
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

// newSlot returns the slot of a record.
func newSlot(hash, number uint64, offset int) uint64 {
	return hash>>49<<48 | (number&blockNumber)<<24 | uint64(offset/8) //nolint:gosec // offsets are positive
}

// location is a slot without its used bit.
func location(slot uint64) uint64 { return slot &^ slotUsed }

// record returns the bytes from the start of a slot's record, or nil when its block
// is gone.
func (t *recordTable) record(slot uint64) []byte {
	number := slot >> 24 & blockNumber
	b := t.blocks[number&uint64(len(t.blocks)-1)].Load()
	if b == nil || b.number&blockNumber != number {
		return nil
	}
	return b.data()[slot&blockNumber*8:]
}

// find returns the slot of a key and its record, or nil.
func (t *recordTable) find(hash uint64, key []byte) (*atomic.Uint64, Record) {
	group := t.group(hash)
	for i := range group {
		slot := group[i].Load()
		if slot == 0 || slot<<1>>49 != hash>>49 {
			continue
		}
		if found := t.record(slot); found != nil && binary.LittleEndian.Uint64(found) == hash {
			if record := recordAt(found); record.key() == string(key) {
				return &group[i], record
			}
		}
	}
	return nil, Record{}
}

// A record is a header, a key and a value:
//
//	hash 8 | stamp 8 | until 8 | length of the value 3 | length of the key 2
const (
	recordHeader = 29
	maxKey       = 1<<16 - 1
)

// Record is an entry of a RecordCache. It shares the cache's memory, which does not
// change while it is referenced. The zero Record is none.
type Record struct{ text string }

// recordAt returns the record at the start of some bytes.
func recordAt(b []byte) Record {
	key := int(binary.LittleEndian.Uint16(b[27:recordHeader]))
	value := int(binary.LittleEndian.Uint32(b[24:]) & (1<<24 - 1))
	return newRecord(b[:recordHeader+key+value])
}

func newRecord(b []byte) Record { return Record{unsafe.String(unsafe.SliceData(b), len(b))} }

// Exists reports whether there is a record.
func (r Record) Exists() bool { return r.text != "" }

// Value returns the record's value. It shares the record's memory.
func (r Record) Value() string { return r.text[recordHeader+r.keySize():] }

func (r Record) key() string  { return r.text[recordHeader : recordHeader+r.keySize()] }
func (r Record) keySize() int { return int(r.text[27]) | int(r.text[28])<<8 }

func (r Record) hash() uint64  { return r.number(0) }
func (r Record) stamp() uint64 { return r.number(8) }
func (r Record) until() int64  { return int64(r.number(16)) } //nolint:gosec // written from the same type

func (r Record) number(at int) uint64 {
	b := unsafe.Slice(unsafe.StringData(r.text), recordHeader)
	return binary.LittleEndian.Uint64(b[at:])
}

// writeRecord fills in the bytes of a record.
func writeRecord(b []byte, hash, stamp uint64, until int64, key, value []byte) {
	binary.LittleEndian.PutUint64(b, hash)
	binary.LittleEndian.PutUint64(b[8:], stamp)
	binary.LittleEndian.PutUint64(b[16:], uint64(until))      //nolint:gosec // read as the same type
	binary.LittleEndian.PutUint32(b[24:], uint32(len(value))) //nolint:gosec // checked by Set; its last byte is the next field's
	binary.LittleEndian.PutUint16(b[27:], uint16(len(key)))   //nolint:gosec // checked by Set
	copy(b[recordHeader:], key)
	copy(b[recordHeader+len(key):], value)
}
