package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"

	"github.com/gatefold/gatefold/caddymodule/nodestate"
	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/linkwatch"
	"github.com/gatefold/gatefold/policy/store"
	"github.com/gatefold/gatefold/policy/store/boltengine"
	"github.com/gatefold/gatefold/policy/store/engine"
	"github.com/gatefold/gatefold/policy/supportcode"
	"github.com/gatefold/gatefold/policy/usage"
	"github.com/gatefold/gatefold/policy/webhook"
)

// pool holds the stores, which survive reloads, by the absolute path of a database or
// StoreConfig.identity.
var pool = caddy.NewUsagePool()

// now is the clock of all decisions, and since the time elapsed by that clock, at half
// the cost of now. Tests replace both.
var (
	now   = time.Now
	since = time.Since
)

// sharedStore is a store with its caches. It outlives the configurations that use it,
// so it holds no context and no logger of theirs. Requests of an unloaded configuration
// that are still running when it is closed are answered with 503.
type sharedStore struct {
	file     string // of an embedded database
	engine   *lazyEngine
	store    *store.Store
	versions *policy.Versions
	policy   *policy.Policy
	// keySets are the keys of publishers and of readers' issuers.
	keySets  *keys.Sets
	recorder *store.Recorder
	watch    *linkwatch.Watch // of links
	usage    *usage.Recorder  // of contracts
	codes    *supportcode.Recorder
	webhooks *webhook.Dispatcher // delivers events from Start on
	// node has the conditions of the store, its key sets and its clock, until stopNode.
	node     *nodestate.Node
	stopNode context.CancelFunc
	// invalidations tell other nodes of pages that requests changed, until stopNode.
	invalidations *pageInvalidations
	running       context.Context           // until stopNode
	opened        atomic.Pointer[storeFile] // of an embedded database
	backups       atomic.Pointer[backups]   // of the newest configuration; nil without any
}

// newShared returns a store that is not open yet. Open opens its engine; an engine that
// other nodes write to invalidates the caches of the sharedStore.
func newShared(file string, cacheBytes int64, open func(*sharedStore) (engine.Engine, error)) (*sharedStore, error) {
	s := &sharedStore{file: file, versions: new(policy.Versions)}
	s.engine = &lazyEngine{make: func() (engine.Engine, error) { return open(s) }, committed: s.committed, read: s.read}
	s.store = store.New(s.engine, s.versions, now)
	s.store.GuardClock(s.clockRight)
	options := keySetOptions
	options.Now, options.Store = now, s.store
	s.keySets = keys.NewSets(options)
	decisions, err := policy.New(policy.Options{
		Records: s.store, Versions: s.versions, Operators: policy.StandardOperators(),
		KeySets: s.keySets, CacheBytes: cacheBytes, Now: now, Fresh: s.fresh, Silence: s.silence, SelfCheckEvery: selfCheckEvery,
	})
	if err != nil {
		s.keySets.Close()
		return nil, err
	}
	s.policy = decisions
	s.recorder = store.NewRecorder(s.store, recordInterval, recordingFailed)
	s.watch = linkwatch.New(linkwatch.Options{Store: s.store, Now: now, Interval: recordInterval, Failed: watchingFailed})
	s.usage = usage.New(usage.Options{Store: s.store, Interval: recordInterval, Failed: usageFailed})
	s.codes = supportcode.New(supportcode.Options{Store: s.store, Failed: codesFailed})
	s.webhooks = webhook.New(webhook.Options{Store: s.store, Now: now, Poll: webhookInterval, Failed: webhooksFailed})
	s.node = nodestate.New(nodestate.Options{
		Now: now, Changed: conditionChanged, Follower: s.engine.follower, KeySets: s.keySets, Probe: s.store.Probe, Replaced: s.engine.replaced,
		ClockStops: clockStops, Leaks: s.watch.Leaks, Webhooks: s.webhooks.Failing,
		Backups: s.backupState, DiskSpace: s.diskSpace, IndexBuilds: s.store.IndexBuilds, StalePages: s.stalePages, CrawlerLists: crawlerListStates,
		Skews: func() []policy.ClockSkew { return s.policy.ClockSkews(now()) },
	})
	s.running, s.stopNode = context.WithCancel(context.Background())
	go s.node.Run(s.running)
	s.invalidations = newPageInvalidations(s.running, invalidateEvery, s.sendInvalidations, invalidationFailed)
	return s, nil
}

