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
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/caddyserver/caddy/v2"
)

// partner is a publisher with a key, and a host that serves its key set over TLS
// under a name for which httptest has a certificate.
type partner struct {
	*httptest.Server
	private *ecdsa.PrivateKey
	ca      string // file
	fetches atomic.Int64

	mu     sync.Mutex
	answer http.HandlerFunc
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
	p := &partner{private: private, ca: filepath.Join(t.TempDir(), "ca.pem")}
	p.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.fetches.Add(1)
		p.mu.Lock()
		answer := p.answer
		p.mu.Unlock()
		answer(w, r)
	}))
	p.Config.ErrorLog = log.New(io.Discard, "", 0)
	p.up()
	p.StartTLS()
	t.Cleanup(p.Close)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.Certificate().Raw})
	if err := os.WriteFile(p.ca, ca, 0o600); err != nil {
		t.Fatal(err)
	}
	before := keySetOptions
	keySetOptions.Hosts = map[string]string{partnerDomain + ":443": p.Listener.Addr().String()}
	keySetOptions.Interval, keySetOptions.Timeout = 10*time.Millisecond, 30*time.Second
	t.Cleanup(func() { keySetOptions = before })
	return p
}

// up makes the host serve the partner's key, and its OpenID configuration.
func (p *partner) up() {
	set, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: p.private.Public(), KeyID: partnerKeyID, Use: "sig"}}})
	if err != nil {
		panic(err)
	}
	p.does(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/.well-known/openid-configuration" {
			fmt.Fprintf(w, `{"issuer":"https://%s","jwks_uri":"https://%s/jwks"}`, partnerDomain, partnerDomain)
			return
		}
		_, _ = w.Write(set)
	})
}

func (p *partner) down() {
	p.does(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) })
}

func (p *partner) does(answer http.HandlerFunc) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answer = answer
}

