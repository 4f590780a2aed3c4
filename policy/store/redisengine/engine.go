// Package redisengine is the shared store.Engine: a Redis that several nodes of
// Gatefold use together, a single server, one behind Sentinel, or a Cluster.
//
// A partition lies under six keys that share a hash tag, and so on one shard;
// every batch is one script there, whole or not at all. docs/redis.md describes
// the keys, what they weigh, and the server's settings.
//
//	keys.go                where a partition lies
//	options.go client.go   where the server is, and the connections to it
//	commit.go sweep.go     what is written, by commit.lua and sweep.lua
//	uses.go                uses of links, counted together by uses.lua
//	view.go scan.go        snapshots, read page by page by read.lua
//	feed.go                the change feed, and how other nodes hear of it
//	inspect.go errors.go   whether the server is fit, and what its errors mean
package redisengine

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gatefold/gatefold/policy/store/engine"

	"github.com/redis/go-redis/v9"
)

// Engine is a store.Engine in a Redis. New makes one.
type Engine struct {
	options Options
	keys    keyspace
	client  redis.UniversalClient
	// pipe sends the commits that come at the same time in one go.
	pipe *redis.AutoPipeliner
	// waiting has the connections on which the feed is waited for, and which
	// ask how far it is: they must not queue behind anything else.
	waiting redis.UniversalClient

	mu      sync.RWMutex // guards closed, and the step from running to waiting
	closed  bool
	running sync.WaitGroup // calls that Close waits for
	close   func() error

	registered sync.Map // partition -> time.Time, see register
	gatherings sync.Map // partition -> *gathering, see count
	evicts     atomic.Pointer[string]
}

var _ engine.Watcher = (*Engine)(nil)

// New returns an engine. It connects when it is first used; Inspect says whether
// the server is there, and fit.
func New(options Options) (*Engine, error) {
	if err := options.Check(); err != nil {
		return nil, err
	}
	options.setDefaults()
	e := &Engine{options: options, keys: newKeyspace(options.Prefix)}
	e.client = options.client(options.PoolSize, readRetries, options.Timeout)
	e.waiting = options.client(watchConnections, 1, min(options.Timeout, watchTimeout))
	pipe, err := autoPipeline(e.client)
	if err != nil {
		return nil, errors.Join(err, e.client.Close(), e.waiting.Close())
	}
	e.pipe = pipe
	e.close = sync.OnceValue(e.shut)
	return e, nil
}

// Close waits for what is running, then closes the connections. Calling it again
// does nothing more and returns the same.
func (e *Engine) Close() error { return e.close() }

func (e *Engine) shut() error {
	e.mu.Lock()
	e.closed = true
	e.mu.Unlock()
	waiting := e.waiting.Close() // whoever waits for the feed waits no longer
	e.running.Wait()
	return errors.Join(e.pipe.Close(), e.client.Close(), waiting)
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

// fail turns what a client returned into what the caller is told.
func (e *Engine) fail(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return ctx.Err()
	}
	e.mu.RLock()
	defer e.mu.RUnlock()
	if e.closed {
		return engine.ErrClosed
	}
	return explain(err)
}

const (
	// watchConnections bounds the connections that wait for feeds, one for each
	// partition that is followed.
	watchConnections = 4096
	// watchTimeout is how long an answer about the feed may take: the loss of a
	// message must be noticed within a second.
	watchTimeout = 300 * time.Millisecond
)
