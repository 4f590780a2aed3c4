package boltengine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"go.etcd.io/bbolt"
)

// RestoreSuffix is in the name of the file that Restore takes, between the database's name
// and any other characters: Open removes what an interrupted restore left.
const RestoreSuffix = ".restore-"

// restoreStep is called between the phases of a restore; tests replace it.
var restoreStep = func(string) {}

// Restore puts the database of from in the place of the one at path, and keeps that one at
// kept, where nothing may be yet, unless kept is empty. Current is the engine that has path open, and with it the
// lock of the file; nil if there is no file, or none that can be opened. Restore closes both
// engines, whatever it returns.
//
// No partition's feed goes back: its position is moved behind that of current, so that what
// followed it notices that it missed something. The process may be killed at any moment:
// at path is either the old file or the restored one.
func Restore(ctx context.Context, path, kept string, current, from *Engine) (err error) {
	defer func() {
		if current != nil {
			err = errors.Join(err, current.Close())
		}
	}()
	if current != nil {
		err = from.moveFeeds(ctx, current)
	}
	if err = errors.Join(err, from.Close()); err != nil {
		return err
	}
	real, err := filepath.EvalSymlinks(path)
	if errors.Is(err, os.ErrNotExist) {
		real, err = path, nil
	}
	if err != nil {
		return err
	}
	like := real
	if _, err := os.Stat(real); err != nil {
		like = filepath.Dir(real)
	}
	if err := giveTo(from.path, like); err != nil {
		return err
	}
	restoreStep("complete")
	if kept != "" {
		if err := os.Link(real, kept); err != nil {
			return fmt.Errorf("keeping the old database: %w", err)
		}
		if err := syncDir(filepath.Dir(kept)); err != nil {
			return fmt.Errorf("keeping the old database: %w", err)
		}
	}
	restoreStep("kept")
	if err := os.Rename(from.path, real); err != nil {
		return fmt.Errorf("restoring database %s: %w", path, err)
	}
	restoreStep("in place")
	return syncDir(filepath.Dir(real))
}

// moveFeeds moves the positions of all feeds behind those of another engine.
func (e *Engine) moveFeeds(ctx context.Context, other *Engine) error {
	partitions, err := other.Partitions(ctx)
	if err != nil {
		return err
	}
	for _, partition := range partitions {
		position, err := other.Position(ctx, partition)
		if err != nil {
			return err
		}
		err = e.alone(ctx, func() error {
			return e.db.Update(func(tx *bbolt.Tx) error {
				p, err := openPartition(tx, partition)
				if err != nil {
					return err
				}
				return p.feed.SetSequence(max(position, p.feed.Sequence()) + 1)
			})
		})
		if err != nil {
			return err
		}
	}
	return nil
}