func (p *partner) pem() string {
	der, err := x509.MarshalPKIXPublicKey(p.private.Public())
	if err != nil {
		panic(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

// global is what the global option needs to reach the partner's host.
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

// share mints a share token for /articles/hello; more are further claims.
func (p *partner) share(jti, more string) string {
	now := clock.Now().Unix()
	return p.sign(`{"alg":"ES256","typ":"JWT","kid":"`+partnerKeyID+`"}`, fmt.Sprintf(
		`{"type":"dca-share","domain":%q,"resourceId":"hello","contentNames":["bodytext"],"iat":%d,"exp":%d,"jti":%q%s}`,
		partnerDomain, now, now+3600, jti, more))
}

// api calls the management API as the local operator, and wants a status.
func (b *bench) api(method, path, body string, status int) string {
	b.Helper()
	app, err := caddy.ActiveContext().AppIfConfigured("gatefold")
	if err != nil {
		b.Fatal(err)
	}
	api, err := app.(*App).api.get()
	if err != nil {
		b.Fatal(err)
	}
	request := httptest.NewRequestWithContext(b.Context(), method, path, strings.NewReader(body))
	request.Header.Set("Content-Type", "application/json")
	recorder := httptest.NewRecorder()
	api.ServeHTTP(recorder, request)
	if recorder.Code != status {
		b.Fatalf("%s %s: %d %s", method, path, recorder.Code, recorder.Body)
	}
	return recorder.Body.String()
}

// pin makes the vendor trust the partner by its key.
func (b *bench) pin(p *partner, allowed ...string) {
	b.Helper()
	body, err := json.Marshal(map[string]any{"signingKeyPem": p.pem(), "allowedResourceIds": allowed})
	if err != nil {
		b.Fatal(err)
	}
	b.api(http.MethodPut, "/management/domains/"+partnerDomain, string(body), http.StatusOK)
}

const shareRules = standardRules + "\n\t\tshare_domain " + partnerDomain

// A browser follows a publisher's share link: it gets a cookie and the clean URL,
// and the origin sees no token. When the domain is trusted no more, the cookie
// opens nothing.
func TestShareLinkInABrowser(t *testing.T) {
	p := newPartner(t)
	b := newBench(t, shareRules)
	token := p.share("share_1", "")
	b.get("/articles/hello?share="+token).denied(http.StatusForbidden, "link_untrusted")
	b.pin(p)
	got := b.get("/articles/hello?a=1&share="+token+"&b=%2F", "Accept", "text/html")
	if got.StatusCode != http.StatusSeeOther || got.Header.Get("Location") != "/articles/hello?a=1&b=%2F" || got.Header.Get("Referrer-Policy") != "no-referrer" {
		t.Fatalf("the answer is %d %v", got.StatusCode, got.Header)
	}
	b.origin.untouched(t)
	cookie := got.linkCookie()
	b.get("/articles/hello", "Cookie", cookie).page()
	if seen := b.origin.last(t); strings.Contains(seen.RequestURI, token) || seen.Header.Get("Cookie") != "" {
		t.Errorf("the origin saw %s %v", seen.RequestURI, seen.Header)
	}
	b.get("/articles/other?share="+token).denied(http.StatusForbidden, "link_other_resource")
	b.get("/articles/hello?share="+token+"&share="+token).denied(http.StatusBadRequest, "bad_query")
	b.get("/articles/hello?share="+token+"&token="+token).denied(http.StatusBadRequest, "bad_query")
	b.get("/articles/hello?token="+token).denied(http.StatusForbidden, "link_invalid")
	// A client without cookies, in the spelling that another encoder uses.
	b.get("/articles/hello?sh%61re=" + token).page()

	b.pin(p, "other")
	b.get("/articles/hello?share="+token).denied(http.StatusForbidden, "link_not_allowed")
	b.get("/articles/hello", "Cookie", cookie).denied(http.StatusUnauthorized, "login_required")
	b.pin(p)
	b.get("/articles/hello", "Cookie", cookie).page()
	b.api(http.MethodDelete, "/management/domains/"+partnerDomain, "", http.StatusNoContent)
	b.get("/articles/hello?share="+token).denied(http.StatusForbidden, "link_untrusted")
	b.get("/articles/hello", "Cookie", cookie).denied(http.StatusUnauthorized, "login_required")
}

// A site shares its pages by ?share=mail, as blogs do: that parameter is its own,
// unless a token stands in it.
func TestShareParameterOfTheSite(t *testing.T) {
	p := newPartner(t)
	b := newBench(t, shareRules)
	b.pin(p)
	name, value := b.subscriber()
	for _, query := range []string{"share=facebook", "share=", "share=a.b", "share=facebook&share=mail", "nb=1&share=x-twitter"} {
		b.get("/articles/hello?"+query, name, value).page()
		if seen := b.origin.last(t); seen.URL.RawQuery != query {
			t.Errorf("the origin saw %q, want %q", seen.URL.RawQuery, query)
		}
		b.get("/articles/hello?"+query).denied(http.StatusUnauthorized, "login_required")
	}
	b.load(b.config("", shareRules+"\n\t\tshare_param s", ""))
	token := p.share("share_1", "")
	b.get("/articles/hello?s=" + token).page()
	b.get("/articles/hello?share="+token).denied(http.StatusUnauthorized, "login_required")
}

// A publisher's counted link is opened by three at once, in two spellings of its
// signature, and again after a reload: it counts as one, and exactly.
func TestShareLinkIsCounted(t *testing.T) {
	p := newPartner(t)
	b := newBench(t, shareRules)
	b.pin(p)
	first, second := p.share("share_1", `,"maxUses":3`), p.share("share_1", `,"maxUses":3`)
	if first == second {
		t.Fatal("the two spellings are one")
	}
	var pages, usedUp atomic.Int32
	var readers sync.WaitGroup
	for i := range 10 {
		readers.Go(func() {
			switch got := b.get("/articles/hello?share=" + [...]string{first, second}[i%2]); {
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
	b.load(b.config("", shareRules+"\n\t\tlink_cookie_ttl 1h", ""))
	b.get("/articles/hello?share="+first).denied(http.StatusForbidden, "link_used_up")
	b.do(http.MethodHead, "/articles/hello?share="+p.share("share_2", `,"maxUses":1`))
	b.get("/articles/hello?share=" + p.share("share_2", `,"maxUses":1`)).page()
}

// A link opens pages of the publisher's own host, and of no other that the same
// site block serves.
func TestShareLinkOfTheHostItself(t *testing.T) {
	p := newPartner(t)
	b := newBench(t, standardRules)
	b.load(strings.Replace(b.config("", standardRules, ""), "http://127.0.0.1:"+b.port+" {", "http://:"+b.port+" {", 1))
	b.pin(p)
	token := p.share("share_1", "")
	got := b.get("/articles/hello?share="+token, "Host", partnerDomain)
	cookie := got.page().linkCookie()
	b.get("/articles/hello", "Host", partnerDomain+":8443", "Cookie", cookie).page()
	b.get("/articles/hello?share="+token, "Host", "other.example.com").denied(http.StatusForbidden, "link_other_site")
	b.get("/articles/hello", "Host", "other.example.com", "Cookie", cookie).denied(http.StatusUnauthorized, "login_required")
}

// What explain tells of a publisher's link.
func TestExplainPublishersLink(t *testing.T) {
	p := newPartner(t)
	b := newBench(t, shareRules)
	b.pin(p)
	explain := func(url string) string {
		body, err := json.Marshal(map[string]string{"url": url})
		if err != nil {
			t.Fatal(err)
		}
		return b.api(http.MethodPost, "/management/explain", string(body), http.StatusOK)
	}
	page := b.site + "/articles/hello?share="
	told := explain(page + p.share("share_1", ""))
	if !strings.Contains(told, "signed_link") || !strings.Contains(told, "never used") || !strings.Contains(told, partnerDomain) {
		t.Errorf("explained as %s", told)
	}
	b.get("/articles/hello?share=" + p.share("share_1", "")).page()
	if told = explain(page + p.share("share_1", "")); !strings.Contains(told, "the store has its record") {
		t.Errorf("explained as %s", told)
	}
	b.pin(p, "other")
	if told = explain(page + p.share("share_1", "")); !strings.Contains(told, "link_not_allowed") || !strings.Contains(told, "allowedResourceIds") {
		t.Errorf("explained as %s", told)
	}
	b.api(http.MethodDelete, "/management/domains/"+partnerDomain, "", http.StatusNoContent)
	if told = explain(page + p.share("share_1", "")); !strings.Contains(told, "link_untrusted") || !strings.Contains(told, "domain put") {
		t.Errorf("explained as %s", told)
	}
}

func TestShareInCaddyfiles(t *testing.T) {
	b := newBench(t, standardRules)
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
		if err := load(b.config("", standardRules+"\n"+gate, "")); err == nil || !strings.Contains(err.Error(), says) {
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
		config := strings.Replace(b.config("", standardRules, ""), "\tgatefold {\n\t\tstore", "\tgatefold {\n\t\tjwks {\n"+options+"\n}\n\t\tstore", 1)
		if err := load(config); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want %q", options, err, says)
		}
	}
	for site, says := range map[string]string{"gatefold_keys a b": "gatefold_keys", "gatefold_keys Acme": "lower-case", "gatefold_keys {\nx\n}": "gatefold_keys"} {
		if err := load(b.config("", standardRules, site)); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want %q", site, err, says)
		}
	}
	b.load(strings.Replace(b.config("", standardRules+"\nshare_domain a.example B.example\nshare_domain bücher.example\nshare_param s", "gatefold_keys acme"),
		"\tgatefold {\n\t\tstore", "\tgatefold {\n\t\tjwks {\nallow 10.0.0.0/8 fd00::/8 192.0.2.1\nstale_if_error 2h\ncooldown 10s\n}\n\t\tstore", 1))
	b.get("/").page()
}
