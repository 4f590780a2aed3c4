package policy

import (
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/gatefold/gatefold/keys"
)

// decideCase is a request with its expected reason.
type decideCase struct {
	name string
	// prepare sets up the environment, and returns the request.
	prepare func(env *testEnv) testRequest
	want    Reason
}

// decideCases cover every reason.
var decideCases = []decideCase{
	// Addresses and crawlers.
	{"a page for a network", func(env *testEnv) testRequest { return env.from("203.0.113.9", "") }, ReasonAddress},
	{"a page for a crawler", func(env *testEnv) testRequest { return env.from("192.0.2.9", "Googlebot/2.1") }, ReasonCrawler},
	{"a page for crawlers from another network", func(env *testEnv) testRequest { return env.from("198.51.100.9", "Googlebot/2.1") }, ReasonLoginRequired},
	// Meters.
	{"a page of a meter", func(env *testEnv) testRequest { return env.meter("ann", 0) }, ReasonMetered},
	{"a page of a meter that is used up", func(env *testEnv) testRequest { return env.meter("ann", 1) }, ReasonMeterUsedUp},
	{"a page of a meter without its cookie", func(env *testEnv) testRequest { return env.meter("", 0) }, ReasonLoginRequired},
	// Rules and grants.
	{"a public page", func(*testEnv) testRequest { return testRequest{path: "/public"} }, ReasonPublic},
	{"a public page with a rejected credential", func(*testEnv) testRequest {
		return testRequest{path: "/public/x", reader: Reader{Rejected: true}}
	}, ReasonPublic},
	{"a public page with an unverified credential", func(*testEnv) testRequest {
		return testRequest{path: "/public/x", reader: Reader{Unknown: true}}
	}, ReasonPublic},
	{"a public page needs no store", func(env *testEnv) testRequest {
		env.records.down = errDown
		return testRequest{path: "/public", reader: ann}
	}, ReasonPublic},
	{"a public page ignores links", func(*testEnv) testRequest {
		return testRequest{path: "/public", link: LinkEvidence{Ambiguous: true, Token: "x"}}
	}, ReasonPublic},
	{"a member's page for an identified reader", func(*testEnv) testRequest { return testRequest{path: "/account", reader: bob} }, ReasonAuthenticated},
	{"a member's page for an anonymous reader", func(*testEnv) testRequest { return testRequest{path: "/account"} }, ReasonLoginRequired},
	{"a member's page with a rejected credential", func(*testEnv) testRequest {
		return testRequest{path: "/account", reader: Reader{Rejected: true}}
	}, ReasonBadCredential},
	{"a member's page with an unverified credential", func(*testEnv) testRequest {
		return testRequest{path: "/account", reader: Reader{Unknown: true}}
	}, ReasonStoreUnavailable},
	{"a signed link does not identify a reader", func(env *testEnv) testRequest {
		return testRequest{path: "/account", link: linkEvidence(env.newLink(keys.LinkClaims{Subject: "ann"}))}
	}, ReasonLoginRequired},
	{"a subscriber reads the article", func(env *testEnv) testRequest { env.subscribe(0, 0); return testRequest{reader: ann} }, ReasonEntitled},
	{"one article was bought", func(env *testEnv) testRequest {
		env.records.grant(fakeGrant{Grant: Grant{ID: "g", SKU: "a1"}, userID: "bob"})
		return testRequest{reader: bob}
	}, ReasonEntitled},
	{"another article was bought", func(env *testEnv) testRequest {
		env.records.grant(fakeGrant{Grant: Grant{ID: "g", SKU: "a2"}, userID: "bob"})
		return testRequest{reader: bob}
	}, ReasonNotEntitled},
	{"another reader's subscription", func(env *testEnv) testRequest { env.subscribe(0, 0); return testRequest{reader: bob} }, ReasonNotEntitled},
	{"an article for an anonymous reader", func(*testEnv) testRequest { return testRequest{} }, ReasonLoginRequired},
	{"an article with a key that was used too often", func(*testEnv) testRequest { return testRequest{reader: Reader{Limited: true}} }, ReasonRateLimited},
	{"an article with a rejected credential", func(*testEnv) testRequest { return testRequest{reader: Reader{Rejected: true}} }, ReasonBadCredential},
	{"an article whose store is down", func(env *testEnv) testRequest {
		env.subscribe(0, 0)
		env.records.down = errDown
		return testRequest{reader: ann}
	}, ReasonStoreUnavailable},
	{"no rule", func(*testEnv) testRequest { return testRequest{path: "/elsewhere", reader: ann} }, ReasonNoRule},
	{"the site's rules cannot be read", func(env *testEnv) testRequest {
		env.site = NewSite("acme", "stored", nil, PathOptions{}, env.keys)
		env.records.down = errDown
		return testRequest{path: "/public"}
	}, ReasonStoreUnavailable},
	{"the site's rules cannot be compiled", func(env *testEnv) testRequest {
		env.site = NewSite("acme", "stored", nil, PathOptions{}, env.keys)
		env.records.rules[siteKey{"acme", "stored"}] = []Rule{
			{Rank: 1, Path: "/", Allow: Allow{Operator: "any"}}, {Rank: 2, Path: "/x", Allow: Allow{Operator: "sesame"}},
		}
		return testRequest{path: "/public"}
	}, ReasonStoreUnavailable},
	{"a site without rules", func(env *testEnv) testRequest {
		env.site = NewSite("acme", "empty", nil, PathOptions{}, env.keys)
		return testRequest{path: "/"}
	}, ReasonNoRule},

	// Methods and paths.
	{"HEAD is judged as GET", func(*testEnv) testRequest { return testRequest{method: "HEAD", path: "/form"} }, ReasonPublic},
	{"POST where only GET has a rule", func(*testEnv) testRequest { return testRequest{method: "POST", path: "/form"} }, ReasonNoRule},
	{"get is not GET", func(*testEnv) testRequest { return testRequest{method: "get", path: "/form"} }, ReasonBadMethod},
	{"a preflight", func(*testEnv) testRequest { return testRequest{method: "OPTIONS", preflight: true} }, ReasonPreflight},
	{"OPTIONS that is no preflight", func(*testEnv) testRequest { return testRequest{method: "OPTIONS"} }, ReasonLoginRequired},
	{"OPTIONS where only GET has a rule", func(*testEnv) testRequest { return testRequest{method: "OPTIONS", path: "/form"} }, ReasonNoRule},
	{"TRACE", func(*testEnv) testRequest { return testRequest{method: "TRACE", path: "/public"} }, ReasonBadMethod},
	{"a method that is no token", func(*testEnv) testRequest { return testRequest{method: "GET /x", path: "/public"} }, ReasonBadRequest},
	{"CONNECT", func(*testEnv) testRequest { return testRequest{method: "CONNECT", path: "/public"} }, ReasonBadMethod},
	{"a path with two readings", func(*testEnv) testRequest { return testRequest{path: "/public/../articles/a1"} }, ReasonBadPath},
	{"a preflight for a path with two readings", func(*testEnv) testRequest {
		return testRequest{path: "/public//x", method: "OPTIONS", preflight: true}
	}, ReasonBadPath},

	// Links.
	{"a link opens its article", func(env *testEnv) testRequest { return testRequest{link: linkEvidence(env.newLink(keys.LinkClaims{}))} }, ReasonSignedLink},
	{"a link opens for a reader without subscription", func(env *testEnv) testRequest {
		return testRequest{reader: bob, link: linkEvidence(env.newLink(keys.LinkClaims{}))}
	}, ReasonSignedLink},
	{"a link opens with a rejected credential", func(env *testEnv) testRequest {
		return testRequest{reader: Reader{Rejected: true}, link: linkEvidence(env.newLink(keys.LinkClaims{}))}
	}, ReasonSignedLink},
	{"a link opens with an unverified credential", func(env *testEnv) testRequest {
		return testRequest{reader: Reader{Unknown: true}, link: linkEvidence(env.newLink(keys.LinkClaims{}))}
	}, ReasonSignedLink},
	{"HEAD with an uncounted link", func(env *testEnv) testRequest {
		return testRequest{method: "HEAD", link: LinkEvidence{Token: env.newLink(keys.LinkClaims{})}}
	}, ReasonSignedLink},
	{"POST with a link", func(env *testEnv) testRequest {
		return testRequest{method: "POST", link: LinkEvidence{Token: env.newLink(keys.LinkClaims{})}}
	}, ReasonLoginRequired},
	{"a link for another article", func(env *testEnv) testRequest {
		return testRequest{path: "/articles/a2", link: linkEvidence(env.newLink(keys.LinkClaims{}))}
	}, ReasonLinkOtherResource},
	{"a link for a sku that the rule does not name", func(env *testEnv) testRequest {
		return testRequest{path: "/gold", reader: bob, link: linkEvidence(env.newLink(keys.LinkClaims{SKU: "premium"}))}
	}, ReasonLinkOtherResource},
	{"an expired link", func(env *testEnv) testRequest {
		token := env.newLink(keys.LinkClaims{})
		env.advance(time.Hour)
		return testRequest{link: linkEvidence(token)}
	}, ReasonLinkExpired},
	{"a link that is not valid yet", func(env *testEnv) testRequest {
		return testRequest{link: linkEvidence(env.newLink(keys.LinkClaims{NotBefore: start + 61}))}
	}, ReasonLinkNotYetValid},
	{"a link that starts within the clock skew", func(env *testEnv) testRequest {
		return testRequest{link: linkEvidence(env.newLink(keys.LinkClaims{NotBefore: start + 1}))}
	}, ReasonLinkNotYetValid},
	{"a link that starts now", func(env *testEnv) testRequest {
		return testRequest{link: linkEvidence(env.newLink(keys.LinkClaims{NotBefore: start}))}
	}, ReasonSignedLink},
	{"a link issued within the clock skew", func(env *testEnv) testRequest {
		return testRequest{link: linkEvidence(env.newLink(keys.LinkClaims{IssuedAt: start + 60}))}
	}, ReasonSignedLink},
	{"a link from its network", func(env *testEnv) testRequest {
		link := linkEvidence(env.newLink(keys.LinkClaims{IPPrefix: "203.0.113.0/24"}))
		return testRequest{link: link, client: FixedAddress(netip.MustParseAddr("203.0.113.9"))}
	}, ReasonSignedLink},
	{"a link from another network", func(env *testEnv) testRequest {
		link := linkEvidence(env.newLink(keys.LinkClaims{IPPrefix: "203.0.113.0/24"}))
		return testRequest{reader: bob, link: link, client: FixedAddress(netip.MustParseAddr("203.0.114.9"))}
	}, ReasonLinkOtherNetwork},
	{"a link for readers", func(env *testEnv) testRequest {
		return testRequest{reader: bob, link: linkEvidence(env.newLink(keys.LinkClaims{PerReader: true}))}
	}, ReasonSignedLink},
	{"a link for readers without one", func(env *testEnv) testRequest {
		return testRequest{link: linkEvidence(env.newLink(keys.LinkClaims{PerReader: true}))}
	}, ReasonLoginRequired},
	{"a link for readers with a failed credential", func(env *testEnv) testRequest {
		return testRequest{reader: Reader{Rejected: true}, link: linkEvidence(env.newLink(keys.LinkClaims{PerReader: true}))}
	}, ReasonBadCredential},
	{"a revoked link", func(env *testEnv) testRequest {
		token := env.newLink(keys.LinkClaims{})
		env.records.revokeLink("link_1")
		return testRequest{reader: bob, link: linkEvidence(token)}
	}, ReasonLinkRevoked},
	{"a malformed link", func(*testEnv) testRequest { return testRequest{link: linkEvidence("abc")} }, ReasonLinkInvalid},
	{"a link longer than any token", func(*testEnv) testRequest {
		return testRequest{link: linkEvidence(string(make([]byte, keys.MaxTokenSize+1)))}
	}, ReasonLinkInvalid},
	{"another vendor's link, signed with a known key", func(env *testEnv) testRequest {
		return testRequest{link: linkEvidence(env.newLink(keys.LinkClaims{Issuer: "gatefold:other"}))}
	}, ReasonLinkInvalid},
	{"a link without a record", func(env *testEnv) testRequest {
		return testRequest{link: linkEvidence(signLink(env.t, keys.LinkClaims{}))}
	}, ReasonLinkInvalid},
	{"a link with an invalid url", func(env *testEnv) testRequest {
		return testRequest{link: linkEvidence(env.newLink(keys.LinkClaims{URL: "news.example/articles/a1"}))}
	}, ReasonLinkInvalid},
	{"two links", func(env *testEnv) testRequest {
		link := linkEvidence(env.newLink(keys.LinkClaims{}))
		link.Ambiguous = true
		return testRequest{link: link}
	}, ReasonBadQuery},
	{"a link whose keys cannot be read", func(env *testEnv) testRequest {
		env.keys.err = errDown
		return testRequest{link: linkEvidence(env.newLink(keys.LinkClaims{}))}
	}, ReasonStoreUnavailable},
	{"a link whose record cannot be read", func(env *testEnv) testRequest {
		env.records.linksDown = errDown
		return testRequest{link: linkEvidence(env.newLink(keys.LinkClaims{}))}
	}, ReasonStoreUnavailable},

	// Precedence of reasons.
	{"a rejected credential precedes an invalid link", func(*testEnv) testRequest {
		return testRequest{reader: Reader{Rejected: true}, link: linkEvidence("abc")}
	}, ReasonBadCredential},
	{"an unverified credential precedes an invalid link", func(*testEnv) testRequest {
		return testRequest{reader: Reader{Unknown: true}, link: linkEvidence("abc")}
	}, ReasonStoreUnavailable},
	{"an invalid link precedes a missing grant", func(*testEnv) testRequest { return testRequest{reader: bob, link: linkEvidence("abc")} }, ReasonLinkInvalid},
	{"an invalid link does not affect a subscriber", func(env *testEnv) testRequest {
		env.subscribe(0, 0)
		return testRequest{reader: ann, link: linkEvidence("abc")}
	}, ReasonEntitled},
	{"two links do not affect a subscriber", func(env *testEnv) testRequest {
		env.subscribe(0, 0)
		return testRequest{reader: ann, link: LinkEvidence{Token: "abc", Ambiguous: true}}
	}, ReasonEntitled},
	{"an invalid link does not affect a link cookie", func(env *testEnv) testRequest {
		env.newLink(keys.LinkClaims{})
		link := linkEvidence("abc")
		link.Redeemed = []RedeemedLink{redeemedLink("link_1")}
		return testRequest{link: link}
	}, ReasonSignedLink},
	{"two links do not affect a link cookie", func(env *testEnv) testRequest {
		env.newLink(keys.LinkClaims{})
		return testRequest{link: LinkEvidence{Token: "abc", Ambiguous: true, Redeemed: []RedeemedLink{redeemedLink("link_1")}}}
	}, ReasonSignedLink},

	// Link cookies.
	{"a link cookie opens its article", func(env *testEnv) testRequest {
		env.newLink(keys.LinkClaims{MaxUses: 1})
		return testRequest{link: LinkEvidence{Redeemed: []RedeemedLink{redeemedLink("link_1")}}}
	}, ReasonSignedLink},
	{"the second of two link cookies opens", func(env *testEnv) testRequest {
		env.newLink(keys.LinkClaims{ID: "other", PublisherContentID: "a2"})
		env.newLink(keys.LinkClaims{})
		return testRequest{link: LinkEvidence{Redeemed: []RedeemedLink{redeemedLink("other"), redeemedLink("gone"), redeemedLink("link_1")}}}
	}, ReasonSignedLink},
	{"a link cookie for another article", func(env *testEnv) testRequest {
		env.newLink(keys.LinkClaims{})
		return testRequest{path: "/articles/a2", link: LinkEvidence{Redeemed: []RedeemedLink{redeemedLink("link_1")}}}
	}, ReasonLoginRequired},
	{"a link cookie for another article, identified reader", func(env *testEnv) testRequest {
		env.newLink(keys.LinkClaims{})
		return testRequest{path: "/articles/a2", reader: bob, link: LinkEvidence{Redeemed: []RedeemedLink{redeemedLink("link_1")}}}
	}, ReasonNotEntitled},
	{"the cookie of a revoked link", func(env *testEnv) testRequest {
		env.newLink(keys.LinkClaims{})
		env.records.revokeLink("link_1")
		return testRequest{link: LinkEvidence{Redeemed: []RedeemedLink{redeemedLink("link_1")}}}
	}, ReasonLoginRequired},
	{"an expired link cookie", func(env *testEnv) testRequest {
		env.newLink(keys.LinkClaims{})
		env.advance(30 * time.Minute)
		return testRequest{link: LinkEvidence{Redeemed: []RedeemedLink{redeemedLink("link_1")}}}
	}, ReasonLoginRequired},
	{"a link cookie ends with its link", func(env *testEnv) testRequest {
		env.newLink(keys.LinkClaims{ExpiresAt: start + 60})
		env.advance(time.Minute)
		return testRequest{link: LinkEvidence{Redeemed: []RedeemedLink{redeemedLink("link_1")}}}
	}, ReasonLoginRequired},
	{"a link cookie whose record cannot be read", func(env *testEnv) testRequest {
		env.newLink(keys.LinkClaims{})
		env.records.linksDown = errDown
		return testRequest{link: LinkEvidence{Redeemed: []RedeemedLink{redeemedLink("link_1")}}}
	}, ReasonStoreUnavailable},

	// Counted links.
	{"a counted link is spent", func(env *testEnv) testRequest {
		return testRequest{link: linkEvidence(env.newLink(keys.LinkClaims{MaxUses: 1}))}
	}, ReasonSignedLink},
	{"a counted link is used up", func(env *testEnv) testRequest {
		link := linkEvidence(env.newLink(keys.LinkClaims{MaxUses: 1}))
		env.want(testRequest{link: link}, ReasonSignedLink)
		return testRequest{link: link}
	}, ReasonLinkUsedUp},
	{"a link on one device more than it allows", func(env *testEnv) testRequest {
		link := linkEvidence(env.newLink(keys.LinkClaims{MaxDevices: 1}))
		link.Device = "player"
		env.want(testRequest{link: link}, ReasonSignedLink)
		link.Device = "another"
		return testRequest{link: link}
	}, ReasonLinkDeviceLimit},
	{"a counted link in early data", func(env *testEnv) testRequest {
		link := linkEvidence(env.newLink(keys.LinkClaims{MaxUses: 1}))
		link.Early = true
		return testRequest{link: link}
	}, ReasonTooEarly},
	{"an uncounted link in early data", func(env *testEnv) testRequest {
		link := linkEvidence(env.newLink(keys.LinkClaims{}))
		link.Early = true
		return testRequest{link: link}
	}, ReasonSignedLink},
	{"a preview of a counted link", func(env *testEnv) testRequest {
		return testRequest{link: LinkEvidence{Token: env.newLink(keys.LinkClaims{MaxUses: 1})}}
	}, ReasonLoginRequired},
	{"a preview of a counted link for another article", func(env *testEnv) testRequest {
		return testRequest{path: "/articles/a2", link: LinkEvidence{Token: env.newLink(keys.LinkClaims{MaxUses: 1})}}
	}, ReasonLoginRequired},
	{"a preview of a counted link whose record cannot be read", func(env *testEnv) testRequest {
		env.records.linksDown = errDown
		return testRequest{link: LinkEvidence{Token: env.newLink(keys.LinkClaims{MaxUses: 1})}}
	}, ReasonLoginRequired},
}

