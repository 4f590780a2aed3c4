package supportcode_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store"
	"github.com/gatefold/gatefold/policy/store/boltengine"
	"github.com/gatefold/gatefold/policy/store/engine"
	"github.com/gatefold/gatefold/policy/supportcode"
)

const vendor = "acme"

var start = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// stallingEngine is a store that does not answer until it is released, and then fails.
type stallingEngine struct {
	engine.Engine
	stalled chan struct{}
	fails   atomic.Bool
}

func (e *stallingEngine) View(ctx context.Context, partition string, fn func(engine.Snapshot) error) error {
	if e.fails.Load() {
		<-e.stalled
		return errors.New("the disk is gone")
	}
	return e.Engine.View(ctx, partition, fn)
}

func newRecorder(t *testing.T) (*supportcode.Recorder, *store.Store, *stallingEngine) {
	backend, err := boltengine.Open(filepath.Join(t.TempDir(), "gatefold.db"))
	require.NoError(t, err)
	t.Cleanup(func() { _ = backend.Close() })
	stalling := &stallingEngine{Engine: backend, stalled: make(chan struct{})}
	records := store.New(stalling, new(policy.Versions), func() time.Time { return start })
	recorder := supportcode.New(supportcode.Options{Store: records})
	t.Cleanup(recorder.Close)
	return recorder, records, stalling
}

func subject(user, target string) *supportcode.Subject {
	return &supportcode.Subject{Vendor: vendor, Site: "news", UserID: user, Method: "GET", Host: "news.example", Target: target, Reason: "not_entitled"}
}

func entryOf(s *supportcode.Subject) func() supportcode.Entry {
	return func() supportcode.Entry {
		return supportcode.Entry{
			Refusal: store.Refusal{Site: s.Site, UserID: s.UserID, Path: s.Target, Reason: s.Reason},
			Explain: func(context.Context) ([]byte, error) { return []byte(`{"grants":[]}`), nil },
		}
	}
}

// isKept reports whether the code says that its refusal is kept.
func isKept(t *testing.T, code string) bool {
	_, kept, err := supportcode.Parse(code)
	require.NoError(t, err)
	return kept
}

// A refusal is found by its code once it is written. A reader who loads the page again within
// a minute has the code that they have; another reader, page or reason has another one.
func TestReloadHasTheSameCode(t *testing.T) {
	r, records, _ := newRecorder(t)
	give := func(s *supportcode.Subject, at time.Time) string { return r.Code(s, at, entryOf(s)) }
	ann := subject("ann", "/a")
	code := give(ann, start)
	require.Equal(t, code, give(ann, start.Add(59*time.Second)))
	later := give(ann, start.Add(time.Minute))
	require.NotEqual(t, code, later)
	expired := *ann
	expired.Reason = "link_expired"
	others := map[string]bool{code: true, later: true}
	for _, other := range []*supportcode.Subject{subject("bob", "/a"), subject("ann", "/b"), subject("", "/a"), &expired} {
		made := give(other, start)
		require.False(t, others[made])
		others[made] = true
	}
	r.Close()
	require.EqualValues(t, 6, r.Stats().Stored)
	found, err := records.Refusal(t.Context(), vendor, code)
	require.NoError(t, err)
	require.Equal(t, "ann", found.UserID)
	require.JSONEq(t, `{"grants":[]}`, string(found.Explanation))
	require.True(t, isKept(t, code))
	require.False(t, isKept(t, give(subject("carl", "/a"), start)), "after the end")
}

// A scraper without an account, and one with an account, are each refused thousands of times
// within an hour. Of each, a sample is kept; the codes of the others say that they are not. A
// subscriber who is refused meanwhile is kept.
func TestFloodLeavesRoomForOthers(t *testing.T) {
	r, records, _ := newRecorder(t)
	kept := map[string]int{}
	for i := range 5_000 {
		for _, user := range []string{"", "scraper"} {
			s := subject(user, fmt.Sprint("/articles/", i))
			if isKept(t, r.Code(s, start, entryOf(s))) {
				kept[user]++
			}
		}
		if i%64 == 0 { // let it write
			require.Eventually(t, func() bool { s := r.Stats(); return s.Stored+s.Dropped+100 > uint64(2*i) }, 30*time.Second, time.Millisecond)
		}
	}
	require.LessOrEqual(t, kept["scraper"], supportcode.MaxPerSubject)
	require.Positive(t, kept[""])
	ann := subject("ann", "/articles/1")
	code := r.Code(ann, start, entryOf(ann))
	require.True(t, isKept(t, code))
	next := subject("scraper", "/articles/1")
	require.True(t, isKept(t, r.Code(next, start.Add(time.Hour), entryOf(next))), "in the next hour")
	r.Close()
	stats := r.Stats()
	require.EqualValues(t, supportcode.MaxPerSubject+store.MaxAnonymousPerHour+2, stats.Stored)
	require.EqualValues(t, 10_002, stats.Stored+stats.Dropped)
	_, err := records.Refusal(t.Context(), vendor, code)
	require.NoError(t, err)
}

// The store stalls, and then fails, while refusals come: none waits, what is buffered is
// bounded, and what was dropped and lost is counted.
func TestRefusalsWhileTheStoreFails(t *testing.T) {
	r, _, stalling := newRecorder(t)
	stalling.fails.Store(true)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range 5_000 {
			s := subject(fmt.Sprint("user-", i), "/a")
			r.Code(s, start, entryOf(s))
		}
	}()
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Fatal("a refusal waits for the store")
	}
	require.Greater(t, r.Stats().Dropped, uint64(4_000))
	close(stalling.stalled)
	r.Close()
	stats := r.Stats()
	require.Zero(t, stats.Stored)
	require.EqualValues(t, 5_000, stats.Dropped+stats.Lost)
}
