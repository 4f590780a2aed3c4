package store_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store"
	"github.com/gatefold/gatefold/policy/store/nodefile"
	"github.com/gatefold/gatefold/policy/store/redisengine"
	"github.com/gatefold/gatefold/policy/store/redisengine/redistest"
)

// snapNode is a node with a snapshot in a folder.
type snapNode struct {
	*store.Follower
	store.Writer
	t        *testing.T
	url      string
	folder   string
	versions policy.Versions
	list     string
	ahead    atomic.Int64 // of its clock, in nanoseconds

	mu      sync.Mutex
	refused map[string]string
	failed  []string
}

const snapStaleFor = 30 * time.Second

func (n *snapNode) now() time.Time { return time.Now().Add(time.Duration(n.ahead.Load())) }

// snapStart starts a node with the snapshots in a folder.
func snapStart(t *testing.T, url, folder string, change ...func(*store.SnapshotOptions)) *snapNode {
	t.Helper()
	options, err := redisengine.ParseURLs([]string{url})
	if err != nil {
		t.Fatal(err)
	}
	options.Timeout, options.DialTimeout = time.Second, time.Second
	backend, err := redisengine.New(options)
	if err != nil {
		t.Fatal(err)
	}
	n := &snapNode{t: t, url: url, folder: folder, refused: map[string]string{}}
	kept := store.SnapshotOptions{
		Folder: filepath.Join(folder, "snapshots"), SeenFile: filepath.Join(folder, "seen.json"), Key: nodefile.Key{1}, MaxBytes: 64 << 20,
		Every: 5 * time.Millisecond, Restored: func(string, time.Duration) {},
		Failed: func(_ string, err error) {
			n.mu.Lock()
			defer n.mu.Unlock()
			if err != nil {
				n.failed = append(n.failed, err.Error())
			}
		},
		Refused: func(partition string, err error) {
			n.mu.Lock()
			defer n.mu.Unlock()
			n.refused[partition] = err.Error()
		},
	}
	for _, f := range change {
		f(&kept)
	}
	n.Follower = store.Follow(backend, store.FollowOptions{
		Versions: &n.versions, StaleFor: snapStaleFor, Now: n.now, Refresh: func(context.Context, string) {}, Snapshots: &kept,
		Rewrite:    func(context.Context, string, []store.Removal) (int, error) { return 0, nil },
		MemoryFile: filepath.Join(folder, "memory.json"),
	})
	n.Writer = store.New(n.Follower, &n.versions, n.now).As(store.Actor{})
	t.Cleanup(func() { _ = n.Close() })
	_ = n.Connect(t.Context())
	return n
}

func (n *snapNode) Close() error { return n.Follower.Close() }

func (n *snapNode) until(what string, done func() bool) {
	n.t.Helper()
	for end := time.Now().Add(30 * time.Second); !done(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			n.t.Fatalf("not in time: %s", what)
		}
	}
}

// usable waits until the node could start from its snapshot, with all that was written before
// the call.
func (n *snapNode) usable() {
	n.t.Helper()
	asked := n.now()
	n.until("the snapshot is usable", func() bool {
		state, kept := n.Snapshots()
		return kept && state.Usable && state.Age < n.now().Sub(asked)
	})
}

// killed returns what is on the disk of the node at this moment, as kill -9 would leave it.
func (n *snapNode) killed() string { return copyFolder(n.t, n.folder) }

func tablesIn(folder string) string {
	files, _ := filepath.Glob(filepath.Join(folder, "snapshots", "*.table"))
	return strings.Join(files, " ")
}

func copyFolder(t *testing.T, folder string) string {
	t.Helper()
	to := t.TempDir()
	for range 100 {
		before := tablesIn(folder) // else it is not a copy of one moment
		err := filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			name, _ := filepath.Rel(folder, path)
			target := filepath.Join(to, name)
			if err := os.MkdirAll(filepath.Dir(target), 0o700); err != nil {
				return err
			}
			return os.WriteFile(target, content, 0o600)
		})
		if err == nil && tablesIn(folder) == before {
			return to
		}
		to = t.TempDir()
	}
	t.Fatal("the folder cannot be copied")
	return ""
}

