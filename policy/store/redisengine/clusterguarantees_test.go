package redisengine_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatefold/gatefold/policy/store/engine"
	"github.com/gatefold/gatefold/policy/store/redisengine/redistest"
)

// The master of a vendor's shard dies in a Cluster. What its replica received is there when
// the replica is promoted; what it had not received is lost, and every node says so. Vendors of
// other shards go on meanwhile.
func TestGuaranteesOfACluster(t *testing.T) {
	t.Parallel()
	for name, received := range map[string]bool{"the replica has all writes": true, "the replica lacks writes": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const before, after = 10, 5
			masters := redistest.StartCluster(t, 3, "--cluster-node-timeout", "1000", "--cluster-require-full-coverage", "no", "--repl-diskless-sync-delay", "0")
			shard := func(vendor string) int64 {
				slot, _ := masters[0].Do("cluster", "keyslot", "{"+vendor+"}").(int64)
				return (slot*3 + 2) / 16384
			}
			other := "other"
			for i := 0; shard(other) == shard("acme"); i++ {
				other = fmt.Sprint("other", i)
			}
			master := masters[shard("acme")]
			replica := redistest.AddReplica(t, master, "--cluster-node-timeout", "1000")
			for _, m := range masters { // only who knows the replica can elect it
				require.Eventually(t, func() bool {
					nodes, err := m.Client().ClusterNodes(t.Context()).Result()
					_, line, _ := strings.Cut(nodes, replica.Address()+"@")
					line, _, _ = strings.Cut(line, "\n")
					return err == nil && strings.Contains(line, " slave "+master.NodeID())
				}, 60*time.Second, 10*time.Millisecond, "the cluster does not hear of the replica")
			}
			node := guarded(t, optionsFor(t, redistest.ClusterURLs(masters)...))
			uses(t, node, "before", before)
			require.Eventually(t, func() bool { return offset(t, master, "master_repl_offset") == offset(t, replica, "slave_repl_offset") }, soon, time.Millisecond)
			if !received {
				replica.Do("config", "set", "masteruser", "none", "masterauth", "none") // refused when it connects again
				master.Do("client", "kill", "type", "replica")
				uses(t, node, "after", after)
			}
			_, err := node.Commit(t.Context(), other, useBatch("other"))
			require.NoError(t, err)

			master.Kill()
			killed := time.Now()
			_, err = node.Commit(t.Context(), "acme", useBatch("during"))
			require.ErrorIs(t, err, engine.ErrUnavailable)
			answered, refused := 0, 0
			require.Eventually(t, func() bool {
				if _, err := node.Commit(t.Context(), other, useBatch("others")); err != nil {
					refused++
				} else {
					answered++
				}
				_, err = node.Commit(t.Context(), "acme", useBatch("again"))
				return err == nil || errors.Is(err, engine.ErrWentBack)
			}, 45*time.Second, 5*time.Millisecond, "the node does not find the promoted replica")
			t.Logf("a use is answered %v after the kill: %v; of another shard %d meanwhile, and %d were refused", time.Since(killed), err, answered, refused)
			require.Less(t, 10*refused, answered, "vendors of other shards notice it")
			if received {
				require.NoError(t, err)
				committed, err := node.Commit(t.Context(), "acme", useBatch("count"))
				require.NoError(t, err)
				require.GreaterOrEqual(t, committed.Counts[0], int64(before+2))
				return
			}
			require.ErrorIs(t, err, engine.ErrWentBack)
			require.True(t, lost(t, node))
			loss, _ := node.Loss("acme")
			require.Equal(t, uint64(before), loss.From)
			require.GreaterOrEqual(t, loss.To, uint64(before+after))
			_, known := node.Loss(other)
			require.False(t, known, "the other shard lost nothing")
		})
	}
}

// offset returns how far a server is in the stream of writes, by the name of its field.
func offset(t *testing.T, server *redistest.Server, field string) string {
	t.Helper()
	info, err := server.Client().Info(t.Context(), "replication").Result()
	require.NoError(t, err)
	_, value, found := strings.Cut(info, field+":")
	require.True(t, found, info)
	value, _, _ = strings.Cut(value, "\r")
	return value
}
