package admin_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy/store/engine"
)

// publisherHost is a publisher under a name that the certificate of httptest
// covers.
const publisherHost = "news.example.com"

// publisher is a publisher's host that serves a key set.
type publisher struct {
	*httptest.Server
	mu     sync.Mutex
	answer string // empty: 502
}

func newPublisher(t *testing.T) *publisher {
	p := new(publisher)
	p.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.answer == "" {
			w.WriteHeader(http.StatusBadGateway)
		}
		_, _ = io.WriteString(w, p.answer)
	}))
	p.Config.ErrorLog = log.New(io.Discard, "", 0)
	p.StartTLS()
	t.Cleanup(p.Close)
	return p
}

func (p *publisher) options(now func() time.Time) keys.SetsOptions {
	roots := x509.NewCertPool()
	roots.AddCert(p.Certificate())
	return keys.SetsOptions{
		Now: now, Interval: time.Hour, Timeout: 30 * time.Second, Hosts: map[string]string{publisherHost + ":443": p.Listener.Addr().String()},
		Settings: keys.Settings{Roots: roots, Addresses: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}},
	}
}

func (p *publisher) serves(answer string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answer = answer
}

func publisherKey(t *testing.T, curve elliptic.Curve) (set, block string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	jwks, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: private.Public(), KeyID: "2026", Use: "sig"}}})
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(private.Public())
	if err != nil {
		t.Fatal(err)
	}
	return string(jwks), string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

type domainShown struct {
	Domain, SigningKeyPem, JwksUri, UpdatedBy string //nolint:revive // as they are on the wire
	AllowedResourceIds                        []string
	CreatedAt, UpdatedAt                      time.Time
	Probe                                     struct {
		OK         bool
		ActiveKeys int
		Error      string
	}
	KeyIds []string
	Stale  bool
}

func quoted(text string) string {
	encoded, _ := json.Marshal(text)
	return string(encoded)
}

// A vendor trusts a publisher by its pinned key. Paths, fields and envelopes are
// those of the published contract.
func TestDomainsArePutListedAndRemoved(t *testing.T) {
	b := newFixture(t, false)
	_, block := publisherKey(t, elliptic.P256())
	var made, shown domainShown
	put := b.call(http.MethodPut, "/management/domains/News.Example.", `{"signingKeyPem":`+quoted(block)+`,"allowedResourceIds":["a","prefix:b*"]}`).want(http.StatusOK, &made)
	if made.Domain != "news.example" || made.UpdatedBy != "test" || !made.Probe.OK || made.Probe.ActiveKeys != 1 || made.SigningKeyPem != block ||
		len(made.AllowedResourceIds) != 2 || made.JwksUri != "" || made.Probe.Error != "" {
		t.Errorf("PUT answers %s", put.body)
	}
	var list struct{ Domains []domainShown }
	got := b.call(http.MethodGet, "/management/domains", "").want(http.StatusOK, &list)
	if len(list.Domains) != 1 || list.Domains[0].Domain != "news.example" || strings.Contains(got.body, "probe") {
		t.Errorf("the list is %s", got.body)
	}
	b.call(http.MethodGet, "/management/domains/news.example", "").want(http.StatusOK, &shown)
	if len(shown.KeyIds) != 1 || !shown.Probe.OK {
		t.Errorf("GET answers %+v", shown)
	}
	var again domainShown
	b.call(http.MethodPut, "/management/domains/news.example", `{"signingKeyPem":`+quoted(block)+`}`).want(http.StatusOK, &again)
	if len(again.AllowedResourceIds) != 2 {
		t.Errorf("a PUT without allowedResourceIds opens %+v", again)
	}
	b.call(http.MethodPut, "/management/domains/news.example", `{"allowedResourceIds":[],"signingKeyPem":`+quoted(block)+`}`).want(http.StatusOK, &again)
	if !again.UpdatedAt.After(made.UpdatedAt) || !again.CreatedAt.Equal(made.CreatedAt) || again.AllowedResourceIds == nil || len(again.AllowedResourceIds) != 0 {
		t.Errorf("the second PUT answers %+v", again)
	}
	b.callAs("other", http.MethodGet, "/management/domains/news.example", "").refused(http.StatusNotFound, "not_found", "")
	for range 2 {
		if got := b.call(http.MethodDelete, "/management/domains/news.example", ""); got.code != http.StatusNoContent || got.body != "" {
			t.Errorf("DELETE: %d %s", got.code, got.body)
		}
	}
	b.call(http.MethodGet, "/management/domains/news.example", "").refused(http.StatusNotFound, "not_found", "")
	got = b.call(http.MethodGet, "/management/domains", "").want(http.StatusOK, nil)
	if strings.TrimSpace(got.body) != `{"domains":[]}` {
		t.Errorf("the empty list is %s", got.body)
	}
}

