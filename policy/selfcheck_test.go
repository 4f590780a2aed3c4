package policy

import (
	"math"
	"sync"
	"testing"
	"time"

	"github.com/gatefold/gatefold/keys"
)

// decideUntilChecked decides a visit without a self-check, and again with one.
func (w *world) decideUntilChecked(v visit) {
	w.t.Helper()
	before, _ := w.policy.SelfChecks()
	w.policy.checkEvery = math.MaxUint64
	w.decide(v)
	if after, _ := w.policy.SelfChecks(); after != before {
		w.t.Fatal("a decision is checked that is not due")
	}
	w.policy.checkEvery = 1
	defer func() { w.policy.checkEvery = math.MaxUint64 }()
	w.decide(v)
	if after, _ := w.policy.SelfChecks(); after != before+1 {
		w.t.Fatalf("%d checks after one more, was %d", after, before)
	}
}

// One decision of checkEvery is checked; shards of the counter may delay some.
func TestSelfChecksAreSampled(t *testing.T) {
	w := newWorld(t)
	if w.policy.checkEvery != selfCheckEvery {
		t.Fatalf("one of %d decisions is checked", w.policy.checkEvery)
	}
	w.policy.checkEvery = 10
	for range 100 {
		w.decide(visit{reader: ann})
	}
	if checked, _ := w.policy.SelfChecks(); checked < 5 || checked > 10 {
		t.Errorf("%d of 100 decisions are checked, one of 10 is wanted", checked)
	}
}

// failures are the self-checks that failed a minute from now.
func (w *world) failures() uint64 {
	w.wait(doubtSettles)
	_, failed := w.policy.SelfChecks()
	return failed
}

func TestSelfCheckFindsNothing(t *testing.T) {
	w := newWorld(t)
	w.subscribe(0, 5000)
	link := carries(w.newLink(keys.LinkClaims{}))
	counted := carries(w.newLink(keys.LinkClaims{ID: "counted", MaxUses: 9}))
	for _, v := range []visit{
		{reader: ann},
		{reader: bob},
		{},
		{path: "/public"},
		{link: link},
		{link: counted},
		{link: LinkEvidence{Redeemed: []RedeemedLink{passOf("link_1")}}},
		{link: carries("abc")},
		{path: "/elsewhere"},
	} {
		w.decide(v)
		w.settle()
		w.decideUntilChecked(v)
	}
	if used := w.records.used("counted"); used != 3 {
		t.Errorf("three visits spent %d uses: a check spends none", used)
	}
	if failed := w.failures(); failed != 0 {
		t.Errorf("%d checks failed", failed)
	}
}

// TestSelfCheckFindsWhatWasNotAnnounced: a store that loses a change keeps
// revoked readers in. That is what the check is there to find.
func TestSelfCheckFindsWhatWasNotAnnounced(t *testing.T) {
	for _, c := range []struct {
		name  string
		visit func(w *world) visit
		write func(w *world)
	}{
		{"a revoked grant", func(w *world) visit { w.subscribe(0, 0); return visit{reader: ann} }, func(w *world) { w.records.revoke("g1") }},
		{"a new grant", func(*world) visit { return visit{reader: ann} }, func(w *world) { w.subscribe(0, 0) }},
		{"a shorter grant", func(w *world) visit { w.subscribe(0, 0); return visit{reader: ann} }, func(w *world) {
			w.records.revoke("g1")
			w.subscribe(0, 3600_000)
		}},
		{"a revoked link", func(w *world) visit { return visit{link: carries(w.newLink(keys.LinkClaims{}))} }, func(w *world) { w.records.revokeLink("link_1") }},
		{"a revoked link's cookie", func(w *world) visit {
			w.newLink(keys.LinkClaims{})
			return visit{link: LinkEvidence{Redeemed: []RedeemedLink{passOf("link_1")}}}
		}, func(w *world) { w.records.revokeLink("link_1") }},
		{"a key that is gone", func(w *world) visit { return visit{link: carries(w.newLink(keys.LinkClaims{}))} }, func(w *world) { w.keys.set = keys.NewKeySet() }},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			v := c.visit(w)
			w.decide(v)
			w.settle()
			w.records.silent = true
			c.write(w)
			w.decideUntilChecked(v)
			w.wait(doubtSettles - 1*time.Millisecond)
			if _, failed := w.policy.SelfChecks(); failed != 0 {
				t.Fatal("it counts before the change could have been announced")
			}
			w.wait(time.Millisecond)
			for range 2 {
				if _, failed := w.policy.SelfChecks(); failed != 1 {
					t.Fatalf("%d checks failed", failed)
				}
			}
		})
	}
}

// TestSelfCheckWaitsForTheAnnouncement: between a commit and its announcement
// the old answer stands; to differ from the store then is no failure.
func TestSelfCheckWaitsForTheAnnouncement(t *testing.T) {
	w := newWorld(t)
	w.subscribe(0, 0)
	w.want(visit{reader: ann}, ReasonEntitled)
	w.settle()
	w.records.silent = true
	w.records.revoke("g1")
	w.decideUntilChecked(visit{reader: ann})
	w.wait(time.Second)
	w.records.versions.Bump(changeOf(fakeGrant{userID: "ann"}))
	if failed := w.failures(); failed != 0 {
		t.Errorf("%d checks failed", failed)
	}
}

// TestSelfCheckWithoutStore: what cannot be read cannot be compared.
func TestSelfCheckWithoutStore(t *testing.T) {
	w := newWorld(t)
	w.subscribe(0, 0)
	w.want(visit{reader: ann}, ReasonEntitled)
	w.settle()
	w.records.down = errDown
	w.policy.checkEvery = 1
	w.want(visit{reader: ann}, ReasonEntitled)
	if checked, _ := w.policy.SelfChecks(); checked != 0 || w.failures() != 0 {
		t.Error("it was compared")
	}
}

func TestDoubtsAreBounded(t *testing.T) {
	w := newWorld(t)
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for range maxDoubts {
				w.policy.checks.watch(doubt{since: w.now(), stamp: func() uint64 { return 0 }})
			}
		})
	}
	group.Wait()
	if failed := w.failures(); failed != maxDoubts {
		t.Errorf("%d doubts were kept", failed)
	}
}
