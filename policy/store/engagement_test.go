package store_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store"
)

func (b *fixture) visit(site, user string, tags ...string) {
	b.Helper()
	b.ok(b.RecordVisits(b.Context(), vendor, []store.Visit{{Site: site, UserID: user, At: b.clock, Tags: tags}}))
}

func (b *fixture) engagements(site string) string {
	b.Helper()
	list, err := b.Engagements(b.Context(), vendor, site)
	b.ok(err)
	return strings.Trim(fmt.Sprint(list), "[]")
}

func (b *fixture) visitors(site string, page store.VisitorPage) string {
	b.Helper()
	list, count, err := b.Visitors(b.Context(), vendor, site, page)
	b.ok(err)
	told := fmt.Sprint(count)
	for _, v := range list {
		told += " " + v.UserID
		if page.Tags {
			told += fmt.Sprint(v.Tags)
		}
	}
	return told
}

// Each reader counts once per tag, however often they visit.
func TestEngagementCountsReaders(t *testing.T) {
	b := newFixture(t)
	first := b.clock
	b.visit("news", "alice", "app", "profile")
	for range 3 {
		b.clock = b.clock.Add(time.Minute)
		b.visit("news", "alice", "app")
		b.visit("news", "kenneth", "billing", "app")
	}
	b.visit("news", "another-reader")
	b.visit("news-2", "alice", "other")
	if got := b.engagements("news"); got != "{app 2} {billing 1} {profile 1}" {
		t.Errorf("the engagements are %s", got)
	}
	if got := b.visitors("news", store.VisitorPage{Limit: 10, Tags: true}); got != "3 another-reader[] kenneth[app billing] alice[app profile]" {
		t.Errorf("the visitors are %s", got)
	}
	known, err := b.FirstEngaged(t.Context(), vendor, "news", "alice", []string{"app", "new"})
	if err != nil || len(known) != 1 || !known["app"].Equal(first) {
		t.Errorf("%v, %v", known, err)
	}
}

// A session reports that a reader is no longer new: the first use of a tag
// invalidates what is cached of the reader, and nothing else.
func TestOnlyANewTagMakesStale(t *testing.T) {
	b := newFixture(t)
	alice, kenneth := policy.Reader{UserID: "alice"}, policy.Reader{UserID: "kenneth"}
	stamp := func(r policy.Reader) uint64 { return b.versions.Reader(vendor, &r) }
	a, k, shared := stamp(alice), stamp(kenneth), b.versions.Shared()
	b.visit("news", "alice")
	if stamp(alice) != a {
		t.Error("a visit alone makes stale")
	}
	b.visit("news", "alice", "app")
	if stamp(alice) == a || stamp(kenneth) != k || b.versions.Shared() != shared {
		t.Error("the new tag made stale the wrong readers")
	}
	a = stamp(alice)
	b.clock = b.clock.Add(time.Hour)
	b.visit("news", "alice", "app")
	if stamp(alice) != a {
		t.Error("an old tag makes stale")
	}
}

func TestVisitorsInTheOrderOfTheirLastVisit(t *testing.T) {
	b := newFixture(t)
	start := b.clock
	for i := range 10 {
		b.visit("news", fmt.Sprintf("u%d", i))
		b.clock = b.clock.Add(time.Hour)
	}
	b.visit("news", "u3")
	if got := b.visitors("news", store.VisitorPage{Limit: 3}); got != "10 u3 u9 u8" {
		t.Errorf("the first are %s", got)
	}
	if got := b.visitors("news", store.VisitorPage{Skip: 8, Limit: 5}); got != "10 u1 u0" {
		t.Errorf("the last are %s", got)
	}
	if got := b.visitors("news", store.VisitorPage{Since: start.Add(8 * time.Hour), Limit: 5}); got != "3 u3 u9 u8" {
		t.Errorf("since then there were %s", got)
	}
	// A reader who stays is not written again and again.
	list, _, err := b.Visitors(t.Context(), vendor, "news", store.VisitorPage{Limit: 1})
	b.ok(err)
	b.clock = b.clock.Add(store.ActivityStep - time.Millisecond)
	b.visit("news", "u3")
	again, _, err := b.Visitors(t.Context(), vendor, "news", store.VisitorPage{Limit: 1})
	b.ok(err)
	if !again[0].Seen.Equal(list[0].Seen) {
		t.Error("written again within a step")
	}
	// Who did not come for long is forgotten, first by the list, then by the store.
	b.clock = b.clock.Add(store.ActivityKept)
	if got := b.visitors("news", store.VisitorPage{Limit: 3}); got != "0" {
		t.Errorf("after a long time there are %s", got)
	}
	b.clock = b.clock.Add(time.Hour)
	if removed, err := b.Sweep(t.Context()); err != nil || removed != 20 {
		t.Errorf("removed %d, %v", removed, err)
	}
}

// Several nodes record the same readers at once: none is lost, none counts twice,
// and none is listed twice.
func TestNodesRecordAtOnce(t *testing.T) {
	b := newFixture(t)
	nodes := []*store.Store{b.Store, store.New(b.engine, new(policy.Versions), b.now), store.New(b.engine, new(policy.Versions), b.now)}
	for round := range 5 {
		b.clock = b.clock.Add(time.Hour)
		var calls sync.WaitGroup
		for _, node := range nodes {
			calls.Go(func() {
				for user := range 10 {
					visit := store.Visit{Site: "news", UserID: fmt.Sprint("u", user), At: b.clock.Add(time.Duration(round)), Tags: []string{"app"}}
					if err := node.RecordVisits(t.Context(), vendor, []store.Visit{visit}); err != nil {
						t.Error(err)
					}
				}
			})
		}
		calls.Wait()
	}
	if got := b.engagements("news"); got != "{app 10}" {
		t.Errorf("the engagements are %s", got)
	}
	if got := b.visitors("news", store.VisitorPage{Limit: 0}); got != "10" {
		t.Errorf("there are %s visitors", got)
	}
}
