package policy

import (
	"context"
	"crypto"
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
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/gatefold/gatefold/keys"
)

// newsDomain is a publisher: the host of the world's site.
const newsDomain = "news.example"

// signer is somebody who signs for a publisher.
type signer struct {
	private *ecdsa.PrivateKey
	kid     string
}

func newSigner() *signer {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	thumbprint, err := (&jose.JSONWebKey{Key: private.Public()}).Thumbprint(crypto.SHA256)
	if err != nil {
		panic(err)
	}
	return &signer{private, base64.RawURLEncoding.EncodeToString(thumbprint)}
}

// The signers of all worlds: making keys takes time.
var editor, successor, forger = newSigner(), newSigner(), newSigner()

func (s *signer) pem() string {
	der, err := x509.MarshalPKIXPublicKey(s.private.Public())
	if err != nil {
		panic(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

func (s *signer) sign(header, payload string) string {
	input := base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString([]byte(payload))
	digest := sha256.Sum256([]byte(input))
	r, other, err := ecdsa.Sign(rand.Reader, s.private, digest[:])
	if err != nil {
		panic(err)
	}
	signature := append(r.FillBytes(make([]byte, 32)), other.FillBytes(make([]byte, 32))...)
	return input + "." + base64.RawURLEncoding.EncodeToString(signature)
}

// share mints a share token of news.example for article a1, with more claims,
// which replace those that there are.
func (s *signer) share(more map[string]any) string {
	claims := map[string]any{
		"type": "dca-share", "domain": newsDomain, "resourceId": "a1", "contentNames": []string{"bodytext"},
		"iat": start, "exp": start + 3600, "jti": "share_1",
	}
	for name, value := range more {
		if claims[name] = value; value == nil {
			delete(claims, name)
		}
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		panic(err)
	}
	return s.sign(fmt.Sprintf(`{"alg":"ES256","typ":"JWT","kid":%q}`, s.kid), string(payload))
}

// link mints a link in our own format.
func (s *signer) link(more string) string {
	return s.sign(`{"alg":"ES256","typ":"gatefold-link+jwt"}`,
		fmt.Sprintf(`{"iss":"news.example","jti":"link_9","iat":%d,"exp":%d%s}`, start, start+3600, more))
}

// shared is what a reader's own GET with a publisher's token carries.
func shared(token string) LinkEvidence {
	evidence := carries(token)
	evidence.Share = true
	return evidence
}

// trust makes the vendor trust news.example, by the editor's key.
func (w *world) trust(allowed ...string) {
	w.trusts(Domains{Trusted: []*TrustedDomain{{Domain: newsDomain, SigningKeyPEM: editor.pem(), AllowedResourceIDs: allowed}}})
}

// trusts changes whom the vendor trusts, and publishes it as the API does.
func (w *world) trusts(domains Domains) {
	w.t.Helper()
	w.records.commit(Invalidation{Shared: true}, func() { w.records.trust["acme"] = domains })
	must(w.t, w.policy.RefreshDomains(context.Background(), "acme"))
}

// publisherPass is the cookie of a publisher's link.
func publisherPass(id string) RedeemedLink {
	return RedeemedLink{Issuer: newsDomain, ID: id, ExpiresAt: start + 1800}
}

func init() { decideCases = append(decideCases, publisherCases...) }

// publisherCases end in every reason that a publisher's link can have.
var publisherCases = []decideCase{
	{"a share token opens its article", func(w *world) visit {
		w.trust()
		return visit{link: shared(editor.share(nil))}
	}, ReasonSignedLink},
	{"on a port of its host, too", func(w *world) visit {
		w.trust()
		return visit{host: "NEWS.example:8443", link: shared(editor.share(nil))}
	}, ReasonSignedLink},
	{"a publisher's link in our own format", func(w *world) visit {
		w.trust()
		return visit{link: carries(editor.link(`,"publisherContentId":"a1"`))}
	}, ReasonSignedLink},
	{"the same in the publishers' parameter", func(w *world) visit {
		w.trust()
		return visit{link: shared(editor.link(`,"publisherContentId":"a1"`))}
	}, ReasonSignedLink},
	{"a publisher's link that a url narrows", func(w *world) visit {
		w.trust()
		return visit{query: "a=1", link: carries(editor.link(`,"publisherContentId":"a1","url":"https://news.example/articles/a1?a=2"`))}
	}, ReasonLinkOtherResource},
	{"a publisher's link without content", func(w *world) visit {
		w.trust()
		return visit{link: carries(editor.link(`,"url":"https://news.example/articles/a1"`))}
	}, ReasonLinkInvalid},
	{"a share token in the parameter of links", func(w *world) visit {
		w.trust()
		return visit{link: carries(editor.share(nil))}
	}, ReasonLinkInvalid},
	{"our own link in the publishers' parameter", func(w *world) visit {
		w.trust()
		return visit{link: shared(w.newLink(keys.LinkClaims{}))}
	}, ReasonLinkUntrusted},
	{"a share token for another article", func(w *world) visit {
		w.trust()
		return visit{path: "/articles/a2", link: shared(editor.share(nil))}
	}, ReasonLinkOtherResource},
	{"a share token where the rule names no content", func(w *world) visit {
		w.trust()
		return visit{path: "/gold", link: shared(editor.share(nil))}
	}, ReasonLinkOtherResource},
	{"a publisher of another host", func(w *world) visit {
		w.trust()
		return visit{host: "other.example", link: shared(editor.share(nil))}
	}, ReasonLinkOtherSite},
	{"a publisher whom the site names", func(w *world) visit {
		w.trust()
		w.site.ShareDomains = []string{newsDomain}
		return visit{host: "other.example", link: shared(editor.share(nil))}
	}, ReasonSignedLink},
	{"a subdomain is another host", func(w *world) visit {
		w.trust()
		return visit{host: "www.news.example", link: shared(editor.share(nil))}
	}, ReasonLinkOtherSite},
	{"a resource that the domain may not speak for", func(w *world) visit {
		w.trust("a2", "prefix:b*")
		return visit{link: shared(editor.share(nil))}
	}, ReasonLinkNotAllowed},
	{"and in our own format", func(w *world) visit {
		w.trust("a2")
		return visit{link: carries(editor.link(`,"publisherContentId":"a1"`))}
	}, ReasonLinkNotAllowed},
	{"a resource that it may speak for", func(w *world) visit {
		w.trust("prefix:a*")
		return visit{link: shared(editor.share(nil))}
	}, ReasonSignedLink},
	{"nobody is trusted", func(*world) visit { return visit{link: shared(editor.share(nil))} }, ReasonLinkUntrusted},
	{"another domain is trusted", func(w *world) visit {
		w.trusts(Domains{Trusted: []*TrustedDomain{{Domain: "other.example", SigningKeyPEM: editor.pem()}}})
		return visit{link: shared(editor.share(nil))}
	}, ReasonLinkUntrusted},
	{"another vendor trusts it", func(w *world) visit {
		w.records.trust["other"] = Domains{Trusted: []*TrustedDomain{{Domain: newsDomain, SigningKeyPEM: editor.pem()}}}
		return visit{link: shared(editor.share(nil))}
	}, ReasonLinkUntrusted},
	{"a token that names no domain", func(w *world) visit {
		w.trust()
		return visit{link: shared(editor.share(map[string]any{"domain": nil}))}
	}, ReasonLinkUntrusted},
	{"a forged share token", func(w *world) visit { w.trust(); return visit{link: shared(forger.share(nil))} }, ReasonLinkInvalid},
	{"a domain in another case", func(w *world) visit {
		w.trust()
		return visit{link: shared(editor.share(map[string]any{"domain": "News.example"}))}
	}, ReasonLinkInvalid},
	{"an expired share token", func(w *world) visit {
		w.trust()
		w.wait(time.Hour)
		return visit{link: shared(editor.share(nil))}
	}, ReasonLinkExpired},
	{"a share token of the future", func(w *world) visit {
		w.trust()
		return visit{link: shared(editor.share(map[string]any{"iat": start + 61}))}
	}, ReasonLinkExpired},
	{"a revoked share token", func(w *world) visit {
		w.trust()
		claims := keys.LinkClaims{Issuer: newsDomain, ID: "share_1", ExpiresAt: start + 3600, PublisherContentID: "a1"}
		w.records.putLink("acme", Link{Claims: claims, Revoked: true, KeyID: editor.kid})
		return visit{link: shared(editor.share(nil))}
	}, ReasonLinkRevoked},
	{"a denied key", func(w *world) visit {
		w.trusts(Domains{Trusted: []*TrustedDomain{{Domain: newsDomain, SigningKeyPEM: editor.pem()}}, DeniedKeys: []string{editor.kid}})
		return visit{link: shared(editor.share(nil))}
	}, ReasonLinkInvalid},
	{"the domains cannot be read", func(w *world) visit {
		w.records.domainsDown = errDown
		return visit{link: shared(editor.share(nil))}
	}, ReasonStoreUnavailable},
	{"the record cannot be read", func(w *world) visit {
		w.trust()
		w.records.linksDown = errDown
		return visit{link: shared(editor.share(nil))}
	}, ReasonStoreUnavailable},
	{"the record cannot be written", func(w *world) visit {
		w.trust()
		w.records.redeemDown = errDown
		return visit{link: shared(editor.share(nil))}
	}, ReasonStoreUnavailable},
	{"a counted share token is used up", func(w *world) visit {
		w.trust()
		link := shared(editor.share(map[string]any{"maxUses": 1}))
		w.want(visit{link: link}, ReasonSignedLink)
		return visit{link: link}
	}, ReasonLinkUsedUp},
	{"a preview of a counted share token", func(w *world) visit {
		w.trust()
		link := shared(editor.share(map[string]any{"maxUses": 1}))
		link.Spendable = false
		return visit{link: link}
	}, ReasonLoginRequired},
	{"two links with one id", func(w *world) visit {
		w.trust()
		w.want(visit{link: shared(editor.share(nil))}, ReasonSignedLink)
		return visit{path: "/articles/a2", link: shared(editor.share(map[string]any{"resourceId": "a2"}))}
	}, ReasonLinkInvalid},
	{"the same id with more uses", func(w *world) visit {
		w.trust()
		w.want(visit{link: shared(editor.share(map[string]any{"maxUses": 1}))}, ReasonSignedLink)
		return visit{link: shared(editor.share(map[string]any{"maxUses": 1000}))}
	}, ReasonLinkInvalid},
	{"the publisher's host has no keys", func(w *world) visit {
		w.host.does(func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(http.StatusBadGateway) })
		w.trusts(Domains{Trusted: []*TrustedDomain{{Domain: newsDomain, JWKSURI: w.host.jwks}}})
		return visit{link: shared(editor.share(nil))}
	}, ReasonKeysUnavailable},
	{"the reader's issuer has no keys", func(*world) visit {
		return visit{path: "/account", reader: Reader{Unknown: true, NoKeys: true}}
	}, ReasonKeysUnavailable},
	{"the publisher's keys are fetched when they are needed", func(w *world) visit {
		w.host.serve(editor)
		w.trusts(Domains{Trusted: []*TrustedDomain{{Domain: newsDomain, JWKSURI: w.host.jwks}}})
		return visit{link: shared(editor.share(nil))}
	}, ReasonSignedLink},
}

// What a link's token names of the resource goes on to the origin: with the
// token, and with the cookie that it was exchanged for.
func TestContentsReachTheDecision(t *testing.T) {
	w := newWorld(t)
	w.trust()
	for range 2 {
		decision := w.want(visit{link: shared(editor.share(map[string]any{"contentNames": []string{"bodytext", "sidebar"}}))}, ReasonSignedLink)
		if !slices.Equal(decision.ContentNames, []string{"bodytext", "sidebar"}) || decision.Scopes != nil {
			t.Errorf("by the token: %v, %v", decision.ContentNames, decision.Scopes)
		}
		w.settle()
	}
	scoped := shared(editor.share(map[string]any{"contentNames": []string{}, "scopes": []string{"premium"}, "jti": "share_2"}))
	w.want(visit{link: scoped}, ReasonSignedLink)
	decision := w.want(visit{link: LinkEvidence{Redeemed: []RedeemedLink{publisherPass("share_2")}}}, ReasonSignedLink)
	if !slices.Equal(decision.Scopes, []string{"premium"}) || decision.ContentNames != nil || decision.Link.Token {
		t.Errorf("by the cookie: %v, %v", decision.ContentNames, decision.Scopes)
	}
}

// The vendor trusts a publisher no more, or his key, or less of him. It counts at
// once: for tokens that were verified a moment ago, and for cookies that they
// were exchanged for.
func TestTrustEndsAtTheNextRequest(t *testing.T) {
	trusted := TrustedDomain{Domain: newsDomain, SigningKeyPEM: editor.pem()}
	with := func(change func(*TrustedDomain)) Domains {
		changed := trusted
		change(&changed)
		return Domains{Trusted: []*TrustedDomain{&changed}}
	}
	for name, test := range map[string]struct {
		after Domains
		want  Reason
	}{
		"the domain is removed":           {Domains{}, ReasonLinkUntrusted},
		"another key":                     {with(func(d *TrustedDomain) { d.SigningKeyPEM = successor.pem() }), ReasonLinkInvalid},
		"other resources":                 {with(func(d *TrustedDomain) { d.AllowedResourceIDs = []string{"a2"} }), ReasonLinkNotAllowed},
		"the key is denied":               {Domains{Trusted: []*TrustedDomain{&trusted}, DeniedKeys: []string{editor.kid}}, ReasonLinkInvalid},
		"one more key, and nothing wrong": {with(func(d *TrustedDomain) { d.SigningKeyPEM += successor.pem() }), ReasonSignedLink},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.trusts(Domains{Trusted: []*TrustedDomain{&trusted}})
			token, cookie := shared(editor.share(nil)), LinkEvidence{Redeemed: []RedeemedLink{publisherPass("share_1")}}
			for range 2 {
				w.want(visit{link: token}, ReasonSignedLink)
				w.want(visit{link: cookie}, ReasonSignedLink)
				w.settle()
			}
			w.trusts(test.after)
			w.want(visit{link: token}, test.want)
			want := ReasonLoginRequired
			if test.want == ReasonSignedLink {
				want = test.want
			}
			w.want(visit{link: cookie}, want)
		})
	}
}

