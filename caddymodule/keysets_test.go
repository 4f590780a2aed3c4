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

	"github.com/gatefold/gatefold/admin"
	"github.com/gatefold/gatefold/keys"
)

// Gatefold starts while a publisher's host is down. The publisher's links open pages
// once the host is up, and still do after a restart while it is down again.
func TestPublishersHostIsDown(t *testing.T) {
	p := newPartner(t)
	s := newTestSite(t, shareRules)
	config := strings.Replace(s.config("", shareRules, ""), "\tgatefold {\n\t\tstore", "\tgatefold {\n\t\t"+p.global()+"\n\t\tstore", 1)
	s.load(config)
	p.down()
	put := s.api(http.MethodPut, "/management/domains/"+partnerDomain, `{"jwksUri":"https://`+partnerDomain+`/jwks"}`, http.StatusOK)
	if !strings.Contains(put, `"ok":false`) || !strings.Contains(put, "502") {
		t.Errorf("PUT answers %s", put)
	}
	link := "/articles/hello?share=" + p.share("share_1", "")
	got := s.get(link).denied(http.StatusServiceUnavailable, "keys_unavailable")
	if got.Header.Get("Retry-After") == "" {
		t.Error("the denial does not say when to try again")
	}
	s.get("/").page()
	p.up()
	clock.Advance(30 * time.Second)
	s.get(link).page()
	before := p.Count()
	s.get(link).page()
	if p.Count() != before {
		t.Error("a link that was verified caused a fetch")
	}
	if shown := s.api(http.MethodGet, "/management/domains/"+partnerDomain, "", http.StatusOK); !strings.Contains(shown, `"keyIds":["`+partnerKeyID+`"]`) {
		t.Errorf("GET answers %s", shown)
	}
	s.waitFor("the set to be saved", func() bool {
		set, err := s.running().Store.LoadKeySet(s.Context(), "url https://"+partnerDomain+"/jwks")
		return err == nil && set != nil
	})

	p.down()
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	clock.Advance(2 * time.Minute)
	s.load(config)
	s.get("/articles/hello?share=" + p.share("share_2", "")).page()
	health := s.api(http.MethodGet, "/health", "", http.StatusOK)
	if !strings.Contains(health, partnerDomain) {
		t.Errorf("the health is %s", health)
	}
	// A denied key is refused at once, while the host is down.
	s.api(http.MethodPost, "/management/denied-keys", `{"kid":"`+partnerKeyID+`","note":"leaked"}`, http.StatusOK)
	s.get(link).denied(http.StatusForbidden, "link_invalid")
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
			s := newTestSite(t, "rule / any")
			config := s.config("", identify+rules, "")
			// An issuer from the configuration may have a private address without
			// `allow`.
			s.load(strings.Replace(config, "\tgatefold {\n\t\tstore", "\tgatefold {\n\t\tjwks {\nca "+p.ca+"\n}\n\t\tstore", 1))
			s.get("/").page()
			s.get("/account").denied(http.StatusUnauthorized, "login_required")
			s.get("/account", "Authorization", "Bearer "+token()).denied(http.StatusServiceUnavailable, "keys_unavailable")
			s.get("/", "Authorization", "Bearer "+token()).page()
			if d := s.explain(admin.ExplainRequest{URL: "/account", ReaderToken: token()}).Decision; d.Reason != "keys_unavailable" || d.Status != http.StatusServiceUnavailable {
				t.Errorf("explain decides %+v", d)
			}
			elsewhere := p.sign(`{"alg":"ES256","kid":"x"}`, `{"iss":"https://`+partnerDomain+`/"}`)
			if source := s.explain(admin.ExplainRequest{URL: "/account", ReaderToken: elsewhere}).Reader.Source; !strings.HasSuffix(source,
				`its iss is "https://`+partnerDomain+`/", and those of identify are https://`+partnerDomain) {
				t.Errorf("of another issuer's token, explain says %s", source)
			}
			p.up()
			clock.Advance(30 * time.Second)
			s.get("/account", "Authorization", "Bearer "+token()).page()
			fetches := p.Count()
			for range 20 { // tokens of other issuers
				s.get("/account", "Authorization", "Bearer "+p.sign(`{"alg":"ES256","kid":"x"}`, `{"iss":"https://elsewhere.example"}`)).denied(http.StatusUnauthorized, "login_required")
			}
			if p.Count() != fetches {
				t.Error("tokens of another issuer caused fetches")
			}
		})
	}
}

