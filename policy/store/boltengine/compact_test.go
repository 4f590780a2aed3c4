package boltengine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.etcd.io/bbolt"

	"github.com/gatefold/gatefold/policy/store/engine"
)

// contentOf returns all buckets of a database, with their sequences.
func contentOf(t *testing.T, backend *Engine) map[string]string {
	t.Helper()
	content := map[string]string{}
	var add func(path string, bucket *bbolt.Bucket) error
	add = func(path string, bucket *bbolt.Bucket) error {
		content[path] = fmt.Sprint(bucket.Sequence())
		return bucket.ForEach(func(k, v []byte) error {
			if v == nil && bucket.Bucket(k) != nil {
				return add(path+"/"+string(k), bucket.Bucket(k))
			}
			content[path+"/"+string(k)] = string(v)
			return nil
		})
	}
	require.NoError(t, backend.read(t.Context(), func(tx *bbolt.Tx) error {
		return tx.ForEach(func(name []byte, bucket *bbolt.Bucket) error { return add(string(name), bucket) })
	}))
	return content
}

// filesBeside returns the names in the folder of a database other than its own.
func filesBeside(t *testing.T, path string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	for _, entry := range entries {
		if entry.Name() != filepath.Base(path) {
			names = append(names, entry.Name())
		}
	}
	return names
}

// A newspaper removes a campaign of grants. The file stays as long as it was, until it is
// compacted: then it has everything that is left, the feed and its position among it, is
// written to as before, and opens again.
func TestCompactShrinksTheFile(t *testing.T) {
	backend := openNew(t)
	const vendors, batches, entries = 3, 60, 100
	for i := range vendors * batches {
		batch := &engine.Batch{Event: fmt.Appendf(nil, "event %d", i)}
		for j := range entries {
			put := engine.Put{Key: fmt.Appendf(nil, "G%d/%d", i, j), Value: bytes.Repeat([]byte{byte(j)}, 500)}
			if j%2 == 0 {
				put.Expires = time.Unix(int64(1e9+j*i), 0)
			}
			batch.Puts = append(batch.Puts, put)
		}
		_, err := backend.Commit(t.Context(), fmt.Sprint("vendor-", i%vendors), batch)
		require.NoError(t, err)
	}
	for i := range vendors * batches {
		if i%20 < vendors {
			continue
		}
		batch := &engine.Batch{}
		for j := range entries {
			batch.Deletes = append(batch.Deletes, fmt.Appendf(nil, "G%d/%d", i, j))
		}
		_, err := backend.Commit(t.Context(), fmt.Sprint("vendor-", i%vendors), batch)
		require.NoError(t, err)
	}
	want := contentOf(t, backend)
	length, free, err := backend.Size(t.Context())
	require.NoError(t, err)
	require.Greater(t, free, length/2)

	done, err := backend.Compact(t.Context(), nil)
	require.NoError(t, err)
	require.Equal(t, length, done.Before)
	require.Less(t, done.After, length/4)
	info, err := os.Stat(backend.path)
	require.NoError(t, err)
	require.Equal(t, done.After, info.Size())
	require.True(t, maps.Equal(want, contentOf(t, backend)), "the content is another one")
	require.NoError(t, backend.Replaced())
	require.Empty(t, filesBeside(t, backend.path))
	events, err := backend.Events(t.Context(), "vendor-0", 10, 100)
	require.NoError(t, err)
	require.Len(t, events, batches-10)

	committed, err := backend.Commit(t.Context(), "vendor-0", &engine.Batch{Puts: []engine.Put{{Key: []byte("new"), Value: []byte("v")}}, Event: []byte("e")})
	require.NoError(t, err)
	require.EqualValues(t, batches+1, committed.Position)
	want = contentOf(t, backend)
	require.NoError(t, backend.Close())
	require.NoError(t, Verify(backend.path, nil))
	require.True(t, maps.Equal(want, contentOf(t, open(t, backend.path))))
}

