package enginetest

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatefold/gatefold/policy/store/engine"
)

// Factory opens the engines under test.
type Factory struct {
	// Open returns an empty engine. The suite closes it.
	Open func(t *testing.T) engine.Engine
	// Reopen closes an engine and returns another one with the same entries.
	// Optional: without it, reopening is not tested.
	Reopen func(t *testing.T, backend engine.Engine) engine.Engine
}

// Run runs the suite. Each test has its own engine.
//
// An engine may keep more than engine.FeedLength events, but not twice as many.
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
					test.run(newFixture(t, factory))
				})
			}
		})
	}
}

type test struct {
	name string
	run  func(*fixture)
}

// fixture is a test with its engine, and short methods to use it.
type fixture struct {
	*testing.T
	factory Factory
	engine  engine.Engine
}

func newFixture(t *testing.T, factory Factory) *fixture {
	b := &fixture{T: t, factory: factory, engine: factory.Open(t)}
	t.Cleanup(func() { _ = b.engine.Close() })
	return b
}

// partition is the partition of tests that need one.
const partition = "acme"

func (b *fixture) reopen() {
	b.Helper()
	b.engine = b.factory.Reopen(b.T, b.engine)
}

// commit applies a batch that must succeed.
func (b *fixture) commit(batch engine.Batch) engine.Committed {
	b.Helper()
	committed, err := b.engine.Commit(b.Context(), partition, &batch)
	require.NoError(b, err)
	return committed
}

// refuse applies a batch that must fail, and returns its error.
func (b *fixture) refuse(batch engine.Batch) error {
	b.Helper()
	_, err := b.engine.Commit(b.Context(), partition, &batch)
	require.Error(b, err)
	return err
}

func (b *fixture) put(key, value string) {
	b.Helper()
	b.commit(engine.Batch{Puts: []engine.Put{put(key, value)}})
}

// event appends an event and returns its position.
func (b *fixture) event(payload string) uint64 {
	b.Helper()
	return b.commit(engine.Batch{Event: []byte(payload)}).Position
}

// view calls fn with a snapshot.
func (b *fixture) view(fn func(engine.Snapshot)) {
	b.Helper()
	b.viewOf(partition, fn)
}

func (b *fixture) viewOf(partition string, fn func(engine.Snapshot)) {
	b.Helper()
	require.NoError(b, b.engine.View(b.Context(), partition, func(s engine.Snapshot) error {
		fn(s)
		return nil
	}))
}

// absent is what get returns for a key that does not exist.
const absent = "<absent>"

func (b *fixture) get(key string) string {
	b.Helper()
	value := absent
	b.view(func(s engine.Snapshot) { value = b.read(s, key) })
	return value
}

func (b *fixture) read(s engine.Snapshot, key string) string {
	b.Helper()
	value, err := s.Get([]byte(key))
	require.NoError(b, err)
	if value == nil {
		return absent
	}
	return string(value)
}

func (b *fixture) count(key string) int64 {
	b.Helper()
	var n int64
	b.view(func(s engine.Snapshot) {
		var err error
		n, err = s.Count([]byte(key))
		require.NoError(b, err)
	})
	return n
}

// keys returns the keys of a scan in their order.
func (b *fixture) keys(prefix, after []byte) []string {
	b.Helper()
	var keys []string
	b.view(func(s engine.Snapshot) { keys = b.scan(s, prefix, after) })
	return keys
}

func (b *fixture) scan(s engine.Snapshot, prefix, after []byte) []string {
	b.Helper()
	keys := []string{}
	for entry, err := range s.Scan(prefix, after) {
		require.NoError(b, err)
		keys = append(keys, string(entry.Key))
	}
	// Backwards there is the same.
	back := []string{}
	for entry, err := range s.ScanBack(prefix, nil) {
		require.NoError(b, err)
		if after == nil || string(entry.Key) > string(after) {
			back = append(back, string(entry.Key))
		}
	}
	slices.Reverse(back)
	require.Equal(b, keys, back, "backwards")
	return keys
}

