package redisengine_test

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatefold/gatefold/policy/store/engine"
	"github.com/gatefold/gatefold/policy/store/redisengine"
	"github.com/gatefold/gatefold/policy/store/redisengine/redistest"
)

func commit(t testing.TB, backend engine.Engine, batch engine.Batch) engine.Committed {
	t.Helper()
	committed, err := backend.Commit(t.Context(), "acme", &batch)
	require.NoError(t, err)
	return committed
}

func put(key, value string) engine.Put { return engine.Put{Key: []byte(key), Value: []byte(value)} }

func keyOf(i int) string { return fmt.Sprintf("k/%05d", i) }

// TestViewOfManyPages reads a partition that is rewritten from one end to the
// other while the view goes through it: every page is of the moment it began.
func TestViewOfManyPages(t *testing.T) {
	t.Parallel()
	backend := open(t, optionsFor(t, redistest.Start(t).URL()))
	const entries = 3000
	var first engine.Batch
	for i := range entries {
		first.Puts = append(first.Puts, put(keyOf(i), "before"))
	}
	commit(t, backend, first)
	require.NoError(t, backend.View(t.Context(), "acme", func(s engine.Snapshot) error {
		seen := 0
		for entry, err := range s.Scan([]byte("k/"), nil) {
			require.NoError(t, err)
			require.Equal(t, keyOf(seen), string(entry.Key))
			require.Equal(t, "before", string(entry.Value))
			seen++
			if seen%100 != 0 {
				continue
			}
			// Behind the reader and before it: changed, removed, added.
			for _, at := range []int{seen / 2, (seen + entries) / 2} {
				commit(t, backend, engine.Batch{
					Deletes: [][]byte{[]byte(keyOf(at))},
					Puts:    []engine.Put{put(keyOf(at+1), "after"), put(keyOf(at)+"/new", "after")},
				})
			}
		}
		require.Equal(t, entries, seen)
		value, err := s.Get([]byte(keyOf(entries / 2)))
		require.NoError(t, err)
		require.Equal(t, "before", string(value))
		return nil
	}))
}

// TestViewThatTakesTooLong is told so, and never given two moments for one.
func TestViewThatTakesTooLong(t *testing.T) {
	t.Parallel()
	backend := open(t, optionsFor(t, redistest.Start(t).URL()))
	big := string(make([]byte, engine.MaxValueSize))
	for i := range 4 {
		commit(t, backend, engine.Batch{Puts: []engine.Put{put(keyOf(i), big), put("small", "x")}})
	}
	err := backend.View(t.Context(), "acme", func(s engine.Snapshot) error {
		if _, err := s.Get([]byte("small")); err != nil {
			return err
		}
		for range 2 {
			for i := range 4 {
				commit(t, backend, engine.Batch{Puts: []engine.Put{put(keyOf(i), big)}})
			}
		}
		_, err := s.Get([]byte(keyOf(0)))
		return err
	})
	require.ErrorIs(t, err, engine.ErrSnapshotGone)
}

// TestUndoLogIsBounded writes much more than the log may hold.
func TestUndoLogIsBounded(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	options := optionsFor(t, server.URL())
	backend := open(t, options)
	value := string(make([]byte, 16<<10))
	for i := range 400 {
		commit(t, backend, engine.Batch{Puts: []engine.Put{put(keyOf(i%10), value)}})
	}
	size := server.Do("memory", "usage", options.Prefix+":{acme}:u", "samples", "0").(int64)
	require.Less(t, size, int64(4<<20), "of 6 MiB that were written")
	require.Greater(t, size, int64(1<<20))
	// One batch that alone is too much leaves views behind, and stores all the same.
	var much engine.Batch
	for i := range 200 {
		much.Puts = append(much.Puts, put(keyOf(i), value))
	}
	commit(t, backend, much)
	commit(t, backend, much)
	require.NoError(t, backend.View(t.Context(), "acme", func(s engine.Snapshot) error {
		n := 0
		for _, err := range s.Scan(nil, nil) {
			require.NoError(t, err)
			n++
		}
		require.Equal(t, 200, n)
		return nil
	}))
}

