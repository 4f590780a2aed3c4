package supportcode

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gatefold/gatefold/policy/store"
)

const (
	// maxWaiting bounds the refusals that wait to be explained and written, in at most 8 MB.
	maxWaiting = 256
	// explainTimeout bounds how long one is explained, and writeTimeout one write.
	explainTimeout = 2 * time.Second
	writeTimeout   = 10 * time.Second
	// closeTimeout bounds how long Close waits for the last writes.
	closeTimeout = 5 * time.Second
	// gatherFor is how long refusals of a vendor wait for others to be written with.
	gatherFor = 200 * time.Millisecond
)

// Options configure a Recorder.
type Options struct {
	Store *store.Store
	// Failed is called with an error of the store, at most once per write. Optional.
	Failed func(error)
}

// Stats counts, since the start, the refusals that were stored, dropped because there were too
// many, and lost because the store failed.
type Stats struct{ Stored, Dropped, Lost uint64 }

// Entry is a refusal to be kept.
type Entry struct {
	store.Refusal
	// Explain returns how the request was decided, as JSON. It is called soon after the
	// refusal, in another goroutine, and must not use the request. Optional.
	Explain func(context.Context) ([]byte, error)
}

// Recorder gives codes to refusals, and writes them. It is safe for concurrent use.
type Recorder struct {
	options Options

	mu     sync.Mutex
	recent recent
	full   map[fullHour]struct{} // of which the store keeps no more
	closed bool

	waiting chan waiting
	stopped chan struct{}

	stored, dropped, lost atomic.Uint64
}

type waiting struct {
	vendor string
	Entry
}

// fullHour is an hour of which a vendor keeps no more refusals.
type fullHour struct {
	vendor    string
	hour      int64
	anonymous bool
}

// maxFull bounds the hours that a node remembers as full.
const maxFull = 1024

func hourOf(vendor string, at time.Time, anonymous bool) fullHour {
	return fullHour{vendor, at.Unix() / int64(time.Hour/time.Second), anonymous}
}

// New returns a recorder that writes until it is closed.
func New(options Options) *Recorder {
	r := &Recorder{
		options: options, full: map[fullHour]struct{}{}, waiting: make(chan waiting, maxWaiting), stopped: make(chan struct{}),
	}
	r.recent.init()
	go r.run()
	return r
}

// Code returns the code of a refusal. If it is to be kept, it is made by entry, and written
// soon. Code does not block.
func (r *Recorder) Code(s *Subject, at time.Time, entry func() Entry) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	sum := r.recent.sum(s)
	if code := r.recent.get(sum, at); code != "" {
		return code
	}
	_, full := r.full[hourOf(s.Vendor, at, s.Anonymous())]
	kept := !r.closed && !full && len(r.waiting) < maxWaiting && r.recent.count(s, at)
	code := newCode(kept)
	r.recent.put(sum, at, code)
	if !kept {
		r.dropped.Add(1)
		return code
	}
	e := entry()
	e.Code, e.At, e.Anonymous = code, at.UTC(), s.Anonymous()
	r.waiting <- waiting{s.Vendor, e} // has room: only this function sends, under the lock
	return code
}

// NotKept returns the code of a refusal that is not kept in any case: of one while the store
// cannot be read.
func NotKept() string { return newCode(false) }

// run explains and writes until the channel is closed.
func (r *Recorder) run() {
	defer close(r.stopped)
	timer := time.NewTimer(time.Hour)
	gathered := map[string][]store.Refusal{}
	number := 0
	flush := func() {
		for vendor, refusals := range gathered {
			r.write(vendor, refusals)
		}
		clear(gathered)
		number = 0
	}
	for {
		select {
		case next, open := <-r.waiting:
			if !open {
				flush()
				return
			}
			if number++; number == 1 {
				timer.Reset(gatherFor)
			}
			next.explain()
			list := append(gathered[next.vendor], next.Refusal)
			if len(list) == store.MaxRefusals {
				r.write(next.vendor, list)
				list = nil
			}
			gathered[next.vendor] = list
		case <-timer.C:
			flush()
		}
	}
}

func (w *waiting) explain() {
	if w.Explain == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), explainTimeout)
	defer cancel()
	if text, err := w.Explain(ctx); err == nil {
		w.Explanation = text
	}
}

// write writes refusals of a vendor. Those that the store does not keep are dropped.
func (r *Recorder) write(vendor string, refusals []store.Refusal) {
	if len(refusals) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), writeTimeout)
	defer cancel()
	kept, full, err := r.options.Store.RecordRefusals(ctx, vendor, refusals)
	if err != nil {
		r.lost.Add(uint64(len(refusals)))
		if r.options.Failed != nil {
			r.options.Failed(err)
		}
		return
	}
	r.stored.Add(uint64(kept))                  //nolint:gosec // G115: not negative
	r.dropped.Add(uint64(len(refusals) - kept)) //nolint:gosec // G115: not negative
	if len(full) == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.full)+len(full) > maxFull {
		clear(r.full)
	}
	for _, hour := range full {
		r.full[hourOf(vendor, hour.At, hour.Anonymous)] = struct{}{}
	}
}

// Stats returns the counts since the start.
func (r *Recorder) Stats() Stats {
	return Stats{Stored: r.stored.Load(), Dropped: r.dropped.Load(), Lost: r.lost.Load()}
}

// Close writes what is buffered. It waits for that a few seconds at most. Closing again is
// no error.
func (r *Recorder) Close() {
	r.mu.Lock()
	if !r.closed {
		r.closed = true
		close(r.waiting)
	}
	r.mu.Unlock()
	timeout := time.NewTimer(closeTimeout)
	defer timeout.Stop()
	select {
	case <-r.stopped:
	case <-timeout.C:
	}
}
