package caddymodule

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/gatefold/gatefold/keys/keystest"
)

// newAdminSite returns a site whose Caddy has an admin endpoint.
func newAdminSite(t *testing.T) (s *testSite, admin string) {
	t.Helper()
	s = newTestSite(t, standardRules)
	address := "127.0.0.1:" + keystest.FreePort(t)
	s.load(strings.Replace(s.config("", standardRules, ""), "admin off", "admin "+address, 1))
	return s, "http://" + address
}

// post sends a POST request. It retries a few times after a reset: Caddy closes its old
// admin listener at a load, and the kernel resets the connections in its queue.
func (s *testSite) post(address, kind, body string, headers ...string) answer {
	s.Helper()
	for tries := 1; ; tries++ {
		response, err := s.tryPost(address, kind, body, headers...)
		if (errors.Is(err, syscall.ECONNRESET) || errors.Is(err, io.EOF)) && tries < 10 {
			continue
		}
		if err != nil {
			s.Fatal(err)
		}
		return s.read(response)
	}
}

func (s *testSite) tryPost(address, kind, body string, headers ...string) (*http.Response, error) {
	s.Helper()
	request, err := http.NewRequestWithContext(s.Context(), http.MethodPost, address, strings.NewReader(body))
	if err != nil {
		s.Fatal(err)
	}
	request.Header.Set("Content-Type", kind)
	for i := 0; i+1 < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	return browser.Do(request)
}

func TestAdminEndpointServesTheAPI(t *testing.T) {
	s, admin := newAdminSite(t)
	s.get("/account").denied(http.StatusUnauthorized, "login_required")
	got := s.post(admin+"/gatefold/management/access-lists/src_default/grants", "application/json", `{"userId":"u","sku":"premium"}`)
	if got.StatusCode != http.StatusCreated || !strings.Contains(got.body, `"id":"grant_`) {
		t.Fatalf("%d %s", got.StatusCode, got.body)
	}
	if got := s.get(admin + "/gatefold/management/entitlements?userId=u"); !strings.Contains(got.body, `"sku":"premium"`) {
		t.Errorf("%d %s", got.StatusCode, got.body)
	}
	if got := s.get(admin + "/gatefold/management/entitlements?userId=u&vendor=other"); strings.TrimSpace(got.body) != "[]" {
		t.Errorf("another vendor: %d %s", got.StatusCode, got.body)
	}
	if got := s.get(admin + "/gatefold/management/entitlements?userId=u&vendor=No%20!"); got.StatusCode != http.StatusBadRequest || !strings.Contains(got.body, `"code":"bad_request"`) {
		t.Errorf("a bad vendor: %d %s", got.StatusCode, got.body)
	}
	if got := s.get(admin + "/gatefold/management/nothing"); got.StatusCode != http.StatusNotFound || !strings.Contains(got.body, `"code":"not_found"`) {
		t.Errorf("an unknown path: %d %s", got.StatusCode, got.body)
	}
}

// A form that a page in the operator's browser sends to the admin endpoint is refused
// for its content type and its origin.
func TestAdminEndpointRefusesForms(t *testing.T) {
	s, admin := newAdminSite(t)
	target := admin + "/gatefold/management/access-lists/src_default/grants"
	body := `{"userId":"evil","sku":"premium"}`
	if got := s.post(target, "text/plain", body); got.StatusCode != http.StatusUnsupportedMediaType {
		t.Errorf("a form: %d %s", got.StatusCode, got.body)
	}
	if got := s.post(target, "application/json", body, "Origin", "https://evil.example", "Sec-Fetch-Mode", "no-cors"); got.StatusCode == http.StatusCreated {
		t.Errorf("another origin: %d %s", got.StatusCode, got.body)
	}
	if got := s.get(admin + "/gatefold/management/entitlements?userId=evil"); strings.TrimSpace(got.body) != "[]" {
		t.Errorf("a grant was made: %s", got.body)
	}
}

// atAdminEndpoint sends a request to Caddy's admin endpoint, without its server.
func atAdminEndpoint(w http.ResponseWriter, r *http.Request) error {
	info, err := caddy.GetModule("admin.api.gatefold")
	if err != nil {
		return err
	}
	return info.New().(caddy.AdminRouter).Routes()[0].Handler.ServeHTTP(w, r)
}