// Another node changes whom the vendor trusts: here nothing is heard of it but that
// something shared changed, and the next request is decided by it.
func TestTrustChangedByAnotherNode(t *testing.T) {
	w := newWorld(t)
	w.trust()
	token := shared(editor.share(nil))
	w.want(visit{link: token}, ReasonSignedLink)
	w.settle()
	w.records.commit(Invalidation{Shared: true}, func() { w.records.trust["acme"] = Domains{} })
	w.want(visit{link: token}, ReasonLinkUntrusted)
	w.want(visit{link: LinkEvidence{Redeemed: []RedeemedLink{publisherPass("share_1")}}}, ReasonLoginRequired)
	w.records.commit(Invalidation{Shared: true}, func() {
		w.records.trust["acme"] = Domains{Trusted: []*TrustedDomain{{Domain: newsDomain, SigningKeyPEM: editor.pem()}}}
	})
	// As long as nothing changes nothing is read.
	for range 3 {
		w.want(visit{link: token}, ReasonSignedLink)
		w.settle()
	}
	reads := w.records.readCount()
	for range 10 {
		w.want(visit{link: token}, ReasonSignedLink)
	}
	if got := w.records.readCount(); got > reads+2 { // the cache may have dropped something
		t.Errorf("%d reads for what is in memory", got-reads)
	}
}