// A client of the published contract gets all of a thousand domains at once;
// further ones are on pages that Link names.
func TestManyDomainsAreListedInPages(t *testing.T) {
	b := newFixture(t, false)
	var all engine.Batch
	for i := range 1500 {
		all.Puts = append(all.Puts, engine.Put{Key: fmt.Appendf(nil, "Dd%04d.example", i), Value: fmt.Appendf(nil, `{"domain":"d%04d.example"}`, i)})
	}
	if _, err := b.engine.Commit(t.Context(), "acme", &all); err != nil {
		t.Fatal(err)
	}
	var whole struct{ Domains []domainShown }
	if b.call(http.MethodGet, "/management/domains", "").want(http.StatusOK, &whole); len(whole.Domains) != 1500 {
		t.Errorf("without limit there are %d domains", len(whole.Domains))
	}
	var names []string
	path := "/management/domains?limit=1000"
	for _, want := range []int{1000, 500} {
		var page struct{ Domains []domainShown }
		got := b.call(http.MethodGet, path, "").want(http.StatusOK, &page)
		for _, domain := range page.Domains {
			names = append(names, domain.Domain)
		}
		link := got.head.Get("Link")
		if len(page.Domains) != want || (link != "") != (want == 1000) {
			t.Fatalf("a page of %d, with the Link %q", len(page.Domains), link)
		}
		if query, ok := strings.CutPrefix(link, "<?"); ok {
			path = "/management/domains?" + strings.TrimSuffix(query, `>; rel="next"`)
		}
	}
	if names[0] != "d0000.example" || names[1499] != "d1499.example" || !slices.IsSorted(names) {
		t.Errorf("listed are %v", names)
	}
	b.call(http.MethodGet, "/management/domains?limit=1001", "").refused(http.StatusUnprocessableEntity, "validation_failed", "query.limit")
}

// Every field of the published answers is present with its type.
func TestDomainsAreShownAsPublished(t *testing.T) {
	b := newFixture(t, false)
	_, block := publisherKey(t, elliptic.P256())
	const published = `{"domain":"string","signingKeyPem":"string","jwksUri":"string","allowedResourceIds":["string"],
		"createdAt":"string","updatedAt":"string","updatedBy":"string"`
	const path = "/management/domains/example.wordpress.com"
	for _, call := range []struct{ method, path, body, want string }{
		{http.MethodPut, path, `{"signingKeyPem":` + quoted(block) + `,"jwksUri":"","allowedResourceIds":["a"]}`, published + `,"probe":{"ok":true,"activeKeys":0,"error":"string"}}`},
		{http.MethodGet, path, "", published + "}"},
		{http.MethodGet, "/management/domains", "", `{"domains":[` + published + "}]}"},
	} {
		var want, got any
		parse(t, call.want, &want)
		b.call(call.method, call.path, call.body).want(http.StatusOK, &got)
		compare(t, call.method, want, got, nil)
	}
}

