package redisengine_test

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatefold/gatefold/policy/store"
	"github.com/gatefold/gatefold/policy/store/engine"
	"github.com/gatefold/gatefold/policy/store/redisengine"
	"github.com/gatefold/gatefold/policy/store/redisengine/redistest"
)

func TestConformanceOfCluster(t *testing.T) {
	t.Parallel()
	conform(t, redistest.ClusterURLs(redistest.StartCluster(t, 3)), nil)
}

// TestSlotMigration moves a vendor from one shard to another, key by key, while its
// links are used: what cannot be written meanwhile is refused, and nothing is lost or
// counted twice.
func TestSlotMigration(t *testing.T) {
	t.Parallel()
	nodes := redistest.StartCluster(t, 3)
	options := optionsFor(t, redistest.ClusterURLs(nodes)...)
	backend := open(t, options)
	n := newNode(t, options)
	n.follow(t)
	commit(t, backend, engine.Batch{Puts: []engine.Put{put("k", "v")}})
	slot, _ := nodes[0].Do("cluster", "keyslot", options.Prefix+":{acme}:m").(int64)
	owner := int(slot * 3 / 16384)
	from, to := nodes[owner], nodes[(owner+1)%3]

	var tried, done, refused atomic.Int64
	use := func() {
		batch := engine.Batch{
			Checks:   []engine.Check{{Key: []byte("k"), Present: true}},
			Counters: []engine.Counter{{Key: []byte("uses"), Max: 1 << 40, IdempotencyKey: fmt.Appendf(nil, "use/%d", tried.Add(1))}},
		}
		if tried.Load()%2 == 0 {
			batch.Event = changeOf("ada").Encode()
		}
		_, err := backend.Commit(t.Context(), "acme", &batch)
		if err == nil {
			done.Add(1)
			return
		}
		require.ErrorIs(t, err, engine.ErrUnavailable, "a write in a slot that moves is done or may be tried again")
		refused.Add(1)
	}
	for range 20 {
		use()
	}
	redistest.MoveSlot(t, slot, from, to, []*redistest.Server{nodes[(owner+2)%3]}, use)
	require.Eventually(t, func() bool { before := done.Load(); use(); return done.Load() > before }, soon, 10*time.Millisecond)
	t.Logf("of %d uses %d were refused while the slot moved", tried.Load(), refused.Load())

	require.NoError(t, backend.View(t.Context(), "acme", func(s engine.Snapshot) error {
		uses, err := s.Count([]byte("uses"))
		require.NoError(t, err)
		require.Equal(t, done.Load(), uses)
		marks := int64(0)
		for _, err := range s.Scan([]byte("use/"), nil) {
			require.NoError(t, err)
			marks++
		}
		require.Equal(t, uses, marks)
		return nil
	}))
	was := n.versions.Reader("acme", &reader)
	tell(t, backend, changeOf("ada"))
	n.hears(t, was)
}

// TestSentinelFailover kills the master: what was acknowledged by a replica is there
// when that is the master, and who followed the old one takes nothing for known.
func TestSentinelFailover(t *testing.T) {
	t.Parallel()
	master := redistest.Start(t)
	master.StartReplica()
	sentinels := redistest.StartSentinels(t, "gate", master, 3)
	var urls []string
	for _, s := range sentinels {
		urls = append(urls, "redis+sentinel://"+s.Address()+"/gate")
	}
	options := optionsFor(t, urls...)
	options.AckReplicas, options.AckTimeout, options.Timeout = 1, 500*time.Millisecond, time.Second
	backend := open(t, options)
	n := newNode(t, options)
	n.follow(t)
	acknowledged := map[string]bool{}
	write := func(i int) error {
		_, err := backend.Commit(t.Context(), "acme", &engine.Batch{Puts: []engine.Put{put(keyOf(i), "x")}, Event: changeOf("ada").Encode()})
		if err == nil {
			acknowledged[keyOf(i)] = true
		}
		return err
	}
	for i := range 200 {
		if err := write(i); err != nil {
			require.ErrorIs(t, err, redisengine.ErrNotAcknowledged)
		}
	}
	require.NotEmpty(t, acknowledged)
	master.Kill()
	require.ErrorIs(t, write(1000), engine.ErrUnavailable)
	// The new master has no replica: what it has must be read, and nothing can be
	// acknowledged.
	read := func() (found map[string]string, err error) {
		found = map[string]string{}
		err = backend.View(t.Context(), "acme", func(s engine.Snapshot) error {
			for entry, err := range s.Scan(nil, nil) {
				if err != nil {
					return err
				}
				found[string(entry.Key)] = string(entry.Value)
			}
			return nil
		})
		return found, err
	}
	var found map[string]string
	require.Eventually(t, func() (ok bool) { var err error; found, err = read(); return err == nil }, 90*time.Second, 50*time.Millisecond)
	for key := range acknowledged {
		require.Contains(t, found, key, "an acknowledged write is lost")
	}
	require.Eventually(t, func() bool { return errors.Is(write(1001), redisengine.ErrNotAcknowledged) }, soon, 50*time.Millisecond)
	require.Eventually(t, func() bool {
		return n.View(t.Context(), "acme", func(s engine.Snapshot) error {
			_, err := s.Get([]byte(keyOf(0)))
			return err
		}) == nil && n.State().State == store.StateFollowing
	}, 90*time.Second, 50*time.Millisecond)
	was := n.versions.Reader("acme", &reader)
	require.Eventually(t, func() bool { return errors.Is(write(1002), redisengine.ErrNotAcknowledged) }, soon, 50*time.Millisecond)
	n.hears(t, was)
}

// TestAcknowledgedInCluster: a write waits for a replica of the shard that has it,
// also when it was sent to the wrong one first.
func TestAcknowledgedInCluster(t *testing.T) {
	t.Parallel()
	nodes := redistest.StartCluster(t, 3)
	options := optionsFor(t, redistest.ClusterURLs(nodes)...)
	options.AckReplicas, options.AckTimeout = 1, 300*time.Millisecond
	backend := open(t, options)
	write := func(key string) error {
		_, err := backend.Commit(t.Context(), "acme", &engine.Batch{Puts: []engine.Put{put(key, "v")}})
		return err
	}
	require.ErrorIs(t, write("alone"), redisengine.ErrNotAcknowledged, "no shard has a replica")
	slot, _ := nodes[0].Do("cluster", "keyslot", options.Prefix+":{acme}:m").(int64)
	owner := int(slot * 3 / 16384)
	to := nodes[(owner+1)%3]
	redistest.AddReplica(t, to)
	redistest.MoveSlot(t, slot, nodes[owner], to, []*redistest.Server{nodes[(owner+2)%3]}, func() { _ = write("moving") })
	require.Eventually(t, func() bool { return write("moved") == nil }, soon, 10*time.Millisecond)
	require.Contains(t, contents(t, backend), "alone")
}
