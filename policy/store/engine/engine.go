package engine

import (
	"bytes"
	"context"
	"errors"
	"iter"
	"time"
)

// Engine is a small ordered key-value store. It has partitions, one per vendor, and
// does not interpret keys and values.
//
// All methods are safe for concurrent use. A partition needs no creation: one that was
// never written is empty.
type Engine interface {
	// View calls fn with a snapshot of a partition, and returns its error. Fn does
	// not see later commits. The snapshot, and the byte slices read from it, are
	// valid only until fn returns.
	View(ctx context.Context, partition string, fn func(Snapshot) error) error

	// Commit applies a batch to a partition atomically. When it returns nil, the
	// batch is durable. It returns a *CheckError for a check that fails, and a
	// *BoundError for a counter at its bound; nothing is written then.
	Commit(ctx context.Context, partition string, batch *Batch) (Committed, error)

	// Events returns at most limit events of a partition's change feed after the
	// given position, oldest first. Position zero is before the first event. It
	// returns ErrFeedGap when events after the position have been dropped, or the
	// position is ahead of the feed, as after restoring a backup: the caller must
	// then invalidate everything that it caches of the partition.
	Events(ctx context.Context, partition string, after uint64, limit int) ([]Event, error)

	// Position returns the position of a partition's newest event, zero when there
	// was none.
	Position(ctx context.Context, partition string) (uint64, error)

	// Partitions lists the partitions that were ever written, by name.
	Partitions(ctx context.Context) ([]string, error)

	// Sweep removes at most limit entries of a partition that expired before the
	// given time, and returns how many. It only frees space: readers decide by
	// themselves whether a record is still valid.
	Sweep(ctx context.Context, partition string, before time.Time, limit int) (int, error)

	// Close waits for running calls and releases the engine. Later calls return
	// ErrClosed.
	Close() error
}

// Snapshot is a partition at one point in time.
type Snapshot interface {
	// Get returns the value of a key, nil when there is none.
	Get(key []byte) ([]byte, error)

	// Scan yields the entries whose keys begin with prefix and, unless after is nil,
	// sort after it, in ascending byte order. An error ends the scan and is yielded
	// last, with an empty entry.
	Scan(prefix, after []byte) iter.Seq2[Entry, error]

	// ScanBack yields the entries whose keys begin with prefix and, unless before is nil,
	// sort before it, in descending byte order. An error is yielded like that of Scan.
	ScanBack(prefix, before []byte) iter.Seq2[Entry, error]

	// Count returns the value of a counter, zero when it does not exist. Counters
	// share the keys with other entries; Get and Scan return their encoded value.
	Count(key []byte) (int64, error)
}

// Successor returns the first key after all keys with a prefix, nil when there is none.
func Successor(prefix []byte) []byte {
	for i := len(prefix) - 1; i >= 0; i-- {
		if prefix[i] != 0xff {
			next := bytes.Clone(prefix[:i+1])
			next[i]++
			return next
		}
	}
	return nil
}

// Entry is a key with its value.
type Entry struct {
	Key   []byte
	Value []byte
}

// Batch is what one Commit does: it verifies the checks, then the bounds of the
// counters, then applies deletes, puts and counters, and appends the event. The engine
// does not keep the slices after Commit returns.
type Batch struct {
	Checks   []Check
	Counters []Counter
	Deletes  [][]byte
	Puts     []Put
	// Closes reports that the batch takes access away: an engine whose memory is full makes
	// room for it.
	Closes bool
	// Spares reports that the batch only removes records that decide nothing any more: no node
	// need remember that.
	Spares bool
	// Event, unless nil, is appended to the partition's change feed. A batch whose
	// counters were all counted before (see Counter.IdempotencyKey) was applied
	// before: it appends no event and applies no deletes and puts.
	Event []byte
}

// Put writes or replaces the value of a key.
type Put struct {
	Key   []byte
	Value []byte
	// Expires, unless zero, is when Sweep may remove the entry.
	Expires time.Time
}

// Check is a precondition of a batch.
type Check struct {
	Key []byte
	// Value is the value that the key must have; nil means that the key must be
	// absent.
	Value []byte
	// Present relaxes the check: the key must have any value.
	Present bool
}

// Counter increments a bounded counter, which starts at zero.
type Counter struct {
	Key []byte
	// Max is the maximum of the counter; zero for none.
	Max int64
	// IdempotencyKey, unless nil, is the key of an entry that is written with the
	// count, with IdempotencyValue. When it exists already, nothing is counted, and
	// the commit succeeds whatever the bound.
	IdempotencyKey   []byte
	IdempotencyValue []byte
	// Undo takes an earlier count back: if the entry at IdempotencyKey has
	// IdempotencyValue, it is removed and the counter decremented. Otherwise nothing
	// is, and the counter is reported as replayed.
	Undo bool
	// Expires is when Sweep may remove the counter and its idempotency key.
	Expires time.Time
}

// Committed is the result of a commit.
type Committed struct {
	// Position is the feed position after the commit.
	Position uint64
	// Counts has each counter's value after the commit.
	Counts []int64
	// Replayed reports for each counter whether its idempotency key existed.
	Replayed []bool
}

// Event is one entry of a partition's change feed.
type Event struct {
	// Position grows by one with each event, from one.
	Position uint64
	Payload  []byte
}

// Limits in bytes. Engines return ErrTooLarge for what exceeds them.
const (
	MaxKeySize   = 4 << 10
	MaxValueSize = 1 << 20
)

// FeedLength is the minimum number of events of a partition that an engine keeps.
const FeedLength = 4096

var (
	// ErrFull matches every error of a store that has no room: no memory, or no disk. Nothing
	// was written.
	ErrFull = errors.New("the store has no room left")
	// ErrUnavailable matches every error of a store that temporarily does not answer.
	ErrUnavailable = errors.New("the store is unavailable")
	// ErrNotAcknowledged is wrapped by the error of a batch that was applied, but not by
	// as many servers as it must be: it may be lost.
	ErrNotAcknowledged = errors.New("the write was not acknowledged by enough replicas")
	// ErrClosed is returned after Close.
	ErrClosed = errors.New("store is closed")
	// ErrFeedGap is returned when the change feed does not have the events after a
	// position.
	ErrFeedGap = errors.New("change feed does not reach back to this position")
	// ErrTooLarge is returned when a key or a value exceeds its limit, or a key is
	// empty.
	ErrTooLarge = errors.New("key or value is empty or too large")
)

// CheckError is the error of a check that failed, by its index in the batch.
type CheckError struct{ Index int }

func (e *CheckError) Error() string { return "a precondition of the write does not hold" }

// BoundError is the error of a counter at its bound, by its index in the batch.
type BoundError struct{ Index int }

func (e *BoundError) Error() string { return "a counter of the write is at its bound" }
