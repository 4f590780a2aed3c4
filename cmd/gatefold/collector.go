package main

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

// headroom is how much a heap may grow, in bytes and at the least, between two
// collections.
//
// What a proxy keeps is small, and what it throws away is much: by Go's default,
// which collects whenever the heap has doubled, a proxy with 8 MB collects 40 to 65
// times a second, and spends a seventh of its time on it. With this much room it is
// 5 times a second, for the price of these 64 MiB. It is the same room for a heap of
// 6 MB and for one of 40: what costs is what is looked at, and readers who are kept
// in memory are not (see policy). A larger heap is collected as Go does by default.
const headroom = 64 << 20

// tuneCollector gives the heap its headroom, from now on. It does nothing where
// the operator decided with GOGC, and GOMEMLIMIT stays in force: near the limit,
// Go collects earlier, whatever the room.
func tuneCollector() {
	if os.Getenv("GOGC") == "" {
		collector := &collector{percent: defaultPercent}
		collector.tune()
		collector.afterEachCollection()
	}
}

// defaultPercent is Go's own: a heap may double.
const defaultPercent = 100

// collector is the garbage collector as it is set.
type collector struct{ percent int }

// afterEachCollection tunes whenever a collection finds that a sentinel which
// nobody holds is gone.
func (c *collector) afterEachCollection() {
	type sentinel struct{ _ [32]byte }
	runtime.AddCleanup(new(sentinel), func(c *collector) {
		c.tune()
		c.afterEachCollection()
	}, c)
}

// tune sets the collector for the heap that there is. That stops the world for
// some microseconds, so small differences are let be.
func (c *collector) tune() {
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(live)
	percent := percentFor(live[0].Value.Uint64())
	if percent*5 < c.percent*4 || percent*4 > c.percent*5 {
		c.percent = percent
		debug.SetGCPercent(percent)
	}
}

// maxPercent bounds what is set while there is next to no heap, as at the start: the
// 4 MiB that Go lets a heap have by default become the headroom.
const maxPercent = headroom / (4 << 20) * defaultPercent

// percentFor returns by how much a live heap may grow, in percent of it.
func percentFor(live uint64) int {
	if live <= headroom*defaultPercent/maxPercent {
		return maxPercent
	}
	return max(int(headroom*100/live), defaultPercent)
}
