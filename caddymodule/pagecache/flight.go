package pagecache

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"
)

// flight is one fetch of a page, whose response any number of readers share while it
// arrives. It has nothing of a reader: it is made by the key alone, and what a flight
// returns may be sent to every reader who may have the page.
type flight struct {
	key     string
	of      *flights
	cancel  context.CancelFunc
	version uint64 // of all purges, before the fetch
	hard    uint64 // stamps of the page's path, before the fetch
	soft    uint64
	asked   time.Time
	// confirms is the stored page that the origin is asked to confirm, or zero.
	confirms handle

	mu      sync.Mutex
	changed chan struct{} // closed at each change; nil while no reader waits
	ready   bool          // status and header, or why there are none, are final
	status  int
	header  http.Header
	life    lifetime
	why     Why   // the response is not for sharing: each reader asks for themselves
	err     error // of the origin, before a header
	fresh   bool  // the origin confirmed the stored page
	done    bool  // the body is complete, or broken
	broken  bool
	stored  bool
	chunks  [][]byte // of the body, behind dropped
	length  int64    // of the body as the origin declares it, or -1
	size    int64    // of the body so far
	counted int64    // bytes of it in flights.bytes
	dropped int64    // bytes that every reader has
	over    bool     // the fetch has ended
	large   bool     // the body is larger than what is stored
	readers map[*flightReader]struct{}
}

// maxFlights bounds the fetches at once, and their bodies the memory of fills.
const maxFlights = 1024

// flights are the fetches of a cache by key. All has each until it has ended and its last
// reader left, because until then its body takes memory.
type flights struct {
	mu    sync.Mutex
	byKey map[string]*flight
	all   map[*flight]struct{}
	bytes int64
	// closed refuses new fetches, so that none stores a page into memory that was released.
	closed bool
}

// join returns the flight of a key, with a reader on it, or a new one. It returns nil if
// there are too many, or if the cache is closed. A flight that began before a purge is not joined: a reader who comes
// after the purge does not get what was asked for before it.
func (s *flights) join(key []byte, version uint64, begin func() *flight) (f *flight, reader *flightReader, first bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f = s.byKey[string(key)]; f == nil || f.version != version {
		if s.closed || len(s.all) >= maxFlights {
			return nil, nil, false
		}
		f, first = begin(), true
		f.key, f.of = string(key), s
		if s.byKey == nil {
			s.byKey, s.all = make(map[string]*flight), make(map[*flight]struct{})
		}
		s.byKey[f.key] = f
		s.all[f] = struct{}{}
	}
	if reader = f.attach(); reader == nil {
		return nil, nil, false
	}
	return f, reader, first
}

// running reports whether a fetch of a key runs.
func (s *flights) running(key []byte, version uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.byKey[string(key)]
	return f != nil && f.version == version
}

// leave removes a flight, so that it is not joined any more.
func (s *flights) leave(f *flight) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byKey[f.key] == f {
		delete(s.byKey, f.key)
	}
}

func (s *flights) ended(f *flight) {
	s.leave(f)
	f.mu.Lock()
	f.over = true
	f.mu.Unlock()
	s.settle(f)
}

// settle stops to count a flight that has ended and has no reader any more: none can join
// it, and its body is garbage.
func (s *flights) settle(f *flight) {
	f.mu.Lock()
	last, size := f.over && len(f.readers) == 0, f.counted
	f.mu.Unlock()
	if !last {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.all[f]; ok {
		delete(s.all, f)
		s.bytes -= size
	}
}

// grow counts bytes of a body that is kept, and reports whether there is room for them.
func (s *flights) grow(n, limit int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bytes += n
	return s.bytes <= limit
}

// flightReader is a reader of a flight.
type flightReader struct {
	flight   *flight
	position int64
}

// attach adds a reader. It returns nil if the beginning of the body is gone.
func (f *flight) attach() *flightReader {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.dropped > 0 || f.large {
		return nil
	}
	reader := &flightReader{flight: f}
	if f.readers == nil {
		f.readers = make(map[*flightReader]struct{})
	}
	f.readers[reader] = struct{}{}
	return reader
}

func (r *flightReader) leave() {
	f := r.flight
	f.mu.Lock()
	delete(f.readers, r)
	f.change()
	f.mu.Unlock()
	f.of.settle(f)
}

// change wakes all who wait. The caller holds mu.
func (f *flight) change() {
	if f.changed != nil {
		close(f.changed)
		f.changed = nil
	}
}

// await waits until a condition holds. It returns the error of the context.
func (f *flight) await(ctx context.Context, holds func() bool) error {
	for {
		f.mu.Lock()
		if holds() {
			f.mu.Unlock()
			return nil
		}
		if f.changed == nil {
			f.changed = make(chan struct{})
		}
		changed := f.changed
		f.mu.Unlock()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		}
	}
}

// errBroken is the error of a body that broke off.
var errBroken = errors.New("the origin's response broke off")

// next returns the next part of the body, or nil at its end.
func (r *flightReader) next(ctx context.Context) (part []byte, err error) {
	f := r.flight
	waited := f.await(ctx, func() bool {
		if f.broken {
			err = errBroken
			return true
		}
		part = f.at(r.position)
		return part != nil || f.done
	})
	return part, errors.Join(waited, err)
}

// at returns the bytes of the body from a position on that are in one chunk.
func (f *flight) at(position int64) []byte {
	start := f.dropped
	for _, chunk := range f.chunks {
		if end := start + int64(len(chunk)); position < end {
			return chunk[position-start:]
		}
		start += int64(len(chunk))
	}
	return nil
}

// advance notes that a reader has sent n bytes. Of a large body, and of one that is complete
// and stored or will not be, what all have is dropped.
func (r *flightReader) advance(n int) {
	f := r.flight
	f.mu.Lock()
	defer f.mu.Unlock()
	r.position += int64(n)
	if !f.large && !f.done {
		return
	}
	slowest := f.slowest()
	for len(f.chunks) > 0 && f.dropped+int64(len(f.chunks[0])) <= slowest {
		f.dropped += int64(len(f.chunks[0]))
		f.chunks[0] = nil // the array behind the slice would keep it
		f.chunks = f.chunks[1:]
	}
	f.change()
}

// slowest returns the position of the slowest reader.
func (f *flight) slowest() int64 {
	slowest := f.size
	for reader := range f.readers {
		slowest = min(slowest, reader.position)
	}
	return slowest
}

// knownLength returns the length of the body, or -1 if it is not known yet.
func (f *flight) knownLength() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.done && !f.broken {
		return f.size
	}
	return f.length
}
