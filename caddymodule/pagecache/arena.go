package pagecache

import (
	"encoding/binary"
	"math/bits"
	"sync"
)

// arena is a fixed piece of memory outside of the garbage collector's sight, from which
// pages take blocks of powers of two: a buddy allocator. Free blocks are linked through
// their own memory. It is safe for concurrent use; what is read and written in allocated
// blocks is up to their owner.
type arena struct {
	mem []byte

	mu    sync.Mutex
	state []uint8              // by unit: of the head of a free block freeBlock|order, else 0
	free  [maxOrder + 1]uint32 // the first free block by order, one more than its unit; 0 for none
	used  int64
}

// A unit is the smallest block. Blocks of maxOrder have 4 MiB.
const (
	unit      = 256
	maxOrder  = 14
	freeBlock = 0x80
)

// piece is a block with a part of a page.
type piece struct {
	unit, size uint32 // size is the number of bytes in use
	order      uint8
}

func newArena(size int64) (*arena, error) {
	size -= size % unit
	mem, err := mapMemory(int(size))
	if err != nil {
		return nil, err
	}
	a := &arena{mem: mem, state: make([]uint8, size/unit)}
	total := uint32(size / unit)
	for at := uint32(0); at < total; {
		order := uint8(maxOrder)
		for at&(1<<order-1) != 0 || at+1<<order > total {
			order--
		}
		a.push(at, order)
		at += 1 << order
	}
	return a, nil
}

func (a *arena) close() error { return unmapMemory(a.mem) }

// links of a free block: the next and the previous one, each one more than its unit.
func (a *arena) link(block uint32, i int) []byte {
	at := int(block)*unit + 4*i
	return a.mem[at : at+4]
}

func (a *arena) push(block uint32, order uint8) {
	next := a.free[order]
	binary.LittleEndian.PutUint32(a.link(block, 0), next)
	binary.LittleEndian.PutUint32(a.link(block, 1), 0)
	if next != 0 {
		binary.LittleEndian.PutUint32(a.link(next-1, 1), block+1)
	}
	a.free[order] = block + 1
	a.state[block] = freeBlock | order
}

func (a *arena) unlink(block uint32, order uint8) {
	next, previous := binary.LittleEndian.Uint32(a.link(block, 0)), binary.LittleEndian.Uint32(a.link(block, 1))
	if previous == 0 {
		a.free[order] = next
	} else {
		binary.LittleEndian.PutUint32(a.link(previous-1, 0), next)
	}
	if next != 0 {
		binary.LittleEndian.PutUint32(a.link(next-1, 1), previous)
	}
	a.state[block] = 0
}

// take returns a block of at most the given order, and of the largest that there is. It
// returns false if there is none.
func (a *arena) take(order uint8) (piece, bool) {
	from := order
	for from <= maxOrder && a.free[from] == 0 {
		from++
	}
	if from > maxOrder {
		for from = order; a.free[from] == 0; from-- {
			if from == 0 {
				return piece{}, false
			}
		}
		order = from
	}
	block := a.free[from] - 1
	a.unlink(block, from)
	for from > order {
		from--
		a.push(block+1<<from, from)
	}
	a.used += unit << order
	return piece{unit: block, order: order}, true
}

// give returns a block, and joins it with its free buddies.
func (a *arena) give(p piece) {
	a.used -= unit << p.order
	block, order := p.unit, p.order
	for order < maxOrder {
		buddy := block ^ 1<<order
		if int(buddy) >= len(a.state) || a.state[buddy] != freeBlock|order {
			break
		}
		a.unlink(buddy, order)
		block &^= 1 << order
		order++
	}
	a.push(block, order)
}

// maxPieces bounds the blocks of a page. More are needed only in memory that is all in
// small pieces.
const maxPieces = 256

// allocate takes blocks for size bytes, of which the first holds at least head bytes. It
// returns false if there is no memory.
func (a *arena) allocate(size, head int, pieces []piece) ([]piece, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	pieces = pieces[:0]
	for left := size; left > 0; {
		order := orderFor(left)
		for len(pieces) == 0 && order < maxOrder && unit<<order < head {
			order++
		}
		p, ok := a.take(order)
		if ok {
			p.size = uint32(min(left, unit<<p.order))
			pieces = append(pieces, p)
			left -= int(p.size)
		}
		if !ok || len(pieces) > maxPieces || len(pieces) == 1 && int(p.size) < head {
			for _, taken := range pieces {
				a.give(taken)
			}
			return nil, false
		}
	}
	return pieces, true
}

// orderFor returns the order of the next block for so many bytes: the largest that they
// fill, or the next one if they fill three quarters of that.
func orderFor(size int) uint8 {
	units := (size + unit - 1) / unit
	order := bits.Len(uint(units)) - 1
	if units > 3<<order/2 || size < 2*unit && units > 1 {
		order++
	}
	return uint8(min(order, maxOrder))
}

// release returns the blocks of a page.
func (a *arena) release(pieces []piece) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, p := range pieces {
		a.give(p)
	}
}

// bytes returns the used part of a block.
func (a *arena) bytes(p piece) []byte {
	at := int(p.unit) * unit
	return a.mem[at : at+int(p.size) : at+int(p.size)]
}

// inUse returns the bytes of all taken blocks.
func (a *arena) inUse() int64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.used
}