// gatefold_keys serves the vendor's public keys.
func TestOwnKeysAreServed(t *testing.T) {
	s := newTestSiteWith(t, "", standardRules, "gatefold_keys")
	got := s.get("/.well-known/jwks.json")
	if got.StatusCode != http.StatusOK || strings.TrimSpace(got.body) != `{"keys":[]}` {
		t.Fatalf("before the first key: %d %s", got.StatusCode, got.body)
	}
	address, _ := s.link(keys.LinkClaims{})
	got = s.get("/.well-known/jwks.json")
	var set jose.JSONWebKeySet
	if err := json.Unmarshal([]byte(got.body), &set); err != nil || len(set.Keys) != 1 || !set.Keys[0].IsPublic() {
		t.Fatalf("the set is %s, %v", got.body, err)
	}
	if got.Header.Get("Content-Type") != "application/jwk-set+json" || !strings.Contains(got.Header.Get("Cache-Control"), "max-age=") {
		t.Errorf("the header is %v", got.Header)
	}
	if again := s.get("/.well-known/jwks.json", "If-None-Match", "W/"+got.Header.Get("Etag")); again.StatusCode != http.StatusNotModified || again.body != "" {
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
	s.api(http.MethodPost, "/management/keys/rotate", "{}", http.StatusCreated)
	if got = s.get("/.well-known/jwks.json"); strings.Count(got.body, `"kid"`) != 2 {
		t.Errorf("after the rotation the set is %s", got.body)
	}
	s.get(strings.TrimPrefix(address, s.site)).page()
	s.api(http.MethodDelete, "/management/keys/"+old, "", http.StatusNoContent)
	if got = s.get("/.well-known/jwks.json"); strings.Contains(got.body, old) {
		t.Errorf("a retired key is served: %s", got.body)
	}
	s.get("/.well-known/other").page()
	s.do(http.MethodPost, "/.well-known/jwks.json").page()
}

// A publisher's host hangs during a fetch for an unknown key. Only the request with
// that key waits.
func TestHangingHostDelaysOneRequest(t *testing.T) {
	p := newPartner(t)
	s := newTestSite(t, shareRules)
	s.load(strings.Replace(s.config("", shareRules, ""), "\tgatefold {\n\t\tstore", "\tgatefold {\n\t\t"+p.global()+"\n\t\tstore", 1))
	s.api(http.MethodPut, "/management/domains/"+partnerDomain, `{"jwksUri":"https://`+partnerDomain+`/jwks"}`, http.StatusOK)
	good := "/articles/hello?share=" + p.share("share_1", "")
	s.get(good).page()

	asked, release := make(chan struct{}, 1), make(chan struct{})
	var once sync.Once
	let := func() { once.Do(func() { close(release) }) }
	t.Cleanup(let)
	p.Handle(func(w http.ResponseWriter, r *http.Request) {
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
	go func() { waits <- s.get("/articles/hello?share=" + unknown) }()
	<-asked
	for i := range 20 {
		s.get(good).page()
		s.get("/articles/hello?share=" + p.share(fmt.Sprint("share_", 2+i), "")).page()
		s.get("/").page()
	}
	let()
	(<-waits).denied(http.StatusForbidden, "link_invalid")
	// During the cooldown there is no second fetch.
	before := p.Count()
	s.get("/articles/hello?share="+unknown).denied(http.StatusForbidden, "link_invalid")
	if p.Count() != before {
		t.Error("a second token with an unknown key caused another fetch")
	}
}

// An issuer was down, and its readers wait for the next fetch. The operator fetches its keys
// now; again only after a moment, and no set that nothing uses.
func TestKeySetIsRefreshedByTheOperator(t *testing.T) {
	p := newPartner(t)
	p.down()
	s := newTestSite(t, "rule / any")
	config := s.config("", "identify jwt {\nissuer https://"+partnerDomain+"\naudience news\n}\n\t\trule /account authenticated\n\t\trule / any", "")
	s.load(strings.Replace(config, "\tgatefold {\n\t\tstore", "\tgatefold {\n\t\tjwks {\nca "+p.ca+"\n}\n\t\tstore", 1))
	now := clock.Now().Unix()
	bearer := "Bearer " + p.sign(`{"alg":"ES256","kid":"`+partnerKeyID+`"}`, fmt.Sprintf(`{"iss":"https://%s","aud":"news","sub":"ann","exp":%d}`, partnerDomain, now+36000))
	s.get("/account", "Authorization", bearer).denied(http.StatusServiceUnavailable, "keys_unavailable")
	p.up()
	clock.Advance(keys.MinRefresh) // the next fetch in the background is due later
	refresh := func(address string, status int) string {
		return s.api(http.MethodPost, "/management/key-sets/refresh", `{"url":"`+address+`"}`, status)
	}
	fetched := p.Count()
	if answer := refresh("https://"+partnerDomain, http.StatusOK); !strings.Contains(answer, `"keyIds":["`+partnerKeyID+`"]`) || p.Count() == fetched {
		t.Errorf("the answer is %s, after %d requests", answer, p.Count()-fetched)
	}
	s.get("/account", "Authorization", bearer).page()
	fetched = p.Count()
	refresh("https://"+partnerDomain, http.StatusTooManyRequests)
	refresh("https://elsewhere.example.com", http.StatusNotFound)
	if p.Count() != fetched {
		t.Error("a refused refresh fetched keys")
	}
	// The keys in use stay when a fetch fails, and the answer says why it did.
	p.down()
	clock.Advance(keys.MinRefresh)
	if answer := refresh("https://"+partnerDomain, http.StatusOK); !strings.Contains(answer, "502") {
		t.Errorf("the answer is %s", answer)
	}
	s.get("/account", "Authorization", bearer).page()
}
