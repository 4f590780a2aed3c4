package main

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

// headroom is the minimum growth of the heap between two collections, in bytes.
//
// A proxy has a small heap and allocates much: by Go's default, which collects when
// the heap has doubled, a proxy with 8 MB collects 40 to 65 times a second and
// spends a seventh of its time on it. With this headroom it is 5 times a second, for
// 64 MiB. It is the same for a heap of 6 MB and of 40: the cost is in scanned
// objects, and cached readers are not scanned (see policy/memory). A larger heap is
// collected by Go's default.
const headroom = 64 << 20

// tuneCollector gives the heap its headroom. It does nothing if the operator has
// set GOGC. GOMEMLIMIT stays in force: near the limit, Go collects earlier.
func tuneCollector() {
	if os.Getenv("GOGC") == "" {
		collector := &collector{percent: defaultPercent}
		collector.tune()
		collector.afterEachCollection()
	}
}

// defaultPercent is Go's default: the heap may double.
const defaultPercent = 100

// collector is the setting of the garbage collector.
type collector struct{ percent int }

// afterEachCollection tunes when a collection frees an unreferenced sentinel.
func (c *collector) afterEachCollection() {
	type sentinel struct{ _ [32]byte }
	runtime.AddCleanup(new(sentinel), func(c *collector) {
		c.tune()
		c.afterEachCollection()
	}, c)
}

// tune sets the collector for the current heap. That stops the world for some
// microseconds, so differences of less than a thirty-second are ignored: a larger part
// would be memory without a use, or collections before the headroom is used up.
func (c *collector) tune() {
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(live)
	percent := percentFor(live[0].Value.Uint64())
	if difference := percent - c.percent; max(difference, -difference)*32 > c.percent {
		c.percent = percent
		debug.SetGCPercent(percent)
	}
}

// maxPercent bounds the setting for a tiny heap, as at the start: the 4 MiB minimum
// heap of Go becomes the headroom.
const maxPercent = headroom / (4 << 20) * defaultPercent

// percentFor returns by how much a live heap may grow, in percent of it.
func percentFor(live uint64) int {
	if live <= headroom*defaultPercent/maxPercent {
		return maxPercent
	}
	return max(int(headroom*100/live), defaultPercent)
}
