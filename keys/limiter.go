package keys

import (
	"runtime"
	"sync/atomic"
)

// Limiter bounds concurrent signature verifications. Callers beyond the bound
// wait in a bounded FIFO queue or get ErrBusy. It is safe for concurrent use.
//
// Anyone can send well-formed tokens with forged signatures, and verifying one
// costs as much as a hundred decisions from memory. Without a bound, a flood of
// them would take all processors from readers whose tokens are already cached.
type Limiter struct {
	slots      chan struct{}
	waiting    atomic.Int64
	maxWaiting int64
}

// NewLimiter returns a Limiter that runs up to concurrent calls at a time, at
// least one, and lets up to maxWaiting callers wait.
func NewLimiter(concurrent, maxWaiting int) *Limiter {
	return &Limiter{slots: make(chan struct{}, max(concurrent, 1)), maxWaiting: int64(maxWaiting)}
}

// maxWaitingVerifications bounds the wait of a caller to less than a second: a
// verification takes about 60 µs of a processor.
const maxWaitingVerifications = 4096

// VerifyLimiter bounds all signature verifications of the process to half of
// the processors.
var VerifyLimiter = NewLimiter(runtime.GOMAXPROCS(0)/2, maxWaitingVerifications)

// Do calls verify once a slot is free and returns its error. It returns ErrBusy
// at once, without calling verify, when too many callers wait.
func (l *Limiter) Do(verify func() error) error {
	select {
	case l.slots <- struct{}{}:
	default:
		if l.waiting.Add(1) > l.maxWaiting {
			l.waiting.Add(-1)
			return ErrBusy
		}
		l.slots <- struct{}{}
		l.waiting.Add(-1)
		// Requests that need no slot run first.
		runtime.Gosched()
	}
	defer func() { <-l.slots }()
	return verify()
}

// Waiting returns the number of callers that wait for a slot.
func (l *Limiter) Waiting() int { return int(l.waiting.Load()) }
