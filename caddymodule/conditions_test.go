package caddymodule

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gatefold/gatefold/admin/condition"
	"github.com/gatefold/gatefold/caddymodule/openstore"
	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/keys/keystest"
	"github.com/gatefold/gatefold/policy/store"
	"github.com/gatefold/gatefold/policy/store/engine"
)

// found returns the condition of a name, nil while nothing of the kind is wrong.
func (s *testSite) found(name string) *condition.Condition {
	s.Helper()
	var found *condition.Condition
	openstore.Pool.Range(func(_, value any) bool {
		for _, c := range value.(*openstore.Shared).Node.Look() {
			if c.Name == name {
				found = &c
			}
		}
		return true
	})
	return found
}

// keepClock sets the clock back at the end of a test that moves it.
func keepClock(t *testing.T) {
	was := clock.Now()
	t.Cleanup(func() { clock.Set(was) })
}

// waitForCondition waits until something is wrong, and checks what is said of it.
func (s *testSite) waitForCondition(name string, says ...string) {
	s.Helper()
	s.waitFor(name, func() bool { return s.found(name) != nil })
	for _, part := range says {
		if c := s.found(name); c == nil || !strings.Contains(c.What, part) {
			s.Errorf("%s says %+v, want %q", name, c, part)
		}
	}
}

func (s *testSite) waitForEnd(name string) {
	s.Helper()
	s.waitFor("the end of "+name, func() bool { return s.found(name) == nil })
}

// writeMuch makes a write of 24 MiB into the site's store, which needs new pages of the disk.
func writeMuch(s *testSite) error {
	batch := new(engine.Batch)
	for i := range 24 {
		batch.Puts = append(batch.Puts, engine.Put{Key: fmt.Appendf(nil, "\x01much/%d", i), Value: make([]byte, engine.MaxValueSize)})
	}
	_, err := s.shared().Engine.Commit(context.Background(), defaultVendor, batch)
	return err
}

// The disk is full, which a limit on the size of files plays: it fails the same system
// calls. The node says so although small writes still fit, and counted links are said to
// be refused. When there is space again the condition ends after a minute, without a
// restart.
func TestConditionFullDisk(t *testing.T) {
	keepClock(t)
	s, admin := newAdminSite(t)
	s.subscriber()
	signal.Ignore(syscall.SIGXFSZ) // else the limit ends the process
	var before syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &before); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(s.database())
	if err != nil {
		t.Fatal(err)
	}
	full := before
	full.Cur = uint64(info.Size())
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &full); err != nil {
		t.Fatal(err)
	}
	lift := func() {
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &before); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(lift)
	if c := s.found("writes_failing"); c != nil {
		t.Fatalf("nothing failed yet: %+v", c)
	}
	if writeMuch(s) == nil {
		t.Fatal("the disk is not full")
	}
	s.grant(store.Grant{UserID: "small", SKU: "premium"}) // small writes still fit
	s.waitForCondition("writes_failing", "no space for database")
	if c := s.found("counted_links_refused"); c != nil {
		t.Errorf("a use still fits: %+v", c)
	}
	if series := s.scrape(admin); series[`gatefold_condition{name="writes_failing",severity="critical"}`] != 1 {
		t.Errorf("the metric is %v", series)
	}
	lift()
	if err := writeMuch(s); err != nil {
		t.Fatal(err)
	}
	s.waitForCondition("writes_failing") // shown for a minute, so that Prometheus sees it
	clock.Advance(2 * time.Minute)
	s.waitForEnd("writes_failing")
	s.waitForEnd("counted_links_refused")
}