func TestDecide(t *testing.T) {
	for _, c := range decideCases {
		t.Run(c.name, func(t *testing.T) {
			env := newTestEnv(t)
			v := c.prepare(env)
			decision := env.want(v, c.want)
			if decision.Allow() != c.want.Allows() {
				t.Errorf("allowed: %t", decision.Allow())
			}
			// The decision from memory is the same.
			if env.waitForCaches(); !decision.Link.Token || !decision.Link.Counted() {
				env.want(v, c.want)
			}
		})
	}
}

func TestEveryReasonIsReached(t *testing.T) {
	for _, reason := range Reasons() {
		if reason == ReasonLinkCookieMissing || reason == ReasonMeterCookieMissing {
			continue // the gate gives them for ReasonLoginRequired
		}
		if !slices.ContainsFunc(decideCases, func(c decideCase) bool { return c.want == reason }) {
			t.Errorf("no case of TestDecide ends in %s", reason)
		}
	}
}

func TestReasons(t *testing.T) {
	seen := map[string]bool{}
	for _, reason := range append(Reasons(), ReasonNone) {
		name := reason.String()
		if name == "" || seen[name] {
			t.Errorf("reason %d has no unique name: %q", reason, name)
		}
		seen[name] = true
		allows := slices.Contains([]Reason{ReasonPublic, ReasonAuthenticated, ReasonEntitled, ReasonSignedLink, ReasonRole, ReasonAddress, ReasonCrawler, ReasonMetered, ReasonPreflight}, reason)
		if reason.Allows() != allows {
			t.Errorf("%s allows: %t", reason, reason.Allows())
		}
		if shared := (&Decision{Reason: reason}).Public(); shared != (reason == ReasonPublic || reason == ReasonPreflight) {
			t.Errorf("%s is public: %t", reason, shared)
		}
		if text, err := reason.MarshalJSON(); err != nil || string(text) != `"`+name+`"` {
			t.Errorf("%s in JSON: %s, %v", reason, text, err)
		}
	}
	if reason := reasonCount; reason.Allows() || reason.String() != fmt.Sprint("reason ", uint8(reason)) {
		t.Errorf("an unknown reason: %s, allows: %t", reason, reason.Allows())
	}
	if (&Decision{}).Allow() {
		t.Error("the zero Decision allows")
	}
}

