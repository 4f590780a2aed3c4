package redisengine_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatefold/gatefold/policy/store/engine"
	"github.com/gatefold/gatefold/policy/store/redisengine"
	"github.com/gatefold/gatefold/policy/store/redisengine/redistest"
)

// useBatch counts a use of a link with fifty.
func useBatch(id string) *engine.Batch {
	return &engine.Batch{Counters: []engine.Counter{{Key: []byte("C"), Max: 50, IdempotencyKey: []byte("U" + id)}}}
}

// guarded opens an engine that compares the store with what it saw.
func guarded(t *testing.T, options redisengine.Options) *redisengine.Engine {
	t.Helper()
	backend := open(t, options)
	backend.Guard(nil)
	return backend
}

func uses(t *testing.T, backend *redisengine.Engine, name string, n int) {
	t.Helper()
	for i := range n {
		_, err := backend.Commit(t.Context(), "acme", useBatch(fmt.Sprint(name, i)))
		require.NoError(t, err)
	}
}

// lost looks whether the engine knows that the partition lost writes.
func lost(t *testing.T, backend *redisengine.Engine) bool {
	t.Helper()
	_, err := backend.Cursors(t.Context(), []string{"acme"})
	require.NoError(t, err)
	_, lost := backend.Loss("acme")
	return lost
}

func read(t *testing.T, backend *redisengine.Engine) error {
	t.Helper()
	return backend.View(t.Context(), "acme", func(s engine.Snapshot) error { _, err := s.Get([]byte("k")); return err })
}

// A snapshot from before the last uses comes back. The first use is refused, whatever the
// node heard of the restart: the script compares. So is every other node's, until the loss
// is accepted, after which none complains about what it saw before.
func TestUsesOfASnapshotAreRefused(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	options := optionsFor(t, server.URL())
	one, other := guarded(t, options), guarded(t, options)
	uses(t, one, "a", 10)
	server.Do("save")
	uses(t, one, "b", 20)
	require.False(t, lost(t, other))
	server.Kill()
	server.Start()
	for _, node := range []*redisengine.Engine{one, other} {
		_, err := node.Commit(t.Context(), "acme", useBatch("c"))
		require.ErrorIs(t, err, engine.ErrWentBack)
		require.ErrorIs(t, err, engine.ErrUnavailable)
		several := useBatch("d")
		several.Puts = []engine.Put{put("k", "v")}
		_, err = node.Commit(t.Context(), "acme", several)
		require.ErrorIs(t, err, engine.ErrWentBack, "a batch that is no use alone")
		require.ErrorIs(t, read(t, node), engine.ErrWentBack)
		require.True(t, lost(t, node))
		require.True(t, node.Behind("acme"))
		node.Adopt("acme")
		require.NoError(t, read(t, node))
	}
	loss, _ := one.Loss("acme")
	require.EqualValues(t, 10, loss.From)
	require.EqualValues(t, 30, loss.To)
	require.WithinDuration(t, time.Now(), loss.At, time.Minute)
	commit(t, one, engine.Batch{Puts: []engine.Put{put("k", "v")}}) // the operator's changes go on
	_, err := other.Commit(t.Context(), "acme", useBatch("c"))
	require.ErrorIs(t, err, engine.ErrWentBack, "until it is accepted")

	third := open(t, options) // was away all the time, and has the mark of its file
	third.Guard(map[string]engine.Mark{"acme": {Revision: 30}})
	require.NoError(t, other.AcceptLoss(t.Context(), "acme"))
	require.ErrorIs(t, other.AcceptLoss(t.Context(), "acme"), engine.ErrNoLoss)
	for _, node := range []*redisengine.Engine{one, other, third} {
		require.False(t, lost(t, node))
		require.Equal(t, node == third, node.Behind("acme"), "what the third knows of the lost writes is not made again")
	}
	require.ErrorIs(t, read(t, third), engine.ErrWentBack)
	third.Adopt("acme")
	require.NoError(t, read(t, third))
	uses(t, third, "e", 40)
	_, err = one.Commit(t.Context(), "acme", useBatch("f"))
	_, bound := err.(*engine.BoundError) //nolint:errorlint // it is the error itself
	require.True(t, bound, "%v", err)
}

