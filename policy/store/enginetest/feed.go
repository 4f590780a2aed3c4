package enginetest

import (
	"fmt"
	"sync"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatefold/gatefold/policy/store/engine"
)

var feedTests = []test{
	{"events come in order, with positions from one", func(b *fixture) {
		for i, payload := range []string{"one", "two", ""} {
			require.EqualValues(b, i+1, b.event(payload))
			require.EqualValues(b, i+1, b.position())
		}
		events := b.events(0, 10)
		require.Len(b, events, 3)
		for i, payload := range []string{"one", "two", ""} {
			require.EqualValues(b, i+1, events[i].Position)
			require.Equal(b, payload, string(events[i].Payload))
		}
	}},
	{"a batch without an event leaves the position", func(b *fixture) {
		b.event("one")
		require.EqualValues(b, 1, b.commit(engine.Batch{Puts: []engine.Put{put("k", "v")}}).Position)
		require.EqualValues(b, 1, b.position())
	}},
	{"a reader takes up where it was, as many as it wants", func(b *fixture) {
		for i := range 10 {
			b.event(fmt.Sprint(i + 1))
		}
		require.Equal(b, "[4 5 6]", payloads(b.events(3, 3)))
		require.Equal(b, "[10]", payloads(b.events(9, 3)))
		require.Empty(b, b.events(10, 3))
		require.Empty(b, b.events(0, 0))
		require.Len(b, b.events(0, 1<<30), 10)
	}},
	{"a position ahead of the feed is a gap", func(b *fixture) {
		_, err := b.engine.Events(b.Context(), partition, 1, 10)
		require.ErrorIs(b, err, engine.ErrFeedGap, "a feed that never had an event")
		b.event("one")
		_, err = b.engine.Events(b.Context(), partition, 2, 10)
		require.ErrorIs(b, err, engine.ErrFeedGap)
		_, err = b.engine.Events(b.Context(), partition, 1<<63, 10)
		require.ErrorIs(b, err, engine.ErrFeedGap)
		require.Empty(b, b.events(1, 10), "the newest one is no gap")
	}},
	{"old events are dropped, which is a feed gap", func(b *fixture) {
		const n = 2 * engine.FeedLength
		var payload sync.Map // by position
		inParallel(64, func(i int) {
			for j := range n / 64 {
				text := fmt.Sprintf("%d/%d", i, j)
				_, taken := payload.LoadOrStore(b.event(text), text)
				require.False(b, taken, "two events at one position")
			}
		})
		require.EqualValues(b, n, b.position())
		for _, after := range []uint64{0, 1} {
			_, err := b.engine.Events(b.Context(), partition, after, 10)
			require.ErrorIs(b, err, engine.ErrFeedGap, "after %d", after)
		}
		after := uint64(n - engine.FeedLength)
		for after < n {
			events := b.events(after, 1000)
			require.NotEmpty(b, events)
			for _, event := range events {
				after++
				require.Equal(b, after, event.Position)
				want, _ := payload.Load(after)
				require.Equal(b, want, string(event.Payload))
			}
		}
		require.EqualValues(b, n+1, b.event("next"))
	}},
	{"an event is in the feed no later than its write can be read", func(b *fixture) {
		done := make(chan struct{})
		var reader sync.WaitGroup
		reader.Go(func() {
			for {
				var n int64
				b.view(func(s engine.Snapshot) { n, _ = s.Count([]byte("n")) })
				require.GreaterOrEqual(b, b.position(), uint64(n))
				select {
				case <-done:
					return
				default:
				}
			}
		})
		inParallel(8, func(int) {
			for range 10 {
				b.commit(engine.Batch{Counters: []engine.Counter{{Key: []byte("n")}}, Event: []byte("counted")})
			}
		})
		close(done)
		reader.Wait()
	}},
}

func payloads(events []engine.Event) string {
	var texts []string
	for _, event := range events {
		texts = append(texts, string(event.Payload))
	}
	return fmt.Sprint(texts)
}

// noon is the reference time of the expiry tests.
var noon = time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)

