package openstore

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"

	"github.com/gatefold/gatefold/admin/condition"
	"github.com/gatefold/gatefold/caddymodule/nodestate"
	"github.com/gatefold/gatefold/policy/store"
	"github.com/gatefold/gatefold/policy/store/engine"
	"github.com/gatefold/gatefold/policy/store/redisengine"
)

const defaultStaleFor = 30 * time.Second

// redisOptions returns the options of the engine redis. It checks the settings of
// the app that the engine depends on, and sets the default of StaleFor.
func (c *Config) redisOptions(o *Options) (redisengine.Options, error) {
	if o.Secret == nil {
		return redisengine.Options{}, errors.New("a secret is required with the engine redis, the same on all nodes: add `secret {env.NAME}`")
	}
	o.StaleFor = cmp.Or(o.StaleFor, defaultStaleFor)
	if o.StaleFor < 0 || o.StaleFor > 24*time.Hour {
		return redisengine.Options{}, errors.New("stale_for must be more than zero and at most 24h")
	}
	options, err := c.redis()
	if err != nil {
		return options, err
	}
	return options, options.Check()
}

// openRedis returns an engine over a shared Redis. An unreachable Redis is no error: the
// gate responds 503 until it can be reached. A Redis that is too old or refuses the
// credentials is one.
func openRedis(s *Shared, options redisengine.Options, snapshots *store.SnapshotOptions) (engine.Engine, error) {
	options.Now = s.options.Now
	if snapshots == nil {
		if err := dropSnapshots(&options); err != nil {
			return nil, fmt.Errorf("store: %w", err)
		}
	}
	backend, err := redisengine.New(options)
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	inspector := &inspector{engine: backend, server: s.Node.Server}
	ctx, cancel := context.WithTimeout(context.Background(), inspectTimeout)
	defer cancel()
	found, err := inspector.inspect(ctx)
	if err == nil {
		err = found.Refusal(&options)
	}
	if errors.Is(err, redisengine.ErrRefused) || errors.Is(err, redisengine.ErrTooOld) {
		return nil, errors.Join(fmt.Errorf("store: %w", err), backend.Close())
	}
	follower := store.Follow(backend, store.FollowOptions{
		Versions: s.Versions, Refresh: s.Policy.RefreshVendor, StaleFor: s.StaleFor, Now: s.options.Now,
		Check: inspector.again, Changed: storeChanged,
		Rewrite: s.Store.Rewrite, MemoryFile: memoryFile(&options), MemoryFailed: memoryFailed,
		Snapshots: snapshots,
	})
	_ = follower.Connect(ctx) // reads of records return the error
	return follower, nil
}

// memoryFile returns the file in which a node keeps what it saw of a Redis. It is the same
// after a restart, and another one for another Redis.
func memoryFile(options *redisengine.Options) string { return nodeFile(options, ".json") }

// nodeFile returns a file of the node for a Redis, in Caddy's data directory.
func nodeFile(options *redisengine.Options, ending string) string {
	return filepath.Join(caddy.AppDataDir(), "gatefold", "redis-"+redisName(options)+ending)
}

// redisName returns a name for a Redis, which does not depend on how it is reached.
func redisName(options *redisengine.Options) string {
	addresses := slices.Sorted(slices.Values(options.Addresses))
	name := sha256.Sum256(fmt.Appendf(nil, "%q %q %d %q", addresses, options.Master, options.Database, options.Prefix))
	return hex.EncodeToString(name[:8])
}

// memoryFailed logs that the file cannot be read or written.
func memoryFailed(err error) {
	logger := storeLog()
	logger.Warn("what this node saw of the Redis is not kept over a restart: after one it cannot notice that the Redis lost writes before", zap.Error(err))
}

// inspectTimeout bounds how long a Redis delays the load of a configuration.
const inspectTimeout = 10 * time.Second

// storeLog returns the logger of the store. It belongs to no configuration: a store
// survives reloads.
func storeLog() *zap.Logger { return caddy.Log().Named("gatefold.store") }

// storeChanged logs that a store became unreachable, or reachable again.
func storeChanged(partition string, err error) {
	logger := storeLog()
	if partition != "" {
		logger = logger.With(zap.String("partition", partition))
	}
	if err != nil {
		logger.Error("the store is unreachable: decisions are made from memory for a while", zap.Error(err))
		return
	}
	logger.Info("the store is reachable again")
}

// conditionChanged logs that something began to be wrong with the node, or ended.
func conditionChanged(c condition.Condition, began bool) {
	logger := caddy.Log().Named("gatefold").With(zap.String("condition", c.Name), zap.String("severity", string(c.Severity)),
		zap.String("subject", c.Subject), zap.String("what", c.What))
	switch {
	case !began:
		logger.Info("a condition ended", zap.Time("since", c.Since))
	case c.Severity == condition.Critical:
		logger.Error("a condition began", zap.String("remedy", c.Remedy))
	default:
		logger.Warn("a condition began", zap.String("remedy", c.Remedy))
	}
}

// inspector tells the node's conditions what it finds in the settings of the server.
type inspector struct {
	engine *redisengine.Engine
	server *nodestate.Server
}

func (i *inspector) inspect(ctx context.Context) (redisengine.Inspection, error) {
	found, err := i.engine.Inspect(ctx)
	if err == nil {
		i.server.Inspected(found)
	}
	return found, err
}

// again inspects the server at intervals while it is in use.
func (i *inspector) again(ctx context.Context) {
	if _, err := i.inspect(ctx); err != nil && ctx.Err() == nil {
		logger := storeLog()
		logger.Warn("looking at the settings of the Redis server failed", zap.Error(err))
	}
}
