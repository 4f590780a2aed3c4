package keys

import (
	"fmt"
	"runtime"
	"sync/atomic"
)

// ErrBusy says that a signature was not looked at: too many wait for their turn.
// It is an ErrKeysUnavailable: the answer is unknown, and not no.
var ErrBusy = fmt.Errorf("%w: too many signatures wait to be verified", ErrKeysUnavailable)

// Turnstile lets few pass at a time, one after the other in the order in which
// they came, and turns away whoever comes when too many wait. It is safe for
// concurrent use.
//
// Anybody can send tokens that are well formed and forged. Each costs a
// verification, as much as a hundred decisions from memory; with many of them on
// their way at once the processors would do little else, and readers who are known
// would wait behind them.
type Limiter struct {
	passing chan struct{}
	waiting atomic.Int64
	most    int64
}

// NewTurnstile returns one through which some pass at a time while others wait.
func NewLimiter(passing, waiting int) *Limiter {
	return &Limiter{passing: make(chan struct{}, max(passing, 1)), most: int64(waiting)}
}

// maxWaitingSignatures bounds how long somebody waits whose token nobody has seen,
// to less than a second: each of those before her takes about 60 µs of a processor.
const maxWaitingSignatures = 4096

// Signatures is the turnstile through which every verification of a signature
// goes: at most half of the processors verify at a time.
var VerifyLimiter = NewLimiter(runtime.GOMAXPROCS(0)/2, maxWaitingSignatures)

// Pass calls a function when its turn has come, and returns its error, or ErrBusy
// at once when too many wait. Whoever had to wait lets what is ready to run go
// first: those are readers whose requests need no turn.
func (t *Limiter) Do(do func() error) error {
	select {
	case t.passing <- struct{}{}:
	default:
		if t.waiting.Add(1) > t.most {
			t.waiting.Add(-1)
			return ErrBusy
		}
		t.passing <- struct{}{}
		t.waiting.Add(-1)
		runtime.Gosched()
	}
	defer func() { <-t.passing }()
	return do()
}

// Waiting returns how many wait for their turn.
func (t *Limiter) Waiting() int { return int(t.waiting.Load()) }
