// Package boltengine is the embedded store.Engine: one bbolt file, for a
// Gatefold that runs on a single machine.
//
// A write is on the disk (fsync) before it is acknowledged. Writers that come
// at the same time share one transaction, and so one fsync; see commit.go.
//
// The file holds one bucket per partition, named 'p' and the partition's name,
// and in it three more:
//
//	data    key -> expiry (8 bytes, see expiryOf), value
//	expiry  expiry, key -> nothing; exactly the entries of data that have one
//	feed    position (8 bytes) -> payload of an event
//
// Numbers are big-endian, so that the order of bytes is the order of numbers.
// The bucket "meta" holds the version of this layout.
package boltengine

import (
	"context"
	"fmt"
	"sync"

	"github.com/gatefold/gatefold/policy/store/engine"

	"go.etcd.io/bbolt"
)

// Engine is a store.Engine in a bbolt file. Open makes one.
//
// A function given to View must not call Commit, Sweep or Close: bbolt may have
// to wait for running views before it can write, and they would wait for each
// other. It must not change the bytes that it reads either: they are the mapped
// file itself, and writing to them ends the process.
type Engine struct {
	db   *bbolt.DB
	path string

	mu      sync.RWMutex // guards closed, and the step from running to waiting
	closed  bool
	running sync.WaitGroup // calls that Close waits for
	close   func() error

	queue   chan *job
	stopped chan struct{} // closed when the committer has ended
	broken  error         // why nothing is written any more; the committer's own
}

var _ engine.Engine = (*Engine)(nil)

// Open opens the database at path. It creates the file, for this user only, and
// its folder, if they do not exist. The error says what to do when the file is in
// use, is not a database, is damaged or cannot be written.
//
// Only one process, and one Engine in it, can have a file open at a time.
func Open(path string) (*Engine, error) {
	db, err := openOrCreate(path)
	if err != nil {
		return nil, explain(path, err)
	}
	e := &Engine{
		db:      db,
		path:    path,
		queue:   make(chan *job),
		stopped: make(chan struct{}),
	}
	e.close = sync.OnceValue(e.shut)
	go e.commitLoop()
	return e, nil
}

// Close waits for what is running, then closes the file. Calling it again does
// nothing more and returns the same.
func (e *Engine) Close() error { return e.close() }

func (e *Engine) shut() error {
	e.mu.Lock()
	e.closed = true
	e.mu.Unlock()
	e.running.Wait()

	close(e.queue) // nobody sends any more: a Commit counts as running
	<-e.stopped
	if err := e.db.Close(); err != nil {
		return fmt.Errorf("closing database %s: %w", e.path, err)
	}
	return nil
}

// enter counts a call as running, until leave. It fails when the engine was
// closed or the caller has given up already.
func (e *Engine) enter(ctx context.Context) error {
	e.mu.RLock()
	defer e.mu.RUnlock()
	if e.closed {
		return engine.ErrClosed
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	e.running.Add(1)
	return nil
}

func (e *Engine) leave() { e.running.Done() }
