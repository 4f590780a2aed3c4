package enginetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/stretchr/testify/require"

	"github.com/gatefold/gatefold/policy/store/engine"
)

var commitTests = []test{
	{"a batch deletes, then puts", func(b *fixture) {
		b.commit(engine.Batch{Puts: []engine.Put{put("a", "1"), put("b", "1")}})
		b.commit(engine.Batch{
			Deletes: [][]byte{[]byte("a"), []byte("b"), []byte("never there")},
			Puts:    []engine.Put{put("b", "2"), put("b", "3")},
		})
		require.Equal(b, absent, b.get("a"))
		require.Equal(b, "3", b.get("b"), "the last put counts")
	}},
	{"a batch that does nothing is fine", func(b *fixture) {
		b.event("one")
		require.EqualValues(b, 1, b.commit(engine.Batch{}).Position)
	}},
	{"a check holds what it says", func(b *fixture) {
		b.commit(engine.Batch{Puts: []engine.Put{put("k", "v"), put("empty", "")}})
		key := func(k string) []byte { return []byte(k) }
		for name, check := range map[string]engine.Check{
			"absent":            {Key: key("none")},
			"present":           {Key: key("k"), Present: true},
			"present, empty":    {Key: key("empty"), Present: true},
			"equal":             {Key: key("k"), Value: []byte("v")},
			"equal, empty":      {Key: key("empty"), Value: []byte{}},
			"present is enough": {Key: key("k"), Value: []byte("other"), Present: true},
		} {
			_, err := b.engine.Commit(b.Context(), partition, &engine.Batch{Checks: []engine.Check{check}})
			require.NoError(b, err, name)
		}
		for name, check := range map[string]engine.Check{
			"absent, but is there":        {Key: key("k")},
			"absent, but is there, empty": {Key: key("empty")},
			"present, but is not":         {Key: key("none"), Present: true},
			"another value":               {Key: key("k"), Value: []byte("w")},
			"the beginning of the value":  {Key: key("k"), Value: []byte{}},
			"more than the value":         {Key: key("k"), Value: []byte("vv")},
			"a value, but is absent":      {Key: key("none"), Value: []byte("v")},
			"empty, but is absent":        {Key: key("none"), Value: []byte{}},
		} {
			_, err := b.engine.Commit(b.Context(), partition, &engine.Batch{Checks: []engine.Check{check}})
			require.Equal(b, &engine.CheckError{Index: 0}, err, name)
		}
	}},
	{"a check that fails leaves nothing of its batch", func(b *fixture) {
		b.put("k", "v")
		b.isRefused(b.refuse(engine.Batch{
			Checks:   []engine.Check{{Key: []byte("k"), Present: true}, {Key: []byte("k")}},
			Counters: []engine.Counter{{Key: []byte("n"), IdempotencyKey: []byte("once")}},
			Deletes:  [][]byte{[]byte("k")},
			Puts:     []engine.Put{put("new", "x")},
			Event:    []byte("never"),
		}), &engine.CheckError{Index: 1})
		require.Equal(b, []string{"k"}, b.keys(nil, nil))
		require.Zero(b, b.position())
		require.Empty(b, b.events(0, 10))
		require.EqualValues(b, 1, b.event("first"), "no position was used up")
	}},
	{"a bound that is reached leaves nothing of its batch", func(b *fixture) {
		b.put("k", "v")
		b.commit(engine.Batch{Counters: []engine.Counter{{Key: []byte("full"), Max: 1}}})
		b.isRefused(b.refuse(engine.Batch{
			Counters: []engine.Counter{{Key: []byte("free"), IdempotencyKey: []byte("once")}, {Key: []byte("full"), Max: 1}},
			Deletes:  [][]byte{[]byte("k")},
			Puts:     []engine.Put{put("new", "x")},
			Event:    []byte("never"),
		}), &engine.BoundError{Index: 1})
		require.Equal(b, []string{"full", "k"}, b.keys(nil, nil))
		require.EqualValues(b, 1, b.count("full"))
		require.Zero(b, b.position())
		require.Empty(b, b.events(0, 10))
	}},
	{"checks come before bounds", func(b *fixture) {
		b.commit(engine.Batch{Counters: []engine.Counter{{Key: []byte("full"), Max: 1}}})
		b.isRefused(b.refuse(engine.Batch{
			Checks:   []engine.Check{{Key: []byte("none"), Present: true}},
			Counters: []engine.Counter{{Key: []byte("full"), Max: 1}},
		}), &engine.CheckError{Index: 0})
	}},
	{"of those who create the same key at once, one succeeds", func(b *fixture) {
		var won atomic.Int32
		inParallel(32, func(i int) {
			_, err := b.engine.Commit(b.Context(), partition, &engine.Batch{
				Checks: []engine.Check{{Key: []byte("k")}},
				Puts:   []engine.Put{put("k", fmt.Sprint(i)), put(fmt.Sprintf("winner/%d", i), "")},
				Event:  []byte("won"),
			})
			if err == nil {
				won.Add(1)
				return
			}
			b.isRefused(err, &engine.CheckError{Index: 0})
		})
		require.EqualValues(b, 1, won.Load())
		require.Equal(b, []string{"winner/" + b.get("k")}, b.keys([]byte("winner/"), nil))
		require.EqualValues(b, 1, b.position())
	}},
	{"compare and set loses no update", func(b *fixture) {
		b.put("n", "0")
		inParallel(8, func(int) {
			for range 5 {
				b.increment("n")
			}
		})
		require.Equal(b, "40", b.get("n"))
	}},
	{"the engine keeps none of the caller's slices", func(b *fixture) {
		key, value, event := []byte("key"), []byte("value"), []byte("event")
		b.commit(engine.Batch{Puts: []engine.Put{{Key: key, Value: value}}, Event: event})
		copy(key, "xxx")
		copy(value, "xxxxx")
		copy(event, "xxxxx")
		require.Equal(b, "value", b.get("key"))
		require.Equal(b, "event", string(b.events(0, 1)[0].Payload))
	}},
	{"a commit given up while it waits is done or not, as it says", func(b *fixture) {
		var done, withdrawn sync.Map
		inParallel(16, func(i int) {
			for n := range 10 {
				ctx, cancel := context.WithCancel(b.Context())
				go cancel()
				key := fmt.Sprintf("%02d/%02d", i, n)
				_, err := b.engine.Commit(ctx, partition, &engine.Batch{Puts: []engine.Put{put(key, "v")}})
				if err == nil {
					done.Store(key, true)
					continue
				}
				require.ErrorIs(b, err, context.Canceled)
				withdrawn.Store(key, true)
			}
		})
		for _, key := range b.keys(nil, nil) {
			_, acknowledged := done.LoadAndDelete(key)
			require.True(b, acknowledged, "%s is there, though its commit failed", key)
		}
		done.Range(func(key, _ any) bool {
			b.Errorf("%v was acknowledged and is not there", key)
			return true
		})
	}},
}

