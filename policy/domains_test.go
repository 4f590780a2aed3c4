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
	"net/http"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/keys/keystest"
)

// newsDomain is a publisher domain: the host of the test site.
const newsDomain = "news.example"

// signer holds the key of a publisher, or of a forger.
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

// The signers of all tests: generating keys is slow.
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

// share signs a share token of news.example for article a1. More replaces claims, or
// removes those that are nil.
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

// link signs a link of news.example in our own format, with more JSON members.
func (s *signer) link(more string) string {
	return s.sign(`{"alg":"ES256","typ":"gatefold-link+jwt"}`,
		fmt.Sprintf(`{"iss":"news.example","jti":"link_9","iat":%d,"exp":%d%s}`, start, start+3600, more))
}

// shareEvidence returns the links of a page view with a publisher's token in the query.
func shareEvidence(token string) LinkEvidence {
	evidence := linkEvidence(token)
	evidence.Share = true
	return evidence
}

// trustEditor makes the vendor trust news.example with the editor's key.
func (env *testEnv) trustEditor(allowed ...string) {
	env.setDomains(Domains{Trusted: []*TrustedDomain{{Domain: newsDomain, SigningKeyPEM: editor.pem(), AllowedResourceIDs: allowed}}})
}

// setDomains changes the vendor's trusted domains and refreshes the policy, as the API
// does.
func (env *testEnv) setDomains(domains Domains) {
	env.t.Helper()
	env.records.commit(Invalidation{Shared: true}, func() { env.records.domains["acme"] = domains })
	must(env.t, env.policy.RefreshDomains(context.Background(), "acme"))
}

// redeemedPublisherLink returns a redeemed link of news.example.
func redeemedPublisherLink(id string) RedeemedLink {
	return RedeemedLink{Issuer: newsDomain, ID: id, ExpiresAt: start + 1800}
}

func init() { decideCases = append(decideCases, publisherCases...) }

