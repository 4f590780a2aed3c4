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

	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy/store"
)

// Loads that succeed and loads that fail keep the caches, and leave one user of the
// database.
func TestReloadsKeepStateAndLeakNothing(t *testing.T) {
	b := newBench(t, standardRules)
	name, bearer := b.subscriber()
	link, id := b.link(keys.LinkClaims{MaxUses: 1})
	cookie := b.get(link).page().linkCookie()
	before := b.running().policy

	good := b.config("", standardRules, "")
	bad := []string{
		b.config("", standardRules+"\n\t\tidentify jwt {\n\t\t\tissuer https://x.example\n\t\t}\n", ""), // fails in Provision
		b.config("", standardRules+"\n\t\tdeny {\n\t\t\terrors\n\t\t\tlogin /x\n\t\t}\n", ""),           // fails in Validate
		strings.Replace(good, "reverse_proxy", "bind 256.0.0.1\n\treverse_proxy", 1),                    // fails in Start
	}
	for i := range 12 {
		if err := load(bad[i%len(bad)]); err == nil {
			t.Fatalf("the bad configuration %d was loaded", i%len(bad))
		}
		if users, _ := pool.References(b.database()); users != 1 {
			t.Fatalf("after a failed load the database has %d users", users)
		}
		b.get("/articles/hello", name, bearer).page()
		b.load(good)
		if users, _ := pool.References(b.database()); users != 1 {
			t.Fatalf("after a load the database has %d users", users)
		}
	}
	if b.running().policy != before {
		t.Error("the caches did not survive")
	}
	b.get("/articles/hello", "Cookie", cookie).page()
	b.get(link).denied(http.StatusForbidden, "link_used_up")
	if got := b.uses(id); got != 1 {
		t.Errorf("%d uses", got)
	}
}

// Requests in flight during reloads are answered with the same store.
func TestRequestsDuringReloads(t *testing.T) {
	b := newBench(t, standardRules)
	name, bearer := b.subscriber()
	link, id := b.link(keys.LinkClaims{MaxUses: 20})
	good := b.config("grace_period 10s", standardRules, "")

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
				for _, path := range []string{b.site + "/articles/hello", link} {
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
					status := b.read(response).StatusCode
					if status != http.StatusOK && (path != link || status != http.StatusForbidden) {
						t.Errorf("%s: %d", path[:20], status)
					}
				}
			}
		})
	}
	for range 20 {
		b.load(good)
	}
	close(stop)
	readers.Wait()
	if answered.Load() == 0 {
		t.Error("no request was answered")
	}
	if got := b.uses(id); got > 20 {
		t.Errorf("%d uses of 20", got)
	}
}

// An app whose Provision failed before it acquired the database must not release it:
// that would close it under the running configuration.
func TestFailedProvisionReleasesNothing(t *testing.T) {
	b := newBench(t, standardRules)
	t.Setenv("GATEFOLD_TEST_SHORT", "short")
	for _, secret := range []string{"{env.GATEFOLD_TEST_UNSET}", "{env.GATEFOLD_TEST_SHORT}", "{file./nowhere/at/all}"} {
		config := strings.Replace(b.config("", standardRules, ""), "store bolt", "secret "+secret+"\n\t\tstore bolt", 1)
		if err := load(config); err == nil || !strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", secret, err)
		}
	}
	b.get("/").page()
	if users, _ := pool.References(b.database()); users != 1 {
		t.Errorf("the database has %d users", users)
	}
	if err := new(App).Cleanup(); err != nil {
		t.Error(err)
	}
}

// Two names of a file are one database.
func TestSymlinkIsTheSameDatabase(t *testing.T) {
	b := newBench(t, standardRules)
	other := filepath.Join(b.dir, "link.db")
	if err := os.Symlink(b.database(), other); err != nil {
		t.Fatal(err)
	}
	b.load(strings.Replace(b.config("", standardRules, ""), b.database(), other, 1))
	b.get("/").page()
}

// Another secret than the one that sealed the keys fails the load. The running
// configuration continues.
func TestAnotherSecretFailsTheLoad(t *testing.T) {
	t.Setenv("GATEFOLD_TEST_A", "the first secret of this test")
	t.Setenv("GATEFOLD_TEST_B", "quite another secret of this test")
	b := newBench(t, "rule / any")
	with := func(name string) string {
		return strings.Replace(b.config("", standardRules, ""), "store bolt", "secret {env."+name+"}\n\t\tstore bolt", 1)
	}
	b.load(with("GATEFOLD_TEST_A"))
	token := b.reader(keys.ReaderClaims{UserID: "u"})
	if err := load(with("GATEFOLD_TEST_B")); err == nil || !strings.Contains(err.Error(), "signing key") {
		t.Errorf("the load with another secret gives %v", err)
	}
	b.get("/account", "Authorization", "Bearer "+token).page()
}

// The configuration holds the placeholder, never the secret.
func TestConfigurationHoldsNoSecret(t *testing.T) {
	t.Setenv("GATEFOLD_TEST_A", "the first secret of this test")
	b := newBench(t, "rule / any")
	text := strings.Replace(b.config("", standardRules, ""), "store bolt", "secret {env.GATEFOLD_TEST_A}\n\t\tstore bolt", 1)
	b.load(strings.Replace(text, "admin off", "admin 127.0.0.1:"+freePort(t), 1))
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
	b := newBench(t, standardRules)
	link, _ := b.link(keys.LinkClaims{})
	b.grant(store.Grant{UserID: "u", SKU: "premium"})
	bearer := "Bearer " + b.reader(keys.ReaderClaims{UserID: "u"})
	app, err := caddy.ActiveContext().AppIfConfigured("gatefold")
	if err != nil {
		t.Fatal(err)
	}
	if err := app.(*App).shared.engine.Close(); err != nil {
		t.Fatal(err)
	}
	got := b.get("/articles/hello", "Authorization", bearer).denied(http.StatusServiceUnavailable, "store_unavailable")
	if got.Header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	b.get(link).denied(http.StatusServiceUnavailable, "store_unavailable")
	b.origin.untouched(t)
	b.get("/public/x").page()
}
