package memory

import (
	"sync/atomic"
	"unsafe"
)

const countShards = 64

// Counter counts events. It is sharded so that processors seldom write to the same
// cache line. The zero value is ready for use.
type Counter struct {
	shards [countShards]struct {
		n atomic.Uint64
		_ [56]byte
	}
}

// Add counts one event, and returns how many the caller's shard has counted.
func (c *Counter) Add() uint64 { return c.shards[shard()].n.Add(1) }

// Load returns how many events were counted.
func (c *Counter) Load() (n uint64) {
	for i := range c.shards {
		n += c.shards[i].n.Load()
	}
	return n
}

// shard chooses a shard by the address of the caller's stack: the requests of one
// connection mostly run on one goroutine, which mostly stays on one processor.
func shard() int {
	const factor = 0x9e3779b97f4a7c15 // of the golden ratio
	var here byte
	return int(uint64(uintptr(unsafe.Pointer(&here))>>11) * factor >> 58) //nolint:gosec // G103: the address alone; less than countShards
}
