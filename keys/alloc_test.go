//go:build !race

// The race detector allocates memory of its own.

package keys

import "testing"

// Anyone can send malformed tokens, so refusing them allocates nothing. Verifying
// a link that is not cached allocates a bounded amount.
func TestAllocations(t *testing.T) {
	for name, raw := range malformedByShape() {
		if allocs := testing.AllocsPerRun(100, func() {
			if _, err := Scan(raw); err == nil {
				t.Error("accepted")
			}
		}); allocs > 0 {
			t.Errorf("%s: %v allocations", name, allocs)
		}
	}
	raw := forgeLink(linkPayload())
	if allocs := testing.AllocsPerRun(100, func() {
		if _, err := verifyAcme(raw); err != nil {
			t.Error(err)
		}
	}); allocs > 150 {
		t.Errorf("a verified link: %v allocations", allocs)
	}
}
