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

// Engine is an engine.Engine in a Redis. New returns one.
type Engine struct {
	options Options
	keys    keyspace
	client  redis.UniversalClient
	// pipe sends concurrent commits in one round trip.
	pipe *redis.AutoPipeliner
	// waiting is the client that reads the feed and waits for it: it must not queue
	// behind other commands.
	waiting redis.UniversalClient

	calls engine.Lifecycle

	registered sync.Map // partition -> time.Time, see register
	gatherings sync.Map // partition -> *gathering, see count
	evicts     atomic.Pointer[string]
	marks      marks
	clocks     clocks
}

var _ engine.Watcher = (*Engine)(nil)

// New returns an engine, which connects at first use. Inspect checks the server.
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

// fail returns the error of a call for an error of the client.
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
	explained := explain(err)
	if errors.Is(explained, ErrUnreachable) {
		e.lookForMasters(ctx)
	}
	return explained
}

// lookForMasters asks a Cluster for its masters, in the background and at most a few times a
// second: after a failover nothing leads from the dead master to the new one, and the client
// would ask by itself only once a minute.
func (e *Engine) lookForMasters(ctx context.Context) {
	for _, client := range []redis.UniversalClient{e.client, e.waiting} {
		if cluster, ok := client.(*redis.ClusterClient); ok {
			cluster.ReloadState(ctx)
		}
	}
}

const (
	// watchConnections bounds the connections that wait for feeds: one per followed
	// partition.
	watchConnections = 4096
	// watchTimeout bounds an answer about the feed: a missed event must be noticed
	// within a second.
	watchTimeout = 300 * time.Millisecond
)
