//go:build !race

package caddymodule

import "testing"

// TestHotPathAllocatesLittle holds what the gate itself allocates for a request
// that it has seen before: its outcome, and the function by which the replacer
// asks for it. The race detector allocates for itself.
func TestHotPathAllocatesLittle(t *testing.T) {
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
