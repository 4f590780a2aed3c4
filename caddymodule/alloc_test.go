//go:build !race

package caddymodule

import (
	"testing"
	"unsafe"
)

// TestCachedRequestAllocates holds the gate's own allocations for a cached request: its
// outcome, and the replacer function. The race detector allocates as well.
func TestCachedRequestAllocates(t *testing.T) {
	for _, visit := range hotRequests(t) {
		want := 2.0
		if visit.name == "nothing" {
			want = 0 // the test itself
		}
		if allocs := testing.AllocsPerRun(1000, visit.serve); allocs != want {
			t.Errorf("%s: %v allocations, want %v", visit.name, allocs, want)
		}
	}
}

// Each request allocates an outcome: a field more may take it to the allocator's next size,
// which is 32 bytes larger.
func TestOutcomeAllocatesNoMore(t *testing.T) {
	if size := unsafe.Sizeof(outcome{}); size > 384 {
		t.Errorf("an outcome has %d bytes, want at most 384", size)
	}
}
