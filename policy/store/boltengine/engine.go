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
	"fmt"

	"go.etcd.io/bbolt"

	"github.com/gatefold/gatefold/policy/store/engine"
)

// Engine is a store.Engine in a bbolt file. Open makes one.
//
// A function given to View must not call Commit, Sweep or Close: bbolt may have
// to wait for running views before it can write, and they would wait for each
// other. It must not change the bytes that it reads either: they are the mapped
// file itself, and writing to them ends the process.
type Engine struct {
	db    *bbolt.DB
	path  string
	calls engine.Lifecycle

	queue   chan *job
	stopped chan struct{} // closed when the committer has ended
	broken  error         // why nothing is written any more; owned by the committer
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
