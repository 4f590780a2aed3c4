package caddymodule

import (
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/gatefold/gatefold/caddymodule/openstore"
	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/keys/keystest"
	"github.com/gatefold/gatefold/policy/store"
)

// Loads that succeed and loads that fail keep the caches, and leave one user of the
// database.
func TestReloadsKeepStateAndLeakNothing(t *testing.T) {
	s := newTestSite(t, standardRules)
	name, bearer := s.subscriber()
	link, id := s.link(keys.LinkClaims{MaxUses: 1})
	cookie := s.get(link).page().linkCookie()
	before := s.running().Policy

	good := s.config("", standardRules, "")
	bad := []string{
		s.config("", standardRules+"\n\t\tidentify jwt {\n\t\t\tissuer https://x.example\n\t\t}\n", ""), // fails in Provision
		s.config("", standardRules+"\n\t\tdeny {\n\t\t\terrors\n\t\t\tlogin /x\n\t\t}\n", ""),           // fails in Validate
		strings.Replace(good, "reverse_proxy", "bind 256.0.0.1\n\treverse_proxy", 1),                    // fails in Start
	}
	for i := range 12 {
		if err := load(bad[i%len(bad)]); err == nil {
			t.Fatalf("the bad configuration %d was loaded", i%len(bad))
		}
		if users, _ := openstore.Pool.References(s.database()); users != 1 {
			t.Fatalf("after a failed load the database has %d users", users)
		}
		s.get("/articles/hello", name, bearer).page()
		s.load(good)
		if users, _ := openstore.Pool.References(s.database()); users != 1 {
			t.Fatalf("after a load the database has %d users", users)
		}
	}
	if s.running().Policy != before {
		t.Error("the caches did not survive")
	}
	s.get("/articles/hello", "Cookie", cookie).page()
	s.get(link).denied(http.StatusForbidden, "link_used_up")
	if got := s.uses(id); got != 1 {
		t.Errorf("%d uses", got)
	}
}

// Requests in flight during reloads are answered with the same store.
func TestRequestsDuringReloads(t *testing.T) {
	s := newTestSite(t, standardRules)
	name, bearer := s.subscriber()
	link, id := s.link(keys.LinkClaims{MaxUses: 20})
	good := s.config("grace_period 10s", standardRules, "")

	stop := make(chan struct{})
	var answered atomic.Int64
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				for _, path := range []string{s.site + "/articles/hello", link} {
					request, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
					if path != link {
						request.Header.Set(name, bearer)
					}
					response, err := browser.Do(request)
					if err != nil {
						// The kernel resets connections in the old listener's queue
						// when Caddy closes it, without Gatefold too.
						if errors.Is(err, syscall.ECONNRESET) || errors.Is(err, io.EOF) {
							continue
						}
						t.Errorf("a request failed: %v", err)
						return
					}
					answered.Add(1)
					status := s.read(response).StatusCode
					if status != http.StatusOK && (path != link || status != http.StatusForbidden) {
						t.Errorf("%s: %d", path[:20], status)
					}
				}
			}
		})
	}
	for range 20 {
		s.load(good)
	}
	close(stop)
	readers.Wait()
	if answered.Load() == 0 {
		t.Error("no request was answered")
	}
	if got := s.uses(id); got > 20 {
		t.Errorf("%d uses of 20", got)
	}
}

// An app whose Provision failed before it acquired the database must not release it:
// that would close it under the running configuration.
func TestFailedProvisionReleasesNothing(t *testing.T) {
	s := newTestSite(t, standardRules)
	t.Setenv("GATEFOLD_TEST_SHORT", "short")
	for _, secret := range []string{"{env.GATEFOLD_TEST_UNSET}", "{env.GATEFOLD_TEST_SHORT}", "{file./nowhere/at/all}"} {
		config := strings.Replace(s.config("", standardRules, ""), "store bolt", "secret "+secret+"\n\t\tstore bolt", 1)
		if err := load(config); err == nil || !strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", secret, err)
		}
	}
	s.get("/").page()
	if users, _ := openstore.Pool.References(s.database()); users != 1 {
		t.Errorf("the database has %d users", users)
	}
	if err := new(App).Cleanup(); err != nil {
		t.Error(err)
	}
}

