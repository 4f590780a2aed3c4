package linkwatch

import (
	"context"
	"sync"
	"time"

	"github.com/gatefold/gatefold/policy/store"
)

// Link identifies a link.
type Link struct{ Vendor, Issuer, ID string }

// Options configure a Watch.
type Options struct {
	Store *store.Store
	Now   func() time.Time
	// Interval is the time between two writes of the buffers.
	Interval time.Duration
	// Failed is called with an error of the store, at most once per interval. Optional.
	Failed func(error)
}

// Stats counts, since the start, the refusals and networks that were stored (or found to be
// stored), dropped because a buffer was full, and lost because the store failed; and the
// links that exceeded their limits.
type Stats struct {
	Refusals, Networks    Counts
	Reported, Quarantined uint64
}

// Counts are those of one buffer.
type Counts struct{ Stored, Dropped, Lost uint64 }

const (
	// writeTimeout bounds the writes of one link.
	writeTimeout = 10 * time.Second
	// closeTimeout bounds how long Close waits for the last writes.
	closeTimeout = 5 * time.Second
)

// Watch buffers refusals and networks, and writes them. It is safe for concurrent use.
type Watch struct {
	options  Options
	refusals refusals
	networks networks

	writing sync.Mutex // one flush at a time
	stop    context.CancelFunc
	stopped chan struct{}
}

// New returns a watch that writes at every interval, until it is closed.
func New(options Options) *Watch {
	ctx, stop := context.WithCancel(context.Background())
	w := &Watch{options: options, stop: stop, stopped: make(chan struct{})}
	w.refusals.init()
	w.networks.init()
	go w.run(ctx)
	return w
}

// run writes until it is stopped, and then once more.
func (w *Watch) run(ctx context.Context) {
	defer close(w.stopped)
	ticker := time.NewTicker(w.options.Interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			w.flush(true)
			return
		case <-ticker.C:
			w.flush(false)
		}
	}
}

// flush writes what is buffered. With all it also writes refusals of links whose history
// was written in this minute already.
func (w *Watch) flush(all bool) {
	w.writing.Lock()
	defer w.writing.Unlock()
	err := w.flushNetworks()
	if failed := w.flushRefusals(all); failed != nil {
		err = failed
	}
	if err != nil && w.options.Failed != nil {
		w.options.Failed(err)
	}
}

// Stats returns the counts since the start.
func (w *Watch) Stats() Stats {
	return Stats{
		Refusals: w.refusals.counts.read(), Networks: w.networks.counts.read(),
		Reported: w.networks.reported.Load(), Quarantined: w.networks.quarantined.Load(),
	}
}

// Close writes what is buffered. It waits for that a few seconds at most. Closing again is
// no error.
func (w *Watch) Close() {
	w.stop()
	timeout := time.NewTimer(closeTimeout)
	defer timeout.Stop()
	select {
	case <-w.stopped:
	case <-timeout.C:
	}
}
