package store

import (
	"context"
	"hash/maphash"
	"math/bits"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Recorder records visits outside of the requests that cause them: they are buffered
// in memory and written in batches. Buffering never waits for the store, and drops
// visits when the buffer is full, so a store that stalls or fails delays no request.
// It is safe for concurrent use.
type Recorder struct {
	store  *Store
	failed func(error)
	seed   maphash.Seed
	shards [recorderShards]recorderShard
	// recent has a hash of the visits that were buffered in this period, at an index
	// derived from the hash. A repeated visit costs one lookup; one whose hash was
	// overwritten is buffered again.
	recent  [recentSize]atomic.Uint64
	period  atomic.Uint64
	flushes int

	stop    context.CancelFunc
	stopped chan struct{}

	stored, dropped, lost atomic.Uint64
}

// RecorderStats counts visits, each reader's once per interval: those that were stored,
// dropped because the buffer was full, and lost because the store failed.
type RecorderStats struct{ Stored, Dropped, Lost uint64 }

const (
	recorderShards = 16
	// recentSize takes 256 KiB.
	recentSize = 1 << 15
	// periodFlushes is the length of a period in intervals, by default a minute. A
	// reader's visits are written once per period.
	periodFlushes = 12
	// shardVisits bounds the visits that a shard buffers: 32,768 readers in all
	// shards, in about 10 MB.
	shardVisits = 2048
	// RecordEvery is the default interval between writes.
	RecordEvery = 5 * time.Second
	// recordTimeout bounds one write.
	recordTimeout = 10 * time.Second
	// closeTimeout bounds how long Close waits for the last write.
	closeTimeout = 5 * time.Second
)

type recorderShard struct {
	mu     sync.Mutex
	visits map[visitor]*bufferedVisit
}

type visitor struct{ vendor, site, user string }

// bufferedVisit is what will be written about a visitor.
type bufferedVisit struct {
	at   time.Time
	tags []string
}

// NewRecorder returns a recorder that writes to a store every interval. It calls failed,
// unless nil, with an error of the store, at most once per interval. Close stops it.
func NewRecorder(store *Store, interval time.Duration, failed func(error)) *Recorder {
	ctx, stop := context.WithCancel(context.Background())
	r := &Recorder{store: store, failed: failed, seed: maphash.MakeSeed(), stop: stop, stopped: make(chan struct{})}
	go r.run(ctx, interval)
	return r
}

// Visit records a reader's request and the tags of the rule that matched. Of visits
// with the same tags, only the first one of a period is buffered. Visit may keep the
// slice, and does not write to it.
func (r *Recorder) Visit(vendor, site, user string, tags []string, at time.Time) {
	period := r.period.Load() // before buffering: what recent has of a period was buffered in it
	hash := r.hash(user, 0)
	sum := r.hash(site, r.hash(vendor, hash^period))
	for _, tag := range tags {
		sum = r.hash(tag, sum)
	}
	place := &r.recent[sum%recentSize]
	if place.Load() == sum {
		return
	}
	if r.buffer(visitor{vendor, site, user}, hash, tags, at) {
		place.Store(sum)
	}
}

// hash extends a hash by a text.
func (r *Recorder) hash(text string, before uint64) uint64 {
	const odd = 0x9e3779b97f4a7c15
	return bits.RotateLeft64(before*odd, 31) ^ maphash.String(r.seed, text)
}

// buffer reports whether the visit was buffered.
func (r *Recorder) buffer(who visitor, hash uint64, tags []string, at time.Time) bool {
	shard := &r.shards[hash%recorderShards]
	shard.mu.Lock()
	defer shard.mu.Unlock()
	visit := shard.visits[who]
	if visit == nil {
		if len(shard.visits) >= shardVisits {
			r.dropped.Add(1)
			return false
		}
		if !recordable(who.user) {
			return false
		}
		if shard.visits == nil {
			shard.visits = make(map[visitor]*bufferedVisit)
		}
		who.user = strings.Clone(who.user) // it may be a part of a longer string
		shard.visits[who] = &bufferedVisit{at: at, tags: slices.Clip(tags)}
		return true
	}
	visit.at = at
	for _, tag := range tags {
		if !slices.Contains(visit.tags, tag) {
			visit.tags = append(visit.tags, tag)
		}
	}
	return true
}

// run writes until it is stopped, and then once more.
func (r *Recorder) run(ctx context.Context, interval time.Duration) {
	defer close(r.stopped)
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			r.flush()
			return
		case <-ticker.C:
			r.flush()
		}
	}
}

// flush writes the buffered visits.
func (r *Recorder) flush() {
	if r.flushes++; r.flushes%periodFlushes == 0 {
		r.period.Add(1)
	}
	waiting := make(map[string][]Visit)
	for i := range r.shards {
		shard := &r.shards[i]
		shard.mu.Lock()
		visits := shard.visits
		shard.visits = nil
		shard.mu.Unlock()
		for who, visit := range visits {
			waiting[who.vendor] = append(waiting[who.vendor], Visit{Site: who.site, UserID: who.user, At: visit.at, Tags: visit.tags})
		}
	}
	var failure error
	for vendor, visits := range waiting {
		for chunk := range slices.Chunk(visits, MaxVisits) {
			if err := r.write(vendor, chunk); err != nil {
				failure = err
				r.lost.Add(uint64(len(chunk)))
				continue
			}
			r.stored.Add(uint64(len(chunk)))
		}
	}
	if failure == nil {
		return
	}
	r.period.Add(1) // lost visits are buffered again when repeated
	if r.failed != nil {
		r.failed(failure)
	}
}

func (r *Recorder) write(vendor string, visits []Visit) error {
	ctx, cancel := context.WithTimeout(context.Background(), recordTimeout)
	defer cancel()
	return r.store.RecordVisits(ctx, vendor, visits)
}

// Stats returns the counts since the start.
func (r *Recorder) Stats() RecorderStats {
	return RecorderStats{Stored: r.stored.Load(), Dropped: r.dropped.Load(), Lost: r.lost.Load()}
}

// Close writes the buffered visits. It waits for that a few seconds at most, so that a
// store that stalls does not block the server's shutdown. Closing again is no error.
func (r *Recorder) Close() {
	r.stop()
	timeout := time.NewTimer(closeTimeout)
	defer timeout.Stop()
	select {
	case <-r.stopped:
	case <-timeout.C:
	}
}
