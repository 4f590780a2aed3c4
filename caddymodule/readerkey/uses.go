package readerkey

import (
	"cmp"
	"context"
	"hash/maphash"
	"slices"
	"sync"
	"time"
)

const (
	// maxUsed is the number of keys whose use a node counts. Of more, the count and the minute
	// of one that was counted before begin again.
	maxUsed = 16_384
	// writeEvery is the time between two writes of counts.
	writeEvery = time.Minute
	// maxWritten is the number of keys whose counts are written in one commit.
	maxWritten = 256
	// writeTime bounds the writes of one round.
	writeTime = 30 * time.Second
)

// Uses counts the uses of keys, and limits those of each in a minute. It is safe for
// concurrent use. Its memory is bounded; only keys that are valid get into it.
type Uses struct {
	limit int64
	id    func(key string) (string, bool)
	write WriteUses
	seed  maphash.Seed

	mu      sync.Mutex
	keys    map[uint64]*use
	written time.Time   // of the last write
	writing bool        // a write is due
	timer   *time.Timer // of it
}

// WriteUses writes the uses of some keys in one step, at most maxWritten of them.
type WriteUses func(ctx context.Context, uses []KeyUses) error

// KeyUses are uses of the key of an id, the last of them at Last.
type KeyUses struct {
	ID   string
	Uses int64
	Last time.Time
}

// use is the use of one key.
type use struct {
	id       string
	minute   int64
	inMinute int64
	pending  int64 // not written yet
	last     time.Time
}

// NewUses returns the uses of keys, of which each may be used limit times in a minute. Id
// returns the id of a key, and write writes counts.
func NewUses(limit int64, id func(key string) (string, bool), write WriteUses) *Uses {
	return &Uses{limit: limit, id: id, write: write, seed: maphash.MakeSeed(), keys: make(map[uint64]*use)}
}

// Take counts a use of a valid key, and reports whether it may be used now. Counts are written
// beside the requests, at once or a minute after the write before.
func (u *Uses) Take(key string, now time.Time) bool {
	hash := maphash.String(u.seed, key)
	u.mu.Lock()
	defer u.mu.Unlock()
	one := u.keys[hash]
	if one == nil {
		id, ok := u.id(key)
		if !ok {
			return false
		}
		u.makeRoom(now)
		one = &use{id: id}
		u.keys[hash] = one
	}
	if minute := now.Unix() / 60; minute != one.minute {
		one.minute, one.inMinute = minute, 0
	}
	if one.inMinute >= u.limit {
		return false
	}
	one.inMinute++
	one.pending++
	one.last = now
	switch {
	case !u.writing:
		wait := max(0, writeEvery-now.Sub(u.written))
		u.writing, u.written = true, now.Add(wait)
		u.timer = time.AfterFunc(wait, u.writeAll)
	case u.timer != nil && !now.Before(u.written) && u.timer.Stop(): // the clock was set since the timer was
		u.timer.Reset(0)
	}
	return true
}

// makeRoom forgets keys if there are too many: those that are written and were not used in
// this minute, or else any one.
func (u *Uses) makeRoom(now time.Time) {
	if len(u.keys) < maxUsed {
		return
	}
	for hash, one := range u.keys {
		if one.pending == 0 && one.minute != now.Unix()/60 {
			delete(u.keys, hash)
		}
	}
	for hash := range u.keys { // some room, so that the next keys need no search
		if len(u.keys) < maxUsed-maxUsed/8 {
			return
		}
		delete(u.keys, hash)
	}
}

// writeAll writes all counts. What could not be written is written with the next ones.
func (u *Uses) writeAll() {
	ctx, cancel := context.WithTimeout(context.Background(), writeTime)
	defer cancel()
	_ = u.Write(ctx)
	u.mu.Lock()
	u.writing = false
	u.mu.Unlock()
}

// Write writes all counts now, those of many keys with one commit. It returns the first error;
// what could not be written is written with the next counts.
func (u *Uses) Write(ctx context.Context) (failed error) {
	u.mu.Lock()
	taken := make([]use, 0, len(u.keys))
	for _, one := range u.keys {
		if one.pending > 0 {
			taken = append(taken, *one)
			one.pending = 0
		}
	}
	u.mu.Unlock()
	for some := range slices.Chunk(taken, maxWritten) {
		uses := make([]KeyUses, len(some))
		for i := range some {
			uses[i] = KeyUses{ID: some[i].id, Uses: some[i].pending, Last: some[i].last}
		}
		if err := u.write(ctx, uses); err != nil {
			failed = cmp.Or(failed, err)
			u.giveBack(some)
		}
	}
	return failed
}

func (u *Uses) giveBack(counts []use) {
	byID := make(map[string]int64, len(counts))
	for i := range counts {
		byID[counts[i].id] = counts[i].pending
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, one := range u.keys {
		one.pending += byID[one.id]
	}
}