// The remote admin endpoint, which has TLS, does not serve the API.
func TestRemoteAdminHasNoAPI(t *testing.T) {
	newTestSite(t, standardRules)
	request := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/gatefold/management/access-lists", nil)
	request.TLS = new(tls.ConnectionState)
	err := atAdminEndpoint(httptest.NewRecorder(), request)
	if failed, ok := errors.AsType[caddy.APIError](err); !ok || failed.HTTPStatus != http.StatusNotFound {
		t.Errorf("got %v", err)
	}
}

// Caddy replaces its admin endpoint before a load can fail. After a failed load the
// endpoint serves the running configuration.
func TestAdminEndpointAfterAFailedReload(t *testing.T) {
	s, admin := newAdminSite(t)
	config := strings.Replace(s.config("", standardRules, ""), "admin off", "admin "+strings.TrimPrefix(admin, "http://"), 1)
	for _, bad := range []string{
		strings.Replace(config, "reverse_proxy", "bind 256.0.0.1\n\treverse_proxy", 1),
		strings.Replace(config, "store bolt", "secret {env.GATEFOLD_TEST_UNSET}\n\t\tstore bolt", 1),
	} {
		if err := load(bad); err == nil {
			t.Fatal("loaded")
		}
		if got := s.post(admin+"/gatefold/management/create-signed-link", "application/json", `{"sku":"premium"}`); got.StatusCode != http.StatusOK {
			t.Errorf("%d %s", got.StatusCode, got.body)
		}
	}
}

// Without a gatefold directive the endpoint responds with an error that names it.
func TestAdminEndpointWithoutAGate(t *testing.T) {
	s, admin := newAdminSite(t)
	s.load("{\n\tadmin " + strings.TrimPrefix(admin, "http://") + "\n\tauto_https off\n}\n\nhttp://127.0.0.1:" + s.port + " {\n\trespond ok\n}\n")
	got := s.get(admin + "/gatefold/management/access-lists")
	if got.StatusCode != http.StatusServiceUnavailable || !strings.Contains(got.body, "no gatefold directive") {
		t.Errorf("%d %s", got.StatusCode, got.body)
	}
}

// slowStart is an app that asks the admin endpoint while it starts.
type slowStart struct {
	URL string `json:"url"`
}

var slowStarts = make(chan *http.Response, 1)

func init() { caddy.RegisterModule(new(slowStart)) }

func (*slowStart) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "gatefold_slow_start", New: func() caddy.Module { return new(slowStart) }}
}

func (s *slowStart) Start() error {
	response, err := browser.Get(s.URL)
	if err == nil {
		slowStarts <- response
	}
	return err
}

func (*slowStart) Stop() error { return nil }

// Caddy's admin endpoint answers before the configuration is active. A command that
// arrives then is told to wait, not that the configuration has no gate.
func TestAdminEndpointWhileAConfigurationIsMadeActive(t *testing.T) {
	s, _ := newAdminSite(t)
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	admin := "http://127.0.0.1:" + keystest.FreePort(t) // the endpoint that was stopped may still accept at the other
	config, err := adapt(strings.Replace(s.config("", standardRules, ""), "admin off", "admin "+strings.TrimPrefix(admin, "http://"), 1))
	if err != nil {
		t.Fatal(err)
	}
	slow := strings.Replace(string(config), `"apps":{`, `"apps":{"gatefold_slow_start":{"url":"`+admin+`/gatefold/health"},`, 1)
	if err := caddy.Load([]byte(slow), true); err != nil {
		t.Fatal(err)
	}
	got := s.read(<-slowStarts)
	if got.StatusCode != http.StatusServiceUnavailable || got.Header.Get("Retry-After") != "1" || got.Header.Get("Gatefold-Loading") == "" || !strings.Contains(got.body, "is being made active") {
		t.Errorf("while it starts: %d %v %s", got.StatusCode, got.Header, got.body)
	}
	if got := s.get(admin + "/gatefold/health"); got.StatusCode != http.StatusOK {
		t.Errorf("after the start: %d %s", got.StatusCode, got.body)
	}
}

// A client of the API that disconnects is no error of the server in its log.
func TestDisconnectedAPIClientIsNoError(t *testing.T) {
	s := newTestSite(t, standardRules)
	app := s.app()
	app.apiFailed(fmt.Errorf("reading: %w", context.Canceled))
	app.apiFailed(errors.New("the disk is full"))
	var errs []string
	for _, entry := range logged.entries(t, "gatefold") {
		if entry["level"] == "error" {
			errs = append(errs, fmt.Sprint(entry["error"]))
		}
	}
	if len(errs) != 1 || errs[0] != "the disk is full" {
		t.Errorf("the errors are %q", errs)
	}
}
