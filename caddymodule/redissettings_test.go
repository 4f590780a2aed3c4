package caddymodule

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/keys/keystest"
	"github.com/gatefold/gatefold/policy/store"
	"github.com/gatefold/gatefold/policy/store/redisengine"
	"github.com/gatefold/gatefold/policy/store/redisengine/redistest"
)

// A Redis that evicts records at its limit of memory fails the load with the remedy; so does
// one that does not tell whether it does, until the operator declares that.
func TestRedisThatEvictsIsRefused(t *testing.T) {
	t.Setenv("GATEFOLD_TEST_SECRET", testSecret)
	evicts := redistest.Start(t, "--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru")
	hides := redistest.Start(t)
	hides.Do("acl", "setuser", "default", "-info")
	loads := func(redis *redistest.Server, options string) error {
		err := load(fmt.Sprintf(redisSite, "off", "store redis "+redis.URL()+" {\n"+options+"\n}\nsecret {env.GATEFOLD_TEST_SECRET}", keystest.FreePort(t)))
		if err := caddy.Stop(); err != nil {
			t.Error(err)
		}
		return err
	}
	for _, options := range []string{"", "eviction unknown"} {
		if err := loads(evicts, options); err == nil || !strings.Contains(err.Error(), "set maxmemory-policy noeviction") {
			t.Errorf("a Redis that evicts, with %q: %v", options, err)
		}
	}
	if err := loads(hides, ""); err == nil || !strings.Contains(err.Error(), "lacks a permission") {
		t.Errorf("a Redis without INFO: %v", err)
	}
	if err := loads(hides, "eviction unknown"); err != nil {
		t.Errorf("a Redis without INFO, declared: %v", err)
	}
	if err := loads(hides, "eviction noeviction"); err == nil || !strings.Contains(err.Error(), "must be unknown") {
		t.Errorf("another value: %v", err)
	}
	evicts.Do("config", "set", "maxmemory-policy", "noeviction")
	if err := loads(evicts, ""); err != nil {
		t.Errorf("after the remedy: %v", err)
	}
}

// A reload with one wrong digit in the port of the Redis fails, and the site goes on. With
// cold_start it loads; a start without a running configuration does so by itself.
func TestReloadToARedisThatWasNeverReached(t *testing.T) {
	s := newRedisSite(t, "")
	s.reader(keys.ReaderClaims{UserID: "ada"})
	before := s.shared()
	wrong := func(options string) string {
		return fmt.Sprintf(redisSite, "off", "store redis redis://127.0.0.1:"+keystest.FreePort(t)+" {\n"+options+"\n}\nsecret {env.GATEFOLD_TEST_SECRET}", keystest.FreePort(t))
	}
	err := load(wrong(""))
	if err == nil || !strings.Contains(err.Error(), "never reached") || !strings.Contains(err.Error(), "cold_start") {
		t.Fatalf("the reload says %v", err)
	}
	if s.shared() != before {
		t.Error("the store was replaced")
	}
	s.get("/page", "Authorization", "Bearer "+s.reader(keys.ReaderClaims{UserID: "ada"})).denied(http.StatusForbidden, "no_rule")
	if err := load(wrong("cold_start")); err != nil {
		t.Errorf("with cold_start the reload says %v", err)
	}
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := load(wrong("")); err != nil {
		t.Errorf("a start says %v", err)
	}
}

// The memory of the Redis fills up: the node says so at 80 and at 95 percent. When it is full,
// new grants are refused with the cause, and grants are removed and links revoked.
func TestRedisMemoryIsFull(t *testing.T) {
	keepClock(t)
	s := newRedisSite(t, "")
	records := s.running().Store.As(store.Actor{Name: "desk", Operation: "test"})
	grant, err := records.CreateGrant(t.Context(), defaultVendor, store.DefaultList, store.Grant{UserID: "ada", SKU: "premium"})
	if err != nil {
		t.Fatal(err)
	}
	_, id := s.link(keys.LinkClaims{})
	s.redis.Do("set", "ballast", strings.Repeat("x", 16<<20))
	limited := func(percent int, name string) {
		t.Helper()
		s.fillMemory(s.redis, percent, name)
		s.waitForCondition(name, "raise maxmemory")
	}
	limited(87, "redis_memory_filling")
	limited(97, "redis_memory_full")
	s.redis.Do("config", "set", "maxmemory", 1)
	if _, err := records.CreateGrant(t.Context(), defaultVendor, store.DefaultList, store.Grant{UserID: "bea", SKU: "premium"}); !errors.Is(err, redisengine.ErrFull) {
		t.Errorf("a new grant: %v", err)
	}
	if err := records.DeleteGrant(t.Context(), defaultVendor, store.DefaultList, grant.ID, nil); err != nil {
		t.Errorf("removing a grant: %v", err)
	}
	if _, err := records.RevokeLink(t.Context(), defaultVendor, keys.VendorIssuer(defaultVendor), id); err != nil {
		t.Errorf("revoking a link: %v", err)
	}
	s.redis.Do("config", "set", "maxmemory", 0)
	s.waitForEnd("redis_memory_full")
	link, err := s.running().Store.SignedLink(t.Context(), defaultVendor, keys.VendorIssuer(defaultVendor), id)
	if err != nil || link.RevokedAt.IsZero() {
		t.Errorf("the link is %+v, %v", link, err)
	}
}
