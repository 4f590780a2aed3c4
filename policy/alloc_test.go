//go:build !race

package policy

import "testing"

// TestHotPathsAllocateLittle. The race detector allocates for itself.
func TestHotPathsAllocateLittle(t *testing.T) {
	paths := hotPaths(t)
	for name, most := range map[string]float64{"public": 0, "entitled": 0, "uncountedlink": 1} {
		if allocs := testing.AllocsPerRun(1000, func() { paths[name]() }); allocs > most {
			t.Errorf("%s: %v allocations, at most %v are needed", name, allocs, most)
		}
	}
}
