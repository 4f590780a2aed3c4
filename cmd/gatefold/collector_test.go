package main

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"testing"
	"time"
)

// The heap may grow by 64 MiB, or double.
func TestAHeapHasHeadroom(t *testing.T) {
	for live, want := range map[uint64]int{
		0: 1600, 1 << 20: 1600, 4 << 20: 1600, 8 << 20: 800, 16 << 20: 400, 32 << 20: 200, 64 << 20: 100, 1 << 40: 100,
	} {
		if got := percentFor(live); got != want {
			t.Errorf("a heap of %d bytes may grow by %d %%, want %d", live, got, want)
		}
	}
}

// An operator's GOGC stays in force. Without one, the setting follows the heap after
// each collection.
func TestTheCollectorFollowsTheHeap(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(defaultPercent))
	t.Setenv("GOGC", "100")
	tuneCollector()
	runtime.GC()
	if got := percentNow(); got != defaultPercent {
		t.Fatalf("with GOGC=100 it is %d", got)
	}
	t.Setenv("GOGC", "")
	tuneCollector()
	if got := percentNow(); got <= defaultPercent {
		t.Fatalf("with a small heap it is %d", got)
	}
	func() {
		held := make([]byte, 2*headroom)
		wait(t, "the heap is large", func() bool { runtime.GC(); return percentNow() == defaultPercent })
		runtime.KeepAlive(held)
	}()
	wait(t, "the heap is small again", func() bool { runtime.GC(); return percentNow() > defaultPercent })
}

// A heap that grows by a fifth has the same headroom as before, and not a fifth more.
func TestHeadroomStaysTheSame(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(defaultPercent))
	t.Setenv("GOGC", "")
	tuneCollector()
	var held [][]byte
	for _, size := range []int{32 << 20, 7 << 20, 7 << 20} {
		held = append(held, make([]byte, size))
		sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/gc/gogc:percent"}}
		wait(t, "the heap may grow by the headroom", func() bool {
			runtime.GC()
			metrics.Read(sample)
			growth := sample[0].Value.Uint64() * sample[1].Value.Uint64() / 100
			return growth > headroom*15/16 && growth < headroom*17/16
		})
	}
	runtime.KeepAlive(held)
}

func wait(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(deadline); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("in vain: %s", what)
		}
	}
}

func percentNow() uint64 {
	sample := []metrics.Sample{{Name: "/gc/gogc:percent"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}
