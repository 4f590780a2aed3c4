//go:build !race

package caddymodule

import "testing"

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
