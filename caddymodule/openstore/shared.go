package openstore

import (
	"cmp"
	"context"
	"errors"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"

	"github.com/gatefold/gatefold/caddymodule/nodestate"
	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/linkwatch"
	"github.com/gatefold/gatefold/policy/store"
	"github.com/gatefold/gatefold/policy/store/engine"
	"github.com/gatefold/gatefold/policy/supportcode"
	"github.com/gatefold/gatefold/policy/usage"
	"github.com/gatefold/gatefold/policy/webhook"
)

// Shared is a store with its caches. It outlives the configurations that use it,
// so it holds no context and no logger of theirs. Requests of an unloaded configuration
// that are still running when it is closed are answered with 503.
type Shared struct {
	key     string // in the Pool
	file    string // of an embedded database
	options Options

	Engine   *lazyEngine
	Store    *store.Store
	Versions *policy.Versions
	Policy   *policy.Policy
	// KeySets are the keys of publishers and of readers' issuers.
	KeySets  *keys.Sets
	Recorder *store.Recorder
	Watch    *linkwatch.Watch // of links
	Usage    *usage.Recorder  // of contracts
	Codes    *supportcode.Recorder
	Webhooks *webhook.Dispatcher // delivers events from Start on
	// Node has the conditions of the store, its key sets and its clock, until stopNode.
	Node *nodestate.Node
	// StaleFor is how long decisions are made from memory while the store is unreachable; zero
	// for an embedded database, which always is reachable.
	StaleFor time.Duration

	stopNode context.CancelFunc
	// invalidations tell other nodes of pages that requests changed, until stopNode.
	invalidations *pageInvalidations
	running       context.Context           // until stopNode
	opened        atomic.Pointer[storeFile] // of an embedded database
	backups       atomic.Pointer[backups]   // of the newest configuration; nil without any
}

// Options is what a store needs beside its configuration.
type Options struct {
	// Secret is that of the configuration; nil if it is in the file beside the database.
	Secret []byte
	// StaleFor is the option `stale_for`, zero if that is absent.
	StaleFor   time.Duration
	CacheBytes int64 // of the caches
	KeySets    keys.SetsOptions
	Now        func() time.Time
	// StalePages and CrawlerLists are what the conditions of the node are to know besides.
	StalePages   func(*Shared) *nodestate.StalePages
	CrawlerLists func() []nodestate.CrawlerList

	// Tests set the following; zero is the default of each.

	// RecordEvery is how often visits are written.
	RecordEvery time.Duration
	// BackupLook is how often it is looked whether a backup is due.
	BackupLook time.Duration
	// ClockStops is the difference of the clocks of this node and of a shared store from which
	// links are not redeemed and nothing is signed.
	ClockStops time.Duration
	// SelfCheckEvery is policy.Options.SelfCheckEvery.
	SelfCheckEvery uint64
	// OpenEngine opens the engine. Configured does so as the configuration says.
	OpenEngine func(s *Shared, configured func(*Shared) (engine.Engine, error)) (engine.Engine, error)
}