// Two names of a file are one database.
func TestSymlinkIsTheSameDatabase(t *testing.T) {
	s := newTestSite(t, standardRules)
	other := filepath.Join(s.dir, "link.db")
	if err := os.Symlink(s.database(), other); err != nil {
		t.Fatal(err)
	}
	s.load(strings.Replace(s.config("", standardRules, ""), s.database(), other, 1))
	s.get("/").page()
}

// Another secret than the one that sealed the keys fails the load. The running
// configuration continues.
func TestAnotherSecretFailsTheLoad(t *testing.T) {
	t.Setenv("GATEFOLD_TEST_A", "the first secret of this test")
	t.Setenv("GATEFOLD_TEST_B", "quite another secret of this test")
	s := newTestSite(t, "rule / any")
	with := func(name string) string {
		return strings.Replace(s.config("", standardRules, ""), "store bolt", "secret {env."+name+"}\n\t\tstore bolt", 1)
	}
	s.load(with("GATEFOLD_TEST_A"))
	token := s.reader(keys.ReaderClaims{UserID: "u"})
	if err := load(with("GATEFOLD_TEST_B")); err == nil || !strings.Contains(err.Error(), "signing key") {
		t.Errorf("the load with another secret gives %v", err)
	}
	s.get("/account", "Authorization", "Bearer "+token).page()
}

// The configuration holds the placeholder, never the secret.
func TestConfigurationHoldsNoSecret(t *testing.T) {
	t.Setenv("GATEFOLD_TEST_A", "the first secret of this test")
	s := newTestSite(t, "rule / any")
	text := strings.Replace(s.config("", standardRules, ""), "store bolt", "secret {env.GATEFOLD_TEST_A}\n\t\tstore bolt", 1)
	s.load(strings.Replace(text, "admin off", "admin 127.0.0.1:"+keystest.FreePort(t), 1))
	config, err := adapt(text)
	if err != nil || strings.Contains(string(config), "first secret") || strings.Contains(logged.String(), "first secret") {
		t.Errorf("the secret shows: %v %s", err, config)
	}
	app, err := caddy.ActiveContext().AppIfConfigured("gatefold")
	if err != nil || app.(*App).Secret != "{env.GATEFOLD_TEST_A}" {
		t.Errorf("the app's configuration holds %q, %v", app.(*App).Secret, err)
	}
}

// With a closed store the gate responds 503, except for public pages.
func TestClosedStoreClosesTheGate(t *testing.T) {
	s := newTestSiteWith(t, "", standardRules, "gatefold_keys other")
	link, _ := s.link(keys.LinkClaims{})
	s.grant(store.Grant{UserID: "u", SKU: "premium"})
	bearer := "Bearer " + s.reader(keys.ReaderClaims{UserID: "u"})
	app, err := caddy.ActiveContext().AppIfConfigured("gatefold")
	if err != nil {
		t.Fatal(err)
	}
	if err := app.(*App).shared.Engine.Close(); err != nil {
		t.Fatal(err)
	}
	got := s.get("/articles/hello", "Authorization", bearer).denied(http.StatusServiceUnavailable, "store_unavailable")
	if got.Header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	if got := s.get("/.well-known/jwks.json"); got.StatusCode != http.StatusServiceUnavailable || got.Header.Get("Retry-After") == "" {
		t.Errorf("the keys: %d, Retry-After %q", got.StatusCode, got.Header.Get("Retry-After"))
	}
	s.get(link).denied(http.StatusServiceUnavailable, "store_unavailable")
	s.origin.WantNone(t)
	s.get("/public/x").page()
}
