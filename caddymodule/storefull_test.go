package caddymodule

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy/store"
	"github.com/gatefold/gatefold/policy/store/redisengine/redistest"
)

// fillMemory limits the memory of a Redis so that a share of it is used, in percent, until the
// node has a condition. What clients and buffers take is little beside the ballast, once that of
// the request for it is free.
func (s *testSite) fillMemory(redis *redistest.Server, percent int, condition string) {
	s.Helper()
	s.waitFor(condition, func() bool {
		info, err := redis.Client().InfoMap(s.Context(), "memory").Result()
		if err != nil {
			s.Fatal(err)
		}
		used, err := strconv.Atoi(info["Memory"]["used_memory"])
		if err != nil {
			s.Fatal(err)
		}
		redis.Do("config", "set", "maxmemory", used*100/percent)
		return s.found(condition) != nil
	})
}

// The memory of the Redis is used to 97 %: the node removes what can be spared, says so, and
// leaves the room that is kept for removals. At 88 % nothing is removed.
func TestNearlyFullRedisSheds(t *testing.T) {
	keepClock(t)
	redis := redistest.Start(t, "--appendonly", "yes", "--appendfsync", "always")
	s, _ := newLoggedRedisSite(t, redis)
	logged.Reset()
	redis.Do("set", "ballast", strings.Repeat("x", 16<<20))
	repeated := func(id string) {
		t.Helper()
		record := &store.IdempotencyRecord{ID: id, Fingerprint: []byte(id)}
		if _, err := s.running().Store.As(store.Actor{}).Once(record).CreateGrant(t.Context(), defaultVendor, store.DefaultList, store.Grant{UserID: id, SKU: "premium"}); err != nil {
			t.Fatal(err)
		}
	}
	repeated("ada")
	clock.Advance(2 * time.Hour)
	shedding := s.shared().NewShedding(s.app().logger)
	s.fillMemory(redis, 88, "redis_memory_filling")
	shedding.Once(t.Context(), shedding.Needed)
	if count := s.shared().Store.Shed()["repeated_call"]; count != 0 || s.shared().Node.Full() {
		t.Fatalf("%d were removed at 88 %%", count)
	}
	s.fillMemory(redis, 97, "redis_memory_full")
	shedding.Once(t.Context(), shedding.Needed)
	if count := s.shared().Store.Shed()["repeated_call"]; count != 1 {
		t.Fatalf("%d were removed at 97 %%", count)
	}
	s.waitFor("the log says so", func() bool {
		return logLine(t, "the store is nearly full: records that can be spared are removed") != nil
	})
	if size := redis.Do("strlen", "gatefold:{default}:r"); fmt.Sprint(size) != fmt.Sprint(64<<10) {
		t.Errorf("the reserve has %v bytes", size)
	}

	// A pass that finds nothing is the last one until the next sweep.
	shedding.Once(t.Context(), shedding.Needed)
	repeated("bob")
	clock.Advance(2 * time.Hour)
	shedding.Once(t.Context(), shedding.Needed)
	if count := s.shared().Store.Shed()["repeated_call"]; count != 1 {
		t.Errorf("%d were removed without a sweep", count)
	}
	shedding.Again()
	shedding.Once(t.Context(), shedding.Needed)
	if count := s.shared().Store.Shed()["repeated_call"]; count != 2 {
		t.Errorf("%d were removed after a sweep", count)
	}
}

// The Redis has no memory left. A back office on another machine is told that the operator must
// make room, by an answer that no client repeats; it removes grants and revokes links as always,
// and writes again when there is memory, without a restart.
func TestFullRedisOverHTTP(t *testing.T) {
	keepClock(t)
	redis := redistest.Start(t, "--appendonly", "yes", "--appendfsync", "always")
	s, address := newLoggedRedisSite(t, redis)
	office := &apiSite{testSite: s, api: address}
	token := office.token(defaultVendor, "grants:*", "links:*")
	post := func(path, body string) answer {
		t.Helper()
		return s.post(address+path, "application/json", body, "Authorization", "Bearer "+token)
	}
	remove := func(path string) answer {
		t.Helper()
		return s.do(http.MethodDelete, address+path, "Authorization", "Bearer "+token)
	}
	const grants = "/management/access-lists/src_default/grants"
	made := post(grants, `{"userId":"ada","sku":"premium"}`)
	var grant struct{ ID string }
	if err := json.Unmarshal([]byte(made.body), &grant); err != nil || made.StatusCode != http.StatusCreated {
		t.Fatalf("%d %s", made.StatusCode, made.body)
	}
	_, link := s.link(keys.LinkClaims{PublisherContentID: "hello"})
	redis.Do("config", "set", "maxmemory", 1)

	for path, body := range map[string]string{
		grants:                           `{"userId":"bea","sku":"premium"}`,
		"/management/access-lists":       `{"name":"More"}`,
		"/management/create-signed-link": `{"sku":"premium"}`,
	} {
		got := post(path, body)
		var problem struct{ Code, Detail string }
		if err := json.Unmarshal([]byte(got.body), &problem); err != nil || got.StatusCode != http.StatusInsufficientStorage || problem.Code != "store_full" || got.Header.Get("Retry-After") != "" {
			t.Errorf("POST %s: %d %s", path, got.StatusCode, got.body)
		}
		if !strings.Contains(problem.Detail, "operator must make some") || strings.Contains(got.body, redis.Address()) || strings.Contains(got.body, "Redis") {
			t.Errorf("the answer says %s", got.body)
		}
	}
	s.get("/articles/hello", "Authorization", "Bearer "+s.reader(keys.ReaderClaims{UserID: "ada"})).page()
	if got := remove(grants + "/" + grant.ID); got.StatusCode != http.StatusNoContent {
		t.Errorf("a removal: %d %s", got.StatusCode, got.body)
	}
	s.get("/articles/hello", "Authorization", "Bearer "+s.reader(keys.ReaderClaims{UserID: "ada"})).denied(http.StatusForbidden, "not_entitled")
	if got := remove("/management/signed-links/" + link); got.StatusCode/100 != 2 {
		t.Errorf("a revocation: %d %s", got.StatusCode, got.body)
	}
	redis.Do("config", "set", "maxmemory", 0)
	if got := post(grants, `{"userId":"bea","sku":"premium"}`); got.StatusCode != http.StatusCreated {
		t.Errorf("with memory: %d %s", got.StatusCode, got.body)
	}
}
