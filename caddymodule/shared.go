package caddymodule

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store"
	"github.com/gatefold/gatefold/policy/store/boltengine"
)

// pool holds what survives reloads, by the absolute path of the database.
var pool = caddy.NewUsagePool()

// now is the clock of everything that is decided here; tests move it.
var now = time.Now

// shared is a store with what is in memory of it. It outlives the
// configurations that use it, so it keeps nothing of theirs: no context, no
// logger. Requests of an unloaded configuration may still be on their way when
// it is closed; they are answered 503.
type shared struct {
	file   string
	engine *lazyEngine
	store  *store.Store
	policy *policy.Policy
	// keySets are other people's keys: publishers' and readers' issuers'.
	keySets *keys.Sets
}

func newShared(file string, cacheBytes int64) (*shared, error) {
	versions := new(policy.Versions)
	engine := newLazyEngine(file)
	records := store.New(engine, versions, now)
	options := keySetOptions
	options.Now, options.Store = now, records
	keySets := keys.NewSets(options)
	decisions, err := policy.New(policy.Options{
		Records: records, Versions: versions, Operators: policy.StandardOperators(),
		KeySets: keySets, CacheBytes: cacheBytes, Now: now,
	})
	if err != nil {
		keySets.Close()
		return nil, err
	}
	return &shared{file: file, engine: engine, store: records, policy: decisions, keySets: keySets}, nil
}

// Destruct closes the store, when the last configuration released it.
func (s *shared) Destruct() error {
	s.keySets.Close()
	s.policy.Close()
	return s.engine.Close()
}

// lazyEngine opens the database at first use. Provision must not: it also runs
// for `caddy validate`, beside a server that has the file open.
type lazyEngine struct {
	file string

	mu     sync.RWMutex
	engine store.Engine
	closed bool
}

func newLazyEngine(file string) *lazyEngine { return &lazyEngine{file: file} }

// open opens the database where it is not open yet. It may be tried again after
// it failed.
func (l *lazyEngine) open() error {
	_, err := l.get()
	return err
}

func (l *lazyEngine) get() (store.Engine, error) {
	l.mu.RLock()
	engine, closed := l.engine, l.closed
	l.mu.RUnlock()
	if closed {
		return nil, store.ErrClosed
	}
	if engine != nil {
		return engine, nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, store.ErrClosed
	}
	if l.engine == nil {
		opened, err := boltengine.Open(l.file)
		if err != nil {
			return nil, fmt.Errorf("store: %w", err)
		}
		l.engine = opened
	}
	return l.engine, nil
}

func (l *lazyEngine) View(ctx context.Context, partition string, fn func(store.Snapshot) error) error {
	engine, err := l.get()
	if err != nil {
		return err
	}
	done := storeOperation("view")
	err = engine.View(ctx, partition, fn)
	done(err)
	return err
}

func (l *lazyEngine) Commit(ctx context.Context, partition string, batch *store.Batch) (store.Committed, error) {
	engine, err := l.get()
	if err != nil {
		return store.Committed{}, err
	}
	done := storeOperation("commit")
	committed, err := engine.Commit(ctx, partition, batch)
	done(err)
	return committed, err
}

func (l *lazyEngine) Events(ctx context.Context, partition string, after uint64, limit int) ([]store.Event, error) {
	engine, err := l.get()
	if err != nil {
		return nil, err
	}
	return engine.Events(ctx, partition, after, limit)
}

func (l *lazyEngine) Position(ctx context.Context, partition string) (uint64, error) {
	engine, err := l.get()
	if err != nil {
		return 0, err
	}
	return engine.Position(ctx, partition)
}

func (l *lazyEngine) Partitions(ctx context.Context) ([]string, error) {
	engine, err := l.get()
	if err != nil {
		return nil, err
	}
	return engine.Partitions(ctx)
}

func (l *lazyEngine) Sweep(ctx context.Context, partition string, before time.Time, limit int) (int, error) {
	engine, err := l.get()
	if err != nil {
		return 0, err
	}
	done := storeOperation("sweep")
	removed, err := engine.Sweep(ctx, partition, before, limit)
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
	_ caddy.Destructor = (*shared)(nil)
	_ store.Engine     = (*lazyEngine)(nil)
)
