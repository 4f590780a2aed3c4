package caddymodule

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/gatefold/gatefold/keys/keystest"
)

// The keys of an API issuer are fetched from the jwks_uri of its OpenID configuration.
// While it is unreachable the API responds 503, not 401.
func TestAPIIssuerDiscovery(t *testing.T) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	var down atomic.Bool
	down.Store(true)
	var issuer *httptest.Server
	issuer = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case down.Load():
			w.WriteHeader(http.StatusBadGateway)
		case r.URL.Path == "/.well-known/openid-configuration":
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":%q}`, issuer.URL, issuer.URL+"/keys")
		case r.URL.Path == "/keys":
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write(keySet(t, private.Public(), jose.ES256))
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	defer issuer.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: issuer.Certificate().Raw})
	if err := os.WriteFile(ca, certificate, 0o600); err != nil {
		t.Fatal(err)
	}
	s := newTestSite(t, standardRules)
	port := keystest.FreePort(t)
	api := "http://127.0.0.1:" + port
	config := strings.Replace(s.config("", standardRules, ""), "store bolt", "jwks {\n\t\t\tca "+ca+"\n\t\t\tcooldown 1s\n\t\t}\n\t\tstore bolt", 1)
	config += "\nhttp://127.0.0.1:" + port + " {\n\tbind 127.0.0.1\n\tgatefold_api {\n\t\tissuer " + issuer.URL + " {\n\t\t\taudience api\n\t\t}\n\t}\n}\n"
	s.load(config)

	token := signForeign(t, jose.ES256, private, issuer.URL, "api", map[string]any{"sub": "m2m", "vendor_id": "default", "scope": "links:read"})
	links := api + "/management/signed-links"
	unreachable := s.get(links, "Authorization", "Bearer "+token).want(t, http.StatusServiceUnavailable)
	if !strings.Contains(unreachable.body, `"code":"keys_unavailable"`) || strings.Contains(unreachable.body, "store") {
		t.Errorf("the store is blamed for the keys of an issuer: %s", unreachable.body)
	}
	if unreachable.Header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	s.get(links, "Authorization", "Bearer "+signForeign(t, jose.ES256, private, "https://evil.example", "api", nil)).want(t, http.StatusUnauthorized)

	down.Store(false)
	s.waitFor("the issuer's keys", func() bool {
		clock.Advance(2e9) // past the retry delay
		token = signForeign(t, jose.ES256, private, issuer.URL, "api", map[string]any{"sub": "m2m", "vendor_id": "default", "scope": "links:read"})
		return s.get(links, "Authorization", "Bearer "+token).StatusCode == http.StatusOK
	})
	s.get(links, "Authorization", "Bearer "+signForeign(t, jose.ES256, private, issuer.URL, "shop", nil)).want(t, http.StatusUnauthorized)
	if got := s.get(api + "/openapi.json"); !strings.Contains(got.body, `"openIdConnectUrl":"`+issuer.URL+`/.well-known/openid-configuration"`) || strings.Contains(got.body, "/oauth/token") {
		t.Errorf("the description does not name the issuer: %s", got.body[:200])
	}
	// The keys survive a reload.
	s.load(config + "\n")
	s.get(links, "Authorization", "Bearer "+token).want(t, http.StatusOK)
}
