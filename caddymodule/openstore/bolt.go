package openstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"

	"github.com/gatefold/gatefold/admin"
	"github.com/gatefold/gatefold/caddymodule/nodestate"
	"github.com/gatefold/gatefold/policy/store"
	"github.com/gatefold/gatefold/policy/store/boltengine"
	"github.com/gatefold/gatefold/policy/store/engine"
)

// checkEvery is how often the file of an embedded database is read as a whole. It is read
// after each opening, too: the process before may have been killed.
const checkEvery = 24 * time.Hour

// checkPause is the pause between two steps of a check, so that it takes neither the disk
// nor the processor from requests.
const checkPause = 100 * time.Millisecond

// storeFile is the open file of an embedded database.
type storeFile struct {
	database *boltengine.Engine
	checked  atomic.Pointer[time.Time] // the end of the last check
}

// openBolt opens the embedded database. An empty one answers every question, so that only
// the log can say that the path is wrong, or its disk not mounted.
func openBolt(s *Shared) (engine.Engine, error) {
	_, err := os.Stat(s.file)
	isNew := errors.Is(err, fs.ErrNotExist)
	backend, err := boltengine.Open(s.file)
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	if isNew {
		caddy.Log().Named("gatefold").Warn("made a new database, without grants and links: there was none", zap.String("file", s.file))
	}
	if err := backend.KeepRoom(s.running); err != nil {
		return nil, errors.Join(fmt.Errorf("store: %w", err), backend.Close())
	}
	opened := &storeFile{database: backend}
	s.opened.Store(opened)
	go s.checkFile(s.running, opened)
	return backend, nil
}

// checkFile checks the file until the store is closed. Damage is a condition of the node.
func (s *Shared) checkFile(ctx context.Context, file *storeFile) {
	pause := time.NewTimer(0)
	defer pause.Stop()
	wait := func(d time.Duration) error {
		pause.Reset(d)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-pause.C:
			return nil
		}
	}
	for wait(0) == nil {
		err := file.database.Check(ctx, store.CheckRecord, func() error { return wait(checkPause) })
		switch {
		case ctx.Err() != nil:
			return
		case err == nil, errors.Is(err, boltengine.ErrDamaged):
			at := s.options.Now()
			file.checked.Store(&at)
			s.read(err)
		default:
			storeLog().Warn("the database file could not be checked", zap.Error(err))
		}
		if wait(checkEvery) != nil {
			return
		}
	}
}

// diskSpace returns the size of the disk of the file and what is available, zero if that is
// not known.
func (s *Shared) diskSpace() (space nodestate.DiskSpace) {
	file := s.opened.Load()
	if file == nil {
		return space
	}
	space.ReserveGivenUp = file.database.ReserveGivenUp()
	if total, available, err := file.database.DiskSpace(); err == nil {
		space.Total, space.Available = total, available
	}
	return space
}

// FileState returns the state of the file, nil for a shared store or one that is not open.
func (s *Shared) FileState() *admin.StoreFile {
	file := s.opened.Load()
	if file == nil {
		return nil
	}
	state := &admin.StoreFile{CheckedAt: file.checked.Load()}
	var err error
	if state.Bytes, state.FreeBytes, err = file.database.Size(context.Background()); err != nil {
		return nil
	}
	return state
}
