package store

import (
	"errors"
	"net"
	"sync/atomic"

	"github.com/gatefold/gatefold/policy/store/engine"
)

// breakAfter is the number of calls in a row that time out until the store counts as
// unavailable. The next calls fail at once; the polls of the feed probe whether it answers.
const breakAfter = 2

// breaker counts calls that timed out in a row.
type breaker struct{ timeouts atomic.Int32 }

// answered notes the result of a call on a partition of this feed.
func (f *Feed) answered(err error) {
	if !timedOut(err) {
		if err == nil && f.breaker.timeouts.Load() != 0 {
			f.breaker.timeouts.Store(0)
		}
		return
	}
	if f.breaker.timeouts.Add(1) < breakAfter {
		return
	}
	if f.away.CompareAndSwap(nil, &awayError{cause: err, since: f.follower.options.Now()}) {
		f.changed(err)
	}
}

// timedOut reports whether the store did not answer in time. That a caller gave up is not
// its fault.
func timedOut(err error) bool {
	late, ok := errors.AsType[net.Error](err)
	return ok && late.Timeout() && errors.Is(err, engine.ErrUnavailable) && !errors.Is(err, ErrAway)
}
