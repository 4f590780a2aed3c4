package caddymodule

import (
	"sync"
	"sync/atomic"
)

// lazy is a value that is made at first use. After an error the next use tries
// again. It is safe for concurrent use.
type lazy[T any] struct {
	make func() (T, error)

	mu   sync.Mutex
	made atomic.Pointer[T]
}

// get returns the value, at the cost of one atomic load once it is made.
func (l *lazy[T]) get() (T, error) {
	if made := l.made.Load(); made != nil {
		return *made, nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if made := l.made.Load(); made != nil {
		return *made, nil
	}
	made, err := l.make()
	if err == nil {
		l.made.Store(&made)
	}
	return made, err
}