func (b *fixture) back(prefix, before []byte) []string {
	b.Helper()
	keys := []string{}
	b.view(func(s engine.Snapshot) {
		for entry, err := range s.ScanBack(prefix, before) {
			require.NoError(b, err)
			require.Equal(b, "v", string(entry.Value))
			keys = append(keys, string(entry.Key))
		}
	})
	return keys
}

func (b *fixture) position() uint64 {
	b.Helper()
	position, err := b.engine.Position(b.Context(), partition)
	require.NoError(b, err)
	return position
}

func (b *fixture) events(after uint64, limit int) []engine.Event {
	b.Helper()
	events, err := b.engine.Events(b.Context(), partition, after, limit)
	require.NoError(b, err)
	return events
}

func (b *fixture) sweep(before time.Time, limit int) int {
	b.Helper()
	removed, err := b.engine.Sweep(b.Context(), partition, before, limit)
	require.NoError(b, err)
	return removed
}

func put(key, value string) engine.Put {
	return engine.Put{Key: []byte(key), Value: []byte(value)}
}

func putUntil(key, value string, expires time.Time) engine.Put {
	return engine.Put{Key: []byte(key), Value: []byte(value), Expires: expires}
}

// inParallel runs fn in n goroutines, with their numbers, and waits for them.
func inParallel(n int, fn func(i int)) {
	var group sync.WaitGroup
	for i := range n {
		group.Go(func() { fn(i) })
	}
	group.Wait()
}

// isRefused requires that err is a given CheckError or BoundError.
func (b *fixture) isRefused(err error, want error) {
	b.Helper()
	require.IsType(b, want, err)
	require.Equal(b, want, err)
}

var limitTests = []test{
	{"a key may have 4 KiB, a value 1 MiB", func(b *fixture) {
		key, value := bytes.Repeat([]byte{'k'}, engine.MaxKeySize), bytes.Repeat([]byte{'v'}, engine.MaxValueSize)
		b.commit(engine.Batch{Puts: []engine.Put{{Key: key, Value: value}}, Event: value})
		require.Equal(b, string(value), b.get(string(key)))
		require.Equal(b, value, b.events(0, 1)[0].Payload)
	}},
	{"what is larger is refused, and all of its batch", func(b *fixture) {
		longKey, longValue := bytes.Repeat([]byte{'k'}, engine.MaxKeySize+1), bytes.Repeat([]byte{'v'}, engine.MaxValueSize+1)
		fine := put("fine", "x")
		for name, batch := range map[string]engine.Batch{
			"put key":       {Puts: []engine.Put{fine, {Key: longKey}}},
			"put value":     {Puts: []engine.Put{fine, {Key: []byte("k"), Value: longValue}}},
			"delete key":    {Puts: []engine.Put{fine}, Deletes: [][]byte{longKey}},
			"check key":     {Puts: []engine.Put{fine}, Checks: []engine.Check{{Key: longKey}}},
			"check value":   {Puts: []engine.Put{fine}, Checks: []engine.Check{{Key: []byte("k"), Value: longValue}}},
			"counter key":   {Puts: []engine.Put{fine}, Counters: []engine.Counter{{Key: longKey}}},
			"counter once":  {Puts: []engine.Put{fine}, Counters: []engine.Counter{{Key: []byte("k"), IdempotencyKey: longKey}}},
			"counter value": {Puts: []engine.Put{fine}, Counters: []engine.Counter{{Key: []byte("k"), IdempotencyKey: []byte("o"), IdempotencyValue: longValue}}},
			"event":         {Puts: []engine.Put{fine}, Event: longValue},
		} {
			require.ErrorIs(b, b.refuse(batch), engine.ErrTooLarge, name)
		}
		require.Empty(b, b.keys(nil, nil))
		require.Zero(b, b.position())
	}},
	{"an empty key is refused", func(b *fixture) {
		for name, batch := range map[string]engine.Batch{
			"put":     {Puts: []engine.Put{{Value: []byte("x")}}},
			"delete":  {Deletes: [][]byte{{}}},
			"check":   {Checks: []engine.Check{{}}},
			"counter": {Counters: []engine.Counter{{}}},
			"once":    {Counters: []engine.Counter{{Key: []byte("k"), IdempotencyKey: []byte{}}}},
		} {
			require.ErrorIs(b, b.refuse(batch), engine.ErrTooLarge, name)
		}
	}},
	{"a partition needs a name to be written", func(b *fixture) {
		_, err := b.engine.Commit(b.Context(), "", &engine.Batch{Puts: []engine.Put{put("k", "v")}})
		require.ErrorIs(b, err, engine.ErrTooLarge)
		partitions, err := b.engine.Partitions(b.Context())
		require.NoError(b, err)
		require.Empty(b, partitions)
	}},
	{"to readers a key that cannot be is absent", func(b *fixture) {
		b.put("k", "v")
		require.Equal(b, absent, b.get(""))
		require.Equal(b, absent, b.get(string(make([]byte, engine.MaxKeySize+1))))
		require.Zero(b, b.count(""))
	}},
}