// A browser that redeemed a link on the publisher's host asks another host of the
// site with the same cookie: the publisher does not speak for that one.
func TestCookieOfAnotherHost(t *testing.T) {
	w := newWorld(t)
	w.trust()
	w.want(visit{link: shared(editor.share(nil))}, ReasonSignedLink)
	cookie := LinkEvidence{Redeemed: []RedeemedLink{publisherPass("share_1")}}
	w.want(visit{link: cookie}, ReasonSignedLink)
	w.want(visit{host: "other.example", link: cookie}, ReasonLoginRequired)
}

// A key is gone from the publisher's set. It counts from the next refresh on,
// also for what was remembered.
func TestRemovedKeyEndsWhatIsRemembered(t *testing.T) {
	w := newWorld(t)
	w.host.serve(editor)
	w.trusts(Domains{Trusted: []*TrustedDomain{{Domain: newsDomain, JWKSURI: w.host.jwks}}})
	token, cookie := shared(editor.share(nil)), LinkEvidence{Redeemed: []RedeemedLink{publisherPass("share_1")}}
	for range 2 {
		w.want(visit{link: token}, ReasonSignedLink)
		w.want(visit{link: cookie}, ReasonSignedLink)
		w.settle()
	}
	fetches := w.host.fetches.Load()
	w.want(visit{link: token}, ReasonSignedLink)
	if w.host.fetches.Load() != fetches || fetches != 1 {
		t.Errorf("there were %d fetches, then %d", fetches, w.host.fetches.Load())
	}
	w.host.serve(successor)
	remote, err := w.sets.Watch(keys.KeySetLocation{URL: w.host.jwks})
	must(t, err)
	must(t, remote.Refresh(t.Context()))
	w.want(visit{link: token}, ReasonLinkInvalid)
	w.want(visit{link: cookie}, ReasonLoginRequired)

	// The host is gone, and with it, in the end, the keys: the answer is unknown.
	w.want(visit{link: shared(successor.share(map[string]any{"jti": "share_2", "exp": start + 1_000_000}))}, ReasonSignedLink)
	w.host.Close()
	w.wait(26 * time.Hour)
	w.want(visit{link: shared(successor.share(map[string]any{"jti": "share_2", "exp": start + 1_000_000}))}, ReasonKeysUnavailable)
	w.want(visit{link: LinkEvidence{Redeemed: []RedeemedLink{{Issuer: newsDomain, ID: "share_2", ExpiresAt: start + 1_000_000}}}}, ReasonKeysUnavailable)
}

