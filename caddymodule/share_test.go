package caddymodule

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/caddyserver/caddy/v2"

	"github.com/gatefold/gatefold/keys/keystest"
)

// partner is a publisher with a key, and the host of its key set.
type partner struct {
	*keystest.KeyHost
	private *ecdsa.PrivateKey
	ca      string // file
}

const (
	partnerDomain = "partner.example.com"
	partnerKeyID  = "2026-11"
)

func newPartner(t testing.TB) *partner {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p := &partner{private: private}
	p.KeyHost = keystest.NewKeyHost(t, p.keySet())
	p.ca = p.WriteRoots(t)
	before := storeOptions.KeySets
	storeOptions.KeySets.Hosts = p.Addresses(partnerDomain)
	storeOptions.KeySets.Interval, storeOptions.KeySets.Timeout = 10*time.Millisecond, 30*time.Second
	t.Cleanup(func() { storeOptions.KeySets = before })
	return p
}

func (p *partner) keySet() jose.JSONWebKeySet {
	return jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: p.private.Public(), KeyID: partnerKeyID, Use: "sig"}}}
}

func (p *partner) up() { p.Serve(p.keySet()) }

func (p *partner) down() { p.Fail(http.StatusBadGateway) }

func (p *partner) pem() string {
	der, err := x509.MarshalPKIXPublicKey(p.private.Public())
	if err != nil {
		panic(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

// global returns the global option with which the partner's host is reachable.
func (p *partner) global() string { return "jwks {\nallow 127.0.0.1\nca " + p.ca + "\n}" }

func (p *partner) sign(header, payload string) string {
	encode := base64.RawURLEncoding.EncodeToString
	input := encode([]byte(header)) + "." + encode([]byte(payload))
	digest := sha256.Sum256([]byte(input))
	r, s, err := ecdsa.Sign(rand.Reader, p.private, digest[:])
	if err != nil {
		panic(err)
	}
	return input + "." + encode(append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...))
}

// share signs a share token for /articles/hello, with further claims.
func (p *partner) share(jti, more string) string {
	now := clock.Now().Unix()
	return p.sign(`{"alg":"ES256","typ":"JWT","kid":"`+partnerKeyID+`"}`, fmt.Sprintf(
		`{"type":"dca-share","domain":%q,"resourceId":"hello","contentNames":["bodytext"],"iat":%d,"exp":%d,"jti":%q%s}`,
		partnerDomain, now, now+3600, jti, more))
}

// api calls the management API as the local operator, and expects a status.
func (s *testSite) api(method, path, body string, status int) string {
	s.Helper()
	app, err := caddy.ActiveContext().AppIfConfigured("gatefold")
	if err != nil {
		s.Fatal(err)
	}
	api, err := app.(*App).api.get()
	if err != nil {
		s.Fatal(err)
	}
	request := httptest.NewRequestWithContext(s.Context(), method, path, strings.NewReader(body))
	request.Header.Set("Content-Type", "application/json")
	recorder := httptest.NewRecorder()
	api.ServeHTTP(recorder, request)
	if recorder.Code != status {
		s.Fatalf("%s %s: %d %s", method, path, recorder.Code, recorder.Body)
	}
	return recorder.Body.String()
}

// pin registers the partner's domain with a pinned key.
func (s *testSite) pin(p *partner, allowed ...string) {
	s.Helper()
	body, err := json.Marshal(map[string]any{"signingKeyPem": p.pem(), "allowedResourceIds": append([]string{}, allowed...)})
	if err != nil {
		s.Fatal(err)
	}
	s.api(http.MethodPut, "/management/domains/"+partnerDomain, string(body), http.StatusOK)
}

const shareRules = standardRules + "\n\t\tshare_domain " + partnerDomain

// A browser that follows a share link gets a cookie and the clean URL, and the origin
// gets no token. Once the domain is removed, the cookie opens nothing.
func TestShareLinkInABrowser(t *testing.T) {
	p := newPartner(t)
	s := newTestSite(t, shareRules)
	token := p.share("share_1", "")
	s.get("/articles/hello?share="+token).denied(http.StatusForbidden, "link_untrusted")
	s.pin(p)
	got := s.get("/articles/hello?a=1&share="+token+"&b=%2F", "Accept", "text/html", "Sec-Fetch-Mode", "navigate")
	if got.StatusCode != http.StatusSeeOther || got.Header.Get("Location") != "/articles/hello?a=1&b=%2F" || got.Header.Get("Referrer-Policy") != "no-referrer" {
		t.Fatalf("the answer is %d %v", got.StatusCode, got.Header)
	}
	s.origin.WantNone(t)
	cookie := got.linkCookie()
	s.get("/articles/hello", "Cookie", cookie).page()
	if seen := s.origin.Last(t); strings.Contains(seen.RequestURI, token) || seen.Header.Get("Cookie") != "" {
		t.Errorf("the origin saw %s %v", seen.RequestURI, seen.Header)
	}
	s.get("/articles/other?share="+token).denied(http.StatusForbidden, "link_other_resource")
	s.get("/articles/hello?share="+token+"&share="+token+"x").denied(http.StatusBadRequest, "bad_query")
	s.get("/articles/hello?share="+token+"&token="+cutLink).denied(http.StatusBadRequest, "bad_query")
	s.get("/articles/hello?token="+token).denied(http.StatusUnauthorized, "login_required") // not a link in Gatefold's format: the origin's parameter
	// A client without cookies, with another encoding of the parameter.
	s.get("/articles/hello?sh%61re=" + token).page()

	s.pin(p, "other")
	s.get("/articles/hello?share="+token).denied(http.StatusForbidden, "link_not_allowed")
	s.get("/articles/hello", "Cookie", cookie).denied(http.StatusUnauthorized, "login_required")
	s.pin(p)
	s.get("/articles/hello", "Cookie", cookie).page()
	s.api(http.MethodDelete, "/management/domains/"+partnerDomain, "", http.StatusNoContent)
	s.get("/articles/hello?share="+token).denied(http.StatusForbidden, "link_untrusted")
	s.get("/articles/hello", "Cookie", cookie).denied(http.StatusUnauthorized, "login_required")
}

// The parameter `share` belongs to the site unless its value is a token: blogs use
// ?share=mail.
func TestShareParameterOfTheSite(t *testing.T) {
	p := newPartner(t)
	s := newTestSite(t, shareRules)
	s.pin(p)
	name, value := s.subscriber()
	for _, query := range []string{"share=facebook", "share=", "share=a.b", "share=facebook&share=mail", "nb=1&share=x-twitter"} {
		s.get("/articles/hello?"+query, name, value).page()
		if seen := s.origin.Last(t); seen.URL.RawQuery != query {
			t.Errorf("the origin saw %q, want %q", seen.URL.RawQuery, query)
		}
		s.get("/articles/hello?"+query).denied(http.StatusUnauthorized, "login_required")
	}
	s.load(s.config("", shareRules+"\n\t\tshare_param s", ""))
	token := p.share("share_1", "")
	s.get("/articles/hello?s=" + token).page()
	s.get("/articles/hello?share="+token).denied(http.StatusUnauthorized, "login_required")
}

// Concurrent redemptions of a publisher's counted link, in two spellings of its
// signature and after a reload, are counted as one link.
func TestShareLinkIsCounted(t *testing.T) {
	p := newPartner(t)
	s := newTestSite(t, shareRules)
	s.pin(p)
	first, second := p.share("share_1", `,"maxUses":3`), p.share("share_1", `,"maxUses":3`)
	if first == second {
		t.Fatal("the two spellings are one")
	}
	var pages, usedUp atomic.Int32
	var readers sync.WaitGroup
	for i := range 10 {
		readers.Go(func() {
			switch got := s.get("/articles/hello?share=" + [...]string{first, second}[i%2]); {
			case got.StatusCode == http.StatusOK:
				pages.Add(1)
			case strings.Contains(got.body, "link_used_up"):
				usedUp.Add(1)
			default:
				t.Errorf("%d %s", got.StatusCode, got.body)
			}
		})
	}
	readers.Wait()
	if pages.Load() != 3 || usedUp.Load() != 7 {
		t.Errorf("%d pages, %d used up, want 3 and 7", pages.Load(), usedUp.Load())
	}
	s.load(s.config("", shareRules+"\n\t\tlink_cookie_ttl 1h", ""))
	s.get("/articles/hello?share="+first).denied(http.StatusForbidden, "link_used_up")
	s.do(http.MethodHead, "/articles/hello?share="+p.share("share_2", `,"maxUses":1`))
	s.get("/articles/hello?share=" + p.share("share_2", `,"maxUses":1`)).page()
}

// A link opens pages of the publisher's own host only, not of another host of the site
// block.
func TestShareLinkOfTheHostItself(t *testing.T) {
	p := newPartner(t)
	s := newTestSite(t, standardRules)
	s.loadAt("http://:"+s.port, "hosts "+partnerDomain+" other.example.com 127.0.0.1")
	s.pin(p)
	token := p.share("share_1", "")
	got := s.get("/articles/hello?share="+token, "Host", partnerDomain)
	cookie := got.page().linkCookie()
	s.get("/articles/hello", "Host", partnerDomain+":8443", "Cookie", cookie).page()
	s.get("/articles/hello?share="+token, "Host", "other.example.com").denied(http.StatusForbidden, "link_other_site")
	s.get("/articles/hello", "Host", "other.example.com", "Cookie", cookie).denied(http.StatusUnauthorized, "login_required")
}

// Explain describes the checks of a publisher's link.
func TestExplainPublishersLink(t *testing.T) {
	p := newPartner(t)
	s := newTestSite(t, shareRules)
	s.pin(p)
	explain := func(url string) string {
		body, err := json.Marshal(map[string]string{"url": url})
		if err != nil {
			t.Fatal(err)
		}
		return s.api(http.MethodPost, "/management/explain", string(body), http.StatusOK)
	}
	page := s.site + "/articles/hello?share="
	text := explain(page + p.share("share_1", ""))
	if !strings.Contains(text, "signed_link") || !strings.Contains(text, "never used") || !strings.Contains(text, partnerDomain) {
		t.Errorf("explained as %s", text)
	}
	s.get("/articles/hello?share=" + p.share("share_1", "")).page()
	if text = explain(page + p.share("share_1", "")); !strings.Contains(text, "the store has its record") {
		t.Errorf("explained as %s", text)
	}
	s.pin(p, "other")
	if text = explain(page + p.share("share_1", "")); !strings.Contains(text, "link_not_allowed") || !strings.Contains(text, "allowedResourceIds") {
		t.Errorf("explained as %s", text)
	}
	s.api(http.MethodDelete, "/management/domains/"+partnerDomain, "", http.StatusNoContent)
	if text = explain(page + p.share("share_1", "")); !strings.Contains(text, "link_untrusted") || !strings.Contains(text, "domain put") {
		t.Errorf("explained as %s", text)
	}
}

func TestShareInCaddyfiles(t *testing.T) {
	s := newTestSite(t, standardRules)
	for gate, says := range map[string]string{
		"share_domain":                                "wrong argument count",
		"share_domain https://a.example":              "scheme",
		"share_domain *.example":                      "wildcard",
		"share_domain a.example A.example.":           "twice",
		"share_param a b":                             "wrong argument count",
		"share_param a.b":                             "letters",
		"link_param share":                            "different names",
		"identify jwt {\nissuer https://a.example\n}": "audience is required",
	} {
		if err := load(s.config("", standardRules+"\n"+gate, "")); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want %q", gate, err, says)
		}
	}
	for options, says := range map[string]string{
		"allow":                    "wrong argument count",
		"allow everything":         "neither an address",
		"ca /nowhere/ca.pem":       "no such file",
		"stale_if_error 2000h":     "stale_if_error",
		"stale_if_error soon":      "stale_if_error",
		"cooldown 10ms":            "cooldown",
		"cooldown 1m\ncooldown 1m": "twice",
		"proxy http://x":           "unknown option",
	} {
		config := strings.Replace(s.config("", standardRules, ""), "\tgatefold {\n\t\tstore", "\tgatefold {\n\t\tjwks {\n"+options+"\n}\n\t\tstore", 1)
		if err := load(config); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want %q", options, err, says)
		}
	}
	for site, says := range map[string]string{"gatefold_keys a b": "gatefold_keys", "gatefold_keys Acme": "lower-case", "gatefold_keys {\nx\n}": "gatefold_keys"} {
		if err := load(s.config("", standardRules, site)); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want %q", site, err, says)
		}
	}
	s.load(strings.Replace(s.config("", standardRules+"\nshare_domain a.example B.example\nshare_domain bücher.example\nshare_param s", "gatefold_keys acme"),
		"\tgatefold {\n\t\tstore", "\tgatefold {\n\t\tjwks {\nallow 10.0.0.0/8 fd00::/8 192.0.2.1\nstale_if_error 2h\ncooldown 10s\n}\n\t\tstore", 1))
	s.get("/").page()
}
