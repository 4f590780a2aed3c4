//go:build !race

package policy

import (
	"context"
	"testing"
)

// TestHotPathAllocations does not run with the race detector, which allocates.
func TestHotPathAllocations(t *testing.T) {
	paths := hotPaths(t)
	for name, most := range map[string]float64{"public": 0, "entitled": 0, "uncountedlink": 1} {
		if allocs := testing.AllocsPerRun(1000, func() { paths[name]() }); allocs > most {
			t.Errorf("%s: %v allocations, want at most %v", name, allocs, most)
		}
	}
}

// A decision about a reader with 20 profiles does not allocate, under any operator.
func TestMembershipAllocations(t *testing.T) {
	for name, decide := range memberPaths(t, 0) {
		if allocs := testing.AllocsPerRun(1000, func() { decide() }); allocs > 0 {
			t.Errorf("%s: %v allocations", name, allocs)
		}
	}
}

// A decision does not allocate beside 1,000 site licences, whether it is by one of them or
// not.
func TestLicenceAllocations(t *testing.T) {
	for _, licences := range []int{0, 1000} {
		for name, decide := range licencePaths(t, licences) {
			if allocs := testing.AllocsPerRun(1000, func() { decide() }); allocs > 0 {
				t.Errorf("%d licences, %s: %v allocations", licences, name, allocs)
			}
		}
	}
}

// Clients can send any number of malformed tokens, so refusing one must not allocate.
func TestMalformedTokensAllocateNothing(t *testing.T) {
	env := newTestEnv(t)
	verifier, now := env.verifier(), env.now()
	for name, raw := range malformedTokens(env) {
		request := &Request{Site: env.site, Link: linkEvidence(raw), Now: now}
		if allocs := testing.AllocsPerRun(100, func() {
			_, readerErr := env.policy.Reader(context.Background(), verifier, raw, now)
			_, linkErr := env.policy.linkToken(context.Background(), request)
			if readerErr == nil || linkErr == nil {
				t.Error("a malformed token is accepted")
			}
		}); allocs != 0 {
			t.Errorf("%s: %v allocations", name, allocs)
		}
	}
}