// increment adds one to a decimal number, by compare and set.
func (b *fixture) increment(key string) {
	b.Helper()
	for {
		old := b.get(key)
		var n int
		_, err := fmt.Sscan(old, &n)
		require.NoError(b, err)
		_, err = b.engine.Commit(b.Context(), partition, &engine.Batch{
			Checks: []engine.Check{{Key: []byte(key), Value: []byte(old)}},
			Puts:   []engine.Put{put(key, fmt.Sprint(n+1))},
		})
		if _, lost := errors.AsType[*engine.CheckError](err); lost {
			continue
		}
		require.NoError(b, err)
		return
	}
}

var counterTests = []test{
	{"a counter starts at zero and stops at its bound", func(b *fixture) {
		use := engine.Batch{Counters: []engine.Counter{{Key: []byte("n"), Max: 3}}}
		require.Zero(b, b.count("n"))
		for want := int64(1); want <= 3; want++ {
			committed := b.commit(use)
			require.Equal(b, []int64{want}, committed.Counts)
			require.Equal(b, []bool{false}, committed.Replayed)
		}
		b.isRefused(b.refuse(use), &engine.BoundError{Index: 0})
		require.EqualValues(b, 3, b.count("n"))
	}},
	{"a counter without a bound goes on", func(b *fixture) {
		for want := int64(1); want <= 20; want++ {
			require.Equal(b, []int64{want}, b.commit(engine.Batch{Counters: []engine.Counter{{Key: []byte("n")}}}).Counts)
		}
	}},
	{"a bound that is lowered holds, one that is raised gives room", func(b *fixture) {
		with := func(bound int64) engine.Batch {
			return engine.Batch{Counters: []engine.Counter{{Key: []byte("n"), Max: bound}}}
		}
		b.commit(with(5))
		b.commit(with(5))
		b.isRefused(b.refuse(with(1)), &engine.BoundError{Index: 0})
		b.isRefused(b.refuse(with(2)), &engine.BoundError{Index: 0})
		require.EqualValues(b, []int64{3}, b.commit(with(3)).Counts)
	}},
	{"a counter is counted once per marker", func(b *fixture) {
		use := func(marker string) engine.Committed {
			return b.commit(engine.Batch{Counters: []engine.Counter{
				{Key: []byte("n"), Max: 2, IdempotencyKey: []byte(marker), IdempotencyValue: []byte("value of " + marker)},
			}})
		}
		require.Equal(b, []int64{1}, use("first").Counts)
		replay := use("first")
		require.Equal(b, []int64{1}, replay.Counts)
		require.Equal(b, []bool{true}, replay.Replayed)
		require.Equal(b, []int64{2}, use("second").Counts)
		require.Equal(b, "value of first", b.get("first"))
		require.Equal(b, "value of second", b.get("second"))
	}},
	{"a replay at the bound still succeeds, and anybody else does not", func(b *fixture) {
		use := func(marker string) engine.Batch {
			return engine.Batch{Counters: []engine.Counter{{Key: []byte("n"), Max: 1, IdempotencyKey: []byte(marker)}}}
		}
		b.commit(use("mine"))
		replay := b.commit(use("mine"))
		require.Equal(b, []int64{1}, replay.Counts)
		require.Equal(b, []bool{true}, replay.Replayed)
		b.isRefused(b.refuse(use("theirs")), &engine.BoundError{Index: 0})
		require.Equal(b, absent, b.get("theirs"))
	}},
	{"a replay puts, deletes and announces nothing", func(b *fixture) {
		b.put("kept", "x")
		counters := []engine.Counter{{Key: []byte("n"), IdempotencyKey: []byte("once"), IdempotencyValue: []byte("1")}}
		b.commit(engine.Batch{Counters: counters, Puts: []engine.Put{put("k", "1")}, Event: []byte("one")})
		counters[0].IdempotencyValue = []byte("2")
		replay := b.commit(engine.Batch{
			Counters: counters,
			Puts:     []engine.Put{put("k", "2")},
			Deletes:  [][]byte{[]byte("kept")},
			Event:    []byte("two"),
		})
		require.EqualValues(b, 1, replay.Position)
		require.Equal(b, "1", b.get("k"))
		require.Equal(b, "x", b.get("kept"))
		require.Equal(b, "1", b.get("once"))
		require.Len(b, b.events(0, 10), 1)
	}},
	{"a replay needs its checks to hold", func(b *fixture) {
		use := engine.Batch{
			Checks:   []engine.Check{{Key: []byte("revoked")}},
			Counters: []engine.Counter{{Key: []byte("n"), IdempotencyKey: []byte("once")}},
		}
		b.commit(use)
		b.commit(use)
		b.put("revoked", "")
		b.isRefused(b.refuse(use), &engine.CheckError{Index: 0})
	}},
	{"a batch of which a part was counted before does the rest", func(b *fixture) {
		b.commit(engine.Batch{Counters: []engine.Counter{{Key: []byte("a"), IdempotencyKey: []byte("once")}}})
		committed := b.commit(engine.Batch{
			Counters: []engine.Counter{{Key: []byte("a"), IdempotencyKey: []byte("once")}, {Key: []byte("b")}},
			Puts:     []engine.Put{put("k", "v")},
			Event:    []byte("event"),
		})
		require.Equal(b, engine.Committed{Position: 1, Counts: []int64{1, 1}, Replayed: []bool{true, false}}, committed)
		require.Equal(b, "v", b.get("k"))
	}},
	{"one batch can count a key twice, but not over its bound", func(b *fixture) {
		twice := engine.Batch{Counters: []engine.Counter{{Key: []byte("n"), Max: 3}, {Key: []byte("n"), Max: 3}}}
		require.Equal(b, []int64{2, 2}, b.commit(twice).Counts)
		b.isRefused(b.refuse(twice), &engine.BoundError{Index: 1})
		require.EqualValues(b, 2, b.count("n"))
	}},
	{"a marker that comes twice in a batch counts once", func(b *fixture) {
		committed := b.commit(engine.Batch{Counters: []engine.Counter{
			{Key: []byte("n"), IdempotencyKey: []byte("once")},
			{Key: []byte("n"), IdempotencyKey: []byte("once")},
		}})
		require.Equal(b, []int64{1, 1}, committed.Counts)
		require.Equal(b, []bool{false, true}, committed.Replayed)
	}},
	{"a count is undone by its marker and its value, once", func(b *fixture) {
		use := func(value string, undo bool) engine.Committed {
			return b.commit(engine.Batch{Counters: []engine.Counter{
				{Key: []byte("n"), Max: 2, IdempotencyKey: []byte("once"), IdempotencyValue: []byte(value), Undo: undo},
			}})
		}
		require.Equal(b, engine.Committed{Counts: []int64{0}, Replayed: []bool{true}}, use("1", true), "never counted")
		use("1", false)
		require.Equal(b, []bool{true}, use("2", true).Replayed, "of another value")
		require.EqualValues(b, 1, b.count("n"))
		require.Equal(b, engine.Committed{Counts: []int64{0}, Replayed: []bool{false}}, use("1", true))
		require.Equal(b, absent, b.get("once"))
		require.Equal(b, []bool{true}, use("1", true).Replayed, "undone before")
		require.EqualValues(b, 0, b.count("n"))
		require.Equal(b, engine.Committed{Counts: []int64{1}, Replayed: []bool{false}}, use("3", false), "it can be counted again")
	}},
	{"a counter that is deleted starts again", func(b *fixture) {
		use := engine.Batch{Counters: []engine.Counter{{Key: []byte("n"), Max: 1}}}
		b.commit(use)
		b.commit(engine.Batch{Deletes: [][]byte{[]byte("n")}})
		require.Zero(b, b.count("n"))
		require.Equal(b, []int64{1}, b.commit(use).Counts)
	}},
	{"counters are among the other keys", func(b *fixture) {
		b.commit(engine.Batch{Puts: []engine.Put{put("a", ""), put("z", "")}, Counters: []engine.Counter{{Key: []byte("n")}}})
		require.Equal(b, []string{"a", "n", "z"}, b.keys(nil, nil))
		require.NotEqual(b, absent, b.get("n"))
		b.commit(engine.Batch{Checks: []engine.Check{{Key: []byte("n"), Present: true}}})
	}},
	{"what is not a counter is not counted", func(b *fixture) {
		b.put("k", "plain")
		b.refuse(engine.Batch{Counters: []engine.Counter{{Key: []byte("k")}}, Puts: []engine.Put{put("other", "")}})
		require.Equal(b, []string{"k"}, b.keys(nil, nil))
		require.Equal(b, "plain", b.get("k"))
		b.view(func(s engine.Snapshot) {
			_, err := s.Count([]byte("k"))
			require.Error(b, err)
		})
	}},
	{"of 32 who race for ten uses, ten get one", func(b *fixture) {
		var got, refused atomic.Int32
		inParallel(32, func(i int) {
			_, err := b.engine.Commit(b.Context(), partition, &engine.Batch{
				Counters: []engine.Counter{{Key: []byte("uses"), Max: 10, IdempotencyKey: fmt.Appendf(nil, "use/%d", i)}},
				Event:    []byte("used"),
			})
			if err == nil {
				got.Add(1)
				return
			}
			b.isRefused(err, &engine.BoundError{Index: 0})
			refused.Add(1)
		})
		require.EqualValues(b, 10, got.Load())
		require.EqualValues(b, 22, refused.Load())
		require.EqualValues(b, 10, b.count("uses"))
		require.Len(b, b.keys([]byte("use/"), nil), 10)
		require.EqualValues(b, 10, b.position())
	}},
	{"32 concurrent uses of several links each get their own result", func(b *fixture) {
		b.commit(engine.Batch{Puts: []engine.Put{put("link a", ""), put("link b", ""), put("link c", ""), put("revoked c", "")}})
		wants := map[string]error{"a": nil, "b": &engine.BoundError{Index: 0}, "c": &engine.CheckError{Index: 1}, "d": &engine.CheckError{Index: 0}}
		links := []string{"a", "b", "c", "d"}
		var got [4]atomic.Int32
		inParallel(32, func(i int) {
			link := links[i%len(links)]
			for n := range 5 {
				_, err := b.engine.Commit(b.Context(), partition, &engine.Batch{
					Checks:   []engine.Check{{Key: []byte("link " + link), Present: true}, {Key: []byte("revoked " + link)}},
					Counters: []engine.Counter{{Key: []byte("uses " + link), Max: 40 / int64(1+i%len(links)), IdempotencyKey: fmt.Appendf(nil, "use %s/%d/%d", link, i, n)}},
				})
				if err == nil {
					got[i%len(links)].Add(1)
					continue
				}
				b.isRefused(err, wants[link])
			}
		})
		for i, want := range []int64{40, 20, 0, 0} {
			require.EqualValues(b, want, got[i].Load(), links[i])
			require.EqualValues(b, want, b.count("uses "+links[i]))
			require.Len(b, b.keys([]byte("use "+links[i]+"/"), nil), int(want))
		}
		require.Zero(b, b.position())
	}},
	{"of 32 who send the same use at once, all succeed and one counts", func(b *fixture) {
		var counted atomic.Int32
		inParallel(32, func(int) {
			committed, err := b.engine.Commit(b.Context(), partition, &engine.Batch{
				Counters: []engine.Counter{{Key: []byte("uses"), Max: 1, IdempotencyKey: []byte("use")}},
				Event:    []byte("used"),
			})
			require.NoError(b, err)
			require.Equal(b, []int64{1}, committed.Counts)
			if !committed.Replayed[0] {
				counted.Add(1)
			}
		})
		require.EqualValues(b, 1, counted.Load())
		require.EqualValues(b, 1, b.position())
	}},
}