func TestInvalidDomains(t *testing.T) {
	b := newFixture(t, false)
	_, block := publisherKey(t, elliptic.P256())
	_, other := publisherKey(t, elliptic.P384())
	for _, path := range []string{"*.example.com", "example.com:443", "127.0.0.1", "a..b", "a_b.example", "%20example.com", "b%C3%BC%00cher.example"} {
		b.call(http.MethodPut, "/management/domains/"+path, `{"signingKeyPem":`+quoted(block)+`}`).refused(http.StatusUnprocessableEntity, "validation_failed", "path.domain")
		b.call(http.MethodGet, "/management/domains/"+path, "").refused(http.StatusUnprocessableEntity, "validation_failed", "path.domain")
		b.call(http.MethodDelete, "/management/domains/"+path, "").refused(http.StatusUnprocessableEntity, "validation_failed", "path.domain")
	}
	for body, field := range map[string]string{
		`{}`: "body.signingKeyPem",
		`{"signingKeyPem":` + quoted(block) + `,"jwksUri":"https://news.example/jwks"}`: "body.jwksUri",
		`{"signingKeyPem":"key"}`:                                           "body.signingKeyPem",
		`{"signingKeyPem":` + quoted(other) + `}`:                           "body.signingKeyPem",
		`{"jwksUri":"http://news.example/jwks"}`:                            "body.jwksUri",
		`{"jwksUri":"https://evil.example/jwks"}`:                           "body.jwksUri",
		`{"jwksUri":"https://news.example:8443/jwks"}`:                      "body.jwksUri",
		`{"jwksUri":"https://u:hunter2@news.example/jwks"}`:                 "body.jwksUri",
		`{"signingKeyPem":` + quoted(block) + `,"allowedResourceIds":[""]}`: "body.allowedResourceIds",
	} {
		got := b.call(http.MethodPut, "/management/domains/news.example", body)
		got.refused(http.StatusUnprocessableEntity, "validation_failed", field)
		if strings.Contains(got.body, "hunter2") {
			t.Errorf("the refusal repeats a password: %s", got.body)
		}
	}
	if got := b.call(http.MethodPut, "/management/domains/news.example", `{"signingKeyPem":`+quoted(other)+`}`); !strings.Contains(got.body, "P-384") {
		t.Errorf("the refusal does not say what was found: %s", got.body)
	}
	b.call(http.MethodGet, "/management/domains/news.example", "").refused(http.StatusNotFound, "not_found", "")
	as := func(scope, method, path, body string) answer {
		return b.send("acme", method, path, body, http.Header{"X-Test-Scope": {scope}, "Content-Type": {"application/json"}})
	}
	as("domains:read", http.MethodPut, "/management/domains/news.example", `{"signingKeyPem":`+quoted(block)+`}`).refused(http.StatusForbidden, "forbidden", "")
	as("domains:write", http.MethodGet, "/management/domains", "").refused(http.StatusForbidden, "forbidden", "")
	as("domains:read", http.MethodPost, "/management/denied-keys", `{"kid":"k"}`).refused(http.StatusForbidden, "forbidden", "")
}