// newShared returns a store that is not open yet. Open opens its engine; an engine that
// other nodes write to invalidates the caches of the Shared.
func newShared(key, file string, o Options, open func(*Shared) (engine.Engine, error)) (*Shared, error) {
	o.RecordEvery = cmp.Or(o.RecordEvery, store.RecordEvery)
	o.ClockStops = cmp.Or(o.ClockStops, nodestate.ClockStops)
	o.BackupLook = cmp.Or(o.BackupLook, backupLook)
	o.Secret = nil // a store outlives the configuration that has it
	s := &Shared{key: key, file: file, options: o, StaleFor: o.StaleFor, Versions: new(policy.Versions)}
	s.Engine = &lazyEngine{make: func() (engine.Engine, error) { return open(s) }, committed: s.committed, read: s.read}
	s.Store = store.New(s.Engine, s.Versions, o.Now)
	s.Store.GuardClock(s.clockRight)
	o.KeySets.Now, o.KeySets.Store = o.Now, s.Store
	s.KeySets = keys.NewSets(o.KeySets)
	decisions, err := policy.New(policy.Options{
		Records: s.Store, Versions: s.Versions, Operators: policy.StandardOperators(),
		KeySets: s.KeySets, CacheBytes: o.CacheBytes, Now: o.Now, Fresh: s.fresh, Silence: s.silence, SelfCheckEvery: o.SelfCheckEvery,
	})
	if err != nil {
		s.KeySets.Close()
		return nil, err
	}
	s.Policy = decisions
	s.Recorder = store.NewRecorder(s.Store, o.RecordEvery, recordingFailed)
	s.Watch = linkwatch.New(linkwatch.Options{Store: s.Store, Now: o.Now, Interval: o.RecordEvery, Failed: watchingFailed})
	s.Usage = usage.New(usage.Options{Store: s.Store, Interval: o.RecordEvery, Failed: usageFailed})
	s.Codes = supportcode.New(supportcode.Options{Store: s.Store, Failed: codesFailed})
	s.Webhooks = webhook.New(webhook.Options{Store: s.Store, Now: o.Now, Failed: webhooksFailed})
	s.Node = nodestate.New(nodestate.Options{
		Now: o.Now, Changed: conditionChanged, Follower: s.Engine.Follower, KeySets: s.KeySets, Probe: s.Store.Probe, Replaced: s.Engine.replaced,
		ClockStops: o.ClockStops, Leaks: s.Watch.Leaks, Webhooks: s.Webhooks.Failing,
		Backups: s.backupState, DiskSpace: s.diskSpace, IndexBuilds: s.Store.IndexBuilds,
		StalePages: func() *nodestate.StalePages { return o.StalePages(s) }, CrawlerLists: o.CrawlerLists,
		Skews: func() []policy.ClockSkew { return s.Policy.ClockSkews(o.Now()) },
	})
	s.running, s.stopNode = context.WithCancel(context.Background())
	go s.Node.Run(s.running)
	s.invalidations = newPageInvalidations(s.running, invalidateEvery, s.sendInvalidations, invalidationFailed)
	return s, nil
}

// clockRight returns an error while the clock of this node differs too much.
func (s *Shared) clockRight() error {
	if ahead := s.Node.Server.ClockAhead(); ahead.Abs() > s.options.ClockStops {
		return &store.ClockError{Ahead: ahead}
	}
	return nil
}

// committed and read tell the node's conditions the results of the engine.
func (s *Shared) committed(partition string, err error) { s.Node.Writes.Done(partition, err) }
func (s *Shared) read(err error)                        { s.Node.Writes.Read(err) }

// fresh returns an error when what is in memory of a vendor is too old to decide
// from: never, unless other nodes share the store.
func (s *Shared) fresh(vendor string, at time.Time) error {
	if follower := s.Engine.Follower(); follower != nil && !follower.Fresh(vendor, at) {
		return policy.ErrStale
	}
	return nil
}

// silence returns for how long this node has not heard of changes: zero, unless other nodes
// share the store.
func (s *Shared) silence(vendor string, at time.Time) time.Duration {
	if follower := s.Engine.Follower(); follower != nil {
		return follower.Silence(vendor, at)
	}
	return 0
}

// recordingFailed logs that visits could not be recorded.
func recordingFailed(err error) {
	caddy.Log().Named("gatefold").Warn("visits of readers could not be recorded; requests are not affected", zap.Error(err))
}

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
func (s *Shared) Destruct() error {
	s.stopNode()
	s.invalidations.close()
	s.Webhooks.Close()
	s.Recorder.Close()
	s.Watch.Close()
	s.Usage.Close()
	s.Codes.Close()
	s.KeySets.Close()
	s.Policy.Close()
	return s.Engine.Close()
}

// Interface guard
var _ caddy.Destructor = (*Shared)(nil)