// sku of a grant that a reader has, empty for none. It fails the test for other errors than
// that the store is away.
func (n *snapNode) skus(user string) (skus string, err error) {
	n.t.Helper()
	records, err := n.ReaderRecords(n.t.Context(), vendor, policy.Reader{UserID: user})
	for _, grant := range records.Grants {
		if grant.Active {
			skus += grant.SKU + " "
		}
	}
	if err != nil && !errors.Is(err, store.ErrAway) {
		n.t.Fatal(err)
	}
	return strings.TrimSpace(skus), err
}

func (n *snapNode) has(user, skus string) {
	n.t.Helper()
	if got, err := n.skus(user); err != nil || got != skus {
		n.t.Fatalf("%s has %q, %v; want %q", user, got, err, skus)
	}
}

// opensNothing checks that the node decides nothing from its snapshot, because of an error
// with a text.
func (n *snapNode) opensNothing(because string) {
	n.t.Helper()
	if got, err := n.skus("ada"); err == nil {
		n.t.Fatalf("ada has %q", got)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if because != "" && !strings.Contains(n.refused[vendor], because) {
		n.t.Fatalf("the snapshot was refused because of %q, want %q", n.refused[vendor], because)
	}
}

func (n *snapNode) give(user, sku string) store.Grant {
	n.t.Helper()
	grant, err := n.CreateGrant(n.t.Context(), vendor, n.list, store.Grant{UserID: user, SKU: sku, Status: store.StatusActive})
	if err != nil {
		n.t.Fatal(err)
	}
	return grant
}

func (n *snapNode) take(grant store.Grant) {
	n.t.Helper()
	if err := n.DeleteGrant(n.t.Context(), vendor, n.list, grant.ID, nil); err != nil {
		n.t.Fatal(err)
	}
}

// snapWorld is a Redis with records, and a node whose snapshot has them.
func snapWorld(t *testing.T) (*redistest.Server, *snapNode) {
	t.Helper()
	redis := redistest.Start(t, "--appendonly", "yes", "--appendfsync", "always")
	n := snapStart(t, redis.URL(), t.TempDir())
	list, err := n.CreateList(t.Context(), vendor, store.AccessList{Name: "list", Status: store.StatusActive})
	if err != nil {
		t.Fatal(err)
	}
	n.list = list.ID
	n.give("ada", "premium")
	n.give("bob", "premium")
	n.settled()
	return redis, n
}

// A node that is killed and started while Redis is away knows who may read what, until
// stale_for is over; links with counted uses are refused. When Redis is back the node goes
// over to it, and a removal of the meantime holds at once.
func TestSnapshotRestart(t *testing.T) {
	t.Parallel()
	redis, n := snapWorld(t)
	plain, err := n.CreateLink(t.Context(), vendor, keys.LinkClaims{Issuer: "acme.test", ID: "link_a", ExpiresAt: n.now().Add(time.Hour).Unix(), SKU: "premium"})
	if err != nil {
		t.Fatal(err)
	}
	n.usable()
	n.settled()
	folder := n.killed()
	removed := n.give("ada", "extra") // the killed node does not see it
	_ = n.Close()
	redis.Stop()

	again := snapStart(t, redis.URL(), folder)
	again.list = n.list
	if state := again.State(); state.State == store.StateRestored {
		t.Fatal("restored before anything was read")
	}
	again.has("ada", "premium")
	again.has("a stranger", "")
	if state := again.State(); state.State != store.StateRestored || state.Left <= 0 || state.Left > snapStaleFor || state.Error == nil {
		t.Fatalf("the state is %+v", state)
	}
	if link, err := again.Link(t.Context(), vendor, plain.Claims.Issuer, plain.Claims.ID); err != nil || link.Claims.SKU != "premium" {
		t.Fatalf("the link is %+v, %v", link, err)
	}
	if _, err := again.Link(t.Context(), vendor, "acme.test", "link_none"); !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("an unknown link: %v", err)
	}
	if _, err := again.Uses(t.Context(), vendor, "acme.test", "link_a", []string{"1"}, ""); !errors.Is(err, store.ErrAway) {
		t.Fatalf("uses: %v", err)
	}
	if _, err := again.Lists(t.Context(), vendor, store.Page{Limit: 10}); !errors.Is(err, store.ErrAway) {
		t.Fatalf("a listing: %v", err)
	}
	if vendors, err := again.Vendors(t.Context()); !errors.Is(err, store.ErrAway) {
		t.Fatalf("vendors: %v, %v", vendors, err)
	}
	if !again.Fresh(vendor, again.now()) {
		t.Fatal("what was read of the snapshot is not fresh")
	}
	again.ahead.Store(int64(snapStaleFor))
	again.opensNothing("")
	if again.Fresh(vendor, again.now()) || again.State().State != store.StateClosed {
		t.Fatal("fresh after stale_for")
	}
	again.ahead.Store(0)
	again.has("ada", "premium")

	redis.Start()
	again.until("the store is back", func() bool { return again.State().State == store.StateFollowing })
	again.has("ada", "premium extra")
	again.take(removed)
	again.has("ada", "premium")
	again.usable() // and it goes on keeping one
}

