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

// Recorder records visits beside the requests that they are made by: a visit is
// noted in memory, and written with others by and by. Noting never waits for the
// store, and what does not fit is dropped; so a store that stalls or fails costs
// activity, and never a request. It is safe for concurrent use.
type Recorder struct {
	store  *Store
	failed func(error)
	seed   maphash.Seed
	shards [recorderShards]recorderShard
	// marks tell of readers who were noted in the present period, by what hash of
	// them and of the period lies in their place. Who was noted already costs one
	// look there; who was overwritten by another reader is noted once more.
	marks   [recorderMarks]atomic.Uint64
	period  atomic.Uint64
	flushes int

	stop    context.CancelFunc
	stopped chan struct{}

	stored, dropped, lost atomic.Uint64
}

// RecorderStats counts visits, each reader's once in every interval: stored ones,
// those dropped because too many wait, and those lost because the store failed.
type RecorderStats struct{ Stored, Dropped, Lost uint64 }

const (
	recorderShards = 16
	// recorderMarks take 256 KiB.
	recorderMarks = 1 << 15
	// periodFlushes is how many intervals are a period, a minute as it is shipped:
	// a reader who stays is written once in each, and not in each interval.
	periodFlushes = 12
	// shardVisits is how many visits wait in a shard at the most: together 32,768
	// readers in an interval, in some 10 MB.
	shardVisits = 2048
	// RecordEvery is how often visits are written.
	RecordEvery = 5 * time.Second
	// recordTimeout bounds one write, for engines that can be told.
	recordTimeout = 10 * time.Second
	// closeTimeout is how long Close waits for what is left to be written.
	closeTimeout = 5 * time.Second
)

type recorderShard struct {
	mu     sync.Mutex
	visits map[visitor]*noted
}

type visitor struct{ vendor, site, user string }

// noted is what is to be written of a visitor.
type noted struct {
	at   time.Time
	tags []string
}

// NewRecorder returns a recorder that writes to a store every interval. Failed is
// told of what the store answers when it fails, once an interval. Close ends it.
func NewRecorder(store *Store, interval time.Duration, failed func(error)) *Recorder {
	ctx, stop := context.WithCancel(context.Background())
	r := &Recorder{store: store, failed: failed, seed: maphash.MakeSeed(), stop: stop, stopped: make(chan struct{})}
	go r.run(ctx, interval)
	return r
}

// Visit notes that a reader is at a site, and the tags of the rule that let her
// in. Of visits with the same tags the first one of a minute counts. It does not
// keep the slice for writing, nor write to it.
func (r *Recorder) Visit(vendor, site, user string, tags []string, at time.Time) {
	period := r.period.Load() // before the visit is noted: what is marked in a period was noted in it
	hash := r.hash(user, 0)
	mark := r.hash(site, r.hash(vendor, hash^period))
	for _, tag := range tags {
		mark = r.hash(tag, mark)
	}
	place := &r.marks[mark%recorderMarks]
	if place.Load() == mark {
		return
	}
	if r.note(visitor{vendor, site, user}, hash, tags, at) {
		place.Store(mark)
	}
}

// hash mixes a text into what was hashed before it.
func (r *Recorder) hash(text string, before uint64) uint64 {
	const odd = 0x9e3779b97f4a7c15
	return bits.RotateLeft64(before*odd, 31) ^ maphash.String(r.seed, text)
}

// note says whether the visit will be written, as far as can be told.
func (r *Recorder) note(who visitor, hash uint64, tags []string, at time.Time) bool {
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
			shard.visits = make(map[visitor]*noted)
		}
		who.user = strings.Clone(who.user) // it may share the memory of many
		shard.visits[who] = &noted{at: at, tags: slices.Clip(tags)}
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

// run writes until it is stopped, and then what is left.
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

// flush writes what was noted.
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
	r.period.Add(1) // whose visits are lost are noted anew
	if r.failed != nil {
		r.failed(failure)
	}
}

func (r *Recorder) write(vendor string, visits []Visit) error {
	ctx, cancel := context.WithTimeout(context.Background(), recordTimeout)
	defer cancel()
	return r.store.RecordVisits(ctx, vendor, visits)
}

// Stats returns what was counted so far.
func (r *Recorder) Stats() RecorderStats {
	return RecorderStats{Stored: r.stored.Load(), Dropped: r.dropped.Load(), Lost: r.lost.Load()}
}

// Close writes what is left, and waits for that a few seconds at the most: a
// store that stalls does not keep the server from ending. Twice is no error.
func (r *Recorder) Close() {
	r.stop()
	timeout := time.NewTimer(closeTimeout)
	defer timeout.Stop()
	select {
	case <-r.stopped:
	case <-timeout.C:
	}
}