// publisherCases cover every reason that a publisher's link can have.
var publisherCases = []decideCase{
	{"a share token opens its article", func(env *testEnv) testRequest {
		env.trustEditor()
		return testRequest{link: shareEvidence(editor.share(nil))}
	}, ReasonSignedLink},
	{"a share token on another port of its host", func(env *testEnv) testRequest {
		env.trustEditor()
		return testRequest{host: "NEWS.example:8443", link: shareEvidence(editor.share(nil))}
	}, ReasonSignedLink},
	{"a publisher's link in our own format", func(env *testEnv) testRequest {
		env.trustEditor()
		return testRequest{link: linkEvidence(editor.link(`,"publisherContentId":"a1"`))}
	}, ReasonSignedLink},
	{"a link in our own format in the publishers' parameter", func(env *testEnv) testRequest {
		env.trustEditor()
		return testRequest{link: shareEvidence(editor.link(`,"publisherContentId":"a1"`))}
	}, ReasonSignedLink},
	{"a publisher's link whose url has another query", func(env *testEnv) testRequest {
		env.trustEditor()
		return testRequest{query: "a=1", link: linkEvidence(editor.link(`,"publisherContentId":"a1","url":"https://news.example/articles/a1?a=2"`))}
	}, ReasonSignedLink},
	{"a publisher's link whose url is of another host", func(env *testEnv) testRequest {
		env.trustEditor()
		return testRequest{link: linkEvidence(editor.link(`,"publisherContentId":"a1","url":"https://other.example/articles/a1"`))}
	}, ReasonLinkOtherResource},
	{"a publisher's link without content", func(env *testEnv) testRequest {
		env.trustEditor()
		return testRequest{link: linkEvidence(editor.link(`,"url":"https://news.example/articles/a1"`))}
	}, ReasonLinkInvalid},
	{"a share token in the parameter of links", func(env *testEnv) testRequest {
		env.trustEditor()
		return testRequest{link: linkEvidence(editor.share(nil))}
	}, ReasonLinkInvalid},
	{"our own link in the publishers' parameter", func(env *testEnv) testRequest {
		env.trustEditor()
		return testRequest{link: shareEvidence(env.newLink(keys.LinkClaims{}))}
	}, ReasonLinkUntrusted},
	{"a share token for another article", func(env *testEnv) testRequest {
		env.trustEditor()
		return testRequest{path: "/articles/a2", link: shareEvidence(editor.share(nil))}
	}, ReasonLinkOtherResource},
	{"a share token where the rule names no content", func(env *testEnv) testRequest {
		env.trustEditor()
		return testRequest{path: "/gold", link: shareEvidence(editor.share(nil))}
	}, ReasonLinkOtherResource},
	{"a share token on another host", func(env *testEnv) testRequest {
		env.trustEditor()
		return testRequest{host: "other.example", link: shareEvidence(editor.share(nil))}
	}, ReasonLinkOtherSite},
	{"a share token of a share_domain", func(env *testEnv) testRequest {
		env.trustEditor()
		env.site.ShareDomains = []string{newsDomain}
		return testRequest{host: "other.example", link: shareEvidence(editor.share(nil))}
	}, ReasonSignedLink},
	{"a share token on a subdomain", func(env *testEnv) testRequest {
		env.trustEditor()
		return testRequest{host: "www.news.example", link: shareEvidence(editor.share(nil))}
	}, ReasonLinkOtherSite},
	{"a share token for a resource that is not allowed", func(env *testEnv) testRequest {
		env.trustEditor("a2", "prefix:b*")
		return testRequest{link: shareEvidence(editor.share(nil))}
	}, ReasonLinkNotAllowed},
	{"a link in our own format for a resource that is not allowed", func(env *testEnv) testRequest {
		env.trustEditor("a2")
		return testRequest{link: linkEvidence(editor.link(`,"publisherContentId":"a1"`))}
	}, ReasonLinkNotAllowed},
	{"a share token for an allowed resource", func(env *testEnv) testRequest {
		env.trustEditor("prefix:a*")
		return testRequest{link: shareEvidence(editor.share(nil))}
	}, ReasonSignedLink},
	{"no domain is trusted", func(*testEnv) testRequest { return testRequest{link: shareEvidence(editor.share(nil))} }, ReasonLinkUntrusted},
	{"another domain is trusted", func(env *testEnv) testRequest {
		env.setDomains(Domains{Trusted: []*TrustedDomain{{Domain: "other.example", SigningKeyPEM: editor.pem()}}})
		return testRequest{link: shareEvidence(editor.share(nil))}
	}, ReasonLinkUntrusted},
	{"another vendor trusts it", func(env *testEnv) testRequest {
		env.records.domains["other"] = Domains{Trusted: []*TrustedDomain{{Domain: newsDomain, SigningKeyPEM: editor.pem()}}}
		return testRequest{link: shareEvidence(editor.share(nil))}
	}, ReasonLinkUntrusted},
	{"a token that names no domain", func(env *testEnv) testRequest {
		env.trustEditor()
		return testRequest{link: shareEvidence(editor.share(map[string]any{"domain": nil}))}
	}, ReasonLinkUntrusted},
	{"a forged share token", func(env *testEnv) testRequest {
		env.trustEditor()
		return testRequest{link: shareEvidence(forger.share(nil))}
	}, ReasonLinkInvalid},
	{"a domain in upper case", func(env *testEnv) testRequest {
		env.trustEditor()
		return testRequest{link: shareEvidence(editor.share(map[string]any{"domain": "News.example"}))}
	}, ReasonLinkInvalid},
	{"an expired share token", func(env *testEnv) testRequest {
		env.trustEditor()
		env.advance(time.Hour)
		return testRequest{link: shareEvidence(editor.share(nil))}
	}, ReasonLinkExpired},
	{"a share token issued in the future", func(env *testEnv) testRequest {
		env.trustEditor()
		return testRequest{link: shareEvidence(editor.share(map[string]any{"iat": start + 61}))}
	}, ReasonLinkNotYetValid},
	{"a share token for 366 days", func(env *testEnv) testRequest {
		env.trustEditor()
		return testRequest{link: shareEvidence(editor.share(map[string]any{"exp": start + 366*86400}))}
	}, ReasonSignedLink},
	{"a share token that ends a minute and a second later", func(env *testEnv) testRequest {
		env.trustEditor()
		return testRequest{link: shareEvidence(editor.share(map[string]any{"exp": start + 366*86400 + 61}))}
	}, ReasonLinkTooLong},
	{"a share token whose end is in milliseconds", func(env *testEnv) testRequest {
		env.trustEditor()
		return testRequest{link: shareEvidence(editor.share(map[string]any{"exp": (start + 3600) * 1000}))}
	}, ReasonLinkTooLong},
	{"a revoked share token", func(env *testEnv) testRequest {
		env.trustEditor()
		claims := keys.LinkClaims{Issuer: newsDomain, ID: "share_1", ExpiresAt: start + 3600, PublisherContentID: "a1"}
		env.records.putLink("acme", Link{Claims: claims, Revoked: true, KeyID: editor.kid})
		return testRequest{link: shareEvidence(editor.share(nil))}
	}, ReasonLinkRevoked},
	{"a denied key", func(env *testEnv) testRequest {
		env.setDomains(Domains{Trusted: []*TrustedDomain{{Domain: newsDomain, SigningKeyPEM: editor.pem()}}, DeniedKeys: []string{editor.kid}})
		return testRequest{link: shareEvidence(editor.share(nil))}
	}, ReasonLinkInvalid},
	{"the domains cannot be read", func(env *testEnv) testRequest {
		env.records.domainsDown = errDown
		return testRequest{link: shareEvidence(editor.share(nil))}
	}, ReasonStoreUnavailable},
	{"the link's record cannot be read", func(env *testEnv) testRequest {
		env.trustEditor()
		env.records.linksDown = errDown
		return testRequest{link: shareEvidence(editor.share(nil))}
	}, ReasonStoreUnavailable},
	{"the link's record cannot be written", func(env *testEnv) testRequest {
		env.trustEditor()
		env.records.redeemDown = errDown
		return testRequest{link: shareEvidence(editor.share(nil))}
	}, ReasonStoreUnavailable},
	{"a counted share token is used up", func(env *testEnv) testRequest {
		env.trustEditor()
		link := shareEvidence(editor.share(map[string]any{"maxUses": 1}))
		env.want(testRequest{link: link}, ReasonSignedLink)
		return testRequest{link: link}
	}, ReasonLinkUsedUp},
	{"a preview of a counted share token", func(env *testEnv) testRequest {
		env.trustEditor()
		link := shareEvidence(editor.share(map[string]any{"maxUses": 1}))
		link.Spendable = false
		return testRequest{link: link}
	}, ReasonLoginRequired},
	{"two share tokens with one id", func(env *testEnv) testRequest {
		env.trustEditor()
		env.want(testRequest{link: shareEvidence(editor.share(nil))}, ReasonSignedLink)
		return testRequest{path: "/articles/a2", link: shareEvidence(editor.share(map[string]any{"resourceId": "a2"}))}
	}, ReasonLinkInvalid},
	{"a share token with the id of another and more uses", func(env *testEnv) testRequest {
		env.trustEditor()
		env.want(testRequest{link: shareEvidence(editor.share(map[string]any{"maxUses": 1}))}, ReasonSignedLink)
		return testRequest{link: shareEvidence(editor.share(map[string]any{"maxUses": 1000}))}
	}, ReasonLinkInvalid},
	{"the publisher's host has no keys", func(env *testEnv) testRequest {
		env.host.Fail(http.StatusBadGateway)
		env.setDomains(Domains{Trusted: []*TrustedDomain{{Domain: newsDomain, JWKSURI: jwksURI}}})
		return testRequest{link: shareEvidence(editor.share(nil))}
	}, ReasonKeysUnavailable},
	{"the reader's issuer has no keys", func(*testEnv) testRequest {
		return testRequest{path: "/account", reader: Reader{Unknown: true, NoKeys: true}}
	}, ReasonKeysUnavailable},
	{"the publisher's keys are fetched when they are needed", func(env *testEnv) testRequest {
		env.host.Serve(keySet(editor))
		env.setDomains(Domains{Trusted: []*TrustedDomain{{Domain: newsDomain, JWKSURI: jwksURI}}})
		return testRequest{link: shareEvidence(editor.share(nil))}
	}, ReasonSignedLink},
}