// settled waits until the tables have all that was written before the call.
func (n *snapNode) settled() {
	n.t.Helper()
	n.touch()
	n.until("the tables are written", func() bool {
		state, _ := n.Snapshots()
		return state.Changed == 0
	})
	n.usable()
}

// touch changes so many readers that the table of readers is written again.
func (n *snapNode) touch() {
	n.t.Helper()
	var change policy.Invalidation
	for stripe := range uint16(1024) {
		change.Stripes = append(change.Stripes, stripe)
	}
	n.tell(change)
}

// offline starts a node from what the running one has on its disk, beside a Redis that cannot
// be reached.
func (n *snapNode) offline() *snapNode {
	n.t.Helper()
	return snapStart(n.t, "redis://127.0.0.1:1", n.killed())
}

// What changed after the table was written is refused, and never answered from it: a removal
// that the node saw holds when it is killed a moment later.
func TestSnapshotBehindARemoval(t *testing.T) {
	t.Parallel()
	redis, n := snapWorld(t)
	other := snapStart(t, redis.URL(), t.TempDir())
	other.list = n.list
	for i := range 20 {
		grant := n.give("ada", "extra")
		writer := n
		if i%2 == 1 {
			writer = other // then this node sees it in the feed
		}
		was := n.versions.Reader(vendor, &policy.Reader{UserID: "ada"})
		writer.take(grant)
		n.until("the node saw it", func() bool { return writer == n || n.versions.Reader(vendor, &policy.Reader{UserID: "ada"}) != was })
		again := n.offline()
		if got, err := again.skus("ada"); err == nil && strings.Contains(got, "extra") {
			t.Fatalf("round %d: ada has %q after the removal", i, got)
		}
		again.has("bob", "premium") // of others it is not known
		_ = again.Close()
	}
}

// Removing a list is a change of shared records: no snapshot before it opens anything, and the
// next one has it.
func TestSnapshotBehindASharedChange(t *testing.T) {
	t.Parallel()
	_, n := snapWorld(t)
	n.take(n.give("cid", "premium"))
	if err := n.tellShared(); err != nil {
		t.Fatal(err)
	}
	again := n.offline()
	if got, err := again.skus("bob"); err == nil {
		// The snapshot was written again in between.
		if state, _ := n.Snapshots(); !state.Usable {
			t.Fatalf("bob has %q", got)
		}
	}
	n.usable()
	n.offline().has("bob", "premium")
	list, err := n.List(t.Context(), vendor, n.list)
	if err != nil {
		t.Fatal(err)
	}
	if err := n.DeleteList(t.Context(), vendor, list.ID, func(store.AccessList) error { return nil }); err != nil {
		t.Fatal(err)
	}
	if got, err := n.offline().skus("bob"); err == nil && got != "" {
		t.Fatalf("bob has %q of a removed list", got)
	}
	n.usable()
	n.offline().has("bob", "")
}