// TestUndoLogIsCounted: what the server believes the log to hold is what it holds,
// also after much of it was dropped; otherwise its bound would move.
func TestUndoLogIsCounted(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	options := optionsFor(t, server.URL())
	backend := open(t, options)
	value := string(make([]byte, 64<<10))
	for i := range 100 {
		commit(t, backend, engine.Batch{Puts: []engine.Put{put(keyOf(i%10), value)}})
		_, err := backend.Commit(t.Context(), "acme", &engine.Batch{Counters: []engine.Counter{{Key: []byte("n"), IdempotencyKey: []byte(keyOf(100 + i))}}})
		require.NoError(t, err)
	}
	key := options.Prefix + ":{acme}:"
	entries, err := server.Client().XRange(t.Context(), key+"u", "-", "+").Result()
	require.NoError(t, err)
	require.Less(t, len(entries), 150, "nothing was dropped")
	var size int
	for _, entry := range entries {
		for field, text := range entry.Values {
			size += len(field) + len(text.(string))
		}
	}
	require.Equal(t, fmt.Sprint(size), server.Do("hget", key+"m", "undo"))
}

// TestRoundTrips counts what a view costs.
func TestRoundTrips(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	backend := open(t, optionsFor(t, server.URL()))
	commit(t, backend, engine.Batch{Puts: []engine.Put{put("a", "1"), put("b", "2"), put("c", "3")}})
	view := func(read func(engine.Snapshot)) int64 {
		before := commandsOf(t, server)
		require.NoError(t, backend.View(t.Context(), "acme", func(s engine.Snapshot) error {
			read(s)
			return nil
		}))
		return commandsOf(t, server) - before
	}
	get := func(s engine.Snapshot, key string) {
		_, err := s.Get([]byte(key))
		require.NoError(t, err)
	}
	view(func(s engine.Snapshot) { get(s, "a") }) // the script is known from here on
	require.EqualValues(t, 1, view(func(s engine.Snapshot) { get(s, "a"); get(s, "a") }))
	require.EqualValues(t, 1, view(func(s engine.Snapshot) {
		require.NoError(t, s.(engine.Prefetcher).Prefetch([]byte("a"), []byte("b"), []byte("none")))
		get(s, "a")
		get(s, "b")
		get(s, "none")
	}))
	require.EqualValues(t, 1, view(func(s engine.Snapshot) {
		for _, err := range s.Scan(nil, nil) {
			require.NoError(t, err)
		}
	}))
	require.EqualValues(t, 1, view(func(s engine.Snapshot) {
		require.NoError(t, s.(engine.RangePrefetcher).PrefetchRanges([]byte("a"), []byte("b"), []byte("none")))
		for _, prefix := range []string{"a", "b", "none"} {
			for _, err := range s.Scan([]byte(prefix), nil) {
				require.NoError(t, err)
			}
		}
	}))
	use := engine.Batch{Counters: []engine.Counter{{Key: []byte("n"), Max: 3, IdempotencyKey: []byte("o")}}}
	commit(t, backend, use) // the script is known from here on
	before := commandsOf(t, server)
	use.Counters[0].IdempotencyKey = []byte("p")
	commit(t, backend, use)
	require.EqualValues(t, 1, commandsOf(t, server)-before, "a redemption")
}

// commandsOf counts the scripts that a server ran.
func commandsOf(t testing.TB, server *redistest.Server) int64 {
	t.Helper()
	info, err := server.Client().Info(t.Context(), "commandstats").Result()
	require.NoError(t, err)
	var total int64
	for _, line := range splitLines(info) {
		var calls int64
		for _, name := range []string{"eval", "evalsha"} {
			if n, _ := fmt.Sscanf(line, "cmdstat_"+name+":calls=%d,", &calls); n == 1 {
				total += calls
			}
		}
	}
	return total
}

