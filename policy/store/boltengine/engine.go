package boltengine

import (
	"fmt"

	"go.etcd.io/bbolt"

	"github.com/gatefold/gatefold/policy/store/engine"
)

// Engine is an engine.Engine in a bbolt file. Open returns one.
//
// A function passed to View must not call Commit, Sweep or Close: bbolt may have to wait
// for running views before it can write, which would be a deadlock. It must not modify
// the bytes that it reads: they are the mapped file, and writing to them crashes the
// process.
type Engine struct {
	db    *bbolt.DB
	path  string
	calls engine.Lifecycle

	queue   chan *job
	stopped chan struct{} // closed when the committer has ended
	broken  error         // why nothing is written any more; owned by the committer
}

var _ engine.Engine = (*Engine)(nil)

// Open opens the database at path. It creates the file, with mode 0600, and its
// directory if they do not exist. Its errors state the remedy when the file is in use,
// is not a database, is damaged or cannot be written.
//
// Only one Engine of one process can have a file open.
func Open(path string) (*Engine, error) {
	db, err := openOrCreate(path)
	if err != nil {
		return nil, explain(path, err)
	}
	e := &Engine{db: db, path: path, queue: make(chan *job), stopped: make(chan struct{})}
	go e.commitLoop()
	return e, nil
}

// Close waits for running calls, then closes the file. Closing again returns the
// same error.
func (e *Engine) Close() error { return e.calls.Close(nil, e.release) }

func (e *Engine) release() error {
	close(e.queue) // no send can follow: every Commit has ended
	<-e.stopped
	if err := e.db.Close(); err != nil {
		return fmt.Errorf("closing database %s: %w", e.path, err)
	}
	return nil
}
