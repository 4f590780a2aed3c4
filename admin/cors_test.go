package admin_test

import (
	"net/http"
	"testing"

	"github.com/gatefold/gatefold/admin"
)

const office = "https://backoffice.example.com"

func preflight(origin string) http.Header {
	return http.Header{
		"Origin": {origin}, "Access-Control-Request-Method": {"POST"}, "Access-Control-Request-Headers": {"authorization,content-type"},
	}
}

// Closed by default: a page of another origin gets no header that grants access.
func TestCORSIsClosed(t *testing.T) {
	for name, p := range map[string]*public{"closed": newPublic(t), "open to another": newPublic(t, office)} {
		for _, origin := range []string{"https://evil.example", "null", "https://backoffice.example.com.evil.example", "http://backoffice.example.com", "HTTPS://BACKOFFICE.EXAMPLE.COM"} {
			for _, path := range []string{"/oauth/token", "/management/signed-links", "/openapi.json"} {
				got := p.ask(http.MethodOptions, path, "", preflight(origin))
				for header := range got.head {
					if len(header) > 14 && header[:15] == "Access-Control-" {
						t.Errorf("%s: %s from %s: %s: %s", name, path, origin, header, got.head.Get(header))
					}
				}
				if got.code < 400 {
					t.Errorf("%s: %s from %s: %d", name, path, origin, got.code)
				}
			}
		}
	}
}

func TestCORSForOneOrigin(t *testing.T) {
	p := newPublic(t, office)
	id, secret := p.client("acme", "links:read")
	token := p.token(id, secret)
	for _, path := range []string{"/oauth/token", "/management/signed-links"} {
		got := p.ask(http.MethodOptions, path, "", preflight(office)).want(http.StatusNoContent, nil)
		if got.head.Get("Access-Control-Allow-Origin") != office || got.head.Get("Vary") != "Origin" || got.head.Get("Access-Control-Allow-Credentials") != "" {
			t.Errorf("%s: %v", path, got.head)
		}
	}
	got := p.ask(http.MethodGet, "/management/signed-links", "", http.Header{"Origin": {office}, "Authorization": {"Bearer " + token}}).want(http.StatusOK, nil)
	if got.head.Get("Access-Control-Allow-Origin") != office || got.head.Get("Vary") != "Origin" {
		t.Errorf("%v", got.head)
	}
	// The page can read the error.
	got = p.ask(http.MethodGet, "/management/signed-links", "", http.Header{"Origin": {office}})
	got.refused(http.StatusUnauthorized, "unauthorized", "")
	if got.head.Get("Access-Control-Allow-Origin") != office {
		t.Errorf("%v", got.head)
	}
	got = p.ask(http.MethodGet, "/management/signed-links", "", http.Header{"Authorization": {"Bearer " + token}}).want(http.StatusOK, nil)
	if got.head.Get("Access-Control-Allow-Origin") != "" || got.head.Get("Vary") != "Origin" {
		t.Errorf("without an origin: %v", got.head)
	}
}

func TestCheckOrigin(t *testing.T) {
	for _, origin := range []string{
		"", "*", "null", "https://*.example.com", "https://x.example/", "https://x.example/path", "http://x.example",
		"https://X.example", "ftp://x.example", "https://user@x.example", "x.example", "https://", "https://x.example?", "https://x.example#",
	} {
		if admin.CheckOrigin(origin) == nil {
			t.Errorf("%q was taken", origin)
		}
	}
	for _, origin := range []string{office, "https://x.example:8443", "http://localhost:3000", "http://127.0.0.1:3000", "http://[::1]:3000"} {
		if err := admin.CheckOrigin(origin); err != nil {
			t.Errorf("%q: %v", origin, err)
		}
	}
}
