package redisengine_test

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatefold/gatefold/policy/store"
	"github.com/gatefold/gatefold/policy/store/boltengine"
	"github.com/gatefold/gatefold/policy/store/engine"
	"github.com/gatefold/gatefold/policy/store/redisengine/redistest"
)

// fill writes what a store holds: records, empty ones, some that end, and counters.
func fill(t *testing.T, backend engine.Engine) {
	t.Helper()
	for _, partition := range []string{"acme", "other", store.SystemPartition} {
		for i := range 4 {
			var batch engine.Batch
			for j := range 400 {
				entry := put(fmt.Sprintf("k/%d/%04d", i, j), "")
				if j%2 == 0 {
					entry.Value = fmt.Appendf(nil, "value %d of %s", j, partition)
				}
				if j%3 == 0 {
					entry.Expires = time.Unix(1_900_000_000, int64(j)*1000)
				}
				batch.Puts = append(batch.Puts, entry)
			}
			batch.Counters = []engine.Counter{{Key: []byte("uses"), Max: 9, IdempotencyKey: []byte(keyOf(i)), Expires: time.Unix(1_900_000_000, 0)}}
			_, err := backend.Commit(t.Context(), partition, &batch)
			require.NoError(t, err)
		}
	}
}

func openBolt(t *testing.T) *boltengine.Engine {
	t.Helper()
	backend, err := boltengine.Open(filepath.Join(t.TempDir(), "gatefold.db"))
	require.NoError(t, err)
	t.Cleanup(func() { _ = backend.Close() })
	return backend
}

// TestCopy copies from the embedded engine to Redis and back: both hold the same, and
// counters go on where they were.
func TestCopy(t *testing.T) {
	t.Parallel()
	first, second := openBolt(t), openBolt(t)
	shared := open(t, optionsFor(t, redistest.Start(t).URL()))
	fill(t, first)
	for _, step := range []struct{ from, to engine.Dumper }{{first, shared}, {shared, second}} {
		copied, err := store.Copy(t.Context(), step.from, step.to, store.CopyOptions{})
		require.NoError(t, err)
		require.EqualValues(t, 3*(1600+1+4), copied.Entries)
		require.Equal(t, copied.Entries, copied.Written)
		again, err := store.Copy(t.Context(), step.from, step.to, store.CopyOptions{})
		require.NoError(t, err)
		require.Zero(t, again.Written, "there is nothing left to write")
		require.Equal(t, copied.Digest, again.Digest)
	}
	for _, backend := range []engine.Engine{first, shared, second} {
		committed, err := backend.Commit(t.Context(), "acme", &engine.Batch{Counters: []engine.Counter{{Key: []byte("uses"), Max: 9}}})
		require.NoError(t, err)
		require.Equal(t, []int64{5}, committed.Counts)
		removed, err := backend.Sweep(t.Context(), "acme", time.Unix(1_900_000_001, 0), 10_000)
		require.NoError(t, err)
		require.Equal(t, 4*134+4, removed)
	}
}

// TestCopyGoesOn breaks a copy off and begins it again.
func TestCopyGoesOn(t *testing.T) {
	t.Parallel()
	source := openBolt(t)
	target := open(t, optionsFor(t, redistest.Start(t).URL()))
	fill(t, source)
	ctx, cancel := context.WithCancel(t.Context())
	_, err := store.Copy(ctx, source, target, store.CopyOptions{Progress: func(partition string, _, _ int64) {
		if partition == "acme" {
			cancel()
		}
	}})
	require.ErrorIs(t, err, context.Canceled)
	copied, err := store.Copy(t.Context(), source, target, store.CopyOptions{})
	require.NoError(t, err)
	require.Less(t, copied.Written, copied.Entries, "what was there was written again")
	require.NotZero(t, copied.Written)
}

// TestCopyOverOthers refuses a target with records of its own, unless it may remove
// them.
func TestCopyOverOthers(t *testing.T) {
	t.Parallel()
	for name, partition := range map[string]string{"the same vendor": "acme", "another vendor": "zeta"} {
		t.Run(name, func(t *testing.T) {
			source, target := openBolt(t), openBolt(t)
			fill(t, source)
			_, err := target.Commit(t.Context(), partition, &engine.Batch{Puts: []engine.Put{put("zzz", "mine")}})
			require.NoError(t, err)
			_, err = store.Copy(t.Context(), source, target, store.CopyOptions{})
			require.ErrorContains(t, err, "does not have")
			copied, err := store.Copy(t.Context(), source, target, store.CopyOptions{Replace: true})
			require.NoError(t, err)
			require.EqualValues(t, 1, copied.Removed)
		})
	}
}

// TestCopyOfWhatMoves: a source that is written meanwhile is found out.
func TestCopyOfWhatMoves(t *testing.T) {
	t.Parallel()
	source, target := openBolt(t), openBolt(t)
	fill(t, source)
	_, err := store.Copy(t.Context(), source, target, store.CopyOptions{Progress: func(partition string, seen, _ int64) {
		if partition == "acme" && seen == 1000 {
			_, err := source.Commit(t.Context(), "acme", &engine.Batch{Puts: []engine.Put{put("a", "late")}})
			require.NoError(t, err)
		}
	}})
	require.ErrorContains(t, err, "written during the copy")
}