func TestRefusedMethods(t *testing.T) {
	for _, c := range []struct {
		method    string
		webSocket bool
		want      string
		reason    Reason
	}{
		{http.MethodGet, false, http.MethodGet, ReasonNone},
		{http.MethodHead, false, http.MethodGet, ReasonNone},
		{http.MethodPost, false, http.MethodPost, ReasonNone},
		{http.MethodOptions, false, http.MethodOptions, ReasonNone},
		{http.MethodTrace, false, "", ReasonBadMethod},
		{http.MethodTrace, true, "", ReasonBadMethod},
		{http.MethodConnect, false, "", ReasonBadMethod},
		{http.MethodConnect, true, http.MethodGet, ReasonNone},
		{"PURGE", false, "PURGE", ReasonNone},
		{"head", false, "", ReasonBadMethod}, // no rule can name it
		{"GE.T", false, "", ReasonBadMethod},
		{"GET /x", false, "", ReasonBadRequest},
		{"", false, "", ReasonBadRequest},
	} {
		r := &Request{Method: c.method, WebSocket: c.webSocket}
		if reason, _ := refuseMethod(r); reason != c.reason || reason == ReasonNone && r.method != c.want {
			t.Errorf("%s (WebSocket: %t) is judged as %s: %s", c.method, c.webSocket, r.method, reason)
		}
	}
}

