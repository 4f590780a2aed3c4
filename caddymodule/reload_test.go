package caddymodule

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/gatefold/gatefold/caddymodule/openstore"
	"github.com/gatefold/gatefold/caddymodule/ruleconfig"
	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy"
)

// slowAuth is a forward_auth server that delays one request.
type slowAuth struct {
	*httptest.Server
	arrived, goOn chan struct{}
}

func newSlowAuth(t *testing.T) *slowAuth {
	t.Helper()
	d := &slowAuth{arrived: make(chan struct{}), goOn: make(chan struct{})}
	d.Server = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Wait") != "" {
			close(d.arrived)
			<-d.goOn
		}
	}))
	t.Cleanup(d.Close)
	return d
}

func (d *slowAuth) directive() string {
	return "forward_auth " + strings.TrimPrefix(d.URL, "http://") + " {\n\t\turi /\n\t}"
}

// A request reaches the gate after its configuration was replaced and cleaned up. It is
// decided with the shared store. If the new configuration has another store, so that
// the old one is closed, the gate responds 503, and nothing comes from a stale cache.
func TestRequestOutlivesItsConfiguration(t *testing.T) {
	for _, test := range []struct {
		name    string
		next    func(s *testSite, config string) string
		public  int
		premium int
	}{
		{"the store lives on", func(_ *testSite, config string) string { return config }, http.StatusOK, http.StatusOK},
		{"the store is another one", func(s *testSite, config string) string {
			return strings.Replace(config, s.database(), filepath.Join(s.dir, "other.db"), 1)
		}, http.StatusOK, http.StatusServiceUnavailable},
	} {
		for _, path := range []string{"/public/x", "/articles/hello"} {
			t.Run(test.name+path, func(t *testing.T) {
				d := newSlowAuth(t)
				s := newTestSiteWith(t, "", standardRules, d.directive())
				name, bearer := s.subscriber()
				s.get("/articles/hello", name, bearer).page() // cached
				link, _ := s.link(keys.LinkClaims{MaxUses: 2})
				cookie := s.get(link).page().linkCookie()

				type outcome struct {
					status int
					err    error
				}
				done := make(chan outcome, 1)
				go func() {
					request, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, s.site+path, nil)
					request.Header.Set("X-Wait", "1")
					request.Header.Set(name, bearer)
					request.Header.Set("Cookie", cookie)
					response, err := browser.Do(request)
					if err != nil {
						done <- outcome{err: err}
						return
					}
					defer response.Body.Close()
					done <- outcome{status: response.StatusCode}
				}()
				<-d.arrived
				old, err := caddy.ActiveContext().AppIfConfigured("gatefold")
				if err != nil {
					t.Fatal(err)
				}
				s.load(test.next(s, s.config("", standardRules, d.directive())))
				if old.(*App).acquired {
					t.Fatal("the old configuration was not cleaned up: the test proves nothing")
				}
				close(d.goOn)
				want := test.public
				if path != "/public/x" {
					want = test.premium
				}
				if got := <-done; got.err != nil || got.status != want {
					t.Errorf("the request is answered %d, %v; want %d", got.status, got.err, want)
				}
			})
		}
	}
}

// Caddy starts apps in no fixed order, so servers may respond before the app's Start.
// After Provision the gate can decide.
func TestGateBeforeStart(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "gatefold.db")
	ctx, err := caddy.ProvisionContext(&caddy.Config{
		Admin:   &caddy.AdminConfig{Disabled: true},
		AppsRaw: caddy.ModuleMap{"gatefold": []byte(`{"store":{"engine":"bolt","file":"` + file + `"}}`)},
	})
	if err != nil {
		t.Fatal(err)
	}
	app, err := ctx.AppIfConfigured("gatefold")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(file); err == nil {
		t.Error("Provision made a database: so does `caddy validate` then")
	}
	h := &Handler{Rules: []ruleconfig.Rule{{Path: "/a", Operator: "authenticated"}, {Path: "/", Operator: "any"}}}
	if err := h.Provision(ctx); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]int{"/a": http.StatusUnauthorized, "/b": http.StatusTeapot} {
		w := httptest.NewRecorder()
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
		r = caddyhttp.PrepareRequest(r, caddy.NewReplacer(), w, nil)
		err := h.ServeHTTP(w, r, caddyhttp.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) error {
			w.WriteHeader(http.StatusTeapot)
			return nil
		}))
		if err != nil || w.Code != want {
			t.Errorf("%s: %d, %v; want %d", path, w.Code, err, want)
		}
	}
	// Stop is called before the servers have drained, and must keep the store open.
	if err := app.(*App).Start(); err != nil {
		t.Fatal(err)
	}
	if err := app.(*App).Stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := app.(*App).shared.Store.ReaderRecords(t.Context(), defaultVendor, policy.Reader{UserID: "u"}); err != nil {
		t.Errorf("after Stop: %v", err)
	}
	for range 2 { // a second Cleanup releases nothing more
		if err := app.(*App).Cleanup(); err != nil {
			t.Fatal(err)
		}
	}
	if users, open := openstore.Pool.References(file); open {
		t.Errorf("the database has still %d users", users)
	}
}

// The shared store works after the configuration that opened it is gone, with its
// context canceled and its logger closed. Only the newest configuration logs.
func TestStateHoldsNothingOfOldConfigurations(t *testing.T) {
	s := newTestSite(t, standardRules)
	for range 3 {
		s.load(s.config("", standardRules, ""))
	}
	name, bearer := s.subscriber() // writes, makes a key, reads
	s.get("/articles/hello", name, bearer).page()
	if err := s.running().Keyring.Check(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := s.running().Store.Sweep(t.Context()); err != nil {
		t.Error(err)
	}
	logged.Reset()
	// The newest configuration does not log denials: nor does an older one.
	s.load(strings.Replace(s.config("", standardRules, ""), "level INFO", "level ERROR", 1))
	s.get("/articles/other").denied(http.StatusUnauthorized, "login_required")
	if entries := logged.entries(t, "http.handlers.gatefold"); len(entries) != 0 {
		t.Errorf("an older configuration logs: %v", entries)
	}
	s.load(s.config("", standardRules, ""))
	s.get("/articles/other").denied(http.StatusUnauthorized, "login_required")
	if entries := logged.entries(t, "http.handlers.gatefold"); len(entries) != 1 {
		t.Errorf("the newest configuration logs %v", entries)
	}
}

// Loading the same configuration again changes nothing. Validation beside a running
// configuration keeps no user of the database.
func TestNoOpLoadAndValidation(t *testing.T) {
	s := newTestSite(t, standardRules)
	config, err := adapt(s.config("", standardRules, ""))
	if err != nil {
		t.Fatal(err)
	}
	before, err := caddy.ActiveContext().AppIfConfigured("gatefold")
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := caddy.Load(config, false); err != nil { // not forced
			t.Fatal(err)
		}
	}
	if after, err := caddy.ActiveContext().AppIfConfigured("gatefold"); err != nil || after != before {
		t.Errorf("the same configuration was loaded again: %v", err)
	}
	var parsed caddy.Config
	if err := caddy.StrictUnmarshalJSON(config, &parsed); err != nil {
		t.Fatal(err)
	}
	if err := caddy.Validate(&parsed); err != nil {
		t.Error(err)
	}
	if users, _ := openstore.Pool.References(s.database()); users != 1 {
		t.Errorf("the database has %d users", users)
	}
	s.get("/public/x").page()
}
