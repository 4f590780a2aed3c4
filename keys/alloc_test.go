//go:build !race

// The race detector allocates on its own account.

package keys

import "testing"

// Anybody can send rubbish, so rubbish costs no memory; and a link that is not in
// the cache costs a bounded amount.
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