var expiryTests = []test{
	{"an entry that has expired can be read until it is swept", func(b *fixture) {
		b.commit(engine.Batch{Puts: []engine.Put{putUntil("k", "v", time.Unix(1, 0))}})
		require.Equal(b, "v", b.get("k"))
		require.Equal(b, []string{"k"}, b.keys(nil, nil))
		require.Equal(b, 1, b.sweep(noon, 10))
		require.Equal(b, absent, b.get("k"))
		require.Zero(b, b.sweep(noon, 10))
	}},
	{"only what expired before the moment is swept", func(b *fixture) {
		b.commit(engine.Batch{Puts: []engine.Put{
			putUntil("before", "", noon.Add(-time.Millisecond)),
			putUntil("at", "", noon),
			putUntil("after", "", noon.Add(time.Millisecond)),
			put("never", ""),
		}})
		require.Equal(b, 1, b.sweep(noon, 10))
		require.Equal(b, []string{"after", "at", "never"}, b.keys(nil, nil))
		require.Equal(b, 2, b.sweep(noon.Add(time.Hour), 10))
		require.Equal(b, []string{"never"}, b.keys(nil, nil))
	}},
	{"a sweep removes no more than its limit", func(b *fixture) {
		for i := range 10 {
			b.commit(engine.Batch{Puts: []engine.Put{putUntil(fmt.Sprint(i), "", noon.Add(time.Duration(i)*time.Second))}})
		}
		later := noon.Add(time.Hour)
		require.Zero(b, b.sweep(later, 0))
		require.Equal(b, 4, b.sweep(later, 4))
		require.Len(b, b.keys(nil, nil), 6)
		require.Equal(b, 6, b.sweep(later, 100))
		require.Zero(b, b.sweep(later, 100))
	}},
	{"an entry that was replaced is not swept at its old time", func(b *fixture) {
		b.commit(engine.Batch{Puts: []engine.Put{
			putUntil("for ever", "1", noon), putUntil("longer", "1", noon), putUntil("shorter", "1", noon.Add(time.Hour)),
		}})
		b.commit(engine.Batch{Puts: []engine.Put{
			put("for ever", "2"), putUntil("longer", "2", noon.Add(time.Hour)), putUntil("shorter", "2", noon),
		}})
		require.Equal(b, 1, b.sweep(noon.Add(time.Minute), 10))
		require.Equal(b, []string{"for ever", "longer"}, b.keys(nil, nil))
		require.Equal(b, 1, b.sweep(noon.Add(2*time.Hour), 10))
		require.Equal(b, []string{"for ever"}, b.keys(nil, nil))
	}},
	{"an entry that was deleted and written again is not swept at its old time", func(b *fixture) {
		b.commit(engine.Batch{Puts: []engine.Put{putUntil("k", "1", noon)}})
		b.commit(engine.Batch{Deletes: [][]byte{[]byte("k")}})
		b.put("k", "2")
		require.Zero(b, b.sweep(noon.Add(time.Hour), 10))
		require.Equal(b, "2", b.get("k"))
	}},
	{"a counter and its marker are swept", func(b *fixture) {
		use := engine.Batch{Counters: []engine.Counter{{Key: []byte("n"), Max: 1, IdempotencyKey: []byte("once"), Expires: noon}}}
		b.commit(use)
		require.Zero(b, b.sweep(noon, 10))
		require.EqualValues(b, 1, b.count("n"))
		require.Equal(b, 2, b.sweep(noon.Add(time.Second), 10))
		require.Zero(b, b.count("n"))
		require.Equal(b, []int64{1}, b.commit(use).Counts, "it starts again")
	}},
	{"a refused batch changes no expiry", func(b *fixture) {
		b.commit(engine.Batch{Puts: []engine.Put{putUntil("k", "v", noon)}})
		b.refuse(engine.Batch{
			Checks: []engine.Check{{Key: []byte("none"), Present: true}},
			Puts:   []engine.Put{put("k", "v")},
		})
		require.Equal(b, 1, b.sweep(noon.Add(time.Second), 10))
	}},
	{"moments far away are moments all the same", func(b *fixture) {
		b.commit(engine.Batch{Puts: []engine.Put{
			putUntil("year 1", "", time.Time{}.Add(time.Hour)),
			putUntil("1970", "", time.Unix(0, 0)),
			putUntil("year 9999", "", time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)),
		}})
		require.Zero(b, b.sweep(time.Time{}, 10))
		require.Equal(b, 2, b.sweep(noon, 10))
		require.Equal(b, []string{"year 9999"}, b.keys(nil, nil))
	}},
	{"a sweep is no event, and keeps to its partition", func(b *fixture) {
		b.commit(engine.Batch{Puts: []engine.Put{putUntil("k", "v", noon)}})
		removed, err := b.engine.Sweep(b.Context(), "other", noon.Add(time.Hour), 10)
		require.NoError(b, err)
		require.Zero(b, removed)
		require.Equal(b, 1, b.sweep(noon.Add(time.Hour), 10))
		require.Zero(b, b.position())
	}},
}