// The decision contains what a publisher's link names of the resource, by its token and
// by the link cookie.
func TestDecisionHoldsPublisherContents(t *testing.T) {
	env := newTestEnv(t)
	env.trustEditor()
	for range 2 {
		decision := env.want(testRequest{link: shareEvidence(editor.share(map[string]any{"contentNames": []string{"bodytext", "sidebar"}}))}, ReasonSignedLink)
		if !slices.Equal(decision.ContentNames, []string{"bodytext", "sidebar"}) || decision.Scopes != nil {
			t.Errorf("token: content names %v, scopes %v", decision.ContentNames, decision.Scopes)
		}
		env.waitForCaches()
	}
	scoped := shareEvidence(editor.share(map[string]any{"contentNames": []string{}, "scopes": []string{"premium"}, "jti": "share_2"}))
	env.want(testRequest{link: scoped}, ReasonSignedLink)
	decision := env.want(testRequest{link: LinkEvidence{Redeemed: []RedeemedLink{redeemedPublisherLink("share_2")}}}, ReasonSignedLink)
	if !slices.Equal(decision.Scopes, []string{"premium"}) || decision.ContentNames != nil || decision.Link.Token {
		t.Errorf("cookie: content names %v, scopes %v", decision.ContentNames, decision.Scopes)
	}
}