// The publisher's host is down when the domain is put: the domain is stored with
// the error. Later a probe finds its keys.
func TestDomainsAreProbed(t *testing.T) {
	b := newFixture(t, true)
	set, _ := publisherKey(t, elliptic.P256())
	weak, _ := publisherKey(t, elliptic.P384())
	const path = "/management/domains/" + publisherHost
	put := func() (shown domainShown) {
		t.Helper()
		b.call(http.MethodPut, path, `{"jwksUri":"https://`+publisherHost+`/.well-known/dca-publishers.json"}`).want(http.StatusOK, &shown)
		return shown
	}
	if got := put(); got.Probe.OK || got.Probe.ActiveKeys != 0 || !strings.Contains(got.Probe.Error, "502") {
		t.Errorf("while the host is down: %+v", got.Probe)
	}
	var shown domainShown
	b.call(http.MethodGet, path, "").want(http.StatusOK, &shown)
	if shown.Probe.OK || shown.Probe.Error == "" || len(shown.KeyIds) != 0 {
		t.Errorf("GET shows %+v", shown)
	}
	b.publisher.serves(set)
	b.call(http.MethodPost, path+"/probe", "{}").want(http.StatusOK, &shown)
	if !shown.Probe.OK || shown.Probe.ActiveKeys != 1 || fmt.Sprint(shown.KeyIds) != "[2026]" {
		t.Errorf("the probe shows %+v", shown)
	}
	b.publisher.serves("<html>Not found</html>")
	if got := put(); got.Probe.OK || got.Probe.ActiveKeys != 1 || got.Probe.Error == "" {
		t.Errorf("a set that came before and an HTML page: %+v", got.Probe)
	}
	b.publisher.serves(weak)
	if got := put(); got.Probe.OK || got.Probe.ActiveKeys != 0 || got.Probe.Error == "" {
		t.Errorf("keys of another curve: %+v", got.Probe)
	}
	var health struct {
		Status  string
		KeySets []struct {
			URL   string
			OK    bool
			Error string
		}
	}
	b.publisher.serves("")
	b.call(http.MethodPost, path+"/probe", "{}").want(http.StatusOK, nil)
	b.call(http.MethodGet, "/health", "").want(http.StatusOK, &health)
	if health.Status != "ok" || len(health.KeySets) != 1 || !health.KeySets[0].OK || !strings.Contains(health.KeySets[0].Error, "502") {
		t.Errorf("the health is %+v", health)
	}
	b.call(http.MethodPost, "/management/domains/anonymous.example/probe", "{}").refused(http.StatusNotFound, "not_found", "")
	if len(b.failed) != 0 {
		t.Errorf("the log has %v", b.failed)
	}
}

// A leaked key is denied by its kid, whatever characters it has.
func TestKeysAreDenied(t *testing.T) {
	b := newFixture(t, false)
	type denied struct{ KID, Note, DeniedBy string }
	var one denied
	b.call(http.MethodPost, "/management/denied-keys", `{"kid":"a/b c?","note":"leaked"}`).want(http.StatusOK, &one)
	var list []denied
	b.call(http.MethodGet, "/management/denied-keys", "").want(http.StatusOK, &list)
	if len(list) != 1 || list[0] != one || one.DeniedBy != "test" || one.KID != "a/b c?" {
		t.Errorf("denied are %+v", list)
	}
	b.call(http.MethodPost, "/management/denied-keys", `{"kid":""}`).refused(http.StatusUnprocessableEntity, "validation_failed", "body.kid")
	for range 2 {
		if got := b.call(http.MethodDelete, "/management/denied-keys?kid=a%2Fb+c%3F", ""); got.code != http.StatusNoContent {
			t.Errorf("DELETE: %d %s", got.code, got.body)
		}
	}
	b.call(http.MethodGet, "/management/denied-keys", "").want(http.StatusOK, &list)
	if len(list) != 0 {
		t.Errorf("denied are %+v", list)
	}
}

// A publisher's link is revoked before its first use.
func TestPublishersLinksAreRevoked(t *testing.T) {
	b := newFixture(t, false)
	const path = "/management/domains/news.example/links"
	var links []struct{ TokenID, Status string }
	b.call(http.MethodGet, path, "").want(http.StatusOK, &links)
	if len(links) != 0 {
		t.Errorf("links are %v", links)
	}
	for range 2 {
		if got := b.call(http.MethodDelete, path+"/share_1", ""); got.code != http.StatusNoContent {
			t.Errorf("DELETE: %d %s", got.code, got.body)
		}
	}
	link, err := b.store.Link(t.Context(), "acme", "news.example", "share_1")
	if err != nil || !link.Revoked {
		t.Errorf("the link is %+v, %v", link, err)
	}
	if link, err = b.store.Link(t.Context(), "other", "news.example", "share_1"); err == nil {
		t.Errorf("another vendor's link is %+v", link)
	}
}
