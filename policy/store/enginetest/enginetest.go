// Package enginetest is the conformance suite of store.Engine. Every engine runs
// it; what it shows is what the code above the engines may rely on.
package enginetest

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatefold/gatefold/policy/store"
)

// Factory makes the engines that the suite tests.
type Factory struct {
	// Open returns an engine that holds nothing. The suite closes it.
	Open func(t *testing.T) store.Engine
	// Reopen closes an engine and returns another with what the first one
	// held. Where it is nil, nothing is tested about reopening.
	Reopen func(t *testing.T, engine store.Engine) store.Engine
}

// Run runs the suite. Each test has an engine of its own.
//
// An engine may keep more than store.FeedLength events, but not twice as many.
func Run(t *testing.T, factory Factory) {
	t.Helper()
	for _, part := range []struct {
		name  string
		tests []test
	}{
		{"views", viewTests},
		{"scans", scanTests},
		{"commits", commitTests},
		{"counters", counterTests},
		{"feed", feedTests},
		{"expiry", expiryTests},
		{"limits", limitTests},
		{"lifetime", lifetimeTests},
	} {
		t.Run(part.name, func(t *testing.T) {
			for _, test := range part.tests {
				t.Run(test.name, func(t *testing.T) {
					test.run(newBench(t, factory))
				})
			}
		})
	}
}

type test struct {
	name string
	run  func(*bench)
}

// bench is a test with its engine, and short words for what tests do with it.
type bench struct {
	*testing.T
	factory Factory
	engine  store.Engine
}

func newBench(t *testing.T, factory Factory) *bench {
	b := &bench{T: t, factory: factory, engine: factory.Open(t)}
	t.Cleanup(func() { _ = b.engine.Close() })
	return b
}

// partition is the one that tests use when one is enough.
const partition = "acme"

func (b *bench) reopen() {
	b.Helper()
	b.engine = b.factory.Reopen(b.T, b.engine)
}

// commit applies a batch that must succeed.
func (b *bench) commit(batch store.Batch) store.Committed {
	b.Helper()
	committed, err := b.engine.Commit(b.Context(), partition, &batch)
	require.NoError(b, err)
	return committed
}

// refuse applies a batch that must fail, and returns why.
func (b *bench) refuse(batch store.Batch) error {
	b.Helper()
	_, err := b.engine.Commit(b.Context(), partition, &batch)
	require.Error(b, err)
	return err
}

func (b *bench) put(key, value string) {
	b.Helper()
	b.commit(store.Batch{Puts: []store.Put{put(key, value)}})
}

// event appends an event and returns its position.
func (b *bench) event(payload string) uint64 {
	b.Helper()
	return b.commit(store.Batch{Event: []byte(payload)}).Position
}

// view reads from a snapshot; what fn checks is its own matter.
func (b *bench) view(fn func(store.Snapshot)) {
	b.Helper()
	b.viewOf(partition, fn)
}

func (b *bench) viewOf(partition string, fn func(store.Snapshot)) {
	b.Helper()
	require.NoError(b, b.engine.View(b.Context(), partition, func(s store.Snapshot) error {
		fn(s)
		return nil
	}))
}

// absent stands for a key that is not there, where others have a value.
const absent = "<absent>"

func (b *bench) get(key string) string {
	b.Helper()
	value := absent
	b.view(func(s store.Snapshot) { value = b.read(s, key) })
	return value
}

func (b *bench) read(s store.Snapshot, key string) string {
	b.Helper()
	value, err := s.Get([]byte(key))
	require.NoError(b, err)
	if value == nil {
		return absent
	}
	return string(value)
}

func (b *bench) count(key string) int64 {
	b.Helper()
	var n int64
	b.view(func(s store.Snapshot) {
		var err error
		n, err = s.Count([]byte(key))
		require.NoError(b, err)
	})
	return n
}

// keys scans, and returns the keys in the order they came.
func (b *bench) keys(prefix, after []byte) []string {
	b.Helper()
	var keys []string
	b.view(func(s store.Snapshot) { keys = b.scan(s, prefix, after) })
	return keys
}

func (b *bench) scan(s store.Snapshot, prefix, after []byte) []string {
	b.Helper()
	keys := []string{}
	for entry, err := range s.Scan(prefix, after) {
		require.NoError(b, err)
		keys = append(keys, string(entry.Key))
	}
	return keys
}

