package engine

import (
	"context"
	"errors"
	"iter"
	"time"
)

// Engine is a small ordered key-value store. It knows partitions, one per
// vendor, and nothing of what its keys and values mean: records, indexes and
// queries are written once, above it.
//
// All methods are safe for concurrent use. A partition needs no creation: one
// that was never written is empty. The package enginetest holds the
// conformance suite that every engine passes.
type Engine interface {
	// View calls fn with one snapshot of a partition: whatever is committed
	// while fn runs, fn does not see. The snapshot, and the byte slices read
	// from it, are valid only until fn returns. View returns fn's error.
	View(ctx context.Context, partition string, fn func(Snapshot) error) error

	// Commit applies one batch to a partition, whole or not at all. When it
	// returns nil the batch is durable. A check that does not hold gives a
	// *CheckError, a counter that is at its bound a *BoundError; in both
	// cases nothing was written.
	Commit(ctx context.Context, partition string, batch *Batch) (Committed, error)

	// Events returns at most limit events of a partition's change feed that
	// come after the given position, oldest first. Position zero is before
	// the first event. When events after the position have been dropped, or
	// the position lies ahead of the feed (another database was put in
	// place), it returns ErrFeedGap, and the caller must take everything that
	// it knows of the partition for stale.
	Events(ctx context.Context, partition string, after uint64, limit int) ([]Event, error)

	// Position returns the position of a partition's newest event, zero if
	// there never was one.
	Position(ctx context.Context, partition string) (uint64, error)

	// Partitions lists the partitions that were ever written, in order.
	Partitions(ctx context.Context) ([]string, error)

	// Sweep removes at most limit entries of a partition whose Expires lies
	// before the given moment, and says how many it removed. Whether an entry
	// counts is decided by whoever reads it, never by Sweep: it only frees
	// memory.
	Sweep(ctx context.Context, partition string, before time.Time, limit int) (int, error)

	// Close waits for running views and commits, and releases the engine.
	// Every later call returns ErrClosed.
	Close() error
}

// Snapshot is one moment of a partition.
type Snapshot interface {
	// Get returns the value of a key, or nil when there is none.
	Get(key []byte) ([]byte, error)

	// Scan yields the entries whose keys start with prefix and, when after is
	// not nil, sort behind after, in ascending order of their bytes. An error
	// ends the scan and is yielded last, with an empty entry.
	Scan(prefix, after []byte) iter.Seq2[Entry, error]

	// Count returns the value of a counter, zero when it was never counted.
	// Counters live among the other keys; what Get and Scan give as the value
	// of one is the engine's own encoding.
	Count(key []byte) (int64, error)
}

// Entry is a key with its value.
type Entry struct {
	Key   []byte
	Value []byte
}

// Batch is what one Commit does, in this order: every check must hold, every
// counter must have room, then deletes and puts are applied and the event is
// appended. The engine keeps none of the slices after Commit returns.
type Batch struct {
	Checks   []Check
	Counters []Counter
	Deletes  [][]byte
	Puts     []Put
	// Event, when not nil, is appended to the partition's change feed. A
	// batch whose counters were all counted before (see Counter.Once) appends
	// no event and applies no puts or deletes: it has happened already.
	Event []byte
}

// Put writes a value under a key, replacing what was there.
type Put struct {
	Key   []byte
	Value []byte
	// Expires, when not zero, is when Sweep may remove the entry.
	Expires time.Time
}

// Check is a precondition of a batch: what a key must hold.
type Check struct {
	Key []byte
	// Value is what the key must hold, byte for byte; nil means that the key
	// must be absent.
	Value []byte
	// Present relaxes the check: the key must hold something, whatever it is.
	Present bool
}

// Counter adds one to a bounded number that starts at zero.
type Counter struct {
	Key []byte
	// Max is the bound: the counter never exceeds it. Zero means none.
	Max int64
	// Once, when not nil, makes the count idempotent: it is the key of a
	// marker, written with OnceValue in the same step. Where the marker is
	// there already, nothing is counted, and the commit succeeds whatever the
	// bound says.
	IdempotencyKey   []byte
	IdempotencyValue []byte
	// Expires is when Sweep may remove the counter and its marker.
	Expires time.Time
}

// Committed is what a commit did.
type Committed struct {
	// Position is the feed position after the commit.
	Position uint64
	// Counts holds each counter's value after the commit.
	Counts []int64
	// Replayed says of each counter that its marker was there already.
	Replayed []bool
}

// Event is one entry of a partition's change feed.
type Event struct {
	// Position grows by one with each event, from one.
	Position uint64
	Payload  []byte
}

// Limits that every engine enforces, with ErrTooLarge.
const (
	MaxKeySize   = 4 << 10
	MaxValueSize = 1 << 20
)

// FeedLength is how many events of a partition an engine keeps at the least.
const FeedLength = 4096

var (
	// ErrUnavailable is what every error is by which a store does not answer at the
	// moment: the same call may succeed later.
	ErrUnavailable = errors.New("the store is unavailable")
	// ErrClosed says that the engine was closed.
	ErrClosed = errors.New("store is closed")
	// ErrFeedGap says that the change feed no longer reaches back to the position.
	ErrFeedGap = errors.New("change feed does not reach back to this position")
	// ErrTooLarge says that a key or a value is over its limit, or a key is empty.
	ErrTooLarge = errors.New("key or value is empty or too large")
)

// CheckError says which check of a batch did not hold.
type CheckError struct{ Index int }

func (e *CheckError) Error() string { return "a precondition of the write does not hold" }

// BoundError says which counter of a batch is at its bound.
type BoundError struct{ Index int }

func (e *BoundError) Error() string { return "a counter of the write is at its bound" }