// The first refusal in the list counts, and no rule is matched.
func TestRefusalsComeInOrder(t *testing.T) {
	env := newTestEnv(t)
	for _, c := range []struct {
		visit testRequest
		want  Reason
	}{
		{testRequest{method: http.MethodTrace, path: "/public//#"}, ReasonBadMethod},
		{testRequest{path: "/#/public"}, ReasonBadPath},
		{testRequest{path: "/public//x", preflight: true}, ReasonBadPath},
		{testRequest{path: "/none", method: http.MethodOptions, preflight: true}, ReasonPreflight},
	} {
		if decision := env.want(c.visit, c.want); decision.Rule != nil {
			t.Errorf("%+v: the rule %s decided", c.visit, decision.Rule.Path)
		}
	}
	if decision := env.want(testRequest{path: "/public/#x"}, ReasonBadPath); !errors.Is(decision.Err, ErrFragment) {
		t.Errorf("a fragment is refused because %v", decision.Err)
	}
}

// TestStoreErrorNeverAllows repeats the cases that depend on the store while it fails.
func TestStoreErrorNeverAllows(t *testing.T) {
	for _, c := range decideCases {
		if c.want != ReasonEntitled && c.want != ReasonSignedLink {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			env := newTestEnv(t)
			v := c.prepare(env)
			env.records.down = errDown
			decision := env.want(v, ReasonStoreUnavailable)
			if !errors.Is(decision.Err, ErrUnavailable) && !errors.Is(decision.Err, errDown) && !v.reader.Unknown {
				t.Errorf("the error is %v", decision.Err)
			}
		})
	}
}

