package policy

import (
	"math"
	"sync"
	"testing"
	"time"

	"github.com/gatefold/gatefold/keys"
)

// decideWithSelfCheck decides a request without a self-check, and then with one.
func (env *testEnv) decideWithSelfCheck(v testRequest) {
	env.t.Helper()
	before, _ := env.policy.SelfChecks()
	env.policy.checkEvery = math.MaxUint64
	env.decide(v)
	if after, _ := env.policy.SelfChecks(); after != before {
		env.t.Fatal("a decision was checked out of turn")
	}
	env.policy.checkEvery = 1
	defer func() { env.policy.checkEvery = math.MaxUint64 }()
	env.decide(v)
	if after, _ := env.policy.SelfChecks(); after != before+1 {
		env.t.Fatalf("%d checks, want one more than %d", after, before)
	}
}

// The counter is sharded, so that a check may be late.
func TestSelfChecksAreSampled(t *testing.T) {
	env := newTestEnv(t)
	if env.policy.checkEvery != selfCheckEvery {
		t.Fatalf("one in %d decisions is checked", env.policy.checkEvery)
	}
	env.policy.checkEvery = 10
	for range 100 {
		env.decide(testRequest{reader: ann})
	}
	if checked, _ := env.policy.SelfChecks(); checked < 5 || checked > 10 {
		t.Errorf("%d of 100 decisions were checked, want one in 10", checked)
	}
}

// failedSelfChecks advances the clock past mismatchGrace, and returns the failed
// self-checks.
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
		t.Errorf("%d uses were redeemed, want 3: a self-check redeems none", used)
	}
	if failed := env.failedSelfChecks(); failed != 0 {
		t.Errorf("%d checks failed", failed)
	}
}

// A store that loses an invalidation keeps allowing revoked readers, which the
// self-check must detect.
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
				t.Fatal("it counts before mismatchGrace is over")
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

// Between a commit and its invalidation a cached decision may differ from the store.
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

// If the store cannot be read, nothing is compared.
func TestSelfCheckWithoutStore(t *testing.T) {
	env := newTestEnv(t)
	env.subscribe(0, 0)
	env.want(testRequest{reader: ann}, ReasonEntitled)
	env.waitForCaches()
	env.records.down = errDown
	env.policy.checkEvery = 1
	env.want(testRequest{reader: ann}, ReasonEntitled)
	if checked, _ := env.policy.SelfChecks(); checked != 0 || env.failedSelfChecks() != 0 {
		t.Error("a decision was compared")
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
		t.Errorf("%d mismatches were kept", failed)
	}
}

// A check uses the rules that the decision used. It reads none, which would be slow,
// and rules that are committed and not yet published are no fault.
func TestSelfCheckUsesTheRulesOfTheDecision(t *testing.T) {
	env := newTestEnv(t)
	env.site = NewSite("acme", "news", nil, PathOptions{}, env.keys)
	env.records.rules[siteKey{"acme", "news"}] = []Rule{{Rank: 1, Path: "/", Allow: Allow{Operator: "any"}}}
	env.want(testRequest{}, ReasonPublic)
	env.records.rules[siteKey{"acme", "news"}] = []Rule{{Rank: 1, Path: "/", Allow: Allow{Operator: "authenticated"}}}
	env.records.versions.Bump(Invalidation{Shared: true, SameDomains: true}) // and not published yet
	env.decideWithSelfCheck(testRequest{})
	if failed := env.failedSelfChecks(); failed != 0 {
		t.Errorf("%d checks failed", failed)
	}
}
