package caddymodule

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/gatefold/gatefold/keys/keystest"
	"github.com/gatefold/gatefold/policy/store/redisengine/redistest"
)

// The Redis is away from the start. What asks the admin endpoint meanwhile is told when to
// ask again, by the health as by the API.
func TestAdminEndpointWithoutStoreSaysWhen(t *testing.T) {
	t.Setenv("GATEFOLD_TEST_SECRET", testSecret)
	s := &testSite{TB: t, dir: t.TempDir(), origin: keystest.NewOrigin(t), port: keystest.FreePort(t)}
	s.site = "http://127.0.0.1:" + s.port
	admin := "127.0.0.1:" + keystest.FreePort(t)
	s.load(fmt.Sprintf("{\n\tadmin %s\n\tauto_https off\n\tgatefold {\n\t\tstore redis %s\n\t\tsecret {env.GATEFOLD_TEST_SECRET}\n\t}\n}\n\n"+
		"http://127.0.0.1:%s {\n\tgatefold {\n%s\n\t}\n\treverse_proxy %s\n}\n",
		admin, redistest.New(t).URL(), s.port, standardRules, strings.TrimPrefix(s.origin.URL, "http://")))
	t.Cleanup(func() {
		if err := caddy.Stop(); err != nil {
			t.Error(err)
		}
	})
	for _, path := range []string{"/gatefold/health", "/gatefold/management/vendors"} {
		got := s.get("http://" + admin + path)
		if got.StatusCode != http.StatusServiceUnavailable || got.Header.Get("Retry-After") == "" {
			t.Errorf("%s: %d, Retry-After %q: %s", path, got.StatusCode, got.Header.Get("Retry-After"), got.body)
		}
	}
}