func (b *bench) position() uint64 {
	b.Helper()
	position, err := b.engine.Position(b.Context(), partition)
	require.NoError(b, err)
	return position
}

func (b *bench) events(after uint64, limit int) []store.Event {
	b.Helper()
	events, err := b.engine.Events(b.Context(), partition, after, limit)
	require.NoError(b, err)
	return events
}

func (b *bench) sweep(before time.Time, limit int) int {
	b.Helper()
	removed, err := b.engine.Sweep(b.Context(), partition, before, limit)
	require.NoError(b, err)
	return removed
}

func put(key, value string) store.Put {
	return store.Put{Key: []byte(key), Value: []byte(value)}
}

func putUntil(key, value string, expires time.Time) store.Put {
	return store.Put{Key: []byte(key), Value: []byte(value), Expires: expires}
}

// inParallel runs fn in n goroutines, with their numbers, and waits for them.
func inParallel(n int, fn func(i int)) {
	var group sync.WaitGroup
	for i := range n {
		group.Go(func() { fn(i) })
	}
	group.Wait()
}

// isRefused says that err is the refusal of a check or of a bound, at an index.
func (b *bench) isRefused(err error, want error) {
	b.Helper()
	require.IsType(b, want, err)
	require.Equal(b, want, err)
}

var limitTests = []test{
	{"a key may have 4 KiB, a value 1 MiB", func(b *bench) {
		key, value := bytes.Repeat([]byte{'k'}, store.MaxKeySize), bytes.Repeat([]byte{'v'}, store.MaxValueSize)
		b.commit(store.Batch{Puts: []store.Put{{Key: key, Value: value}}, Event: value})
		require.Equal(b, string(value), b.get(string(key)))
		require.Equal(b, value, b.events(0, 1)[0].Payload)
	}},
	{"what is larger is refused, and all of its batch", func(b *bench) {
		longKey, longValue := bytes.Repeat([]byte{'k'}, store.MaxKeySize+1), bytes.Repeat([]byte{'v'}, store.MaxValueSize+1)
		fine := put("fine", "x")
		for name, batch := range map[string]store.Batch{
			"put key":       {Puts: []store.Put{fine, {Key: longKey}}},
			"put value":     {Puts: []store.Put{fine, {Key: []byte("k"), Value: longValue}}},
			"delete key":    {Puts: []store.Put{fine}, Deletes: [][]byte{longKey}},
			"check key":     {Puts: []store.Put{fine}, Checks: []store.Check{{Key: longKey}}},
			"check value":   {Puts: []store.Put{fine}, Checks: []store.Check{{Key: []byte("k"), Value: longValue}}},
			"counter key":   {Puts: []store.Put{fine}, Counters: []store.Counter{{Key: longKey}}},
			"counter once":  {Puts: []store.Put{fine}, Counters: []store.Counter{{Key: []byte("k"), Once: longKey}}},
			"counter value": {Puts: []store.Put{fine}, Counters: []store.Counter{{Key: []byte("k"), Once: []byte("o"), OnceValue: longValue}}},
			"event":         {Puts: []store.Put{fine}, Event: longValue},
		} {
			require.ErrorIs(b, b.refuse(batch), store.ErrTooLarge, name)
		}
		require.Empty(b, b.keys(nil, nil))
		require.Zero(b, b.position())
	}},
	{"an empty key is refused", func(b *bench) {
		for name, batch := range map[string]store.Batch{
			"put":     {Puts: []store.Put{{Value: []byte("x")}}},
			"delete":  {Deletes: [][]byte{{}}},
			"check":   {Checks: []store.Check{{}}},
			"counter": {Counters: []store.Counter{{}}},
			"once":    {Counters: []store.Counter{{Key: []byte("k"), Once: []byte{}}}},
		} {
			require.ErrorIs(b, b.refuse(batch), store.ErrTooLarge, name)
		}
	}},
	{"a partition needs a name to be written", func(b *bench) {
		_, err := b.engine.Commit(b.Context(), "", &store.Batch{Puts: []store.Put{put("k", "v")}})
		require.ErrorIs(b, err, store.ErrTooLarge)
		partitions, err := b.engine.Partitions(b.Context())
		require.NoError(b, err)
		require.Empty(b, partitions)
	}},
	{"to readers a key that cannot be is absent", func(b *bench) {
		b.put("k", "v")
		require.Equal(b, absent, b.get(""))
		require.Equal(b, absent, b.get(string(make([]byte, store.MaxKeySize+1))))
		require.Zero(b, b.count(""))
	}},
}

