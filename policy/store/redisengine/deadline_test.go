package redisengine_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatefold/gatefold/policy/store/engine"
	"github.com/gatefold/gatefold/policy/store/redisengine/redistest"
)

// The server is frozen while a hundred readers use a link. Each is refused within the time of
// a redemption, those that wait behind others too; and the server, which has their requests
// still to read, counts none of them when it goes on.
func TestFrozenServerCountsNothingLater(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	options := optionsFor(t, server.URL())
	options.RedeemTimeout = 300 * time.Millisecond
	backend := open(t, options)
	var opened sync.WaitGroup // connections over which requests can be sent to a frozen server
	for i := range 3 {
		opened.Go(func() {
			batch := useBatch(fmt.Sprint("before", i))
			if i == 0 {
				batch.Puts = []engine.Put{put("link", "v")}
			}
			_, err := backend.Commit(t.Context(), "acme", batch)
			require.NoError(t, err)
		})
	}
	opened.Wait()
	count := func() (n int64) {
		require.NoError(t, backend.View(t.Context(), "acme", func(s engine.Snapshot) (err error) {
			n, err = s.Count([]byte("C"))
			return err
		}))
		return n
	}
	server.Pause()
	var group sync.WaitGroup
	for i := range 100 {
		group.Go(func() {
			batch := useBatch(fmt.Sprint("frozen", i))
			if i%10 == 0 { // a first use of a publisher's link
				batch.Puts = []engine.Put{put(fmt.Sprint("link", i), "v")}
			}
			began := time.Now()
			_, err := backend.Commit(t.Context(), "acme", batch)
			if took := time.Since(began); took > 3*time.Second {
				t.Errorf("a reader waited %v", took)
			}
			require.ErrorIs(t, err, engine.ErrUnavailable)
		})
	}
	group.Wait()
	began := time.Now()
	err := backend.View(engine.Urgent(t.Context()), "acme", func(s engine.Snapshot) error { _, err := s.Get([]byte("C")); return err })
	require.ErrorIs(t, err, engine.ErrUnavailable)
	require.Less(t, time.Since(began), 3*time.Second, "a read before a redemption")
	server.Resume()
	server.Do("ping")
	require.EqualValues(t, 3, count(), "the server counted uses that were refused")
	uses(t, backend, "after", 1)
	require.EqualValues(t, 4, count())
}
