package openstore

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"github.com/gatefold/gatefold/policy/store"
	"github.com/gatefold/gatefold/policy/store/engine"
)

// sweepInterval is how often the records whose retention is over are removed.
const sweepInterval = 10 * time.Minute

// Sweep builds the indexes that a database of an earlier version does not have, and removes
// records that expired long ago, and those that a nearly full store can spare, until the
// configuration is unloaded.
func (s *Shared) Sweep(ctx context.Context, logger *zap.Logger) {
	if err := s.Store.BuildIndexes(ctx); err != nil && ctx.Err() == nil && !errors.Is(err, engine.ErrClosed) && !errors.Is(err, store.ErrAway) {
		logger.Error("building the indexes failed: the next sweep continues", zap.Error(err))
	}
	ticker := time.NewTicker(sweepInterval)
	defer ticker.Stop()
	shedTicker := time.NewTicker(shedInterval)
	defer shedTicker.Stop()
	shedding := s.NewShedding(logger)
	for {
		select {
		case <-ctx.Done():
			return
		case <-shedTicker.C:
			shedding.Once(ctx, shedding.Needed)
		case <-ticker.C:
			if !s.SweepOnce(ctx, logger) {
				return
			}
			shedding.Again()
		}
	}
}

// SweepOnce is one sweep. It returns false when the store is closed.
func (s *Shared) SweepOnce(ctx context.Context, logger *zap.Logger) bool {
	switch removed, err := s.Store.Sweep(ctx); {
	case errors.Is(err, context.Canceled), errors.Is(err, engine.ErrClosed):
		return false
	case err != nil:
		logger.Error("removing ended records failed", zap.Error(err))
	case removed > 0:
		logger.Debug("removed ended records", zap.Int("count", removed))
	}
	return true
}
