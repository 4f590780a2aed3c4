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

	// Marks returns the newest event of each of the partitions. It is also asked
	// with none of them, to see whether the engine answers.
	Cursors(ctx context.Context, partitions []string) ([]Cursor, error)

	// EventsAfter is Events for somebody who knows which event is at his
	// position: it returns ErrFeedGap also when that is another one by now, as
	// after a failover that lost writes. It returns the mark of the last event
	// that it gives, or the one it was asked with when there are none.
	EventsAfter(ctx context.Context, partition string, after Cursor, limit int) ([]Event, Cursor, error)

	// Wait returns when a partition has an event after a position, or some time
	// has passed, whichever is first.
	Wait(ctx context.Context, partition string, after uint64, most time.Duration) error
}

// Mark is a place in a change feed, and which event is there.
type Cursor struct {
	Position uint64
	// Token is of the event alone. It is empty at position zero.
	Token string
}

// ErrSnapshotGone says that a view took so long that the engine no longer has the
// moment that it saw. Whoever gets it may begin again.
var ErrSnapshotGone = errors.New("too much was written while the records were read; try again")

// Prefetcher is a Snapshot that reads several keys at the price of one.
type Prefetcher interface {
	Prefetch(keys ...[]byte) error
}