// A page of the file is damaged while the server runs: the request gets 503, the server
// goes on, and the node says what is wrong.
func TestConditionDamagedFile(t *testing.T) {
	s := newTestSite(t, standardRules)
	name, bearer := s.subscriber()
	for i := range 300 {
		s.grant(store.Grant{UserID: fmt.Sprint("reader-", i), SKU: "premium"})
	}
	content, err := os.ReadFile(s.database())
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.OpenFile(s.database(), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for at := 2 * os.Getpagesize(); at+os.Getpagesize() <= len(content); at += os.Getpagesize() {
		if bytes.Contains(content[at:at+os.Getpagesize()], []byte("reader-")) {
			if _, err := file.WriteAt([]byte{0xff, 0xff}, int64(at)+8); err != nil { // the page's type
				t.Fatal(err)
			}
		}
	}
	s.get("/articles/hello", name, bearer).denied(http.StatusServiceUnavailable, "store_unavailable")
	s.waitForCondition("store_damaged", "damaged")
}

// The file is removed while the server runs, then another one is put in its place: the
// node says that what it writes is lost at a restart. It is no longer said once the
// open file is back.
func TestConditionReplacedFile(t *testing.T) {
	s := newTestSite(t, standardRules)
	s.grant(store.Grant{UserID: "ada", SKU: "premium"})
	probe := func() { s.shared().Node.Probe(t.Context()) } // as Run does every five seconds
	probe()
	if c := s.found("store_file_replaced"); c != nil {
		t.Fatalf("the file is in its place: %+v", c)
	}
	moved := s.database() + ".moved"
	if err := os.Rename(s.database(), moved); err != nil {
		t.Fatal(err)
	}
	probe()
	s.waitForCondition("store_file_replaced", "was removed")
	if err := os.WriteFile(s.database(), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	probe()
	s.waitForCondition("store_file_replaced", "was replaced")
	if err := os.Rename(moved, s.database()); err != nil {
		t.Fatal(err)
	}
	probe()
	s.waitForEnd("store_file_replaced")
}

// A database has many links that are in no index. The node that starts on it builds the index
// in the background, and says so until it is complete.
func TestConditionIndexBuilding(t *testing.T) {
	s := newTestSite(t, standardRules)
	w := s.shared().Store.As(store.Actor{})
	for range 20 {
		var claims []keys.LinkClaims
		for i := range 1000 {
			claims = append(claims, keys.LinkClaims{Issuer: keys.VendorIssuer(defaultVendor), ID: w.NewLinkID(), SKU: "s", Subject: fmt.Sprint("u", i), ExpiresAt: clock.Now().Unix() + 1e6})
		}
		if err := w.CreateLinks(t.Context(), defaultVendor, claims, false); err != nil {
			t.Fatal(err)
		}
	}
	s.load(s.config("", standardRules, "gatefold_keys"))
	s.waitForCondition("index_building", "of default", "records are read")
	s.waitForEnd("index_building")
}

// The Redis is one that evicts records and keeps nothing on disk. The node says both, and
// takes back what was mended.
func TestConditionRedisSettings(t *testing.T) {
	s := newRedisSite(t, "", "--maxmemory-policy", "allkeys-lru")
	s.waitForCondition("redis_evicts", "allkeys-lru")
	s.waitForCondition("counted_links_refused", "allkeys-lru")
	s.waitForCondition("redis_not_persistent", "appendonly yes")
	s.redis.Do("config", "set", "maxmemory-policy", "noeviction")
	s.redis.Do("config", "set", "appendonly", "yes")
	s.waitForCondition("redis_syncs_late", "once a second")
	for _, name := range []string{"redis_evicts", "counted_links_refused", "redis_not_persistent"} {
		s.waitForEnd(name)
	}
}

// The Redis refuses writes: it has no memory left, then it became a replica. Each is
// said with its cause, and ends without a restart.
func TestConditionRedisRefusesWrites(t *testing.T) {
	keepClock(t)
	s := newRedisSite(t, "")
	s.reader(keys.ReaderClaims{UserID: "ada"})
	grant := func() error {
		_, err := s.running().Store.As(store.Actor{}).CreateGrant(t.Context(), defaultVendor, store.DefaultList, store.Grant{UserID: "u", SKU: "premium"})
		return err
	}
	s.redis.Do("config", "set", "maxmemory", "1")
	if grant() == nil {
		t.Fatal("a full Redis took a write")
	}
	s.waitForCondition("writes_failing", "no memory left")
	s.redis.Do("config", "set", "maxmemory", "0")
	s.waitFor("a probe", func() bool { // as Run does every five seconds
		s.shared().Node.Probe(t.Context())
		clock.Advance(2 * time.Minute)
		return s.found("writes_failing") == nil
	})
	s.redis.Do("replicaof", "127.0.0.1", keystest.FreePort(t))
	s.redis.Do("config", "set", "replica-serve-stale-data", "yes")
	if grant() == nil {
		t.Fatal("a replica took a write")
	}
	s.waitForCondition("writes_failing", "read-only replica")
	s.waitForCondition("redis_read_only", "is a replica")
}

// Replicas must acknowledge, and none is connected: the node says so before the first
// write is refused.
func TestConditionNoReplica(t *testing.T) {
	s := newRedisSite(t, "") // starts the Redis
	config := fmt.Sprintf(redisSite, "off", "store redis "+s.redis.URL()+" {\nack_replicas 1 100ms\n}\nsecret {env.GATEFOLD_TEST_SECRET}", s.port)
	s.load(config)
	s.waitForCondition("replicas_missing", "asks for 1 replicas")
	s.waitForCondition("counted_links_refused")
	s.redis.StartReplica()
	s.waitForEnd("replicas_missing")
}

// The Redis is frozen: it does not answer, and its connections stay open. The node says
// that it decides from memory, and then that it is closed.
func TestConditionFrozenRedis(t *testing.T) {
	keepClock(t)
	s := newRedisSite(t, "stale_for 1m")
	s.reader(keys.ReaderClaims{UserID: "ada"}) // follows the vendor's feed
	s.redis.Pause()
	defer s.redis.Resume()
	s.waitFor("the node is away", func() bool {
		clock.Advance(100 * time.Millisecond)
		return s.found("store_unreachable") != nil
	})
	s.waitForCondition("counted_links_refused")
	s.waitForCondition("serving_stale", "from memory, for ")
	s.waitFor("the feed is behind", func() bool {
		clock.Advance(time.Second)
		return s.found("feed_behind") != nil
	})
	clock.Advance(2 * time.Minute)
	s.waitForCondition("gate_closed", "503")
	s.waitForEnd("serving_stale")
	s.redis.Resume()
	for _, name := range []string{"gate_closed", "store_unreachable", "feed_behind", "counted_links_refused"} {
		s.waitForEnd(name)
	}
}

// This node's clock, which is the tests', is days away from that of the Redis. Once it is
// set the condition ends.
func TestConditionClockOfRedis(t *testing.T) {
	keepClock(t)
	clock.Set(time.Now().Add(-5 * time.Minute))
	s := newRedisSite(t, "")
	s.waitForCondition("clock_off", "The clock of the Redis server is 5m0s ahead of this node's")
	clock.Set(time.Now().Add(5 * time.Minute))
	s.waitFor("the clock is behind", func() bool {
		c := s.found("clock_off")
		return c != nil && strings.Contains(c.What, "behind")
	})
	s.waitFor("the clock is set", func() bool {
		clock.Set(time.Now())
		return s.found("clock_off") == nil
	})
}

// An issuer's host takes connections and never answers. Its readers get 503 by the name of
// the keys, not of the store: in the problem, the log and the condition.
func TestConditionIssuerThatNeverAnswered(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	was := storeOptions.KeySets
	storeOptions.KeySets.Timeout, storeOptions.KeySets.Interval = 100*time.Millisecond, 10*time.Millisecond
	t.Cleanup(func() { storeOptions.KeySets = was })
	issuer := "https://" + silent.Addr().String()
	s := newTestSite(t, "identify jwt {\n\t\t\tissuer "+issuer+"\n\t\t\taudience news\n\t\t}\n"+standardRules)
	s.waitForCondition("issuer_keys_missing", "were never fetched")
	if c := s.found("issuer_keys_missing"); c.Subject != issuer {
		t.Errorf("the condition is about %q", c.Subject)
	}
	part := func(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }
	token := part(`{"alg":"ES256","kid":"k"}`) + "." + part(fmt.Sprintf(`{"iss":%q,"aud":"news","sub":"ada","exp":%d}`, issuer, clock.Now().Unix()+3600)) + "." + part(strings.Repeat("s", 64))
	s.get("/account", "Authorization", "Bearer "+token).denied(http.StatusServiceUnavailable, "keys_unavailable")
	entries := logged.entries(t, "http.handlers.gatefold")
	i := slices.IndexFunc(entries, func(e map[string]any) bool { return e["msg"] == "denied" })
	if text, _ := entries[max(i, 0)]["error"].(string); i < 0 || !strings.Contains(text, "keys") || strings.Contains(text, "store") {
		t.Errorf("the log says %v", entries)
	}
	if c := s.found("store_unreachable"); c != nil {
		t.Errorf("the store is blamed: %+v", c)
	}
	s.waitFor("the log says what began", func() bool {
		return slices.ContainsFunc(logged.entries(t, "gatefold"), func(e map[string]any) bool {
			return e["msg"] == "a condition began" && e["condition"] == "issuer_keys_missing" && e["remedy"] != ""
		})
	})
}
