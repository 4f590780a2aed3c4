package redisengine_test

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatefold/gatefold/policy/store/engine"
	"github.com/gatefold/gatefold/policy/store/redisengine"
	"github.com/gatefold/gatefold/policy/store/redisengine/redistest"
)

// useOf is a use as a redemption makes it: the link is there, it is not revoked.
func useOf(link string, bound int64, id string) *engine.Batch {
	return &engine.Batch{
		Checks: []engine.Check{{Key: []byte("S" + link), Present: true}, {Key: []byte("X" + link)}},
		Counters: []engine.Counter{{
			Key: []byte("C" + link), Max: bound, IdempotencyKey: []byte("U" + link + "/" + id), IdempotencyValue: []byte("used " + id), Expires: time.Unix(2e9, 0),
		}},
	}
}

func counted(n int64) redisengine.Outcome {
	return redisengine.Outcome{Committed: engine.Committed{Counts: []int64{n}, Replayed: []bool{false}}}
}

func replayed(n int64) redisengine.Outcome {
	return redisengine.Outcome{Committed: engine.Committed{Counts: []int64{n}, Replayed: []bool{true}}}
}

// TestUsesTogether: of those that share a script, each is counted or refused by itself.
func TestUsesTogether(t *testing.T) {
	t.Parallel()
	backend := open(t, optionsFor(t, redistest.Start(t).URL()))
	commit(t, backend, engine.Batch{Puts: []engine.Put{put("Sa", "{}"), put("Sb", ""), put("Sgone", "{}"), put("Xgone", ""), put("Sodd", "{}"), put("Codd", "plain")}})
	_, outcomes := backend.Together("acme", []*engine.Batch{
		useOf("a", 2, "1"), useOf("a", 2, "2"), useOf("a", 2, "1"), useOf("a", 2, "3"),
		useOf("b", 0, "1"),
		useOf("gone", 0, "1"),
		useOf("none", 0, "1"),
		useOf("odd", 0, "1"),
	})
	require.Equal(t, []redisengine.Outcome{
		counted(1), counted(2), replayed(2),
		{Err: &engine.BoundError{Index: 0}},
		counted(1),
		{Err: &engine.CheckError{Index: 1}},
		{Err: &engine.CheckError{Index: 0}},
		outcomes[7],
	}, outcomes)
	require.ErrorContains(t, outcomes[7].Err, "not a counter")
	found := contents(t, backend)
	require.Equal(t, "used 2", found["Ua/2"])
	for _, refused := range []string{"Ua/3", "Ugone/1", "Cgone", "Unone/1", "Cnone", "Uodd/1"} {
		require.NotContains(t, found, refused)
	}
	// The same again is nothing new, at the bound too.
	_, outcomes = backend.Together("acme", []*engine.Batch{useOf("a", 2, "1"), useOf("a", 2, "3"), useOf("a", 2, "2")})
	require.Equal(t, []redisengine.Outcome{replayed(2), {Err: &engine.BoundError{Index: 0}}, replayed(2)}, outcomes)
	require.Equal(t, found, contents(t, backend))
}

