package engine

import (
	"context"
	"errors"
	"sync"
)

// Lifecycle counts the running calls of an engine, so that closing it can wait for
// them. The zero value is open. It is safe for concurrent use.
type Lifecycle struct {
	mu      sync.RWMutex // guards closed, and Add against Wait
	closed  bool
	running sync.WaitGroup

	once sync.Once
	err  error
}

// Enter counts a call as running until Leave. It returns ErrClosed when the engine
// was closed, and ctx.Err() when the context has ended.
func (l *Lifecycle) Enter(ctx context.Context) error {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if l.closed {
		return ErrClosed
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	l.running.Add(1)
	return nil
}

// Leave ends a call that entered.
func (l *Lifecycle) Leave() { l.running.Done() }

// Closed reports whether Close was called.
func (l *Lifecycle) Closed() bool {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.closed
}

// Close refuses further calls, calls interrupt to end calls that only wait, waits
// for all running calls, and calls release. Interrupt may be nil. Further calls of
// Close return the same error.
func (l *Lifecycle) Close(interrupt, release func() error) error {
	l.once.Do(func() {
		l.mu.Lock()
		l.closed = true
		l.mu.Unlock()
		if interrupt != nil {
			l.err = interrupt()
		}
		l.running.Wait()
		l.err = errors.Join(l.err, release())
	})
	return l.err
}