// Tests of paths with several readings, see PathOptions.

// The decision is the same until just before Until, and differs from then on.
func TestDecisionUntil(t *testing.T) {
	const never = math.MaxInt64 - start*1000
	both := func(env *testEnv) { // g1 ends at 1000, g2 is from 500 to 2000
		env.subscribe(0, 1000)
		env.records.grant(fakeGrant{Grant: Grant{ID: "g2", SKU: "premium", StartsAt: start*1000 + 500, EndsAt: start*1000 + 2000}, userID: "ann"})
	}
	for _, c := range []struct {
		name  string
		given func(env *testEnv) testRequest
		want  int64 // milliseconds after the start
	}{
		{"a public page", func(*testEnv) testRequest { return testRequest{path: "/public"} }, never},
		{"a member's page", func(*testEnv) testRequest { return testRequest{path: "/account", reader: bob} }, never},
		{"no rule", func(*testEnv) testRequest { return testRequest{path: "/elsewhere"} }, never},
		{"an anonymous reader", func(*testEnv) testRequest { return testRequest{} }, never},
		{"no grant", func(*testEnv) testRequest { return testRequest{reader: bob} }, never},
		{"a grant without end", func(env *testEnv) testRequest { env.subscribe(0, 0); return testRequest{reader: ann} }, never},
		{"a grant that ends", func(env *testEnv) testRequest { env.subscribe(0, 1000); return testRequest{reader: ann} }, 1000},
		{"a grant that begins", func(env *testEnv) testRequest { env.subscribe(700, 1000); return testRequest{reader: ann} }, 700},
		{"a grant that has ended", func(env *testEnv) testRequest { env.subscribe(-700, -1); return testRequest{reader: ann} }, never},
		{"a grant before a later one starts", func(env *testEnv) testRequest { both(env); return testRequest{reader: ann} }, 500},
		{"the later grant", func(env *testEnv) testRequest {
			both(env)
			env.advance(500 * time.Millisecond)
			return testRequest{reader: ann}
		}, 2000},
		{"a grant before one of the sku that the rule names first", func(env *testEnv) testRequest {
			env.records.grant(fakeGrant{Grant: Grant{ID: "g2", SKU: "a1"}, userID: "ann"})
			env.subscribe(300, 0)
			return testRequest{reader: ann}
		}, 300},
		{"a link", func(env *testEnv) testRequest { return testRequest{link: linkEvidence(env.newLink(keys.LinkClaims{}))} }, 3600_000},
		{"a link before a grant begins", func(env *testEnv) testRequest {
			env.subscribe(700, 0)
			return testRequest{reader: ann, link: linkEvidence(env.newLink(keys.LinkClaims{}))}
		}, 700},
		{"a link for another page", func(env *testEnv) testRequest {
			return testRequest{path: "/articles/a2", link: linkEvidence(env.newLink(keys.LinkClaims{}))}
		}, 3600_000},
		{"a link that has expired", func(env *testEnv) testRequest {
			token := env.newLink(keys.LinkClaims{})
			env.advance(time.Hour)
			return testRequest{link: linkEvidence(token)}
		}, never},
		{"a malformed link", func(*testEnv) testRequest { return testRequest{link: linkEvidence("abc")} }, never},
		{"a link that is not valid yet", func(env *testEnv) testRequest {
			return testRequest{link: linkEvidence(env.newLink(keys.LinkClaims{NotBefore: start + 61}))}
		}, 0},
		{"a link cookie", func(env *testEnv) testRequest {
			env.newLink(keys.LinkClaims{})
			return testRequest{link: LinkEvidence{Redeemed: []RedeemedLink{redeemedLink("link_1")}}}
		}, 1800_000},
		{"a link cookie of a link that expires first", func(env *testEnv) testRequest {
			env.newLink(keys.LinkClaims{ExpiresAt: start + 60})
			return testRequest{link: LinkEvidence{Redeemed: []RedeemedLink{redeemedLink("link_1")}}}
		}, 60_000},
		{"a link cookie before a grant begins", func(env *testEnv) testRequest {
			env.newLink(keys.LinkClaims{})
			env.subscribe(700, 0)
			return testRequest{reader: ann, link: LinkEvidence{Redeemed: []RedeemedLink{redeemedLink("link_1")}}}
		}, 700},
		{"a store that is down", func(env *testEnv) testRequest { env.records.down = errDown; return testRequest{reader: ann} }, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			env := newTestEnv(t)
			v := c.given(env)
			before := env.decide(v)
			if got := before.Until - start*1000; got != c.want {
				t.Fatalf("holds until %d, want %d", got, c.want)
			}
			if c.want == 0 || c.want == never {
				return
			}
			env.clock.Set(time.UnixMilli(before.Until - 1))
			if last := env.decide(v); !sameAnswer(&before, &last) {
				t.Errorf("just before Until: %+v, want %+v", last, before)
			}
			env.clock.Set(time.UnixMilli(before.Until))
			if after := env.decide(v); sameAnswer(&before, &after) {
				t.Errorf("at Until: still %+v", after)
			}
		})
	}
}

// A parameter is the captured segment, unless the rule has an argument of that name.
func TestDecisionParam(t *testing.T) {
	env := newTestEnv(t)
	decision := env.decide(testRequest{path: "/articles/a%2B1/comments"})
	if id, ok := decision.Param("publisherContentId"); !ok || id != "a+1" {
		t.Errorf("captured %q, %t", id, ok)
	}
	if _, ok := decision.Param("sku"); ok {
		t.Error("a parameter without a capture or an argument")
	}
	decision = env.decide(testRequest{path: "/elsewhere"})
	if _, ok := decision.Param("publisherContentId"); ok {
		t.Error("a parameter without a rule")
	}
}