// Readers' tokens by keys that are fetched: what is remembered ends with the key,
// and only a token by this issuer asks for newer keys.
func TestReadersByFetchedKeys(t *testing.T) {
	w := newWorld(t)
	w.host.serve(editor)
	remote, err := w.sets.Watch(keys.KeySetLocation{URL: w.host.jwks})
	must(t, err)
	verifier := &ReaderVerifier{
		ID:     "id.example",
		Issuer: keys.ReaderIssuer{Issuer: "https://id.example", Audience: "news", Claims: keys.DefaultClaimNames}, Keys: remote,
	}
	token := func(s *signer, issuer string) string {
		return s.sign(fmt.Sprintf(`{"alg":"ES256","kid":%q}`, s.kid),
			fmt.Sprintf(`{"iss":%q,"aud":"news","sub":"ann","iat":%d,"exp":%d}`, issuer, start, start+3600))
	}
	_, err = w.policy.Reader(t.Context(), verifier, token(successor, "https://elsewhere.example"), w.now())
	if err == nil || w.host.fetches.Load() != 0 {
		t.Errorf("somebody else's token: %v, and %d fetches", err, w.host.fetches.Load())
	}
	for range 2 {
		reader, err := w.policy.Reader(t.Context(), verifier, token(editor, "https://id.example"), w.now())
		if err != nil || reader.UserID != "ann" {
			t.Fatalf("got %+v, %v", reader, err)
		}
		w.settle()
	}
	raw := token(editor, "https://id.example")
	for range 3 {
		_, err = w.policy.Reader(t.Context(), verifier, raw, w.now())
		must(t, err)
		w.settle()
	}
	if got := w.host.fetches.Load(); got != 1 {
		t.Errorf("there were %d fetches", got)
	}
	w.host.serve(successor)
	must(t, remote.Refresh(t.Context()))
	if _, err := w.policy.Reader(t.Context(), verifier, raw, w.now()); err == nil {
		t.Error("a token of a removed key is remembered as good")
	}
}

