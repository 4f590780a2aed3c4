package openstore

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"github.com/gatefold/gatefold/policy/store"
	"github.com/gatefold/gatefold/policy/store/engine"
)

const (
	// shedInterval is how often a part of what can be spared is removed while the store is
	// nearly full: as often as a Redis is asked how full it is.
	shedInterval = 10 * time.Second
	// shedFileRoom is the room in the file of an embedded database that is enough for removals
	// on a full disk, in bytes: as much as the reserve on the disk.
	shedFileRoom = 8 << 20
)

// Shedding removes what the store can spare while it is nearly full.
type Shedding struct {
	store   *Shared
	logger  *zap.Logger
	shedder *store.Shedder
	removed int  // in the pass that runs
	spent   bool // the last pass found nothing
}

// NewShedding returns the removal of what the store can spare.
func (s *Shared) NewShedding(logger *zap.Logger) *Shedding {
	return &Shedding{store: s, logger: logger, shedder: s.Store.NewShedder()}
}

// Needed reports whether the store is nearly full, and its file has no room of its own.
func (s *Shedding) Needed() bool {
	if !s.store.Node.Full() {
		return false
	}
	file := s.store.FileState()
	return file == nil || file.FreeBytes < shedFileRoom
}

// Once removes a part, unless the pass before found nothing to remove.
func (s *Shedding) Once(ctx context.Context, needed func() bool) {
	if s.spent || !needed() {
		return
	}
	removed, end, err := s.shedder.Shed(ctx, needed)
	if s.removed += removed; removed > 0 {
		s.logger.Warn("the store is nearly full: records that can be spared are removed", zap.Int("count", removed))
	}
	if end {
		s.spent, s.removed = s.removed == 0, 0
	}
	if err != nil && ctx.Err() == nil && !errors.Is(err, engine.ErrUnavailable) && !errors.Is(err, engine.ErrClosed) {
		s.logger.Error("removing ended records failed", zap.Error(err))
	}
}

// Again lets the next pass look whether there is something to remove.
func (s *Shedding) Again() { s.spent = false }