// A change of the trusted domain, of its keys or of its allowed resources applies to
// the next request, for cached tokens and for link cookies alike.
func TestTrustChangesApplyAtOnce(t *testing.T) {
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
		"the domain is removed": {Domains{}, ReasonLinkUntrusted},
		"another key":           {with(func(d *TrustedDomain) { d.SigningKeyPEM = successor.pem() }), ReasonLinkInvalid},
		"other resources":       {with(func(d *TrustedDomain) { d.AllowedResourceIDs = []string{"a2"} }), ReasonLinkNotAllowed},
		"the key is denied":     {Domains{Trusted: []*TrustedDomain{&trusted}, DeniedKeys: []string{editor.kid}}, ReasonLinkInvalid},
		"a key is added":        {with(func(d *TrustedDomain) { d.SigningKeyPEM += successor.pem() }), ReasonSignedLink},
	} {
		t.Run(name, func(t *testing.T) {
			env := newTestEnv(t)
			env.setDomains(Domains{Trusted: []*TrustedDomain{&trusted}})
			token, cookie := shareEvidence(editor.share(nil)), LinkEvidence{Redeemed: []RedeemedLink{redeemedPublisherLink("share_1")}}
			for range 2 {
				env.want(testRequest{link: token}, ReasonSignedLink)
				env.want(testRequest{link: cookie}, ReasonSignedLink)
				env.waitForCaches()
			}
			env.setDomains(test.after)
			env.want(testRequest{link: token}, test.want)
			want := ReasonLoginRequired
			if test.want == ReasonSignedLink {
				want = test.want
			}
			env.want(testRequest{link: cookie}, want)
		})
	}
}

// Another node changes the trusted domains. This node receives an invalidation only,
// and decides the next request by the new domains.
func TestTrustChangedByAnotherNode(t *testing.T) {
	env := newTestEnv(t)
	env.trustEditor()
	token := shareEvidence(editor.share(nil))
	env.want(testRequest{link: token}, ReasonSignedLink)
	env.waitForCaches()
	env.records.commit(Invalidation{Shared: true}, func() { env.records.domains["acme"] = Domains{} })
	env.want(testRequest{link: token}, ReasonLinkUntrusted)
	env.want(testRequest{link: LinkEvidence{Redeemed: []RedeemedLink{redeemedPublisherLink("share_1")}}}, ReasonLoginRequired)
	env.records.commit(Invalidation{Shared: true}, func() {
		env.records.domains["acme"] = Domains{Trusted: []*TrustedDomain{{Domain: newsDomain, SigningKeyPEM: editor.pem()}}}
	})
	// Without a change nothing is read.
	for range 3 {
		env.want(testRequest{link: token}, ReasonSignedLink)
		env.waitForCaches()
	}
	reads := env.records.readCount()
	for range 10 {
		env.want(testRequest{link: token}, ReasonSignedLink)
	}
	if got := env.records.readCount(); got > reads+2 { // the cache may drop entries
		t.Errorf("%d reads of cached records", got-reads)
	}
}

// A link cookie does not open pages on another host of the site, for which the
// publisher's domain may not speak.
func TestLinkCookieOnAnotherHost(t *testing.T) {
	env := newTestEnv(t)
	env.trustEditor()
	env.want(testRequest{link: shareEvidence(editor.share(nil))}, ReasonSignedLink)
	cookie := LinkEvidence{Redeemed: []RedeemedLink{redeemedPublisherLink("share_1")}}
	env.want(testRequest{link: cookie}, ReasonSignedLink)
	env.want(testRequest{host: "other.example", link: cookie}, ReasonLoginRequired)
}