// TestUsesTogetherAreUsesOneByOne compares uses that share a script with the same ones
// as batches of their own: what comes out, what is stored, until when, and what a view
// sees that began before. Their keys are few, so that each is everything to another.
func TestUsesTogetherAreUsesOneByOne(t *testing.T) {
	t.Parallel()
	backend := open(t, optionsFor(t, redistest.Start(t).URL()))
	random := rand.New(rand.NewPCG(7, 1)) //nolint:gosec // a test that repeats
	key := func() []byte { return []byte{"abcdefgh"[random.IntN(8)]} }
	values := [][]byte{nil, []byte("v"), []byte("\x00\x00\x00\x00\x00\x00\x00\x02")}
	use := func() *engine.Batch {
		batch := &engine.Batch{Counters: []engine.Counter{{
			Key: key(), Max: random.Int64N(5), IdempotencyKey: append([]byte("once "), key()...), IdempotencyValue: values[random.IntN(3)],
		}}}
		counter := &batch.Counters[0]
		if random.IntN(4) == 0 {
			for counter.IdempotencyKey = key(); counter.IdempotencyKey[0] == counter.Key[0]; {
				counter.IdempotencyKey = key()
			}
		}
		if random.IntN(2) == 0 {
			counter.Expires = time.Unix(2e9+random.Int64N(3), 0)
		}
		for range random.IntN(3) {
			batch.Checks = append(batch.Checks, engine.Check{Key: key(), Present: random.IntN(2) == 0})
		}
		return batch
	}
	for round := range 150 {
		one, other := fmt.Sprint("one", round), fmt.Sprint("other", round)
		first := engine.Batch{Event: []byte("first"), Puts: []engine.Put{put("first", "")}}
		for range random.IntN(4) {
			first.Puts = append(first.Puts, engine.Put{Key: key(), Value: values[random.IntN(3)]})
		}
		for _, partition := range []string{one, other} {
			_, err := backend.Commit(t.Context(), partition, &first)
			require.NoError(t, err)
		}
		before := everything(t, backend, one)
		require.NoError(t, backend.View(t.Context(), one, func(s engine.Snapshot) error {
			_, err := s.Get([]byte("first"))
			require.NoError(t, err)
			for range 3 {
				var batches []*engine.Batch
				for range 1 + random.IntN(12) {
					batches = append(batches, use())
				}
				taken, outcomes := backend.Together(one, batches)
				for i, batch := range taken {
					require.Equal(t, backend.Alone(other, batch), outcomes[i], "round %d, use %d of %d: %+v", round, i, len(taken), batch)
				}
			}
			require.Equal(t, before, scanned(t, s), "what was there when the view began")
			return nil
		}))
		require.Equal(t, everything(t, backend, other), everything(t, backend, one), "round %d", round)
		left, err := backend.Dump(t.Context(), one, nil, 1000)
		require.NoError(t, err)
		right, err := backend.Dump(t.Context(), other, nil, 1000)
		require.NoError(t, err)
		require.Equal(t, right, left, "round %d", round)
	}
}

func everything(t testing.TB, backend engine.Engine, partition string) (found map[string]string) {
	t.Helper()
	require.NoError(t, backend.View(t.Context(), partition, func(s engine.Snapshot) error {
		found = scanned(t, s)
		return nil
	}))
	return found
}

func scanned(t testing.TB, s engine.Snapshot) map[string]string {
	t.Helper()
	found := map[string]string{}
	for entry, err := range s.Scan(nil, nil) {
		require.NoError(t, err)
		found[string(entry.Key)] = string(entry.Value)
	}
	return found
}

// TestUsesGather: those that come while the server is busy share a script, and of a
// hundred who want ten uses ten get one.
func TestUsesGather(t *testing.T) {
	t.Parallel()
	const callers, bound = 100, 10
	server := redistest.Start(t)
	options := optionsFor(t, server.URL())
	options.Timeout, options.RedeemTimeout = time.Minute, time.Minute // the machine may be busy
	backend := open(t, options)
	commit(t, backend, engine.Batch{Puts: []engine.Put{put("Sa", "{}")}})
	_, err := backend.Commit(t.Context(), "acme", useOf("a", bound, "first")) // the script is known from here on
	require.NoError(t, err)
	before := commandsOf(t, server)
	server.Pause()
	paused := time.Now()
	var begun atomic.Int64
	var all sync.WaitGroup
	var mu sync.Mutex
	var got, refused int
	for i := range callers {
		all.Go(func() {
			begun.Add(1)
			_, err := backend.Commit(t.Context(), "acme", useOf("a", bound, fmt.Sprint(i)))
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				got++
			} else if _, ok := err.(*engine.BoundError); ok { //nolint:errorlint // itself, not wrapped
				refused++
			}
		})
	}
	for begun.Load() < callers || backend.Gathered("acme") == 0 {
		if time.Since(paused) > soon {
			break // it fails below
		}
		time.Sleep(time.Millisecond)
	}
	server.Resume()
	all.Wait()
	require.Equal(t, bound-1, got)
	require.Equal(t, callers-got, refused)
	require.Zero(t, backend.Gathered("acme"))
	require.LessOrEqual(t, commandsOf(t, server)-before, int64(callers/2), "they shared scripts")
	require.Len(t, contents(t, backend), 2+bound)
}

