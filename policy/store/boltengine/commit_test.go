package boltengine

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.etcd.io/bbolt"

	"github.com/gatefold/gatefold/policy/store/engine"
)

// transactions says how many transactions were committed so far.
func transactions(t testing.TB, backend *Engine) int {
	t.Helper()
	var id int
	require.NoError(t, backend.db.View(func(tx *bbolt.Tx) error {
		id = tx.ID()
		return nil
	}))
	return id
}

// blockingWrite keeps the committer busy until it is released. It writes nothing.
type blockingWrite struct{ begun, release chan struct{} }

func newBlockingWrite() *blockingWrite {
	return &blockingWrite{make(chan struct{}), make(chan struct{})}
}

func (w *blockingWrite) prepare(*bbolt.Tx) (bool, error) {
	close(w.begun)
	<-w.release
	return false, nil
}

func (w *blockingWrite) changed() (string, [][]byte) { return "acme", nil }

func (w *blockingWrite) apply(*bbolt.Tx) error { return nil }

func TestWritesThatCameTogetherShareTransactions(t *testing.T) {
	backend := openNew(t)
	before := transactions(t, backend)
	const writers, each = 32, 50
	var group sync.WaitGroup
	for i := range writers {
		group.Go(func() {
			for j := range each {
				_, err := backend.Commit(t.Context(), "acme", &engine.Batch{
					Puts: []engine.Put{{Key: fmt.Appendf(nil, "%d/%d", i, j)}},
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	require.Len(t, keysOf(t, backend, ""), writers*each)
	used := transactions(t, backend) - before
	t.Logf("%d commits in %d transactions", writers*each, used)
	require.Less(t, used, writers*each/2)
}

func TestBatchesOfAGroupSeeThoseBefore(t *testing.T) {
	backend := openNew(t)
	use := func(marker string) *engine.Batch {
		return &engine.Batch{
			Counters: []engine.Counter{{Key: []byte("n"), Max: 1, IdempotencyKey: []byte(marker)}},
			Event:    []byte(marker),
		}
	}
	before := transactions(t, backend)
	jobs := []*job{newJob(use("a")), newJob(use("b")), newJob(use("a")), newJob(&engine.Batch{Event: []byte("last")})}
	backend.run(jobs)
	require.Equal(t, 1, transactions(t, backend)-before)
	require.NoError(t, jobs[0].err)
	require.Equal(t, &engine.BoundError{Index: 0}, jobs[1].err)
	require.NoError(t, jobs[2].err)
	require.NoError(t, jobs[3].err)
	require.Equal(t, engine.Committed{Position: 1, Counts: []int64{1}, Replayed: []bool{true}}, committedOf(jobs[2]))
	require.EqualValues(t, 2, committedOf(jobs[3]).Position)
}

func newJob(batch *engine.Batch) *job {
	return &job{write: &batchWrite{partition: "acme", batch: batch}, done: make(chan struct{})}
}

func committedOf(j *job) engine.Committed { return j.write.(*batchWrite).committed }

// failingWrite writes something, then fails as a disk would.
type failingWrite struct{ err error }

func (w *failingWrite) prepare(*bbolt.Tx) (bool, error) { return true, nil }

func (w *failingWrite) changed() (string, [][]byte) { return "acme", nil }

func (w *failingWrite) apply(tx *bbolt.Tx) error {
	p, err := openPartition(tx, "acme")
	if err != nil {
		return err
	}
	return errors.Join(p.put([]byte("torn"), nil, time.Time{}), w.err)
}

func TestWriteThatFailsInTheMiddleSpoilsNoOther(t *testing.T) {
	backend := openNew(t)
	broken := errors.New("broken")
	count := func() *job {
		return newJob(&engine.Batch{Counters: []engine.Counter{{Key: []byte("n")}}, Event: []byte("counted")})
	}
	jobs := []*job{count(), count(), {write: &failingWrite{broken}}, count()}
	backend.run(jobs)
	require.ErrorIs(t, jobs[2].err, broken)
	for i, want := range map[int]int64{0: 1, 1: 2, 3: 3} {
		require.NoError(t, jobs[i].err)
		require.Equal(t, []int64{want}, committedOf(jobs[i]).Counts, "counted once, though it ran twice")
		require.EqualValues(t, want, committedOf(jobs[i]).Position)
	}
	require.Equal(t, []string{"n"}, keysOf(t, backend, ""))
}

func TestRefusedWritesCostNoTransaction(t *testing.T) {
	backend := openNew(t)
	use := &engine.Batch{Counters: []engine.Counter{{Key: []byte("n"), Max: 1, IdempotencyKey: []byte("once")}}}
	_, err := backend.Commit(t.Context(), "acme", use)
	require.NoError(t, err)
	before := transactions(t, backend)
	_, err = backend.Commit(t.Context(), "acme", use)
	require.NoError(t, err)
	_, err = backend.Commit(t.Context(), "acme", &engine.Batch{Checks: []engine.Check{{Key: []byte("n")}}})
	require.Error(t, err)
	_, err = backend.Sweep(t.Context(), "acme", time.Now(), 10)
	require.NoError(t, err)
	require.Equal(t, before, transactions(t, backend))
}

func TestQueuedCommitIsWithdrawnWithItsContext(t *testing.T) {
	backend := openNew(t)
	block := newBlockingWrite()
	blocked := make(chan error)
	go func() { blocked <- backend.submit(context.Background(), block) }()
	<-block.begun

	ctx, cancel := context.WithCancel(t.Context())
	withdrawn := make(chan error)
	for i := range 32 {
		go func() {
			_, err := backend.Commit(ctx, "acme", &engine.Batch{Puts: []engine.Put{{Key: fmt.Appendf(nil, "%d", i)}}})
			withdrawn <- err
		}()
	}
	cancel()
	for range 32 {
		require.Equal(t, context.Canceled, <-withdrawn, "though the committer is still busy")
	}
	close(block.release)
	require.NoError(t, <-blocked)
	require.Empty(t, keysOf(t, backend, ""))
}

func TestCommitThatWasBegunIsWaitedFor(t *testing.T) {
	backend := openNew(t)
	ctx, cancel := context.WithCancel(t.Context())
	block := newBlockingWrite()
	blocked := make(chan error)
	go func() { blocked <- backend.submit(ctx, block) }()
	<-block.begun
	cancel()
	close(block.release)
	require.NoError(t, <-blocked, "it is done, so it must not be reported as given up")
}

// TestExpiryIndexStaysExact does a great many random things and then compares the
// index with the entries.
func TestExpiryIndexStaysExact(t *testing.T) {
	backend := openNew(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	key := func() []byte { return fmt.Appendf(nil, "key/%d", random.IntN(30)) }
	expires := func() time.Time {
		if random.IntN(3) == 0 {
			return time.Time{}
		}
		return time.Unix(int64(random.IntN(100)), 0)
	}
	for range 200 {
		batch := &engine.Batch{
			Counters: []engine.Counter{{Key: fmt.Appendf(nil, "n/%d", random.IntN(5)), IdempotencyKey: fmt.Appendf(nil, "once/%d", random.IntN(50)), Expires: expires()}},
		}
		for range random.IntN(5) {
			batch.Puts = append(batch.Puts, engine.Put{Key: key(), Value: []byte("v"), Expires: expires()})
			batch.Deletes = append(batch.Deletes, key())
		}
		_, err := backend.Commit(t.Context(), "acme", batch)
		require.NoError(t, err)
		if random.IntN(10) == 0 {
			_, err := backend.Sweep(t.Context(), "acme", time.Unix(int64(random.IntN(100)), 0), 1+random.IntN(5))
			require.NoError(t, err)
		}
	}
	checkExpiryIndex(t, backend, "acme")
}

// checkExpiryIndex compares a partition's expiry index with its entries.
func checkExpiryIndex(t *testing.T, backend *Engine, partition string) {
	t.Helper()
	want, got := map[string]uint64{}, map[string]uint64{}
	require.NoError(t, backend.db.View(func(tx *bbolt.Tx) error {
		if bucketOf(tx, partition, dataBucket) == nil {
			return nil // nothing was written yet
		}
		require.NoError(t, bucketOf(tx, partition, dataBucket).ForEach(func(key, stored []byte) error {
			expiry, _, err := decode(stored)
			if expiry != 0 {
				want[string(key)] = expiry
			}
			return err
		}))
		return bucketOf(tx, partition, expiryBucket).ForEach(func(key, _ []byte) error {
			got[string(key[expirySize:])] = binary.BigEndian.Uint64(key)
			return nil
		})
	}))
	require.Equal(t, want, got)
}

func TestFeedIsKeptShort(t *testing.T) {
	backend := openNew(t)
	for range 100 {
		jobs := make([]*job, 100)
		for i := range jobs {
			jobs[i] = newJob(&engine.Batch{Event: []byte("event")})
		}
		backend.run(jobs)
		require.NoError(t, jobs[99].err)
	}
	require.NoError(t, backend.db.View(func(tx *bbolt.Tx) error {
		n := bucketOf(tx, "acme", feedBucket).Stats().KeyN
		require.GreaterOrEqual(t, n, engine.FeedLength)
		require.Less(t, n, engine.FeedLength+trimEvery)
		return nil
	}))
	events, err := backend.Events(t.Context(), "acme", 10_000-engine.FeedLength, 1<<30)
	require.NoError(t, err)
	require.Len(t, events, engine.FeedLength)
}

// BenchmarkCommit has 32 goroutines commit through the engine, and through
// bbolt's own Update, in turns of the same run. The figure that counts is
// x-update: how many times faster the engine is.
func BenchmarkCommit(b *testing.B) {
	backend := openNew(b)
	db, err := bbolt.Open(newPath(b), 0o600, nil)
	require.NoError(b, err)
	defer db.Close()
	var ours, theirs time.Duration
	commits := 0
	for b.Loop() {
		ours += inTurn(b, func(key []byte) error {
			_, err := backend.Commit(b.Context(), "acme", &engine.Batch{Puts: []engine.Put{{Key: key, Value: key}}})
			return err
		})
		theirs += inTurn(b, func(key []byte) error {
			return db.Update(func(tx *bbolt.Tx) error {
				bucket, err := tx.CreateBucketIfNotExists([]byte("acme"))
				if err != nil {
					return err
				}
				return bucket.Put(key, key)
			})
		})
		commits += benchWriters * benchCommits
	}
	b.ReportMetric(float64(commits)/ours.Seconds(), "commits/s")
	b.ReportMetric(float64(commits)/theirs.Seconds(), "updates/s")
	b.ReportMetric(theirs.Seconds()/ours.Seconds(), "x-update")
}

const benchWriters, benchCommits = 32, 16

// inTurn has all writers commit a few times and returns how long it took.
func inTurn(b *testing.B, commit func(key []byte) error) time.Duration {
	start := time.Now()
	var group sync.WaitGroup
	for range benchWriters {
		group.Go(func() {
			for range benchCommits {
				if err := commit(fmt.Appendf(nil, "key/%016x", rand.Uint64())); err != nil {
					b.Error(err)
				}
			}
		})
	}
	group.Wait()
	return time.Since(start)
}

// BenchmarkCommitAlone has one goroutine commit, as BenchmarkCommit does.
func BenchmarkCommitAlone(b *testing.B) {
	backend := openNew(b)
	db, err := bbolt.Open(newPath(b), 0o600, nil)
	require.NoError(b, err)
	defer db.Close()
	var ours, theirs time.Duration
	for b.Loop() {
		key := fmt.Appendf(nil, "key/%016x", rand.Uint64())
		start := time.Now()
		_, err := backend.Commit(b.Context(), "acme", &engine.Batch{Puts: []engine.Put{{Key: key, Value: key}}})
		ours += time.Since(start)
		require.NoError(b, err)
		start = time.Now()
		require.NoError(b, db.Update(func(tx *bbolt.Tx) error {
			bucket, err := tx.CreateBucketIfNotExists([]byte("acme"))
			if err != nil {
				return err
			}
			return bucket.Put(key, key)
		}))
		theirs += time.Since(start)
	}
	b.ReportMetric(theirs.Seconds()/ours.Seconds(), "x-update")
}
