package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"

	"github.com/gatefold/gatefold/policy/store"
	"github.com/gatefold/gatefold/policy/store/engine"
	"github.com/gatefold/gatefold/policy/store/redisengine"
)

// openRedis returns an engine over a shared Redis. An unreachable Redis is no error: the
// gate responds 503 until it can be reached. A Redis that is too old or refuses the
// credentials is one.
func openRedis(s *sharedStore, options redisengine.Options, staleFor time.Duration) (engine.Engine, error) {
	backend, err := redisengine.New(options)
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	inspector := &inspector{engine: backend}
	ctx, cancel := context.WithTimeout(context.Background(), inspectTimeout)
	defer cancel()
	if err := inspector.inspect(ctx); errors.Is(err, redisengine.ErrRefused) || errors.Is(err, redisengine.ErrTooOld) {
		return nil, errors.Join(fmt.Errorf("store: %w", err), backend.Close())
	}
	follower := store.Follow(backend, store.FollowOptions{
		Versions: s.versions, Refresh: s.policy.RefreshVendor, StaleFor: staleFor, Now: now,
		Check: inspector.again, Changed: storeChanged,
	})
	_ = follower.Connect(ctx) // reads of records return the error
	return follower, nil
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

// inspector logs a warning for each setting of the server that could lose records. A
// warning is not repeated while it holds.
type inspector struct {
	engine *redisengine.Engine
	warned []string
}

func (i *inspector) inspect(ctx context.Context) error {
	server, err := i.engine.Inspect(ctx)
	for _, warning := range server.Warnings {
		if !slices.Contains(i.warned, warning) {
			storeLog().Warn(warning)
		}
	}
	if err == nil {
		i.warned = server.Warnings
	}
	return err
}

// again inspects the server at intervals while it is in use.
func (i *inspector) again(ctx context.Context) {
	if err := i.inspect(ctx); err != nil && ctx.Err() == nil {
		storeLog().Warn("looking at the settings of the Redis server failed", zap.Error(err))
	}
}
