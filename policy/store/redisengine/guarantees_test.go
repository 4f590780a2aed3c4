package redisengine_test

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatefold/gatefold/policy/store/engine"
	"github.com/gatefold/gatefold/policy/store/redisengine/redistest"
)

// Each form of persistence is killed after uses and changes that it acknowledged, and keeps
// what the table of docs/redis.md says of it. The times of the table are printed: how long a
// node is without the store, and when a use is answered again.
func TestGuaranteesOfAKill(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		settings []string
		keeps    bool
	}{
		"appendfsync always":   {[]string{"--appendonly", "yes", "--appendfsync", "always"}, true},
		"appendfsync everysec": {[]string{"--appendonly", "yes", "--appendfsync", "everysec"}, true},
		"snapshots":            {nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const before, after = 10, 20
			server := redistest.Start(t, test.settings...)
			node := guarded(t, optionsFor(t, server.URL()))
			uses(t, node, "before", before)
			server.Do("save")
			uses(t, node, "after", after)
			server.Kill()
			_, err := node.Commit(t.Context(), "acme", useBatch("during"))
			require.ErrorIs(t, err, engine.ErrUnavailable)
			began := time.Now()
			server.Start()
			started := time.Since(began)
			require.Eventually(t, func() bool {
				_, err = node.Commit(t.Context(), "acme", useBatch("again"))
				return err == nil || errors.Is(err, engine.ErrWentBack)
			}, soon, time.Millisecond)
			t.Logf("Redis starts in %v, a use is answered %v after that: %v", started, time.Since(began)-started, err)
			if !test.keeps {
				require.ErrorIs(t, err, engine.ErrWentBack)
				require.True(t, lost(t, node))
				loss, _ := node.Loss("acme")
				require.Equal(t, [2]uint64{before, before + after}, [2]uint64{loss.From, loss.To})
				t.Logf("lost are the writes %d to %d", loss.From+1, loss.To)
				return
			}
			require.NoError(t, err)
			committed, err := node.Commit(t.Context(), "acme", useBatch("count"))
			require.NoError(t, err)
			require.Equal(t, []int64{before + after + 2}, committed.Counts)
		})
	}
}
