package store_test

import (
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/gatefold/gatefold/policy/store"
)

// The disk of the snapshots becomes read-only, a removal follows, and the node is killed: its
// snapshot on that disk does not know of the removal and cannot be removed. The next start
// does not use it, nor any start after it, until it is written again.
func TestSnapshotOnAReadOnlyDisk(t *testing.T) {
	t.Parallel()
	_, n := snapWorld(t)
	var readOnly atomic.Bool
	folder := n.killed()
	_ = n.Close()
	n2 := snapStart(t, n.url, folder, func(o *store.SnapshotOptions) {
		o.Fault(func() error {
			if readOnly.Load() {
				return syscall.EROFS
			}
			return nil
		})
	})
	n2.list = n.list
	grant := n2.give("ada", "extra")
	n2.settled()
	n2.offline().has("ada", "premium extra")
	readOnly.Store(true)
	n2.take(grant)
	disk := n2.killed()
	if files, err := filepath.Glob(filepath.Join(disk, "snapshots", "*.journal")); err != nil || len(files) != 1 {
		t.Fatalf("the journal is not on the disk: %v, %v", files, err)
	}
	for range 2 {
		again := snapStart(t, "redis://127.0.0.1:1", copyFolder(t, disk))
		again.opensNothing("not the newest one")
		_ = again.Close()
	}
	readOnly.Store(false)
	n2.settled()
	n2.offline().has("ada", "premium")
}

// An operator turns snapshots off, removes access, and turns them on again while Redis is
// away: what an earlier run kept, in whatever folder, is not used, also if the process that
// kept it still runs for a moment, as in a reload.
func TestSnapshotsThatWereTurnedOff(t *testing.T) {
	t.Parallel()
	_, n := snapWorld(t)
	n.offline().has("ada", "premium")
	seen := filepath.Join(n.folder, "seen.json")
	if err := store.VoidSnapshots(seen); err != nil {
		t.Fatal(err)
	}
	n.give("bob", "extra") // the old process notes changes and times no more
	if _, err := os.Stat(seen); !os.IsNotExist(err) {
		t.Errorf("the file is there: %v", err)
	}
	_ = n.Close()
	again := n.offline()
	again.opensNothing("")
	if state := again.State(); state.State == store.StateRestored {
		t.Error("the node says that it uses its snapshot")
	}
	if err := store.VoidSnapshots(filepath.Join(t.TempDir(), "none.json")); err != nil {
		t.Errorf("without earlier runs: %v", err)
	}
}
