package main

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gatefold/gatefold/keys/keystest"
	"github.com/gatefold/gatefold/policy/store/redisengine/redistest"
)

// remount mounts the disk again with options.
func (d *privateDisk) remount(t *testing.T, options string) {
	t.Helper()
	words := append(slices.Clone(d.prefix), "mount", "-o", "remount,"+options, d.folder)
	if out, err := exec.Command(words[0], words[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %v %s", words, err, out)
	}
}

// onDisk puts a folder of the server's on a disk of its own.
func (s *server) onDisk(folder, size string) *privateDisk {
	s.t.Helper()
	folder = filepath.Join(s.dir, folder)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		s.t.Fatal(err)
	}
	disk, err := newPrivateDisk(s.t, folder, size, false)
	if err != nil {
		s.t.Fatal(err)
	}
	s.prefix = disk.prefix
	return disk
}

// The disk with the snapshots and with Caddy's data directory is read-only when a node starts
// without its Redis. Whatever the killed process saw and could not note is unknown, so the node
// is closed; where it can write, it decides from its snapshot.
func TestSnapshotOnAReadOnlyDiskIsNotUsed(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	s := newNodeWith(t, redis.URL(), "stale_for 1h", []byte("the same secret on all nodes\n"))
	disk := s.onDisk("caddy", "64m")
	s.start()
	s.must("grant", "add", "--user", "ada", "--sku", "premium")
	token := s.must("token", "reader", "--user", "ada")
	ask := func() answer { return s.get(s.site+"/articles/hello", "Authorization", "Bearer "+token) }
	ask().expect(t, http.StatusOK, "")
	s.waitFor("the snapshot is usable", func() bool { return s.hasMetric("gatefold_snapshot_usable", 1) })
	s.kill()
	redis.Kill()
	disk.remount(t, "ro")
	s.start()
	ask().expect(t, http.StatusServiceUnavailable, "store_unavailable")
	if !s.hasCondition("gate_closed") || s.hasCondition("serving_snapshot") {
		t.Error("the node does not say that it is closed")
	}
	if text := s.log.String(); !strings.Contains(text, "the snapshot of this node is not used") || !strings.Contains(text, "this node cannot write its file") {
		t.Errorf("the log does not say why:\n%s", text)
	}
	s.kill()
	disk.remount(t, "rw")
	s.start()
	ask().expect(t, http.StatusOK, "")
}

// A log fills the disk of the database to its last byte. A back office on another machine is told
// that the operator must make room, and not where; the operator reads the folder at the node.
// Removals go on, with the room that is kept for them, which the node says when it is given up;
// with room everything works again, without a restart.
func TestFullDiskOverHTTP(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	disk := s.onDisk("data", "64m")
	folder := filepath.Join(s.dir, "data")
	port := keystest.FreePorts(t, 1)[0]
	s.management = "http://127.0.0.1:" + port
	config, err := os.ReadFile(s.config)
	if err != nil {
		t.Fatal(err)
	}
	s.writeConfig(strings.Replace(string(config), s.database(), filepath.Join(folder, "gatefold.db"), 1) + "\n" + s.management + " {\n\tbind 127.0.0.1\n\tgatefold_api\n}\n")
	s.start()
	id, secret := s.client("--scope", "grants:*")
	token := accessToken(t, s.management, id, secret)
	const grants = "/management/access-lists/src_default/grants"
	add := func(sku string) answer {
		t.Helper()
		body := fmt.Sprintf(`{"userId":"u","sku":%q,"notes":%q}`, sku, strings.Repeat("n", 1000))
		return postBody(t, s.management+grants, "application/json", body, "Authorization", "Bearer "+token)
	}
	var ids []string
	for i := range 600 {
		got := add(fmt.Sprint("sku-", i))
		if got.StatusCode != http.StatusCreated {
			t.Fatalf("%d %s", got.StatusCode, got.body)
		}
		ids = append(ids, between(got.body, `"id":"`))
	}
	free, err := disk.fill()
	if err != nil {
		t.Fatal(err)
	}
	var refused answer
	s.waitFor("new grants are refused", func() bool {
		refused = add("more")
		return refused.StatusCode != http.StatusCreated
	})
	if refused.StatusCode != http.StatusInsufficientStorage || !strings.Contains(refused.body, "store_full") || strings.Contains(refused.body, s.dir) || strings.Contains(refused.body, "gatefold.db") {
		t.Errorf("the back office is told %d %s", refused.StatusCode, refused.body)
	}
	s.waitFor("the node says so", func() bool { return s.hasCondition("writes_failing") && s.hasCondition("disk_full") })
	if status := s.command("status"); !strings.Contains(status.stdout, "on the disk of "+folder) {
		t.Errorf("status does not name the folder: %s", status.stdout)
	}
	if !strings.Contains(s.log.String(), "on the disk of "+folder) {
		t.Error("the log does not name the folder")
	}
	for i := 0; !s.hasGivenUp(); i++ {
		if i == len(ids) {
			t.Fatal("the reserve is not given up")
		}
		if status := s.api(http.MethodDelete, grants+"/"+ids[i], "", nil); status != http.StatusNoContent {
			t.Fatalf("removal %d: %d", i, status)
		}
	}
	s.waitFor("the node says that it is given up", func() bool {
		return strings.Contains(s.command("status").stdout, "What was kept for removals and revocations is given up to them")
	})
	if got := add("after"); got.StatusCode != http.StatusInsufficientStorage {
		t.Errorf("a grant takes what was given up: %d", got.StatusCode)
	}
	free()
	s.waitFor("a grant is made", func() bool { return add("room").StatusCode == http.StatusCreated })
	s.waitFor("the reserve is back", func() bool { return !s.hasGivenUp() && !s.hasCondition("disk_full") })
}

// hasGivenUp reports whether the reserve of the database on the disk of its own is empty.
func (s *server) hasGivenUp() bool {
	root := filepath.Join("/proc", fmt.Sprint(s.process.Process.Pid), "root")
	info, err := os.Stat(filepath.Join(root, s.dir, "data", "gatefold.db.reserve"))
	return err == nil && info.Size() == 0
}
