package store_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store"
	"github.com/gatefold/gatefold/policy/store/engine"
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

// A removal is asked for while Redis is away. It is refused, so that its caller knows; the
// grant is there when Redis is back, on all nodes, and the repeated call removes it on all.
func TestRemovalDuringAnOutage(t *testing.T) {
	t.Parallel()
	redis, n := snapWorld(t)
	other := snapStart(t, redis.URL(), t.TempDir())
	grant := n.give("ada", "extra")
	other.has("ada", "premium extra")
	redis.Stop()
	n.until("the outage is noticed", func() bool {
		return n.DeleteGrant(t.Context(), vendor, n.list, "none", nil) != nil && n.State().Error != nil
	})
	if err := n.DeleteGrant(t.Context(), vendor, n.list, grant.ID, nil); !errors.Is(err, engine.ErrUnavailable) {
		t.Fatalf("a removal during the outage: %v", err)
	}
	redis.Start()
	for _, node := range []*snapNode{n, other} {
		node.until("the store is back", func() bool {
			_, err := node.ReaderRecords(t.Context(), vendor, policy.Reader{UserID: "ada"})
			return err == nil && node.State().State == store.StateFollowing
		})
		node.has("ada", "premium extra")
	}
	was := other.versions.Reader(vendor, &policy.Reader{UserID: "ada"})
	n.take(grant)
	n.has("ada", "premium")
	other.until("the other node hears of it", func() bool { return other.versions.Reader(vendor, &policy.Reader{UserID: "ada"}) != was })
	other.has("ada", "premium")
	n.offline().opensNot("ada", "extra")
}

// opensNot checks that a reader does not have a sku, whether or not the snapshot is usable.
func (n *snapNode) opensNot(user, sku string) {
	n.t.Helper()
	if got, err := n.skus(user); err == nil && strings.Contains(got, sku) {
		n.t.Fatalf("%s has %q", user, got)
	}
}
