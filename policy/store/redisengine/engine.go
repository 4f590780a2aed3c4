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

	"github.com/redis/go-redis/v9"

	"github.com/gatefold/gatefold/policy/store/engine"
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

	calls engine.Lifecycle

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
	return e, nil
}

// Close waits for running calls, then closes the connections. Calls that wait for
// the feed are interrupted. Closing again returns the same error.
func (e *Engine) Close() error {
	return e.calls.Close(e.waiting.Close, func() error { return errors.Join(e.pipe.Close(), e.client.Close()) })
}

// fail turns what a client returned into what the caller is told.
func (e *Engine) fail(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return ctx.Err()
	}
	if e.calls.Closed() {
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