var lifetimeTests = []test{
	{"after Close everything returns ErrClosed", func(b *fixture) {
		b.put("k", "v")
		require.NoError(b, b.engine.Close())
		requireAll(b, b.Context(), engine.ErrClosed)
		require.NoError(b, b.engine.Close(), "closing twice is fine")
	}},
	{"a call whose context has ended does nothing", func(b *fixture) {
		ctx, cancel := context.WithCancel(b.Context())
		cancel()
		requireAll(b, ctx, context.Canceled)
		require.Empty(b, b.keys(nil, nil))
	}},
	{"Close waits for views and commits that are running", func(b *fixture) {
		inView, closing := make(chan struct{}), make(chan struct{})
		var acknowledged sync.Map
		var others sync.WaitGroup
		others.Go(func() {
			b.view(func(s engine.Snapshot) {
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
					_, err := b.engine.Commit(b.Context(), partition, &engine.Batch{Puts: []engine.Put{put(key, "v")}})
					if err != nil {
						require.ErrorIs(b, err, engine.ErrClosed)
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
	{"reopening keeps everything", func(b *fixture) {
		if b.factory.Reopen == nil {
			b.Skip("this engine cannot be reopened")
		}
		moment := time.Unix(1_000_000, 0)
		b.commit(engine.Batch{
			Puts:     []engine.Put{put("a", "1"), put("empty", ""), putUntil("old", "x", moment)},
			Counters: []engine.Counter{{Key: []byte("uses"), Max: 2, IdempotencyKey: []byte("first")}},
			Event:    []byte("one"),
		})
		b.reopen()
		require.Equal(b, "1", b.get("a"))
		require.Equal(b, "", b.get("empty"))
		require.EqualValues(b, 1, b.count("uses"))
		require.Equal(b, []engine.Event{{Position: 1, Payload: []byte("one")}}, b.events(0, 10))
		require.EqualValues(b, 2, b.event("two"), "positions go on")
		require.Equal(b, 1, b.sweep(moment.Add(1), 10))
		require.Equal(b, []bool{true}, b.commit(engine.Batch{
			Counters: []engine.Counter{{Key: []byte("uses"), Max: 2, IdempotencyKey: []byte("first")}},
		}).Replayed)
		partitions, err := b.engine.Partitions(b.Context())
		require.NoError(b, err)
		require.Equal(b, []string{partition}, partitions)
	}},
}

// requireAll calls every method that takes a context and expects one error of all.
func requireAll(b *fixture, ctx context.Context, want error) {
	b.Helper()
	err := b.engine.View(ctx, partition, func(engine.Snapshot) error {
		b.Error("View called its function")
		return nil
	})
	require.ErrorIs(b, err, want)
	_, err = b.engine.Commit(ctx, partition, &engine.Batch{Puts: []engine.Put{put("late", "v")}})
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
