package teaser

import (
	"errors"
	"io"
	"iter"
)

// coroutine runs a function that reads, beside a caller that writes. Only one of the two
// is at work at a time, so that neither locks anything.
type coroutine struct {
	next func() (struct{}, bool)
	stop func() // makes the function's wait return false, and ends it
}

// begin returns a coroutine that was not resumed yet. Within run, wait returns to the
// caller of resume, and reports false if the coroutine is to end.
func begin(run func(wait func() bool)) coroutine {
	next, stop := iter.Pull(func(yield func(struct{}) bool) {
		run(func() bool { return yield(struct{}{}) })
	})
	return coroutine{next: next, stop: stop}
}

// resume runs the function until it waits, or until it ends: then it reports false.
func (c coroutine) resume() bool {
	_, waits := c.next()
	return waits
}

// feed is the reader of a coroutine, for bytes that are written.
type feed struct {
	chunk  []byte
	closed bool // nothing follows the chunk
	done   bool // nothing is read any more
	wait   func() bool
}

// errStopped is that the writer was closed while the reader waited.
var errStopped = errors.New("the document was given up")

// Read implements io.Reader.
func (f *feed) Read(p []byte) (int, error) {
	for len(f.chunk) == 0 {
		if f.closed {
			return 0, io.EOF
		}
		if !f.wait() {
			return 0, errStopped
		}
	}
	n := copy(p, f.chunk)
	f.chunk = f.chunk[n:]
	return n, nil
}
