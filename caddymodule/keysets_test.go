package caddymodule

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/caddyserver/caddy/v2"

	"github.com/gatefold/gatefold/keys"
)

// Gatefold starts while a publisher's host is down. The publisher's links open pages
// once the host is up, and still do after a restart while it is down again.
func TestPublishersHostIsDown(t *testing.T) {
	p := newPartner(t)
	b := newBench(t, shareRules)
	config := strings.Replace(b.config("", shareRules, ""), "\tgatefold {\n\t\tstore", "\tgatefold {\n\t\t"+p.global()+"\n\t\tstore", 1)
	b.load(config)
	p.down()
	put := b.api(http.MethodPut, "/management/domains/"+partnerDomain, `{"jwksUri":"https://`+partnerDomain+`/jwks"}`, http.StatusOK)
	if !strings.Contains(put, `"ok":false`) || !strings.Contains(put, "502") {
		t.Errorf("PUT answers %s", put)
	}
	link := "/articles/hello?share=" + p.share("share_1", "")
	got := b.get(link).denied(http.StatusServiceUnavailable, "keys_unavailable")
	if got.Header.Get("Retry-After") == "" {
		t.Error("the denial does not say when to try again")
	}
	b.get("/").page()
	p.up()
	clock.advance(30 * time.Second)
	b.get(link).page()
	before := p.fetches.Load()
	b.get(link).page()
	if p.fetches.Load() != before {
		t.Error("a link that was verified caused a fetch")
	}
	if shown := b.api(http.MethodGet, "/management/domains/"+partnerDomain, "", http.StatusOK); !strings.Contains(shown, `"keyIds":["`+partnerKeyID+`"]`) {
		t.Errorf("GET answers %s", shown)
	}
	b.waitFor("the set to be saved", func() bool {
		set, err := b.running().store.LoadKeySet(b.Context(), "url https://"+partnerDomain+"/jwks")
		return err == nil && set != nil
	})

	p.down()
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	clock.advance(2 * time.Minute)
	b.load(config)
	b.get("/articles/hello?share=" + p.share("share_2", "")).page()
	health := b.api(http.MethodGet, "/health", "", http.StatusOK)
	if !strings.Contains(health, partnerDomain) {
		t.Errorf("the health is %s", health)
	}
	// A denied key is refused at once, while the host is down.
	b.api(http.MethodPost, "/management/denied-keys", `{"kid":"`+partnerKeyID+`","note":"leaked"}`, http.StatusOK)
	b.get(link).denied(http.StatusForbidden, "link_invalid")
}

// The keys of a readers' issuer are fetched by OpenID discovery or from a JWK Set URL.
// While it is down Gatefold starts, and responds 503 to its readers.
func TestReadersIssuerIsFetched(t *testing.T) {
	p := newPartner(t)
	token := func() string {
		now := clock.Now().Unix()
		return p.sign(`{"alg":"ES256","kid":"`+partnerKeyID+`"}`, fmt.Sprintf(
			`{"iss":"https://%s","aud":"news","sub":"ann","iat":%d,"exp":%d}`, partnerDomain, now, now+36000))
	}
	const rules = "\n\t\trule /account authenticated\n\t\trule / any"
	for name, identify := range map[string]string{
		"discovery": "identify jwt {\nissuer https://" + partnerDomain + "\naudience news\n}",
		"jwks":      "identify jwt {\nissuer https://" + partnerDomain + "\naudience news\njwks https://" + partnerDomain + "/jwks\n}",
	} {
		t.Run(name, func(t *testing.T) {
			p.down()
			b := newBench(t, "rule / any")
			config := b.config("", identify+rules, "")
			// An issuer from the configuration may have a private address without
			// `allow`.
			b.load(strings.Replace(config, "\tgatefold {\n\t\tstore", "\tgatefold {\n\t\tjwks {\nca "+p.ca+"\n}\n\t\tstore", 1))
			b.get("/").page()
			b.get("/account").denied(http.StatusUnauthorized, "login_required")
			b.get("/account", "Authorization", "Bearer "+token()).denied(http.StatusServiceUnavailable, "keys_unavailable")
			b.get("/", "Authorization", "Bearer "+token()).page()
			p.up()
			clock.advance(30 * time.Second)
			b.get("/account", "Authorization", "Bearer "+token()).page()
			fetches := p.fetches.Load()
			for range 20 { // tokens of other issuers
				b.get("/account", "Authorization", "Bearer "+p.sign(`{"alg":"ES256","kid":"x"}`, `{"iss":"https://elsewhere.example"}`)).denied(http.StatusUnauthorized, "login_required")
			}
			if p.fetches.Load() != fetches {
				t.Error("tokens of another issuer caused fetches")
			}
		})
	}
}

