package caddymodule

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store"
)

// snapshotSite is a site with a Redis, whose node has a snapshot of what is in it.
type snapshotSite struct {
	*redisSiteUnderTest
	config string
	bearer string
}

func newSnapshotSite(t *testing.T) *snapshotSite {
	t.Helper()
	s := &snapshotSite{redisSiteUnderTest: newRedisSite(t, "stale_for 1m", "--appendonly", "yes", "--appendfsync", "always")}
	s.config = fmt.Sprintf("{\n\tadmin off\n\tauto_https off\n\tlog {\n\t\toutput test\n\t}\n\tgatefold {\n\t\tstore redis %s {\n\t\t\tsnapshot %s\n\t\t}\n\t\tstale_for 1m\n\t\tsecret {env.GATEFOLD_TEST_SECRET}\n\t}\n}\n\nhttp://127.0.0.1:%s {\n\tgatefold {\n%s\n\t}\n\treverse_proxy %s\n}\n",
		s.redis.URL(), filepath.Join(s.dir, "snapshots"), s.port, streamRules, strings.TrimPrefix(s.origin.URL, "http://"))
	s.load(s.config)
	s.setRules(policy.Rule{Rank: 1, Path: "/", Forward: true, Allow: policy.Allow{
		Operator: "entitled", Arguments: policy.Arguments{"sku": json.RawMessage(`["premium"]`)},
	}})
	s.grant(store.Grant{UserID: "ada", SKU: "premium"})
	s.bearer = "Bearer " + s.reader(keys.ReaderClaims{UserID: "ada"})
	for i := range 700 { // so many changes that the tables are written again
		s.grant(store.Grant{UserID: fmt.Sprintf("reader%d", i), SKU: "premium"})
	}
	s.settled()
	return s
}

// settled waits until the snapshot has what was written before the last 700 grants.
func (s *snapshotSite) settled() {
	s.Helper()
	s.waitFor("the snapshot has everything", func() bool {
		clock.Advance(time.Millisecond)
		state, kept := s.shared().Engine.Follower().Snapshots()
		return kept && state.Usable && state.Changed*65536 < 512
	})
}

// logs waits for a line of the log.
func (s *snapshotSite) logs(line string) {
	s.Helper()
	s.waitFor(line, func() bool { return logLine(s, line) != nil })
}

// opens checks that the reader has the page.
func (s *snapshotSite) opens() {
	s.Helper()
	if answer := s.get("/page", "Authorization", s.bearer); answer.StatusCode != http.StatusOK {
		s.Fatalf("the reader is answered %d %s", answer.StatusCode, answer.body)
	}
}

// restart ends the server and starts it again.
func (s *snapshotSite) restart() {
	s.Helper()
	if err := caddy.Stop(); err != nil {
		s.Fatal(err)
	}
	s.load(s.config)
}

// A server that starts while its Redis is away decides from the snapshot of the node: readers
// have what they had, a link without a count opens, and one with a count does not. The
// condition, the health and the log say so. After stale_for it is closed; with the Redis it
// goes on, without a restart.
func TestStartFromSnapshot(t *testing.T) {
	keepClock(t)
	s := newSnapshotSite(t)
	plain, _ := s.link(keys.LinkClaims{SKU: "premium"})
	counted, _ := s.link(keys.LinkClaims{SKU: "premium", MaxUses: 3})
	for i := range 700 {
		s.grant(store.Grant{UserID: fmt.Sprintf("more%d", i), SKU: "premium"})
	}
	s.settled()
	s.redis.Kill()
	logged.Reset()
	s.restart()

	s.opens()
	if answer := s.get("/page"); answer.StatusCode != http.StatusUnauthorized {
		t.Errorf("a stranger is answered %d", answer.StatusCode)
	}
	if answer := s.get(strings.TrimPrefix(plain, s.site)); answer.StatusCode != http.StatusOK && answer.StatusCode/100 != 3 {
		t.Errorf("a link without a count is answered %d", answer.StatusCode)
	}
	s.get(strings.TrimPrefix(counted, s.site)).denied(http.StatusServiceUnavailable, "store_unavailable")
	s.waitForCondition("serving_snapshot", "from the snapshot of this node, for ")
	s.logs("decisions are made from the snapshot of this node: the store is unreachable since its start")
	clock.Advance(2 * time.Minute)
	s.get("/page", "Authorization", s.bearer).denied(http.StatusServiceUnavailable, "store_unavailable")
	s.waitForCondition("gate_closed", "503")
	s.restart()
	s.get("/page", "Authorization", s.bearer).denied(http.StatusServiceUnavailable, "store_unavailable")
	s.logs("the snapshot of this node is not used")

	s.redis.Start()
	s.waitForEnd("gate_closed")
	s.waitFor("the Redis decides", func() bool { return s.get("/page", "Authorization", s.bearer).StatusCode == http.StatusOK })
	s.settled() // and the snapshot goes on

	file := filepath.Join(s.dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s.config = strings.Replace(s.config, filepath.Join(s.dir, "snapshots"), file, 1)
	s.restart()
	s.opens()
	s.logs("the snapshot of this node cannot be written: without it, a node that starts while its Redis is away answers 503")
}

// An operator turns snapshots off: a server that starts while its Redis is away is closed. What
// was removed meanwhile stays closed after they are on again, although the files of the earlier
// run are there.
func TestSnapshotOff(t *testing.T) {
	keepClock(t)
	s := newSnapshotSite(t)
	on := s.config
	folder := filepath.Join(s.dir, "snapshots")
	s.config = strings.Replace(on, "snapshot "+folder, "snapshot off", 1)
	s.restart()
	s.opens()
	if _, kept := s.shared().Engine.Follower().Snapshots(); kept {
		t.Error("a snapshot is kept")
	}
	s.redis.Kill()
	s.restart()
	s.get("/page", "Authorization", s.bearer).denied(http.StatusServiceUnavailable, "store_unavailable")
	s.waitForCondition("gate_closed", "503")
	if s.found("serving_snapshot") != nil {
		t.Error("the node says that it uses a snapshot")
	}
	files, err := filepath.Glob(filepath.Join(folder, "*", "*.journal"))
	if err != nil || len(files) == 0 {
		t.Fatalf("the files of the earlier run are %v, %v", files, err)
	}
	s.config = on
	s.restart()
	s.get("/page", "Authorization", s.bearer).denied(http.StatusServiceUnavailable, "store_unavailable")
	s.redis.Start()
	s.waitForEnd("gate_closed")
	s.waitFor("the Redis decides", func() bool { return s.get("/page", "Authorization", s.bearer).StatusCode == http.StatusOK })

	// What makes the earlier files unusable cannot be written: the load says so.
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	seen := filepath.Join(caddy.AppDataDir(), "gatefold", "redis-"+filepath.Base(filepath.Dir(files[0]))+"-seen.json")
	if err := os.Remove(seen); err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(seen, "in the way"), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(seen) })
	if err := load(strings.Replace(on, "snapshot "+folder, "snapshot off", 1)); err == nil || !strings.Contains(err.Error(), "cannot be made unusable") || !strings.Contains(err.Error(), "data directory writable") {
		t.Errorf("the load says %v", err)
	}
}
