package store_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store"
	"github.com/gatefold/gatefold/policy/store/engine"
)

// stalledEngine is a store that does not answer until it is let go, and then fails
// or works on.
type stalledEngine struct {
	engine.Engine
	release chan struct{}
	fails   error
}

func (e *stalledEngine) View(ctx context.Context, partition string, fn func(engine.Snapshot) error) error {
	<-e.release
	if e.fails != nil {
		return e.fails
	}
	return e.Engine.View(ctx, partition, fn)
}

// The store stalls while readers come: noting them waits for nothing, and takes no
// more memory than it may. What was noted is there when the store is back.
func TestVisitsDoNotWaitForAStalledStore(t *testing.T) {
	b := newFixture(t)
	stalled := &stalledEngine{Engine: b.engine, release: make(chan struct{})}
	recorder := store.NewRecorder(store.New(stalled, b.versions, b.now), time.Millisecond, nil)
	recorder.Visit(vendor, "news", "first", []string{"app"}, b.clock)
	const readers = 50_000
	done := make(chan struct{})
	go func() {
		defer close(done)
		var visits sync.WaitGroup
		for worker := range 4 {
			visits.Go(func() {
				for i := range readers / 4 {
					recorder.Visit(vendor, "news", fmt.Sprint(worker, "-", i), []string{"app"}, b.clock)
				}
			})
		}
		visits.Wait()
	}()
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Fatal("noting visits waits for the store")
	}
	stats := recorder.Stats()
	if stats.Stored != 0 || stats.Dropped == 0 || stats.Dropped >= readers {
		t.Errorf("with a store that stalls: %+v", stats)
	}
	close(stalled.release)
	for deadline := time.Now().Add(time.Minute); stats.Stored+stats.Dropped < readers+1 && time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		stats = recorder.Stats()
	}
	recorder.Close()
	if _, count, err := b.Visitors(t.Context(), vendor, "news", store.VisitorPage{}); err != nil || count != int(stats.Stored) || stats.Stored+stats.Dropped != readers+1 {
		t.Errorf("%d readers are recorded, %v; %+v", count, err, stats)
	}
	recorder.Visit(vendor, "news", "late", nil, b.clock) // after Close a visit is ignored
	recorder.Close()
}

// A store that never comes back does not keep the server from ending.
func TestRecorderEndsWithoutTheStore(t *testing.T) {
	b := newFixture(t)
	stalled := &stalledEngine{Engine: b.engine, release: make(chan struct{})}
	recorder := store.NewRecorder(store.New(stalled, b.versions, b.now), time.Hour, nil)
	recorder.Visit(vendor, "news", "alice", nil, b.clock)
	closed := make(chan struct{})
	go func() {
		recorder.Close()
		close(closed)
	}()
	select {
	case <-closed:
	case <-time.After(time.Minute):
		t.Error("it waits for ever")
	}
	close(stalled.release)
}

// At the end what was noted is written, however long the interval is; a reader
// a reader with several visits is written once, with all tags.
func TestVisitsAreWrittenAtTheEnd(t *testing.T) {
	b := newFixture(t)
	recorder := store.NewRecorder(b.Store, time.Hour, nil)
	tags := []string{"app", "spare"}[:1]
	for range 1000 {
		recorder.Visit(vendor, "news", "alice", tags, b.clock)
		recorder.Visit(vendor, "news", "alice", []string{"app", "profile"}, b.clock)
		recorder.Visit("other", "news", "alice", nil, b.clock)
	}
	recorder.Visit(vendor, "news", "nul\x00", nil, b.clock)
	recorder.Close()
	if got := b.visitors("news", store.VisitorPage{Limit: 9, Tags: true}); got != "1 alice[app profile]" {
		t.Errorf("the visitors are %s", got)
	}
	if stats := recorder.Stats(); stats.Stored != 2 || tags[:2][1] != "spare" {
		t.Errorf("%+v, %v", stats, tags[:2])
	}
}

// The visits of a reader who stays are recorded in every period.
func TestWhoStaysIsNotedAgain(t *testing.T) {
	b := newFixture(t)
	recorder := store.NewRecorder(b.Store, time.Millisecond, nil)
	defer recorder.Close()
	for period := range uint64(3) {
		for end := time.Now().Add(time.Minute); recorder.Stats().Stored <= period; time.Sleep(time.Millisecond) {
			recorder.Visit(vendor, "news", "alice", nil, b.clock)
			if time.Now().After(end) {
				t.Fatalf("after %d times the visit is not recorded", period)
			}
		}
	}
}

// A store that fails loses visits, which is reported.
func TestFailedVisitsAreCounted(t *testing.T) {
	b := newFixture(t)
	release := make(chan struct{})
	close(release)
	broken := errors.New("broken")
	var told error
	recorder := store.NewRecorder(store.New(&stalledEngine{Engine: b.engine, release: release, fails: broken}, new(policy.Versions), b.now), time.Hour, func(err error) { told = err })
	recorder.Visit(vendor, "news", "alice", nil, b.clock)
	recorder.Close()
	if stats := recorder.Stats(); stats.Lost != 1 || !errors.Is(told, broken) {
		t.Errorf("%+v, %v", stats, told)
	}
}