// publisherHost is news.example: it serves a key set over TLS, under the name for
// which httptest has a certificate.
type publisherHost struct {
	*httptest.Server
	jwks    string
	fetches atomic.Int64

	mu     sync.Mutex
	answer http.HandlerFunc
}

const certifiedName = "news.example.com"

func newPublisherHost(t testing.TB) *publisherHost {
	h := &publisherHost{jwks: "https://" + certifiedName + "/jwks.json"}
	h.serve()
	h.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.fetches.Add(1)
		h.mu.Lock()
		answer := h.answer
		h.mu.Unlock()
		answer(w, r)
	}))
	h.Config.ErrorLog = log.New(io.Discard, "", 0)
	h.StartTLS()
	t.Cleanup(h.Close)
	return h
}

func (h *publisherHost) options(now func() time.Time) keys.SetsOptions {
	roots := x509.NewCertPool()
	roots.AddCert(h.Certificate())
	return keys.SetsOptions{
		Now: now, Interval: time.Hour, Timeout: 30 * time.Second,
		Hosts:    map[string]string{certifiedName + ":443": h.Listener.Addr().String()},
		Settings: keys.Settings{Roots: roots, Addresses: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}},
	}
}

func (h *publisherHost) does(answer http.HandlerFunc) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.answer = answer
}

func (h *publisherHost) serve(signers ...*signer) {
	set := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{}}
	for _, s := range signers {
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: s.private.Public(), KeyID: s.kid, Algorithm: "ES256", Use: "sig"})
	}
	h.does(func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(set) })
}