// A thief who reads the disk finds no reader, no grant and no key in the files, and the files
// are readable by their owner alone.
func TestSnapshotTellsAThiefNothing(t *testing.T) {
	t.Parallel()
	_, n := snapWorld(t)
	files := 0
	for _, path := range snapFiles(t, n.killed()) {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, secret := range []string{"ada", "premium", vendor + "\x00", "list"} {
			if strings.Contains(string(content), secret) && len(secret) > 3 {
				t.Errorf("%s has %q", filepath.Base(path), secret)
			}
		}
		files++
	}
	for _, path := range snapFiles(t, n.folder) {
		if info, err := os.Stat(path); err == nil && info.Mode().Perm() != 0o600 {
			t.Errorf("%s has the mode %v", filepath.Base(path), info.Mode())
		}
	}
	if files < 3 {
		t.Fatalf("there are %d files", files)
	}
}

func snapFiles(t *testing.T, folder string) (files []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(folder, "snapshots", "*"))
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// An attacker who can write to the folder, but does not know the secret, puts other files in
// it: an older snapshot of this node, one of another node, one under another secret, and one of
// another vendor. None opens anything.
func TestSnapshotExchanged(t *testing.T) {
	t.Parallel()
	redis, n := snapWorld(t)
	older := n.killed()
	n.usable()
	newer := n.killed()
	replace := func(from, to string) string {
		to = copyFolder(t, to)
		if err := os.RemoveAll(filepath.Join(to, "snapshots")); err != nil {
			t.Fatal(err)
		}
		if err := os.CopyFS(filepath.Join(to, "snapshots"), os.DirFS(filepath.Join(from, "snapshots"))); err != nil {
			t.Fatal(err)
		}
		return to
	}
	const away = "redis://127.0.0.1:1"
	snapStart(t, away, newer).has("ada", "premium")
	snapStart(t, away, replace(older, newer)).opensNothing("older copy")

	other := snapStart(t, redis.URL(), t.TempDir())
	other.list = n.list
	other.has("ada", "premium")
	other.usable()
	snapStart(t, away, replace(other.killed(), newer)).opensNothing("sealed for another")
	snapStart(t, away, newer, func(o *store.SnapshotOptions) { o.Key = nodefile.Key{2} }).opensNothing("sealed for another")

	// The files of one vendor under the name of another.
	mixed := copyFolder(t, newer)
	content, err := os.ReadFile(filepath.Join(mixed, "seen.json"))
	if err != nil {
		t.Fatal(err)
	}
	content = bytes.ReplaceAll(content, []byte(`"`+vendor+`"`), []byte(`"other"`))
	if err := os.WriteFile(filepath.Join(mixed, "seen.json"), content, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range snapFiles(t, mixed) {
		name := filepath.Base(path)
		if err := os.Rename(path, filepath.Join(filepath.Dir(path), store.SnapshotName("other")+name[len(store.SnapshotName(vendor)):])); err != nil {
			t.Fatal(err)
		}
	}
	again := snapStart(t, away, mixed)
	if _, err := again.ReaderRecords(t.Context(), "other", policy.Reader{UserID: "ada"}); !errors.Is(err, store.ErrAway) {
		t.Fatalf("another vendor: %v", err)
	}
}

// A snapshot that is older than stale_for opens nothing, and neither does one from the future,
// as after the clock was set back.
func TestSnapshotTooOld(t *testing.T) {
	t.Parallel()
	_, n := snapWorld(t)
	folder := n.killed()
	for ahead, because := range map[time.Duration]string{snapStaleFor: "older than stale_for", -time.Minute: "future"} {
		options := func(*store.SnapshotOptions) {}
		again := snapStart(t, "redis://127.0.0.1:1", copyFolder(t, folder), options)
		again.ahead.Store(int64(ahead))
		again.opensNothing(because)
	}
}

// Of a file with flipped bits, a shortened and a lengthened one nothing is opened that was not
// there: the snapshot is refused, or it is the one that it was.
func TestSnapshotDamaged(t *testing.T) {
	t.Parallel()
	_, n := snapWorld(t)
	n.take(n.give("eve", "premium"))
	folder := n.killed()
	random := rand.New(rand.NewPCG(1, 2))
	refused := 0
	for _, name := range snapFiles(t, folder) {
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for range 40 {
			damaged := bytes.Clone(content)
			switch at := random.IntN(len(damaged)); random.IntN(4) {
			case 0:
				damaged = damaged[:at]
			case 1:
				damaged = append(damaged, damaged[at:]...)
			default:
				damaged[at] ^= 1 << random.IntN(8)
			}
			into := copyFolder(t, folder)
			if err := os.WriteFile(filepath.Join(into, "snapshots", filepath.Base(name)), damaged, 0o600); err != nil {
				t.Fatal(err)
			}
			again := snapStart(t, "redis://127.0.0.1:1", into)
			if got, err := again.skus("eve"); err == nil && got != "" {
				t.Fatalf("eve has %q", got)
			}
			if got, err := again.skus("ada"); err != nil {
				refused++
			} else if got != "premium" {
				t.Fatalf("ada has %q", got)
			}
			_ = again.Close()
		}
	}
	if refused == 0 {
		t.Fatal("no damage was noticed")
	}
}

// Killed at any moment while it writes, a node has a snapshot that opens nothing that was
// taken away before.
func TestSnapshotKilledWhileItWrites(t *testing.T) {
	t.Parallel()
	_, n := snapWorld(t)
	var taken atomic.Int64
	ctx, stop := context.WithCancel(t.Context())
	var writers sync.WaitGroup
	defer writers.Wait()
	defer stop()
	writers.Go(func() {
		for i := int64(1); ctx.Err() == nil; i++ {
			name := "reader" + string(rune('a'+i%26))
			grant, err := n.CreateGrant(ctx, vendor, n.list, store.Grant{UserID: name, SKU: "premium", Status: store.StatusActive})
			if err == nil {
				err = n.DeleteGrant(ctx, vendor, n.list, grant.ID, nil)
			}
			if err == nil {
				taken.Store(i)
			}
			if i%8 == 0 {
				_ = n.tellShared()
			}
		}
	})
	usable := 0
	for range 60 {
		before := taken.Load()
		folder := n.killed()
		after := taken.Load()
		again := snapStart(t, "redis://127.0.0.1:1", folder)
		if got, err := again.skus("bob"); err == nil {
			usable++
			if got != "premium" {
				t.Fatalf("bob has %q", got)
			}
		}
		// The newest that was taken before, unless it was given again meanwhile.
		if name := "reader" + string(rune('a'+before%26)); after < before+25 {
			if got, err := again.skus(name); err == nil && got != "" {
				t.Fatalf("%s has %q", name, got)
			}
		}
		_ = again.Close()
	}
	stop()
	writers.Wait()
	n.usable()
	n.offline().has("bob", "premium")
	t.Logf("%d of 60 were usable", usable)
}

// A snapshot that would be larger than its bound is not written, and says so.
func TestSnapshotBound(t *testing.T) {
	t.Parallel()
	redis, _ := snapWorld(t)
	n := snapStart(t, redis.URL(), t.TempDir(), func(o *store.SnapshotOptions) { o.MaxBytes = 100 })
	n.has("ada", "premium")
	n.until("it says so", func() bool {
		n.mu.Lock()
		defer n.mu.Unlock()
		return len(n.failed) > 0 && strings.Contains(n.failed[0], "limit")
	})
	if state, _ := n.Snapshots(); state.Usable || state.Bytes > 0 {
		t.Fatalf("%+v", state)
	}
}

func (n *snapNode) tell(change policy.Invalidation) {
	n.t.Helper()
	if err := store.Tell(n.t.Context(), n.Writer, vendor, change); err != nil {
		n.t.Fatal(err)
	}
}

func (n *snapNode) tellShared() error {
	return store.Tell(context.Background(), n.Writer, vendor, policy.Invalidation{Shared: true})
}