var lifetimeTests = []test{
	{"after Close everything returns ErrClosed", func(b *bench) {
		b.put("k", "v")
		require.NoError(b, b.engine.Close())
		requireAll(b, b.Context(), store.ErrClosed)
		require.NoError(b, b.engine.Close(), "closing twice is fine")
	}},
	{"a call whose context has ended does nothing", func(b *bench) {
		ctx, cancel := context.WithCancel(b.Context())
		cancel()
		requireAll(b, ctx, context.Canceled)
		require.Empty(b, b.keys(nil, nil))
	}},
	{"Close waits for views and commits that are running", func(b *bench) {
		inView, closing := make(chan struct{}), make(chan struct{})
		var acknowledged sync.Map
		var others sync.WaitGroup
		others.Go(func() {
			b.view(func(s store.Snapshot) {
				close(inView)
				<-closing
				// Close can have begun by now, and must not pull the
				// snapshot away.
				require.Equal(b, absent, b.read(s, "nothing"))
			})
		})
		<-inView
		for i := range 8 {
			others.Go(func() {
				for n := 0; ; n++ {
					key := fmt.Sprintf("%d/%d", i, n)
					_, err := b.engine.Commit(b.Context(), partition, &store.Batch{Puts: []store.Put{put(key, "v")}})
					if err != nil {
						require.ErrorIs(b, err, store.ErrClosed)
						return
					}
					acknowledged.Store(key, true)
				}
			})
		}
		others.Go(func() {
			close(closing)
			require.NoError(b, b.engine.Close())
		})
		others.Wait()
		if b.factory.Reopen == nil {
			return
		}
		b.reopen()
		acknowledged.Range(func(key, _ any) bool {
			require.Equal(b, "v", b.get(key.(string)))
			return true
		})
	}},
	{"reopening keeps everything", func(b *bench) {
		if b.factory.Reopen == nil {
			b.Skip("this engine cannot be reopened")
		}
		moment := time.Unix(1_000_000, 0)
		b.commit(store.Batch{
			Puts:     []store.Put{put("a", "1"), put("empty", ""), putUntil("old", "x", moment)},
			Counters: []store.Counter{{Key: []byte("uses"), Max: 2, Once: []byte("first")}},
			Event:    []byte("one"),
		})
		b.reopen()
		require.Equal(b, "1", b.get("a"))
		require.Equal(b, "", b.get("empty"))
		require.EqualValues(b, 1, b.count("uses"))
		require.Equal(b, []store.Event{{Position: 1, Payload: []byte("one")}}, b.events(0, 10))
		require.EqualValues(b, 2, b.event("two"), "positions go on")
		require.Equal(b, 1, b.sweep(moment.Add(1), 10))
		require.Equal(b, []bool{true}, b.commit(store.Batch{
			Counters: []store.Counter{{Key: []byte("uses"), Max: 2, Once: []byte("first")}},
		}).Replayed)
		partitions, err := b.engine.Partitions(b.Context())
		require.NoError(b, err)
		require.Equal(b, []string{partition}, partitions)
	}},
}

// requireAll calls every method that takes a context and expects one error of all.
func requireAll(b *bench, ctx context.Context, want error) {
	b.Helper()
	err := b.engine.View(ctx, partition, func(store.Snapshot) error {
		b.Error("View called its function")
		return nil
	})
	require.ErrorIs(b, err, want)
	_, err = b.engine.Commit(ctx, partition, &store.Batch{Puts: []store.Put{put("late", "v")}})
	require.ErrorIs(b, err, want)
	_, err = b.engine.Events(ctx, partition, 0, 1)
	require.ErrorIs(b, err, want)
	_, err = b.engine.Position(ctx, partition)
	require.ErrorIs(b, err, want)
	_, err = b.engine.Partitions(ctx)
	require.ErrorIs(b, err, want)
	_, err = b.engine.Sweep(ctx, partition, time.Now(), 1)
	require.ErrorIs(b, err, want)
}
