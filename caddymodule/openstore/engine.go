package openstore

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gatefold/gatefold/policy/store"
	"github.com/gatefold/gatefold/policy/store/engine"
)

// lazyEngine opens the database at first use, and measures its operations. Provision
// must not open it: it also runs for `caddy validate`, while a server has the file open.
type lazyEngine struct {
	make func() (engine.Engine, error)
	// committed gets the result of each commit, read the error of each view that failed.
	committed func(partition string, err error)
	read      func(error)

	mu      sync.RWMutex
	engine  engine.Engine
	closed  bool
	follows atomic.Pointer[store.Follower] // the engine, if it is a Follower
}

// Follower returns the engine if other nodes write to it as well, else nil.
func (l *lazyEngine) Follower() *store.Follower { return l.follows.Load() }

// Open opens the database unless it is open, and returns its engine. It may be called again
// after an error.
func (l *lazyEngine) Open() (engine.Engine, error) {
	l.mu.RLock()
	backend, closed := l.engine, l.closed
	l.mu.RUnlock()
	if closed {
		return nil, engine.ErrClosed
	}
	if backend != nil {
		return backend, nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, engine.ErrClosed
	}
	if l.engine == nil {
		opened, err := l.make()
		if err != nil {
			return nil, err
		}
		l.engine = opened
		if follower, ok := opened.(*store.Follower); ok {
			l.follows.Store(follower)
		}
	}
	return l.engine, nil
}

// replaced returns an error if the file of an open database is no longer the one at its
// path. A shared store has no file.
func (l *lazyEngine) replaced() error {
	l.mu.RLock()
	backend := l.engine
	l.mu.RUnlock()
	if database, ok := backend.(interface{ Replaced() error }); ok {
		return database.Replaced()
	}
	return nil
}

// onEngine calls the engine, which it opens first. Operation names the call in the
// metrics; empty for none.
func onEngine[T any](l *lazyEngine, operation string, call func(engine.Engine) (T, error)) (result T, err error) {
	backend, err := l.Open()
	if err != nil {
		return result, err
	}
	if operation != "" {
		done := storeOperation(operation)
		defer func() { done(err) }()
	}
	return call(backend)
}

func (l *lazyEngine) View(ctx context.Context, partition string, fn func(engine.Snapshot) error) error {
	_, err := onEngine(l, "view", func(e engine.Engine) (struct{}, error) { return struct{}{}, e.View(ctx, partition, fn) })
	if err != nil && l.read != nil {
		l.read(err)
	}
	return err
}

func (l *lazyEngine) Commit(ctx context.Context, partition string, batch *engine.Batch) (engine.Committed, error) {
	done, err := onEngine(l, "commit", func(e engine.Engine) (engine.Committed, error) { return e.Commit(ctx, partition, batch) })
	if l.committed != nil {
		l.committed(partition, err)
	}
	return done, err
}

func (l *lazyEngine) Events(ctx context.Context, partition string, after uint64, limit int) ([]engine.Event, error) {
	return onEngine(l, "", func(e engine.Engine) ([]engine.Event, error) { return e.Events(ctx, partition, after, limit) })
}

func (l *lazyEngine) Position(ctx context.Context, partition string) (uint64, error) {
	return onEngine(l, "", func(e engine.Engine) (uint64, error) { return e.Position(ctx, partition) })
}

func (l *lazyEngine) Partitions(ctx context.Context) ([]string, error) {
	return onEngine(l, "", func(e engine.Engine) ([]string, error) { return e.Partitions(ctx) })
}

func (l *lazyEngine) Sweep(ctx context.Context, partition string, before time.Time, limit int) (int, error) {
	return onEngine(l, "sweep", func(e engine.Engine) (int, error) { return e.Sweep(ctx, partition, before, limit) })
}

// Close closes the engine. It does not hold the lock meanwhile: an engine that follows a
// change feed waits for its goroutines, and these read records through this one.
func (l *lazyEngine) Close() error {
	l.mu.Lock()
	l.closed = true
	backend := l.engine
	l.mu.Unlock()
	if backend == nil {
		return nil
	}
	return backend.Close()
}

// Interface guard
var _ engine.Engine = (*lazyEngine)(nil)