// gatefold_keys serves the vendor's public keys.
func TestOwnKeysAreServed(t *testing.T) {
	b := newBenchWith(t, "", standardRules, "gatefold_keys")
	got := b.get("/.well-known/jwks.json")
	if got.StatusCode != http.StatusOK || strings.TrimSpace(got.body) != `{"keys":[]}` {
		t.Fatalf("before the first key: %d %s", got.StatusCode, got.body)
	}
	address, _ := b.link(keys.LinkClaims{})
	got = b.get("/.well-known/jwks.json")
	var set jose.JSONWebKeySet
	if err := json.Unmarshal([]byte(got.body), &set); err != nil || len(set.Keys) != 1 || !set.Keys[0].IsPublic() {
		t.Fatalf("the set is %s, %v", got.body, err)
	}
	if got.Header.Get("Content-Type") != "application/jwk-set+json" || !strings.Contains(got.Header.Get("Cache-Control"), "max-age=") {
		t.Errorf("the header is %v", got.Header)
	}
	if again := b.get("/.well-known/jwks.json", "If-None-Match", "W/"+got.Header.Get("Etag")); again.StatusCode != http.StatusNotModified || again.body != "" {
		t.Errorf("unchanged: %d %s", again.StatusCode, again.body)
	}
	// The served key verifies a link.
	_, raw, _ := strings.Cut(address, "token=")
	signed, err := jose.ParseSignedCompact(raw, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := signed.Verify(set.Keys[0]); err != nil {
		t.Error(err)
	}
	old := set.Keys[0].KeyID
	b.api(http.MethodPost, "/management/keys/rotate", "{}", http.StatusCreated)
	if got = b.get("/.well-known/jwks.json"); strings.Count(got.body, `"kid"`) != 2 {
		t.Errorf("after the rotation the set is %s", got.body)
	}
	b.get(strings.TrimPrefix(address, b.site)).page()
	b.api(http.MethodDelete, "/management/keys/"+old, "", http.StatusNoContent)
	if got = b.get("/.well-known/jwks.json"); strings.Contains(got.body, old) {
		t.Errorf("a retired key is served: %s", got.body)
	}
	b.get("/.well-known/other").page()
	b.do(http.MethodPost, "/.well-known/jwks.json").page()
}

// A publisher's host hangs during a fetch for an unknown key. Only the request with
// that key waits.
func TestHangingHostDelaysOneRequest(t *testing.T) {
	p := newPartner(t)
	b := newBench(t, shareRules)
	b.load(strings.Replace(b.config("", shareRules, ""), "\tgatefold {\n\t\tstore", "\tgatefold {\n\t\t"+p.global()+"\n\t\tstore", 1))
	b.api(http.MethodPut, "/management/domains/"+partnerDomain, `{"jwksUri":"https://`+partnerDomain+`/jwks"}`, http.StatusOK)
	good := "/articles/hello?share=" + p.share("share_1", "")
	b.get(good).page()

	asked, release := make(chan struct{}, 1), make(chan struct{})
	var once sync.Once
	let := func() { once.Do(func() { close(release) }) }
	t.Cleanup(let)
	p.does(func(w http.ResponseWriter, r *http.Request) {
		asked <- struct{}{}
		select {
		case <-release:
		case <-r.Context().Done():
		}
		w.WriteHeader(http.StatusBadGateway)
	})
	now := clock.Now().Unix()
	unknown := p.sign(`{"alg":"ES256","kid":"made-up"}`, fmt.Sprintf(
		`{"type":"dca-share","domain":%q,"resourceId":"hello","contentNames":["x"],"iat":%d,"exp":%d,"jti":"x"}`, partnerDomain, now, now+60))
	waits := make(chan answer, 1)
	go func() { waits <- b.get("/articles/hello?share=" + unknown) }()
	<-asked
	for i := range 20 {
		b.get(good).page()
		b.get("/articles/hello?share=" + p.share(fmt.Sprint("share_", 2+i), "")).page()
		b.get("/").page()
	}
	let()
	(<-waits).denied(http.StatusForbidden, "link_invalid")
	// During the cooldown there is no second fetch.
	before := p.fetches.Load()
	b.get("/articles/hello?share="+unknown).denied(http.StatusForbidden, "link_invalid")
	if p.fetches.Load() != before {
		t.Error("a second token with an unknown key caused another fetch")
	}
}
