package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/gatefold/gatefold/policy/store/engine"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"

	"github.com/gatefold/gatefold/policy/store"
	"github.com/gatefold/gatefold/policy/store/redisengine"
)

// openRedis begins to follow the Redis that other nodes share. One that is away is
// no error: the node answers 503 until it is there. One that cannot be used is.
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
	_ = follower.Connect(ctx) // whoever asks for records is told
	return follower, nil
}

// inspectTimeout bounds how long a configuration is held up by a Redis.
const inspectTimeout = 10 * time.Second

// storeLog is where what happens to a store is told. A store outlives
// configurations, and so their loggers.
func storeLog() *zap.Logger { return caddy.Log().Named("gatefold.store") }

// storeChanged tells that a store went away or is back.
func storeChanged(partition string, err error) {
	logger := storeLog()
	if partition != "" {
		logger = logger.With(zap.String("partition", partition))
	}
	if err != nil {
		logger.Error("the store is away: what is in memory is used for a while", zap.Error(err))
		return
	}
	logger.Info("the store is there")
}

// inspector warns of settings of the server by which records could be lost, each
// once.
type inspector struct {
	engine *redisengine.Engine
	warned []string
}

func (i *inspector) inspect(ctx context.Context) error {
	found, err := i.engine.Inspect(ctx)
	for _, warning := range found.Warnings {
		if !slices.Contains(i.warned, warning) {
			storeLog().Warn(warning)
		}
	}
	if err == nil {
		i.warned = found.Warnings
	}
	return err
}

// again inspects while the server is in use.
func (i *inspector) again(ctx context.Context) {
	if err := i.inspect(ctx); err != nil && ctx.Err() == nil {
		storeLog().Warn("looking at the settings of the Redis server failed", zap.Error(err))
	}
}
