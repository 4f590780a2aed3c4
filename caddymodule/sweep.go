package caddymodule

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

// sweep builds the indexes that a database of an earlier version does not have, and removes
// records that expired long ago, and those that a nearly full store can spare, until the
// configuration is unloaded.
func (a *App) sweep(ctx context.Context) {
	if err := a.shared.store.BuildIndexes(ctx); err != nil && ctx.Err() == nil && !errors.Is(err, engine.ErrClosed) && !errors.Is(err, store.ErrAway) {
		a.logger.Error("building the indexes failed: the next sweep continues", zap.Error(err))
	}
	ticker := time.NewTicker(sweepInterval)
	defer ticker.Stop()
	shedTicker := time.NewTicker(shedInterval)
	defer shedTicker.Stop()
	shedding := a.newShedding()
	for {
		select {
		case <-ctx.Done():
			return
		case <-shedTicker.C:
			shedding.once(ctx, shedding.needed)
		case <-ticker.C:
			if !a.sweepOnce(ctx) {
				return
			}
			shedding.again()
		}
	}
}

// sweepOnce is one sweep. It returns false when the store is closed.
func (a *App) sweepOnce(ctx context.Context) bool {
	switch removed, err := a.shared.store.Sweep(ctx); {
	case errors.Is(err, context.Canceled), errors.Is(err, engine.ErrClosed):
		return false
	case err != nil:
		a.logger.Error("removing ended records failed", zap.Error(err))
	case removed > 0:
		a.logger.Debug("removed ended records", zap.Int("count", removed))
	}
	return true
}
