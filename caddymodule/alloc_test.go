//go:build !race

package caddymodule

import "testing"

// TestHotPathAllocatesLittle bounds what the gate itself allocates for a request
// that it has seen before: the visit, the placeholder function, its place in the
// replacer and the log field. The race detector allocates for itself.
func TestHotPathAllocatesLittle(t *testing.T) {
	most := map[string]float64{"nothing": 0, "public": 4, "reader": 4, "cookie": 13}
	own := 0.0
	for i, visit := range hotVisits(t) {
		allocs := testing.AllocsPerRun(1000, visit.serve)
		if i == 0 {
			own = allocs // what the test itself allocates
		}
		if allocs-own > most[visit.name] {
			t.Errorf("%s: %v allocations, at most %v are needed", visit.name, allocs-own, most[visit.name])
		}
	}
}