// TestUsesWithLostAnswers cuts the connection between a script and its answer: each
// use is counted once, and learns what became of it.
func TestUsesWithLostAnswers(t *testing.T) {
	t.Parallel()
	proxy := redistest.NewProxy(t, redistest.Start(t).Address())
	backend := open(t, optionsFor(t, proxy.URL()))
	commit(t, backend, engine.Batch{Puts: []engine.Put{put("Sa", "{}"), put("Sgone", "{}"), put("Xgone", "")}})
	uses := func(ids ...string) (batches []*engine.Batch) {
		for _, id := range ids {
			batches = append(batches, useOf("a", 5, id))
		}
		return append(batches, useOf("gone", 5, "1"))
	}
	revoked := redisengine.Outcome{Err: &engine.CheckError{Index: 1}}
	proxy.LoseAnswers("used 2", 2)
	_, outcomes := backend.Together("acme", uses("1", "2", "3"))
	require.Zero(t, proxy.Lost(), "no answer was lost")
	require.Equal(t, []redisengine.Outcome{counted(1), counted(2), counted(3), revoked}, outcomes)

	proxy.LoseAnswers("used 4", 3)
	_, outcomes = backend.Together("acme", uses("4", "5", "6"))
	require.Zero(t, proxy.Lost(), "no answer was lost")
	for _, outcome := range outcomes {
		require.ErrorIs(t, outcome.Err, redisengine.ErrUnreachable, "the result is unknown, so the use is refused")
	}
	// A retry with the same id counts once, whatever the result of the first attempt.
	_, outcomes = backend.Together("acme", uses("6", "5", "4", "1"))
	require.Equal(t, []redisengine.Outcome{{Err: &engine.BoundError{Index: 0}}, replayed(5), replayed(5), replayed(5), revoked}, outcomes)
	require.Equal(t, "\x00\x00\x00\x00\x00\x00\x00\x05", contents(t, backend)["Ca"])
}

// TestUsesWithFullMemory: who needs none is answered as ever.
func TestUsesWithFullMemory(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	backend := open(t, optionsFor(t, server.URL()))
	commit(t, backend, engine.Batch{Puts: []engine.Put{put("Sa", "{}"), put("Sb", "{}")}})
	_, outcomes := backend.Together("acme", []*engine.Batch{useOf("a", 1, "1"), useOf("b", 0, "1")})
	require.Equal(t, []redisengine.Outcome{counted(1), counted(1)}, outcomes)
	before := contents(t, backend)
	server.Do("config", "set", "maxmemory", "1")
	_, outcomes = backend.Together("acme", []*engine.Batch{useOf("b", 0, "2"), useOf("b", 0, "1"), useOf("a", 1, "2"), useOf("none", 1, "1")})
	require.ErrorIs(t, outcomes[0].Err, redisengine.ErrFull)
	require.Equal(t, []redisengine.Outcome{replayed(1), {Err: &engine.BoundError{Index: 0}}, {Err: &engine.CheckError{Index: 0}}}, outcomes[1:])
	require.Equal(t, before, contents(t, backend))
	server.Do("config", "set", "maxmemory", "0")
	_, outcomes = backend.Together("acme", []*engine.Batch{useOf("b", 0, "2")})
	require.Equal(t, []redisengine.Outcome{counted(2)}, outcomes)
}

// TestUsesAcknowledgedByReplicas: what no replica has is not acknowledged, and what is
// refused needs none. That one was counted before is not acknowledged either.
func TestUsesAcknowledgedByReplicas(t *testing.T) {
	t.Parallel()
	options := optionsFor(t, redistest.Start(t).URL())
	options.AckReplicas, options.AckTimeout = 1, 50*time.Millisecond
	backend := open(t, options)
	_, err := backend.Commit(t.Context(), "acme", &engine.Batch{Puts: []engine.Put{put("Sa", "{}")}})
	require.ErrorIs(t, err, redisengine.ErrNotAcknowledged)
	for range 2 {
		_, outcomes := backend.Together("acme", []*engine.Batch{useOf("a", 1, "1"), useOf("a", 1, "2"), useOf("none", 1, "1")})
		require.ErrorIs(t, outcomes[0].Err, redisengine.ErrNotAcknowledged)
		require.Zero(t, outcomes[0].Committed)
		require.Equal(t, []redisengine.Outcome{{Err: &engine.BoundError{Index: 0}}, {Err: &engine.CheckError{Index: 0}}}, outcomes[1:])
	}
}
