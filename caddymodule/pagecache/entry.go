package pagecache

import (
	"encoding/binary"
	"errors"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// page is a complete stored response, as it is written to memory and read from it. The
// texts of a page that was read are copies; its body is not.
type page struct {
	status int
	header http.Header // to be written
	body   [][]byte    // to be written

	life       lifetime
	stored     time.Time     // when the response was received
	age        time.Duration // its age then
	hard, soft uint64        // stamps of purges, from before it was asked for
	slots      []uint16
	key        []byte
}

// handle names an entry: its place in the table, and the generation of that place. Zero is
// none.
type handle uint64

// entries hold pages in an arena. A place in the table counts the readers of its page, so
// that the memory of an evicted page is free only when the last of them is done, and never
// before.
type entries struct {
	arena *arena

	mu     sync.Mutex // guards what follows, but not what chunks point to
	unused []uint32
	places uint32
	closed bool
	// sites counts the entries of each vendor's site, by place.site. There are as many as sites
	// were ever configured.
	sites     []siteCount
	siteIndex map[string]uint32
	live      atomic.Int64
	chunks    [maxChunks]atomic.Pointer[[chunkSize]place]
}

const (
	chunkSize = 4096
	maxChunks = 8192 // 33 million pages
)

// place is one place of the table. State has the generation in its upper half, and the
// number of users in the lower one. The page's record begins at the block's first byte.
type place struct {
	state atomic.Uint64
	first atomic.Uint64 // unit<<32 | size
	site  uint32        // in entries.sites, guarded by entries.mu
}

// siteCount counts the entries of a site, and the bytes of their blocks.
type siteCount struct{ pages, bytes int64 }

func (e *entries) at(index uint32) *place { return &e.chunks[index/chunkSize].Load()[index%chunkSize] }

// errFull is the error of put without memory.
var errFull = errors.New("the page cache has no memory for the page")

// recordFixed is the fixed part of a record, in bytes.
const recordFixed = 88

// The bits of a record's flags.
const (
	flagNoCache = 1 << iota
	flagExplicit
)

// put stores a page, and returns its handle and the bytes that it takes. The caller owns
// one use of it.
func (e *entries) put(p *page) (handle, int64, error) {
	encoded, ok := encodeHeader(p.header)
	if !ok {
		return 0, 0, errFull
	}
	length := 0
	for _, part := range p.body {
		length += len(part)
	}
	var pieces []piece
	var buf [16]piece
	var head int
	// The record holds the list of its own pieces, whose number is known only once they
	// are taken.
	for room := 2; ; room *= 2 {
		head = recordFixed + 12*room + 2*len(p.slots) + len(p.key) + len(encoded)
		if room > 2*maxPieces || head > maxHead {
			return 0, 0, errFull
		}
		if pieces, ok = e.arena.allocate(head+length, head, buf[:0]); !ok {
			return 0, 0, errFull
		}
		if len(pieces) <= room {
			break
		}
		e.arena.release(pieces)
	}
	record := e.arena.bytes(pieces[0])
	p.encode(record, head, pieces, encoded, length)
	at := record[head:]
	for i, next := 0, 0; i < len(p.body); {
		part := p.body[i][next:]
		if len(part) == 0 {
			i, next = i+1, 0
			continue
		}
		for len(at) == 0 {
			pieces = pieces[1:]
			at = e.arena.bytes(pieces[0])
		}
		n := copy(at, part)
		at, next = at[n:], next+n
	}
	var taken int64
	for _, one := range e.piecesOf(record) {
		taken += unit << one.order
	}
	h := e.publish(record, binary.LittleEndian.Uint32(record[recordFixed:]), siteOfKey(p.key), taken)
	if h == 0 {
		e.arena.release(e.piecesOf(record))
		return 0, 0, errFull
	}
	return h, taken, nil
}

// maxHead bounds the record of a page without its body, in bytes.
const maxHead = 64 << 10

// encode writes a record.
func (p *page) encode(record []byte, head int, pieces []piece, encoded []byte, length int) {
	flags := uint16(0)
	if p.life.noCache {
		flags |= flagNoCache
	}
	if p.life.explicit {
		flags |= flagExplicit
	}
	le := binary.LittleEndian
	for i, n := range [...]int64{
		p.stored.UnixMilli(), p.age.Milliseconds(), p.life.fresh.Milliseconds(), p.life.whileRevalid.Milliseconds(), p.life.ifError.Milliseconds(),
		int64(p.hard), int64(p.soft), int64(length),
	} {
		le.PutUint64(record[8*i:], uint64(n))
	}
	le.PutUint32(record[64:], uint32(head))
	le.PutUint32(record[68:], uint32(len(encoded)))
	le.PutUint32(record[72:], uint32(len(p.key)))
	le.PutUint32(record[76:], uint32(len(pieces)))
	le.PutUint16(record[80:], uint16(len(p.slots)))
	le.PutUint16(record[82:], uint16(p.status))
	le.PutUint16(record[84:], flags)
	at := record[recordFixed:]
	for _, one := range pieces {
		le.PutUint32(at, one.unit)
		le.PutUint32(at[4:], one.size)
		le.PutUint32(at[8:], uint32(one.order))
		at = at[12:]
	}
	for _, slot := range p.slots {
		le.PutUint16(at, slot)
		at = at[2:]
	}
	at = at[copy(at, p.key):]
	copy(at, encoded)
}

// publish puts a record into the table. It returns zero if the table is full.
func (e *entries) publish(record []byte, first uint32, site []byte, taken int64) handle {
	e.mu.Lock()
	defer e.mu.Unlock()
	var index uint32
	if n := len(e.unused); n > 0 {
		index, e.unused = e.unused[n-1], e.unused[:n-1]
	} else {
		if index = e.places; index >= maxChunks*chunkSize {
			return 0
		}
		if index%chunkSize == 0 {
			e.chunks[index/chunkSize].Store(new([chunkSize]place))
		}
		e.places++
	}
	at := e.at(index)
	generation := at.state.Load() >> 32
	if generation == 0 {
		generation = 1
	}
	count, ok := e.siteIndex[string(site)]
	if !ok {
		if e.siteIndex == nil {
			e.siteIndex = make(map[string]uint32)
		}
		count = uint32(len(e.sites))
		e.sites, e.siteIndex[string(site)] = append(e.sites, siteCount{}), count
	}
	at.site = count
	e.sites[count].pages++
	e.sites[count].bytes += taken
	at.first.Store(uint64(first)<<32 | uint64(len(record)))
	at.state.Store(generation<<32 | 1)
	e.live.Add(1)
	return handle(generation<<32 | uint64(index))
}

// acquire takes a use of an entry. It returns false if the entry is gone.
func (e *entries) acquire(h handle) bool {
	at := e.at(uint32(h))
	for {
		state := at.state.Load()
		if state>>32 != uint64(h>>32) || uint32(state) == 0 {
			return false
		}
		if at.state.CompareAndSwap(state, state+1) {
			return true
		}
	}
}

// release gives a use back. The last one frees the memory.
func (e *entries) release(h handle) {
	at := e.at(uint32(h))
	if uint32(at.state.Add(^uint64(0))) != 0 {
		return
	}
	pieces, taken := e.piecesOf(e.record(h)), int64(0)
	for _, one := range pieces {
		taken += unit << one.order
	}
	e.arena.release(pieces)
	e.mu.Lock()
	e.sites[at.site].pages--
	e.sites[at.site].bytes -= taken
	at.state.Store((uint64(h>>32)%(1<<32-1) + 1) << 32)
	e.unused = append(e.unused, uint32(h))
	last := e.live.Add(-1) == 0 && e.closed
	e.mu.Unlock()
	if last {
		_ = e.arena.close()
	}
}

// close frees the memory once no entry is in use. The owner has released its own uses.
func (e *entries) close() {
	e.mu.Lock()
	already := e.closed
	e.closed = true
	idle := e.live.Load() == 0
	e.mu.Unlock()
	if idle && !already {
		_ = e.arena.close()
	}
}

// record returns the first block of an entry in use.
func (e *entries) record(h handle) []byte {
	first := e.at(uint32(h)).first.Load()
	return e.arena.bytes(piece{unit: uint32(first >> 32), size: uint32(first)})
}

// piecesOf returns the blocks of a record.
func (e *entries) piecesOf(record []byte) []piece {
	le := binary.LittleEndian
	pieces := make([]piece, le.Uint32(record[76:]))
	for i := range pieces {
		at := record[recordFixed+12*i:]
		pieces[i] = piece{unit: le.Uint32(at), size: le.Uint32(at[4:]), order: uint8(le.Uint32(at[8:]))}
	}
	return pieces
}

// entry is an entry in use. The caller releases it.
type entry struct {
	entries *entries
	handle  handle
	record  []byte
}

func (e *entries) use(h handle) (entry, bool) {
	if h == 0 || !e.acquire(h) {
		return entry{}, false
	}
	return entry{entries: e, handle: h, record: e.record(h)}, true
}

func (e *entry) release() { e.entries.release(e.handle) }

func (e *entry) number(i int) int64   { return int64(binary.LittleEndian.Uint64(e.record[8*i:])) }
func (e *entry) half(at int) int      { return int(binary.LittleEndian.Uint16(e.record[at:])) }
func (e *entry) word(at int) int      { return int(binary.LittleEndian.Uint32(e.record[at:])) }
func (e *entry) status() int          { return e.half(82) }
func (e *entry) noCache() bool        { return e.half(84)&flagNoCache != 0 }
func (e *entry) length() int          { return int(e.number(7)) }
func (e *entry) stored() time.Time    { return time.UnixMilli(e.number(0)) }
func (e *entry) fresh() time.Duration { return millis(e.number(2)) }

func millis(n int64) time.Duration { return time.Duration(n) * time.Millisecond }

// age returns the age of the response (RFC 9111, section 4.2.3). A clock that was set back
// makes it no younger than it was.
func (e *entry) age(now time.Time) time.Duration {
	return millis(e.number(1)) + max(now.Sub(e.stored()), 0)
}

func (e *entry) life() lifetime {
	return lifetime{
		fresh: e.fresh(), whileRevalid: millis(e.number(3)), ifError: millis(e.number(4)),
		noCache: e.noCache(), explicit: e.half(84)&flagExplicit != 0,
	}
}

// slots appends the slots of the page's purges.
func (e *entry) slots(to []uint16) []uint16 {
	at := e.record[recordFixed+12*e.word(76):]
	for i := range e.half(80) {
		to = append(to, binary.LittleEndian.Uint16(at[2*i:]))
	}
	return to
}

func (e *entry) key() []byte {
	at := recordFixed + 12*e.word(76) + 2*e.half(80)
	return e.record[at : at+e.word(72)]
}

// setHeader sets the stored header fields in a header, and Age unless it is empty. It copies
// their texts in one piece, because a header may be read when the page is gone.
func (e *entry) setHeader(header http.Header, age string) {
	at := recordFixed + 12*e.word(76) + 2*e.half(80) + e.word(72)
	lengths, text := splitHeader(e.record[at : at+e.word(68)])
	values, name, from := make([]string, 0, len(lengths)/4+1), "", 0
	for ; len(lengths) > 0; lengths = lengths[4:] {
		if n := binary.LittleEndian.Uint16(lengths); n > 0 {
			name, text, from = text[:n], text[n:], len(values)
		}
		n := binary.LittleEndian.Uint16(lengths[2:])
		values, text = append(values, text[:n]), text[n:]
		header[name] = values[from:len(values):len(values)]
	}
	if age != "" {
		header["Age"] = append(values, age)[len(values):]
	}
}

// splitHeader returns the lengths of an encoded header, and a copy of its texts.
func splitHeader(encoded []byte) (lengths []byte, text string) {
	at := 2 + 4*int(binary.LittleEndian.Uint16(encoded))
	return encoded[2:at], string(encoded[at:])
}

// encodeHeader encodes header fields: the number of lines, the lengths of the name and the
// value of each, and their texts. The name of a further line of a field is empty. Texts with a
// line break are left out: net/http refuses them. It returns false for a header that is too
// large.
func encodeHeader(header http.Header) ([]byte, bool) {
	le := binary.LittleEndian
	lengths, texts := make([]byte, 2), []byte(nil)
	for name, values := range header {
		if name == "" || strings.ContainsAny(name, ":\r\n") {
			continue
		}
		for _, value := range values {
			if strings.ContainsAny(value, "\r\n") {
				continue
			}
			texts = append(append(texts, name...), value...)
			if len(lengths)+4+len(texts) > maxHead {
				return nil, false
			}
			lengths = le.AppendUint16(le.AppendUint16(lengths, uint16(len(name))), uint16(len(value)))
			name = ""
		}
	}
	le.PutUint16(lengths, uint16(len(lengths)/4))
	return append(lengths, texts...), true
}

// each calls do with the parts of the body in order, until it returns an error. The parts
// are the stored bytes.
func (e *entry) each(do func([]byte) error) error {
	head, n := e.word(64), e.word(76)
	le := binary.LittleEndian
	for i := range n {
		at := e.record[recordFixed+12*i:]
		part := e.entries.arena.bytes(piece{unit: le.Uint32(at), size: le.Uint32(at[4:])})
		if i == 0 {
			part = part[head:]
		}
		if len(part) == 0 {
			continue
		}
		if err := do(part); err != nil {
			return err
		}
	}
	return nil
}

// bodyParts returns the parts of the body.
func (e *entry) bodyParts() (parts [][]byte) {
	_ = e.each(func(part []byte) error {
		parts = append(parts, part)
		return nil
	})
	return parts
}