// A key that is removed from the publisher's set is refused from the next refresh on,
// also for cached tokens.
func TestRemovedKeyInvalidatesCachedTokens(t *testing.T) {
	env := newTestEnv(t)
	env.host.Serve(keySet(editor))
	env.setDomains(Domains{Trusted: []*TrustedDomain{{Domain: newsDomain, JWKSURI: jwksURI}}})
	token, cookie := shareEvidence(editor.share(nil)), LinkEvidence{Redeemed: []RedeemedLink{redeemedPublisherLink("share_1")}}
	for range 2 {
		env.want(testRequest{link: token}, ReasonSignedLink)
		env.want(testRequest{link: cookie}, ReasonSignedLink)
		env.waitForCaches()
	}
	fetches := env.host.Count()
	env.want(testRequest{link: token}, ReasonSignedLink)
	if env.host.Count() != fetches || fetches != 1 {
		t.Errorf("%d fetches, then %d, want 1", fetches, env.host.Count())
	}
	env.host.Serve(keySet(successor))
	remote, err := env.sets.Watch(keys.KeySetLocation{URL: jwksURI})
	must(t, err)
	must(t, remote.Refresh(t.Context()))
	env.want(testRequest{link: token}, ReasonLinkInvalid)
	env.want(testRequest{link: cookie}, ReasonLoginRequired)

	// Without a refresh the keys become unusable in the end: the decision is unknown.
	env.want(testRequest{link: shareEvidence(successor.share(map[string]any{"jti": "share_2", "exp": start + 1_000_000}))}, ReasonSignedLink)
	env.host.Close()
	env.advance(26 * time.Hour)
	env.want(testRequest{link: shareEvidence(successor.share(map[string]any{"jti": "share_2", "exp": start + 1_000_000}))}, ReasonKeysUnavailable)
	env.want(testRequest{link: LinkEvidence{Redeemed: []RedeemedLink{{Issuer: newsDomain, ID: "share_2", ExpiresAt: start + 1_000_000}}}}, ReasonKeysUnavailable)
}

// Cached results of fetched keys end with the key. Only a token that names the issuer
// causes a fetch.
func TestReaderTokensWithFetchedKeys(t *testing.T) {
	env := newTestEnv(t)
	env.host.Serve(keySet(editor))
	remote, err := env.sets.Watch(keys.KeySetLocation{URL: jwksURI})
	must(t, err)
	issuer := keys.ReaderIssuer{Issuer: "https://id.example", Audience: "news", Claims: keys.DefaultClaimNames}
	verifier := NewReaderVerifier("id.example", issuer, remote)
	token := func(s *signer, issuer string) string {
		return s.sign(fmt.Sprintf(`{"alg":"ES256","kid":%q}`, s.kid),
			fmt.Sprintf(`{"iss":%q,"aud":"news","sub":"ann","iat":%d,"exp":%d}`, issuer, start, start+3600))
	}
	_, err = env.policy.Reader(t.Context(), &verifier, token(successor, "https://elsewhere.example"), env.now())
	if err == nil || env.host.Count() != 0 {
		t.Errorf("a token of another issuer: %v, and %d fetches", err, env.host.Count())
	}
	for range 2 {
		reader, err := env.policy.Reader(t.Context(), &verifier, token(editor, "https://id.example"), env.now())
		if err != nil || reader.UserID != "ann" {
			t.Fatalf("got %+v, %v", reader, err)
		}
		env.waitForCaches()
	}
	raw := token(editor, "https://id.example")
	for range 3 {
		_, err = env.policy.Reader(t.Context(), &verifier, raw, env.now())
		must(t, err)
		env.waitForCaches()
	}
	if got := env.host.Count(); got != 1 {
		t.Errorf("%d fetches, want 1", got)
	}
	env.host.Serve(keySet(successor))
	must(t, remote.Refresh(t.Context()))
	if _, err := env.policy.Reader(t.Context(), &verifier, raw, env.now()); err == nil {
		t.Error("a cached token of a removed key is accepted")
	}
}

// keyHostName is the host of the publishers' key sets. The fixture has a certificate
// for it.
const keyHostName = "news.example.com"

const jwksURI = "https://" + keyHostName + "/jwks.json"

// setsOptions returns options under which keyHostName leads to a KeyHost.
func setsOptions(host *keystest.KeyHost, now func() time.Time) keys.SetsOptions {
	return keys.SetsOptions{
		Now: now, Interval: time.Hour, Timeout: 30 * time.Second, Hosts: host.Addresses(keyHostName),
		Settings: keys.Settings{Roots: host.Roots(), Addresses: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}},
	}
}

// keySet returns the key set of publishers.
func keySet(publishers ...*signer) jose.JSONWebKeySet {
	set := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{}}
	for _, s := range publishers {
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: s.private.Public(), KeyID: s.kid, Algorithm: "ES256", Use: "sig"})
	}
	return set
}
