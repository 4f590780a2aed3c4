//go:build !race

package caddymodule

import (
	"testing"

	"github.com/gatefold/gatefold/policy"
)

// A cached session costs one allocation, for the header's slice. Requests without a
// session cost none.
func TestSessionAllocates(t *testing.T) {
	visits := hotRequests(t)
	s := &testSite{TB: t}
	s.backend(policy.SessionAssertion)
	for _, visit := range visits {
		want := map[string]float64{"nothing": 0, "public": 2, "reader": 3, "session": 3, "cookie": 3}[visit.name]
		var allocs float64
		// The cache applies writes in batches.
		s.waitFor(visit.name+" without more allocations", func() bool {
			allocs = testing.AllocsPerRun(1000, visit.serve)
			return allocs <= want
		})
		if allocs != want {
			t.Errorf("%s: %v allocations, want %v", visit.name, allocs, want)
		}
	}
}
