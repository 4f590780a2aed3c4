package caddymodule

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"

	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store"
	"github.com/gatefold/gatefold/policy/store/boltengine"
	"github.com/gatefold/gatefold/policy/store/engine"
)

// pool holds what survives reloads, by what tells one store from another: the
// absolute path of a database, or StoreConfig.identity.
var pool = caddy.NewUsagePool()

// now is the clock of everything that is decided here, and since tells how long
// ago a time of that clock was, for half of what reading it costs; tests move both.
var (
	now   = time.Now
	since = time.Since
)

// shared is a store with what is in memory of it. It outlives the
// configurations that use it, so it keeps nothing of theirs: no context, no
// logger. Requests of an unloaded configuration may still be on their way when
// it is closed; they are answered 503.
type sharedStore struct {
	file     string // of an embedded database
	engine   *lazyEngine
	store    *store.Store
	versions *policy.Versions
	policy   *policy.Policy
	streams  streams
	// keySets are other people's keys: publishers' and readers' issuers'.
	keySets  *keys.Sets
	recorder *store.Recorder
}

// newShared returns a store that is not opened yet. With open an engine is opened;
// it is given what follows from records, for engines that others write to as well.
func newShared(file string, cacheBytes int64, open func(*sharedStore) (engine.Engine, error)) (*sharedStore, error) {
	s := &sharedStore{file: file, versions: new(policy.Versions)}
	s.engine = &lazyEngine{make: func() (engine.Engine, error) { return open(s) }}
	s.store = store.New(s.engine, s.versions, now)
	options := keySetOptions
	options.Now, options.Store = now, s.store
	s.keySets = keys.NewSets(options)
	decisions, err := policy.New(policy.Options{
		Records: s.store, Versions: s.versions, Operators: policy.StandardOperators(),
		KeySets: s.keySets, CacheBytes: cacheBytes, Now: now, Fresh: s.fresh, SelfCheckEvery: selfCheckEvery,
	})
	if err != nil {
		s.keySets.Close()
		return nil, err
	}
	s.policy = decisions
	s.recorder = store.NewRecorder(s.store, recordInterval, recordingFailed)
	return s, nil
}

// openBolt opens the embedded database.
func openBolt(s *sharedStore) (engine.Engine, error) {
	backend, err := boltengine.Open(s.file)
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	return backend, nil
}

// fresh returns an error when what is in memory of a vendor is too old to decide
// from: never, if the store is this process's own.
func (s *sharedStore) fresh(vendor string, at time.Time) error {
	if follower := s.engine.follower(); follower != nil && !follower.Fresh(vendor, at) {
		return policy.ErrStale
	}
	return nil
}

// selfCheckEvery is policy.Options.SelfCheckEvery; tests check every decision.
var selfCheckEvery uint64

// visitInterval is how often visits are written; tests do not wait for it.
var recordInterval = store.RecordEvery

// visitsLost tells the server's log that visits could not be recorded.
func recordingFailed(err error) {
	caddy.Log().Named("gatefold").Warn("visits of readers could not be recorded; requests are not affected", zap.Error(err))
}

// Destruct closes the store, when the last configuration released it.
func (s *sharedStore) Destruct() error {
	s.recorder.Close()
	s.keySets.Close()
	s.policy.Close()
	return s.engine.Close()
}

// lazyEngine opens the database at first use. Provision must not: it also runs
// for `caddy validate`, beside a server that has the file open.
type lazyEngine struct {
	make func() (engine.Engine, error)

	mu      sync.RWMutex
	engine  engine.Engine
	closed  bool
	follows atomic.Pointer[store.Follower] // the engine, if it is one that follows
}

// follower returns the engine if others write to it as well, else nil.
func (l *lazyEngine) follower() *store.Follower { return l.follows.Load() }

// open opens the database where it is not open yet. It may be tried again after
// it failed.
func (l *lazyEngine) open() error {
	_, err := l.get()
	return err
}

func (l *lazyEngine) get() (engine.Engine, error) {
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

func (l *lazyEngine) View(ctx context.Context, partition string, fn func(engine.Snapshot) error) error {
	backend, err := l.get()
	if err != nil {
		return err
	}
	done := storeOperation("view")
	err = backend.View(ctx, partition, fn)
	done(err)
	return err
}

func (l *lazyEngine) Commit(ctx context.Context, partition string, batch *engine.Batch) (engine.Committed, error) {
	backend, err := l.get()
	if err != nil {
		return engine.Committed{}, err
	}
	done := storeOperation("commit")
	committed, err := backend.Commit(ctx, partition, batch)
	done(err)
	return committed, err
}

func (l *lazyEngine) Events(ctx context.Context, partition string, after uint64, limit int) ([]engine.Event, error) {
	backend, err := l.get()
	if err != nil {
		return nil, err
	}
	return backend.Events(ctx, partition, after, limit)
}

func (l *lazyEngine) Position(ctx context.Context, partition string) (uint64, error) {
	backend, err := l.get()
	if err != nil {
		return 0, err
	}
	return backend.Position(ctx, partition)
}

func (l *lazyEngine) Partitions(ctx context.Context) ([]string, error) {
	backend, err := l.get()
	if err != nil {
		return nil, err
	}
	return backend.Partitions(ctx)
}

func (l *lazyEngine) Sweep(ctx context.Context, partition string, before time.Time, limit int) (int, error) {
	backend, err := l.get()
	if err != nil {
		return 0, err
	}
	done := storeOperation("sweep")
	removed, err := backend.Sweep(ctx, partition, before, limit)
	done(err)
	return removed, err
}

func (l *lazyEngine) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	if l.engine == nil {
		return nil
	}
	return l.engine.Close()
}

// Interface guards
var (
	_ caddy.Destructor = (*sharedStore)(nil)
	_ engine.Engine    = (*lazyEngine)(nil)
)
