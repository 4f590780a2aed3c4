package main

import (
	"encoding/json"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gatefold/gatefold/policy/store/redisengine/redistest"
)

// state is what `status --json` prints.
type state struct {
	Status     string
	Conditions []struct{ Name, Severity, What, Remedy string }
}

// state runs `status --json`, and returns what it says and its exit code.
func (s *server) state() (found state, code int) {
	s.t.Helper()
	got := s.command("status", "--json")
	if err := json.Unmarshal([]byte(got.stdout), &found); err != nil {
		s.t.Fatalf("status: %v: %s %s", err, got.stdout, got.stderr)
	}
	return found, got.code
}

func (f state) has(name string) bool {
	return slices.ContainsFunc(f.Conditions, func(c struct{ Name, Severity, What, Remedy string }) bool { return c.Name == name })
}

// An operator asks a node whose Redis evicts records and loses its writes in a restart:
// the exit code, the text, the health and the metric say so. When the settings are right
// everything is ok, without a restart.
func TestStatusOfARedisThatLosesRecords(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t, "--maxmemory-policy", "allkeys-lru")
	s := startNode(t, redis.URL(), "")
	link, _ := s.countedLink(1)
	s.get(s.site+link).expect(t, http.StatusServiceUnavailable, "store_unavailable")
	found, code := s.state()
	if code != 1 || found.Status != "degraded" || !found.has("redis_evicts") || !found.has("redis_not_persistent") || !found.has("counted_links_refused") {
		t.Errorf("exit code %d, %+v", code, found)
	}
	text := s.command("status")
	for _, part := range []string{"CRITICAL: redis_evicts", "maxmemory-policy allkeys-lru", "Set maxmemory-policy noeviction", "since "} {
		if !strings.Contains(text.stdout, part) {
			t.Errorf("status does not say %q:\n%s", part, text.stdout)
		}
	}
	if !strings.Contains(text.stderr, "an operator must act: counted_links_refused, redis_evicts, redis_not_persistent") {
		t.Errorf("status ends with %s", text.stderr)
	}
	if got := s.get("http://" + s.admin + "/gatefold/health"); got.StatusCode != http.StatusOK || !strings.Contains(got.body, `"degraded"`) {
		t.Errorf("the health is %d %s", got.StatusCode, got.body)
	}
	if !strings.Contains(s.get("http://"+s.admin+"/metrics").body, `gatefold_condition{name="redis_evicts",severity="critical"} 1`) {
		t.Error("the metric does not have the condition")
	}
	redis.Do("config", "set", "maxmemory-policy", "noeviction")
	redis.Do("config", "set", "appendfsync", "always")
	redis.Do("config", "set", "appendonly", "yes")
	s.waitFor("the node is ok", func() bool {
		found, code := s.state()
		return code == 0 && found.Status == "ok"
	})
	s.get(s.site+link).expect(t, http.StatusOK, "")
}

// A script starts a server and goes on: `status --wait` waits until the commands work, and
// until a node whose Redis comes later can decide. It does not wait for ever.
func TestStatusWaits(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	if got := s.command("status", "--wait", "300ms"); got.code != 1 || !strings.Contains(got.stderr, "not ready after 300ms") {
		t.Errorf("without a server: %d %s", got.code, got.stderr)
	}
	for _, args := range [][]string{{"status", "30s"}, {"status", "--wait", "soon"}, {"status", "--wait=0s"}} {
		if got := s.command(args...); got.code == 0 {
			t.Errorf("%v: %s", args, got.stdout)
		}
	}
	s.launch()
	s.must("status", "--wait")
	s.must("token", "reader", "--user", "ada")

	redis := redistest.New(t)
	node := startNode(t, redis.URL(), "")
	found, code := node.state()
	if code != 1 || found.Status != "failing" || !found.has("store_unreachable") {
		t.Errorf("before its Redis: exit code %d, %+v", code, found)
	}
	time.AfterFunc(300*time.Millisecond, redis.Start)
	node.must("status", "--wait", "30s") // with redis_not_persistent
	node.must("token", "reader", "--user", "ada")
}

// A database is damaged on its disk: `store verify` prints a verdict with the page, and no
// stack.
func TestVerifyOfADamagedDatabase(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	s.must("token", "reader", "--user", "ada")
	s.stop()
	s.damage()
	got := runCommand(t, s.dir, s.environment(), "store", "verify", s.database())
	if got.code != 1 || !strings.Contains(got.stderr, "is damaged") || strings.Contains(got.stderr, "goroutine") || !strings.Contains(got.stderr, "page ") {
		t.Errorf("exit code %d: %s %s", got.code, got.stdout, got.stderr)
	}
}

// damage overwrites the type and the further pages of all pages but the first two.
func (s *server) damage() {
	s.t.Helper()
	content, err := os.ReadFile(s.database())
	if err != nil {
		s.t.Fatal(err)
	}
	for at := 2 * os.Getpagesize(); at+16 <= len(content); at += os.Getpagesize() {
		copy(content[at+8:], []byte{2, 0, 255, 255, 255, 255, 255, 127})
	}
	if err := os.WriteFile(s.database(), content, 0o600); err != nil {
		s.t.Fatal(err)
	}
}
