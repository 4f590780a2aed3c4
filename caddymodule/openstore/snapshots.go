package openstore

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"

	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy/store"
	"github.com/gatefold/gatefold/policy/store/nodefile"
	"github.com/gatefold/gatefold/policy/store/redisengine"
)

const (
	// snapshotOff is the value of Config.Snapshot for none.
	snapshotOff = "off"
	// maxSnapshotBytes bounds the snapshots of a node, of all vendors of a Redis.
	maxSnapshotBytes = 2 << 30
)

// snapshots returns the options of the node's snapshots, nil if they are off.
func (c *Config) snapshots(options *redisengine.Options, secret []byte) (*store.SnapshotOptions, error) {
	if c.Snapshot == snapshotOff {
		return nil, nil
	}
	folder, err := filepath.Abs(cmp.Or(c.Snapshot, snapshotFolder()))
	if err != nil {
		return nil, err
	}
	sealer, err := keys.NewSealer(secret)
	if err != nil {
		return nil, err
	}
	name := redisName(options)
	key, err := sealer.Derive(keys.PurposeSnapshot + " " + name)
	return &store.SnapshotOptions{
		Folder: filepath.Join(folder, name), SeenFile: nodeFile(options, "-seen.json"), Key: nodefile.Key(key), MaxBytes: maxSnapshotBytes,
		Failed: snapshotFailed, Restored: snapshotUsed, Refused: snapshotRefused,
	}, err
}

// dropSnapshots makes what earlier runs kept unusable, and removes it from the default folder.
func dropSnapshots(options *redisengine.Options) error {
	seen := nodeFile(options, "-seen.json")
	if err := store.VoidSnapshots(seen); err != nil {
		return fmt.Errorf("snapshot off: the snapshots of earlier runs cannot be made unusable (%w): make Caddy's data directory writable, or remove %s", err, seen)
	}
	if err := os.RemoveAll(filepath.Join(snapshotFolder(), redisName(options))); err != nil {
		snapshotFailed("", fmt.Errorf("files of earlier runs, which are unusable, cannot be removed: %w", err))
	}
	return nil
}

// snapshotFolder is the default folder of snapshots.
func snapshotFolder() string { return filepath.Join(caddy.AppDataDir(), "gatefold", "snapshots") }

// snapshotLog returns the logger of a vendor's snapshot.
func snapshotLog(vendor string) *zap.Logger { return storeLog().With(zap.String("partition", vendor)) }

// snapshotFailed logs that the snapshot cannot be written, or can again.
func snapshotFailed(vendor string, err error) {
	logger := snapshotLog(vendor)
	if err == nil {
		logger.Info("the snapshot of this node is written again")
		return
	}
	logger.Warn("the snapshot of this node cannot be written: without it, a node that starts while its Redis is away answers 503", zap.Error(err))
}

// snapshotUsed logs that the node starts from its snapshot.
func snapshotUsed(vendor string, age time.Duration) {
	logger := snapshotLog(vendor)
	logger.Warn("decisions are made from the snapshot of this node: the store is unreachable since its start", zap.Duration("age", age))
}

// snapshotRefused logs why the snapshot is not used.
func snapshotRefused(vendor string, err error) {
	logger := snapshotLog(vendor)
	logger.Error("the snapshot of this node is not used", zap.Error(err))
}
