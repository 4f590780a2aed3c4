package boltengine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

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
	path  string
	calls engine.Lifecycle

	// swap guards db, file and what is at path, which Compact exchanges: a transaction is
	// begun, and a file of that name opened, with it. The committer, which exchanges them,
	// reads without it.
	swap sync.RWMutex
	db   *bbolt.DB
	file os.FileInfo // of the open file

	queue   chan *job
	single  chan func()
	stopped chan struct{} // closed when the committer has ended
	// Owned by the committer: why nothing is written any more, and whether the reserve is
	// given up, see keepReserve.
	broken error
	spent  bool

	changes atomic.Pointer[changes] // of a running compaction
	closing context.Context         // ends when Close is called
	close   context.CancelFunc
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
	file, err := os.Stat(path) //nolint:gosec // the path is the operator's
	if err != nil {
		_ = db.Close()
		return nil, explain(path, err)
	}
	removeLeftovers(path)
	e := &Engine{db: db, path: path, file: file, queue: make(chan *job), single: make(chan func()), stopped: make(chan struct{})}
	e.closing, e.close = context.WithCancel(context.Background())
	go e.commitLoop()
	return e, nil
}

// realPath returns the path of the file itself, if the path of the database is a link to it.
func (e *Engine) realPath() string {
	if real, err := filepath.EvalSymlinks(e.path); err == nil {
		return real
	}
	return e.path
}

// Replaced returns an error if the open file is no longer the one at its path. What is
// written to it then is lost when it is closed.
func (e *Engine) Replaced() error {
	e.swap.RLock()
	defer e.swap.RUnlock()
	switch file, err := os.Stat(e.path); {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("database %s was removed while it is open", e.path)
	case err == nil && !os.SameFile(file, e.file):
		return fmt.Errorf("database %s was replaced by another file while it is open", e.path)
	default:
		return nil // another error leaves open which file is there
	}
}

// Close waits for running calls, then closes the file. Closing again returns the
// same error.
func (e *Engine) Close() error {
	return e.calls.Close(func() error {
		e.close()
		return nil
	}, e.release)
}

func (e *Engine) release() error {
	close(e.queue) // no send can follow: every Commit has ended
	<-e.stopped
	if err := e.db.Close(); err != nil {
		return fmt.Errorf("closing database %s: %w", e.path, err)
	}
	return nil
}