// Compactions run one after another beside writers, sweeps, checks, backups and a long view.
// Each writer knows what its keys must be.
func TestCompactBesideEverything(t *testing.T) {
	backend := openNew(t)
	fillPages(t, backend)
	const writers = 4
	var stop atomic.Bool
	var running sync.WaitGroup
	models := make([]map[string]string, writers)
	events := make([]uint64, writers)
	for w := range writers {
		models[w] = map[string]string{}
		running.Go(func() {
			random := rand.New(rand.NewPCG(uint64(w), 1))
			partition := fmt.Sprint("vendor-", w) // two of them are new
			for n := 0; !stop.Load(); n++ {
				key := fmt.Sprintf("writer/%d/%d", w, random.IntN(300))
				batch := &engine.Batch{Event: []byte(key), Counters: []engine.Counter{{Key: fmt.Appendf(nil, "count/%d", w)}}}
				if random.IntN(3) == 0 {
					batch.Deletes = [][]byte{[]byte(key)}
					delete(models[w], key)
				} else {
					value := fmt.Sprint(n)
					batch.Puts = []engine.Put{{Key: []byte(key), Value: []byte(value), Expires: time.Unix(4e9+random.Int64N(1000), 0)}}
					models[w][key] = value
				}
				if _, err := backend.Commit(t.Context(), partition, batch); err != nil {
					t.Errorf("writer %d: %v", w, err)
					return
				}
				events[w]++
			}
		})
	}
	running.Go(func() {
		for !stop.Load() {
			_, err := backend.Sweep(t.Context(), "vendor-0", time.Unix(2e9, 0), 100)
			if err == nil {
				_, err = checkAll(backend, nil)
			}
			if err == nil {
				_, err = backend.Backup(t.Context(), new(bytes.Buffer), nil)
			}
			if err != nil {
				t.Errorf("beside: %v", err)
				return
			}
		}
	})
	// A view that begins before an exchange sees its own time.
	inView, endView := make(chan struct{}), make(chan struct{})
	running.Go(func() {
		err := backend.View(t.Context(), "vendor-1", func(s engine.Snapshot) error {
			before := digestOf(t, s)
			close(inView)
			<-endView
			if after := digestOf(t, s); before != after {
				t.Errorf("the view changed from %s to %s", before, after)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	})
	<-inView
	done := make(chan error)
	go func() {
		_, err := backend.Compact(t.Context(), nil)
		done <- err
	}()
	require.Eventually(t, func() bool { return backend.Replaced() == nil && backend.changes.Load() != nil }, time.Minute, time.Millisecond)
	close(endView)
	require.NoError(t, <-done)
	for range 5 {
		_, err := backend.Compact(t.Context(), nil)
		require.NoError(t, err)
	}
	stop.Store(true)
	running.Wait()
	for w := range writers {
		partition := fmt.Sprint("vendor-", w)
		found := map[string]string{}
		require.NoError(t, backend.View(t.Context(), partition, func(s engine.Snapshot) error {
			for entry, err := range s.Scan(fmt.Appendf(nil, "writer/%d/", w), nil) {
				require.NoError(t, err)
				found[string(entry.Key)] = string(entry.Value)
			}
			n, err := s.Count(fmt.Appendf(nil, "count/%d", w))
			require.EqualValues(t, events[w], n)
			return err
		}))
		require.Equal(t, models[w], found)
		position, err := backend.Position(t.Context(), partition)
		require.NoError(t, err)
		newest, err := backend.Events(t.Context(), partition, position-min(position, 1000), 1000)
		require.NoError(t, err)
		require.Len(t, newest, int(min(position, 1000)))
		checkExpiryIndex(t, backend, partition)
	}
	require.NoError(t, backend.Close())
	require.NoError(t, Verify(backend.path, nil))
	t.Logf("%v events", events)
}

func digestOf(t *testing.T, s engine.Snapshot) string {
	t.Helper()
	n, size := 0, 0
	for entry, err := range s.Scan(nil, nil) {
		require.NoError(t, err)
		n, size = n+1, size+len(entry.Key)+len(entry.Value)
	}
	return fmt.Sprint(n, " entries of ", size)
}

// A compaction that is cancelled, or cut by the end of the server, changes nothing, and so does
// a second one at the same time.
func TestCompactIsStopped(t *testing.T) {
	for _, how := range []string{"cancelled", "closed"} {
		t.Run(how, func(t *testing.T) {
			backend := openNew(t)
			fillPages(t, backend)
			before, err := os.ReadFile(backend.path)
			require.NoError(t, err)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			closed := make(chan error, 1)
			compactPhase = func(string) {
				compactPhase = func(string) {}
				_, err := backend.Compact(t.Context(), nil)
				require.ErrorIs(t, err, ErrCompacting)
				if how == "cancelled" {
					cancel()
					return
				}
				go func() { closed <- backend.Close() }()
				<-backend.closing.Done()
			}
			t.Cleanup(func() { compactPhase = func(string) {} })
			_, err = backend.Compact(ctx, nil)
			if how == "cancelled" {
				require.ErrorIs(t, err, context.Canceled)
			} else {
				require.True(t, errors.Is(err, errStopped) || errors.Is(err, engine.ErrClosed), "%v", err)
				require.NoError(t, <-closed)
			}
			after, err := os.ReadFile(backend.path)
			require.NoError(t, err)
			require.True(t, bytes.Equal(before, after))
			require.Empty(t, filesBeside(t, backend.path))
		})
	}
}

// Another server is started while the database is compacted. It waits for the lock of a file
// that is exchanged before it gets it, and must not use that file, which has no name any more.
func TestOpenWhileTheFileIsExchanged(t *testing.T) {
	backend := openNew(t)
	fillPages(t, backend)
	second := make(chan error, 1)
	compactPhase = func(phase string) {
		if phase != "verified" {
			return
		}
		opening := make(chan struct{})
		go func() {
			close(opening)
			other, err := Open(backend.path)
			if err == nil {
				_ = other.Close()
			}
			second <- err
		}()
		<-opening
	}
	t.Cleanup(func() { compactPhase = func(string) {} })
	_, err := backend.Compact(t.Context(), nil)
	require.NoError(t, err)
	require.ErrorIs(t, <-second, ErrInUse)
	_, err = backend.Commit(t.Context(), "acme", &engine.Batch{Puts: []engine.Put{{Key: []byte("k"), Value: []byte("v")}}})
	require.NoError(t, err)
}
