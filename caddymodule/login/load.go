package login

import (
	"errors"
	"sync"
	"time"
)

const (
	// maxUsed is the number of attempts of which a node knows that they were used. The oldest
	// is forgotten first: a code still counts once at the provider.
	maxUsed = 16384
	// maxCalls is the number of logins of a site that call the provider at once.
	maxCalls = 64
)

// usedStates are the states of attempts that were used. The zero value is empty. It is safe for
// concurrent use.
type usedStates struct {
	mu    sync.Mutex
	known map[string]struct{}
	order []usedState // as they were used
}

type usedState struct {
	hash  string
	until time.Time // the attempt is over
}

// take reports whether a state is used for the first time, and remembers it.
func (u *usedStates) take(hash string, now, until time.Time) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.known == nil {
		u.known = make(map[string]struct{})
	}
	for len(u.order) > 0 && (len(u.order) >= maxUsed || !now.Before(u.order[0].until)) {
		delete(u.known, u.order[0].hash)
		u.order = u.order[1:]
	}
	if _, used := u.known[hash]; used {
		return false
	}
	u.known[hash] = struct{}{}
	u.order = append(u.order, usedState{hash, until})
	return true
}

// errBusy is the error of a login while maxCalls others call the provider.
var errBusy = errors.New("too many logins wait for the provider at once: it answers slowly, or this site is flooded with logins")

// calling begins the calls of a login to the provider. The caller calls done after them. It
// returns errBusy at once, so that a slow provider holds no more than maxCalls requests.
func (s *Site) calling() (done func(), err error) {
	select {
	case s.calls <- struct{}{}:
		return func() { <-s.calls }, nil
	default:
		return nil, errBusy
	}
}
