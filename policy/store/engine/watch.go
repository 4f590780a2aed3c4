package engine

import (
	"context"
	"errors"
	"time"
)

// Watcher is an Engine that other processes write to as well, and whose change
// feed can be followed.
type Watcher interface {
	Engine

	// Cursors returns the cursor of the newest event of each partition. Without
	// partitions it only checks that the engine answers.
	Cursors(ctx context.Context, partitions []string) ([]Cursor, error)

	// EventsAfter is Events from a cursor. It also returns ErrFeedGap when the
	// event at the cursor's position is another one, as after a failover that lost
	// writes. It returns the cursor of the last event, or after when there is none.
	EventsAfter(ctx context.Context, partition string, after Cursor, limit int) ([]Event, Cursor, error)

	// Wait returns when a partition has an event after a position, and at the
	// latest after the duration most.
	Wait(ctx context.Context, partition string, after uint64, most time.Duration) error
}

// Cursor is a position in a change feed and the identity of the event there.
type Cursor struct {
	Position uint64
	// Token identifies the event. It is empty at position zero.
	Token string
}

// ErrSnapshotGone is returned by a view that took so long that the engine no longer
// has its snapshot. The view may be repeated.
var ErrSnapshotGone = errors.New("too much was written while the records were read; try again")

// Prefetcher is a Snapshot that can read several keys in one round trip.
type Prefetcher interface {
	Prefetch(keys ...[]byte) error
}

// Prefetch reads the keys that are needed next in one round trip, where the
// snapshot is a Prefetcher.
func Prefetch(snapshot Snapshot, keys ...[]byte) error {
	if p, ok := snapshot.(Prefetcher); ok {
		return p.Prefetch(keys...)
	}
	return nil
}

// RangePrefetcher is a Snapshot that can read several short ranges in one round trip.
type RangePrefetcher interface {
	PrefetchRanges(prefixes ...[]byte) error
}

// PrefetchRanges reads the ranges that are scanned next, one for each prefix, where the
// snapshot is a RangePrefetcher.
func PrefetchRanges(snapshot Snapshot, prefixes ...[]byte) error {
	if p, ok := snapshot.(RangePrefetcher); ok {
		return p.PrefetchRanges(prefixes...)
	}
	return nil
}