// clockStops is the difference of the clocks of this node and of a shared store from which
// links are not redeemed and nothing is signed; most tests have a clock of their own.
var clockStops = nodestate.ClockStops

// clockRight returns an error while the clock of this node differs too much.
func (s *sharedStore) clockRight() error {
	if ahead := s.node.Server.ClockAhead(); ahead.Abs() > clockStops {
		return &store.ClockError{Ahead: ahead}
	}
	return nil
}

// isNew reports whether the store was never written to.
func (s *sharedStore) isNew() (bool, error) {
	partitions, err := s.engine.Partitions(context.Background())
	return len(partitions) == 0, err
}

// committed and read tell the node's conditions the results of the engine.
func (s *sharedStore) committed(partition string, err error) { s.node.Writes.Done(partition, err) }
func (s *sharedStore) read(err error)                        { s.node.Writes.Read(err) }

// openBolt opens the embedded database. An empty one answers every question, so that only
// the log can say that the path is wrong, or its disk not mounted.
func openBolt(s *sharedStore) (engine.Engine, error) {
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

// fresh returns an error when what is in memory of a vendor is too old to decide
// from: never, unless other nodes share the store.
func (s *sharedStore) fresh(vendor string, at time.Time) error {
	if follower := s.engine.follower(); follower != nil && !follower.Fresh(vendor, at) {
		return policy.ErrStale
	}
	return nil
}

// silence returns for how long this node has not heard of changes: zero, unless other nodes
// share the store.
func (s *sharedStore) silence(vendor string, at time.Time) time.Duration {
	if follower := s.engine.follower(); follower != nil {
		return follower.Silence(vendor, at)
	}
	return 0
}

// selfCheckEvery is policy.Options.SelfCheckEvery; tests check every decision.
var selfCheckEvery uint64

// recordInterval is how often visits are written; tests shorten it.
var recordInterval = store.RecordEvery

// recordingFailed logs that visits could not be recorded.
func recordingFailed(err error) {
	caddy.Log().Named("gatefold").Warn("visits of readers could not be recorded; requests are not affected", zap.Error(err))
}

// webhookInterval is how often events of other nodes are looked for; tests shorten it.
var webhookInterval time.Duration

// webhooksFailed logs that events could not be read or settled: they are delivered later.
func webhooksFailed(err error) {
	if errors.Is(err, engine.ErrUnavailable) || errors.Is(err, engine.ErrClosed) {
		return // a condition of its own
	}
	caddy.Log().Named("gatefold").Warn("events of webhooks are delayed", zap.Error(err))
}

// watchingFailed logs that what happened with links could not be recorded.
func watchingFailed(err error) {
	caddy.Log().Named("gatefold").Warn("the history of links could not be recorded; requests are not affected", zap.Error(err))
}

// usageFailed logs that the usage of contracts could not be recorded.
func usageFailed(err error) {
	caddy.Log().Named("gatefold").Warn("the usage of contracts could not be recorded; requests are not affected", zap.Error(err))
}

// codesFailed logs that refusals could not be kept for their support codes.
func codesFailed(err error) {
	caddy.Log().Named("gatefold").Warn("refusals could not be kept for their support codes; requests are not affected", zap.Error(err))
}

// Destruct closes the store when no configuration uses it any more.
func (s *sharedStore) Destruct() error {
	s.stopNode()
	s.invalidations.close()
	s.webhooks.Close()
	s.recorder.Close()
	s.watch.Close()
	s.usage.Close()
	s.codes.Close()
	s.keySets.Close()
	s.policy.Close()
	return s.engine.Close()
}

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

// follower returns the engine if other nodes write to it as well, else nil.
func (l *lazyEngine) follower() *store.Follower { return l.follows.Load() }

// open opens the database unless it is open. It may be called again after an error.
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
	backend, err := l.get()
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

// Interface guards
var (
	_ caddy.Destructor = (*sharedStore)(nil)
	_ engine.Engine    = (*lazyEngine)(nil)
)
