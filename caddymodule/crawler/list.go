package crawler

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gatefold/gatefold/keys"
)

const (
	// RefreshEvery is how often a list is fetched; up to a tenth more, so that nodes do not ask
	// at once.
	RefreshEvery = 24 * time.Hour
	// MaxAge is how long the last good copy of a list counts. An older one recognizes no crawler:
	// its addresses may be others' by then.
	MaxAge = 7 * 24 * time.Hour
	// The pauses after a failed fetch: the first one, which doubles, and the longest.
	firstRetry, lastRetry = time.Minute, time.Hour
)

// Source fetches documents of other hosts, and keeps the last good copy; see keys.Sets.
type Source interface {
	Document(ctx context.Context, address string, earlier keys.Document) (keys.Document, error)
	SavedDocument(ctx context.Context, address string) (keys.Document, bool)
	SaveDocument(ctx context.Context, address string, document keys.Document, expires time.Time) error
}

// List is a published list of ranges. It is safe for concurrent use.
type List struct {
	address string
	now     func() time.Time
	current atomic.Pointer[fetched]

	mu       sync.Mutex // of a fetch
	source   Source
	document keys.Document
	failures int
	err      error
}

// fetched is the last good copy of a list.
type fetched struct {
	ranges *Ranges
	at     time.Time
}

// Contains reports whether the list has an address. A list that was never fetched, or is too
// old, has none.
func (l *List) Contains(address netip.Addr) bool {
	known := l.current.Load()
	return known != nil && l.now().Sub(known.at) < MaxAge && known.ranges.Contains(address)
}

// Status is the state of a list.
type Status struct {
	Address string
	// FetchedAt is when the last good copy was fetched; zero if there is none. Ranges is their
	// number.
	FetchedAt time.Time
	Ranges    int
	// Err is the error of the last fetch.
	Err error
}

// Status returns the state of the list.
func (l *List) Status() Status {
	l.mu.Lock()
	status := Status{Address: l.address, Err: l.err}
	l.mu.Unlock()
	if known := l.current.Load(); known != nil {
		status.FetchedAt, status.Ranges = known.at, known.ranges.Len()
	}
	return status
}

// restore uses the copy that was kept before this process, if it has none.
func (l *List) restore(ctx context.Context) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.current.Load() != nil {
		return
	}
	saved, ok := l.source.SavedDocument(ctx, l.address)
	if !ok {
		return
	}
	if ranges, err := ParseRanges(saved.Body); err == nil {
		l.document = saved
		l.current.Store(&fetched{ranges, saved.FetchedAt})
	}
}

// Refresh fetches the list, and returns when it is due again. A list that cannot be fetched or
// read leaves the last good copy.
func (l *List) Refresh(ctx context.Context) (again time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	document, err := l.source.Document(ctx, l.address, l.document)
	var ranges *Ranges
	if err == nil {
		if ranges, err = ParseRanges(document.Body); err == nil {
			l.document, l.err, l.failures = document, nil, 0
			l.current.Store(&fetched{ranges, document.FetchedAt})
			_ = l.source.SaveDocument(ctx, l.address, document, document.FetchedAt.Add(MaxAge)) // fetched again after a restart
			return RefreshEvery + rand.N(RefreshEvery/10)                                       //nolint:gosec // spreads load, keeps no secret
		}
	}
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		return lastRetry // the process ends
	}
	l.err = err
	pause := min(firstRetry<<min(l.failures, 10), lastRetry)
	l.failures++
	return pause + rand.N(pause/10) //nolint:gosec // as above
}

// due returns how long a copy that was kept is still fresh.
func (l *List) due() time.Duration {
	known := l.current.Load()
	if known == nil {
		return 0
	}
	return max(0, RefreshEvery-l.now().Sub(known.at))
}

// run keeps the list fresh until ctx ends.
func (l *List) run(ctx context.Context) {
	l.restore(ctx)
	timer := time.NewTimer(l.due())
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
			timer.Reset(l.Refresh(ctx))
		}
	}
}

// use sets the source of later fetches.
func (l *List) use(source Source) {
	l.mu.Lock()
	l.source = source
	l.mu.Unlock()
}
