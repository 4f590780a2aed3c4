package policy

import (
	"math"
	"sync"
	"testing"
	"time"

	"github.com/gatefold/gatefold/keys"
)

// decideUntilChecked decides a visit without a self-check, and again with one.
func (env *testEnv) decideWithSelfCheck(v testRequest) {
	env.t.Helper()
	before, _ := env.policy.SelfChecks()
	env.policy.checkEvery = math.MaxUint64
	env.decide(v)
	if after, _ := env.policy.SelfChecks(); after != before {
		env.t.Fatal("a decision is checked that is not due")
	}
	env.policy.checkEvery = 1
	defer func() { env.policy.checkEvery = math.MaxUint64 }()
	env.decide(v)
	if after, _ := env.policy.SelfChecks(); after != before+1 {
		env.t.Fatalf("%d checks after one more, was %d", after, before)
	}
}

// One decision of checkEvery is checked; shards of the counter may delay some.
func TestSelfChecksAreSampled(t *testing.T) {
	env := newTestEnv(t)
	if env.policy.checkEvery != selfCheckEvery {
		t.Fatalf("one of %d decisions is checked", env.policy.checkEvery)
	}
	env.policy.checkEvery = 10
	for range 100 {
		env.decide(testRequest{reader: ann})
	}
	if checked, _ := env.policy.SelfChecks(); checked < 5 || checked > 10 {
		t.Errorf("%d of 100 decisions are checked, one of 10 is wanted", checked)
	}
}

// failures are the self-checks that failed a minute from now.
func (env *testEnv) failedSelfChecks() uint64 {
	env.advance(mismatchGrace)
	_, failed := env.policy.SelfChecks()
	return failed
}

func TestSelfCheckPasses(t *testing.T) {
	env := newTestEnv(t)
	env.subscribe(0, 5000)
	link := linkEvidence(env.newLink(keys.LinkClaims{}))
	counted := linkEvidence(env.newLink(keys.LinkClaims{ID: "counted", MaxUses: 9}))
	for _, v := range []testRequest{
		{reader: ann},
		{reader: bob},
		{},
		{path: "/public"},
		{link: link},
		{link: counted},
		{link: LinkEvidence{Redeemed: []RedeemedLink{redeemedLink("link_1")}}},
		{link: linkEvidence("abc")},
		{path: "/elsewhere"},
	} {
		env.decide(v)
		env.waitForCaches()
		env.decideWithSelfCheck(v)
	}
	if used := env.records.useCount("counted"); used != 3 {
		t.Errorf("three visits spent %d uses: a check spends none", used)
	}
	if failed := env.failedSelfChecks(); failed != 0 {
		t.Errorf("%d checks failed", failed)
	}
}

// TestSelfCheckFindsWhatWasNotAnnounced: a store that loses a change keeps
// revoked readers in. That is what the check is there to find.
func TestSelfCheckFindsUnannouncedWrites(t *testing.T) {
	for _, c := range []struct {
		name  string
		visit func(env *testEnv) testRequest
		write func(env *testEnv)
	}{
		{"a revoked grant", func(env *testEnv) testRequest { env.subscribe(0, 0); return testRequest{reader: ann} }, func(env *testEnv) { env.records.revoke("g1") }},
		{"a new grant", func(*testEnv) testRequest { return testRequest{reader: ann} }, func(env *testEnv) { env.subscribe(0, 0) }},
		{"a shorter grant", func(env *testEnv) testRequest { env.subscribe(0, 0); return testRequest{reader: ann} }, func(env *testEnv) {
			env.records.revoke("g1")
			env.subscribe(0, 3600_000)
		}},
		{"a revoked link", func(env *testEnv) testRequest { return testRequest{link: linkEvidence(env.newLink(keys.LinkClaims{}))} }, func(env *testEnv) { env.records.revokeLink("link_1") }},
		{"a revoked link's cookie", func(env *testEnv) testRequest {
			env.newLink(keys.LinkClaims{})
			return testRequest{link: LinkEvidence{Redeemed: []RedeemedLink{redeemedLink("link_1")}}}
		}, func(env *testEnv) { env.records.revokeLink("link_1") }},
		{"a key that is gone", func(env *testEnv) testRequest { return testRequest{link: linkEvidence(env.newLink(keys.LinkClaims{}))} }, func(env *testEnv) { env.keys.set = keys.NewKeySet() }},
	} {
		t.Run(c.name, func(t *testing.T) {
			env := newTestEnv(t)
			v := c.visit(env)
			env.decide(v)
			env.waitForCaches()
			env.records.unannounced = true
			c.write(env)
			env.decideWithSelfCheck(v)
			env.advance(mismatchGrace - 1*time.Millisecond)
			if _, failed := env.policy.SelfChecks(); failed != 0 {
				t.Fatal("it counts before the change could have been announced")
			}
			env.advance(time.Millisecond)
			for range 2 {
				if _, failed := env.policy.SelfChecks(); failed != 1 {
					t.Fatalf("%d checks failed", failed)
				}
			}
		})
	}
}

// TestSelfCheckWaitsForTheAnnouncement: between a commit and its announcement
// the old answer stands; to differ from the store then is no failure.
func TestSelfCheckAllowsLateInvalidation(t *testing.T) {
	env := newTestEnv(t)
	env.subscribe(0, 0)
	env.want(testRequest{reader: ann}, ReasonEntitled)
	env.waitForCaches()
	env.records.unannounced = true
	env.records.revoke("g1")
	env.decideWithSelfCheck(testRequest{reader: ann})
	env.advance(time.Second)
	env.records.versions.Bump(invalidationOf(fakeGrant{userID: "ann"}))
	if failed := env.failedSelfChecks(); failed != 0 {
		t.Errorf("%d checks failed", failed)
	}
}

// TestSelfCheckWithoutStore: what cannot be read cannot be compared.
func TestSelfCheckWithoutStore(t *testing.T) {
	env := newTestEnv(t)
	env.subscribe(0, 0)
	env.want(testRequest{reader: ann}, ReasonEntitled)
	env.waitForCaches()
	env.records.down = errDown
	env.policy.checkEvery = 1
	env.want(testRequest{reader: ann}, ReasonEntitled)
	if checked, _ := env.policy.SelfChecks(); checked != 0 || env.failedSelfChecks() != 0 {
		t.Error("it was compared")
	}
}

func TestMismatchesAreBounded(t *testing.T) {
	env := newTestEnv(t)
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for range maxMismatches {
				env.policy.checks.watch(mismatch{since: env.now(), stamp: func() uint64 { return 0 }})
			}
		})
	}
	group.Wait()
	if failed := env.failedSelfChecks(); failed != maxMismatches {
		t.Errorf("%d doubts were kept", failed)
	}
}