// After a snapshot came back, a node that had seen less writes as much as was lost, before
// one that had seen more comes: the numbers fit, and the batches are others.
func TestLossThatWasWrittenOver(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	options := optionsFor(t, server.URL())
	one, idle := guarded(t, options), guarded(t, options)
	uses(t, one, "a", 10)
	server.Do("save")
	uses(t, one, "b", 3)
	server.Kill()
	server.Start()
	uses(t, idle, "c", 7)
	_, err := one.Commit(t.Context(), "acme", useBatch("d"))
	require.ErrorIs(t, err, engine.ErrWentBack)
	require.True(t, lost(t, idle))
	require.True(t, lost(t, one))
	require.ErrorIs(t, read(t, one), engine.ErrWentBack, "before it made removals again")
	one.Adopt("acme")
	require.NoError(t, read(t, one))
}

// Two nodes saw different writes that are lost. One accepts what it noticed; meanwhile the
// other one notices more: that is not accepted unseen, and once it was seen no node notices
// anything again.
func TestAcceptanceEndsWhatWasSeen(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	options := optionsFor(t, server.URL())
	one, other := guarded(t, options), guarded(t, options)
	uses(t, one, "a", 10)
	server.Do("save")
	uses(t, other, "b", 5)
	uses(t, one, "c", 5)
	server.Kill()
	server.Start()
	require.True(t, lost(t, other))
	require.True(t, lost(t, one))
	require.ErrorIs(t, other.AcceptLoss(t.Context(), "acme"), engine.ErrOtherLoss)
	require.True(t, lost(t, other))
	loss, _ := other.Loss("acme")
	require.EqualValues(t, 20, loss.To)
	require.NoError(t, other.AcceptLoss(t.Context(), "acme"))
	for _, node := range []*redisengine.Engine{one, other} {
		require.False(t, lost(t, node))
		_, err := node.Commit(t.Context(), "acme", useBatch("d"))
		require.NoError(t, err)
	}
}

// A node whose loss was never seen accepts that of others: its own is not ended with it.
func TestAcceptanceOfAnUnseenLoss(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	backend := guarded(t, optionsFor(t, server.URL()))
	uses(t, backend, "a", 10)
	server.Do("flushall")
	require.ErrorIs(t, backend.AcceptLoss(t.Context(), "acme"), engine.ErrOtherLoss)
	require.True(t, lost(t, backend))
	require.NoError(t, backend.AcceptLoss(t.Context(), "acme"))
}

// The Redis is emptied, and the operator accepts that; then a dump from before the
// acceptance comes back: it has an earlier generation.
func TestAcceptanceThatWasLost(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	backend := guarded(t, optionsFor(t, server.URL()))
	uses(t, backend, "a", 10)
	server.Do("save")
	server.Do("flushall")
	require.True(t, lost(t, backend))
	backend.Adopt("acme")
	require.NoError(t, backend.AcceptLoss(t.Context(), "acme"))
	require.False(t, lost(t, backend))
	uses(t, backend, "b", 2)
	server.Kill()
	server.Start()
	require.NotZero(t, server.Do("dbsize"))
	require.True(t, lost(t, backend), "ten writes of an earlier generation")
}

// Sentinel promotes a replica whose connection to the master was silent: the writes that it
// did not receive are lost, and the nodes say so.
func TestStaleReplicaIsPromoted(t *testing.T) {
	t.Parallel()
	master := redistest.Start(t)
	proxy := redistest.NewProxy(t, master.Address())
	replica := redistest.New(t, "--replicaof", "127.0.0.1", proxy.Port(), "--repl-diskless-sync-delay", "0")
	replica.Start()
	replica.WaitForSync()
	var urls []string
	for _, s := range redistest.StartSentinels(t, "gate", master, 3) {
		urls = append(urls, "redis+sentinel://"+s.Address()+"/gate")
	}
	options := optionsFor(t, urls...)
	options.Timeout = 500 * time.Millisecond
	backend := guarded(t, options)
	uses(t, backend, "a", 5)
	require.Eventually(t, func() bool {
		n, err := replica.Client().XLen(t.Context(), options.Prefix+":{acme}:u").Result()
		return err == nil && n == 5
	}, soon, 10*time.Millisecond)
	proxy.Freeze()
	uses(t, backend, "b", 20)
	master.Kill()
	require.Eventually(t, func() bool {
		_, err := backend.Cursors(t.Context(), []string{"acme"})
		return err == nil
	}, 60*time.Second, 50*time.Millisecond, "the replica is promoted")
	require.Eventually(t, func() bool { // the address of the former master may be dialed once more
		_, err := backend.Commit(t.Context(), "acme", useBatch("c"))
		require.Error(t, err)
		return errors.Is(err, engine.ErrWentBack)
	}, soon, 50*time.Millisecond)
	loss, lost := backend.Loss("acme")
	require.True(t, lost)
	require.EqualValues(t, 25, loss.To)
	require.Less(t, loss.From, uint64(25))
}