// TestLostAnswers cuts the connection between a batch and its answer: it is applied
// once, and the caller learns what it did.
func TestLostAnswers(t *testing.T) {
	t.Parallel()
	proxy := redistest.NewProxy(t, redistest.Start(t).Address())
	backend := open(t, optionsFor(t, proxy.URL()))
	commit(t, backend, engine.Batch{Puts: []engine.Put{put("warm", "up")}})
	create := engine.Batch{
		Checks:   []engine.Check{{Key: []byte("new")}},
		Counters: []engine.Counter{{Key: []byte("unmarked")}},
		Puts:     []engine.Put{put("new", "answer is lost")}, Event: []byte("created"),
	}
	proxy.LoseAnswers("answer is lost", 2)
	committed := commit(t, backend, create)
	require.Zero(t, proxy.Lost(), "no answer was lost")
	require.Equal(t, engine.Committed{Position: 1, Counts: []int64{1}, Replayed: []bool{false}}, committed)
	_, err := backend.Commit(t.Context(), "acme", &create)
	require.Equal(t, &engine.CheckError{Index: 0}, err, "another one is another one")

	proxy.LoseAnswers("lost for good", 3)
	_, err = backend.Commit(t.Context(), "acme", &engine.Batch{Puts: []engine.Put{put("new", "lost for good")}})
	require.ErrorIs(t, err, redisengine.ErrUnreachable)
}

// TestManyCommitsWithCuts counts, through a connection that is cut all the time,
// with markers: never twice.
func TestManyCommitsWithCuts(t *testing.T) {
	t.Parallel()
	proxy := redistest.NewProxy(t, redistest.Start(t).Address())
	backend := open(t, optionsFor(t, proxy.URL()))
	commit(t, backend, engine.Batch{Puts: []engine.Put{put("warm", "up")}})
	var done atomic.Int64
	for i := range 200 {
		if i%10 == 0 {
			proxy.LoseAnswers("counted", 2)
		}
		committed, err := backend.Commit(t.Context(), "acme", &engine.Batch{
			Counters: []engine.Counter{{Key: []byte("n"), Max: 1000, IdempotencyKey: []byte(keyOf(i)), IdempotencyValue: []byte("counted")}},
		})
		require.NoError(t, err)
		require.Equal(t, []int64{done.Add(1)}, committed.Counts)
	}
}

// TestPrefetchedRanges reads ranges in one round trip, and scans them later, while others
// write: what a scan yields is of the moment the view began, also of ranges that are
// longer than what was prefetched.
func TestPrefetchedRanges(t *testing.T) {
	t.Parallel()
	backend := open(t, optionsFor(t, redistest.Start(t).URL()))
	var first engine.Batch
	want := map[string][]string{"none/": nil}
	for _, prefix := range []string{"k1/", "k2/", "k3/"} {
		for i := range 30 {
			if prefix == "k2/" && i == 3 {
				break
			}
			key := fmt.Sprintf("%s%02d", prefix, i)
			first.Puts = append(first.Puts, put(key, "before"))
			want[prefix] = append(want[prefix], key)
		}
	}
	commit(t, backend, first)
	var prefixes [][]byte
	for prefix := range want {
		prefixes = append(prefixes, []byte(prefix))
	}
	require.NoError(t, backend.View(t.Context(), "acme", func(s engine.Snapshot) error {
		_, err := s.Get([]byte("k1/00"))
		require.NoError(t, err)
		change := engine.Batch{Deletes: [][]byte{[]byte("k1/01"), []byte("k3/20")}, Puts: []engine.Put{put("k2/00", "after"), put("k2/99", "after"), put("none/1", "after")}}
		commit(t, backend, change)
		require.NoError(t, engine.PrefetchRanges(s, prefixes...))
		commit(t, backend, engine.Batch{Deletes: [][]byte{[]byte("k1/02"), []byte("k1/22"), []byte("k2/01")}})
		for prefix, keys := range want {
			var seen []string
			for entry, err := range s.Scan([]byte(prefix), nil) {
				require.NoError(t, err)
				require.Equal(t, "before", string(entry.Value))
				seen = append(seen, string(entry.Key))
			}
			require.Equal(t, keys, seen, prefix)
		}
		return nil
	}))
}
