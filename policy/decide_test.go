package policy

import (
	"errors"
	"math"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/gatefold/gatefold/keys"
)

// decideCase is a story that ends in a decision.
type decideCase struct {
	name string
	// given prepares the world, and returns the visit.
	given func(w *world) visit
	want  Reason
}

// decideCases end in every reason there is.
var decideCases = []decideCase{
	// Who may have what.
	{"a public page is for anyone", func(*world) visit { return visit{path: "/public"} }, ReasonPublic},
	{"a public page is for whoever's login failed", func(*world) visit {
		return visit{path: "/public/x", reader: Reader{Rejected: true}}
	}, ReasonPublic},
	{"a public page is for whoever cannot be judged", func(*world) visit {
		return visit{path: "/public/x", reader: Reader{Unknown: true}}
	}, ReasonPublic},
	{"a public page needs no store", func(w *world) visit {
		w.records.down = errDown
		return visit{path: "/public", reader: ann}
	}, ReasonPublic},
	{"a public page takes no notice of links", func(*world) visit {
		return visit{path: "/public", link: LinkEvidence{Ambiguous: true, Token: "x", Readable: true}}
	}, ReasonPublic},
	{"a member's page is for members", func(*world) visit { return visit{path: "/account", reader: bob} }, ReasonAuthenticated},
	{"a member's page asks who is there", func(*world) visit { return visit{path: "/account"} }, ReasonLoginRequired},
	{"a member's page refuses a failed login", func(*world) visit {
		return visit{path: "/account", reader: Reader{Rejected: true}}
	}, ReasonBadCredential},
	{"a member's page cannot judge a login without keys", func(*world) visit {
		return visit{path: "/account", reader: Reader{Unknown: true}}
	}, ReasonStoreUnavailable},
	{"a signed link is no login", func(w *world) visit {
		return visit{path: "/account", link: carries(w.newLink(keys.LinkClaims{Subject: "ann"}))}
	}, ReasonLoginRequired},
	{"a subscriber reads the article", func(w *world) visit { w.subscribe(0, 0); return visit{reader: ann} }, ReasonEntitled},
	{"one article was bought", func(w *world) visit {
		w.records.grant(fakeGrant{Grant: Grant{ID: "g", SKU: "a1"}, userID: "bob"})
		return visit{reader: bob}
	}, ReasonEntitled},
	{"another article was bought", func(w *world) visit {
		w.records.grant(fakeGrant{Grant: Grant{ID: "g", SKU: "a2"}, userID: "bob"})
		return visit{reader: bob}
	}, ReasonNotEntitled},
	{"another reader's subscription", func(w *world) visit { w.subscribe(0, 0); return visit{reader: bob} }, ReasonNotEntitled},
	{"an article asks who is there", func(*world) visit { return visit{} }, ReasonLoginRequired},
	{"an article refuses a failed login", func(*world) visit { return visit{reader: Reader{Rejected: true}} }, ReasonBadCredential},
	{"an article whose store is down", func(w *world) visit {
		w.subscribe(0, 0)
		w.records.down = errDown
		return visit{reader: ann}
	}, ReasonStoreUnavailable},
	{"no rule", func(*world) visit { return visit{path: "/elsewhere", reader: ann} }, ReasonNoRule},
	{"the site's rules cannot be read", func(w *world) visit {
		w.site = NewSite("acme", "stored", nil, PathOptions{}, w.keys)
		w.records.down = errDown
		return visit{path: "/public"}
	}, ReasonStoreUnavailable},
	{"the site's rules cannot be compiled", func(w *world) visit {
		w.site = NewSite("acme", "stored", nil, PathOptions{}, w.keys)
		w.records.rules[siteKey{"acme", "stored"}] = []Rule{
			{Rank: 1, Path: "/", Allow: Allow{Operator: "any"}}, {Rank: 2, Path: "/x", Allow: Allow{Operator: "sesame"}},
		}
		return visit{path: "/public"}
	}, ReasonStoreUnavailable},
	{"a site without rules", func(w *world) visit {
		w.site = NewSite("acme", "empty", nil, PathOptions{}, w.keys)
		return visit{path: "/"}
	}, ReasonNoRule},

	// Methods and paths.
	{"HEAD is judged as GET", func(*world) visit { return visit{method: "HEAD", path: "/form"} }, ReasonPublic},
	{"POST where only GET has a rule", func(*world) visit { return visit{method: "POST", path: "/form"} }, ReasonNoRule},
	{"get is not GET", func(*world) visit { return visit{method: "get", path: "/form"} }, ReasonNoRule},
	{"a preflight", func(*world) visit { return visit{method: "OPTIONS", preflight: true} }, ReasonPreflight},
	{"any other OPTIONS is judged as every request", func(*world) visit { return visit{method: "OPTIONS"} }, ReasonLoginRequired},
	{"OPTIONS where only GET has a rule", func(*world) visit { return visit{method: "OPTIONS", path: "/form"} }, ReasonNoRule},
	{"TRACE", func(*world) visit { return visit{method: "TRACE", path: "/public"} }, ReasonBadMethod},
	{"CONNECT", func(*world) visit { return visit{method: "CONNECT", path: "/public"} }, ReasonBadMethod},
	{"a path with two readings", func(*world) visit { return visit{path: "/public/../articles/a1"} }, ReasonBadPath},
	{"a preflight for such a path", func(*world) visit {
		return visit{path: "/public//x", method: "OPTIONS", preflight: true}
	}, ReasonBadPath},

	// Links.
	{"a link opens its article", func(w *world) visit { return visit{link: carries(w.newLink(keys.LinkClaims{}))} }, ReasonSignedLink},
	{"a link opens for a reader without subscription", func(w *world) visit {
		return visit{reader: bob, link: carries(w.newLink(keys.LinkClaims{}))}
	}, ReasonSignedLink},
	{"a link opens though the login failed", func(w *world) visit {
		return visit{reader: Reader{Rejected: true}, link: carries(w.newLink(keys.LinkClaims{}))}
	}, ReasonSignedLink},
	{"a link opens though the login cannot be judged", func(w *world) visit {
		return visit{reader: Reader{Unknown: true}, link: carries(w.newLink(keys.LinkClaims{}))}
	}, ReasonSignedLink},
	{"HEAD with an uncounted link", func(w *world) visit {
		return visit{method: "HEAD", link: LinkEvidence{Token: w.newLink(keys.LinkClaims{}), Readable: true}}
	}, ReasonSignedLink},
	{"POST with a link", func(w *world) visit {
		return visit{method: "POST", link: LinkEvidence{Token: w.newLink(keys.LinkClaims{})}}
	}, ReasonLoginRequired},
	{"a link for another article", func(w *world) visit {
		return visit{path: "/articles/a2", link: carries(w.newLink(keys.LinkClaims{}))}
	}, ReasonLinkOtherResource},
	{"a link for a sku that the page does not ask for", func(w *world) visit {
		return visit{path: "/gold", reader: bob, link: carries(w.newLink(keys.LinkClaims{SKU: "premium"}))}
	}, ReasonLinkOtherResource},
	{"a link after its time", func(w *world) visit {
		token := w.newLink(keys.LinkClaims{})
		w.wait(time.Hour)
		return visit{link: carries(token)}
	}, ReasonLinkExpired},
	{"a link before its time", func(w *world) visit {
		return visit{link: carries(w.newLink(keys.LinkClaims{NotBefore: start + 61}))}
	}, ReasonLinkExpired},
	{"a link a minute before its time", func(w *world) visit {
		return visit{link: carries(w.newLink(keys.LinkClaims{NotBefore: start + 60}))}
	}, ReasonSignedLink},
	{"a revoked link", func(w *world) visit {
		token := w.newLink(keys.LinkClaims{})
		w.records.revokeLink("link_1")
		return visit{reader: bob, link: carries(token)}
	}, ReasonLinkRevoked},
	{"no link at all", func(*world) visit { return visit{link: carries("abc")} }, ReasonLinkInvalid},
	{"a link longer than any token", func(*world) visit {
		return visit{link: carries(string(make([]byte, keys.MaxTokenSize+1)))}
	}, ReasonLinkInvalid},
	{"another vendor's link, by a key that we know", func(w *world) visit {
		return visit{link: carries(w.newLink(keys.LinkClaims{Issuer: "gatefold:other"}))}
	}, ReasonLinkInvalid},
	{"a link that the store does not know", func(w *world) visit { return visit{link: carries(sign(w.t, keys.LinkClaims{}))} }, ReasonLinkInvalid},
	{"a link whose url is none", func(w *world) visit {
		return visit{link: carries(w.newLink(keys.LinkClaims{URL: "news.example/articles/a1"}))}
	}, ReasonLinkInvalid},
	{"two links", func(w *world) visit {
		link := carries(w.newLink(keys.LinkClaims{}))
		link.Ambiguous = true
		return visit{link: link}
	}, ReasonBadQuery},
	{"a link whose keys cannot be read", func(w *world) visit {
		w.keys.err = errDown
		return visit{link: carries(w.newLink(keys.LinkClaims{}))}
	}, ReasonStoreUnavailable},
	{"a link whose record cannot be read", func(w *world) visit {
		w.records.linksDown = errDown
		return visit{link: carries(w.newLink(keys.LinkClaims{}))}
	}, ReasonStoreUnavailable},

	// Which of two reasons is told.
	{"the failed login, rather than a bad link", func(*world) visit {
		return visit{reader: Reader{Rejected: true}, link: carries("abc")}
	}, ReasonBadCredential},
	{"the missing keys, rather than a bad link", func(*world) visit {
		return visit{reader: Reader{Unknown: true}, link: carries("abc")}
	}, ReasonStoreUnavailable},
	{"a bad link, rather than a missing grant", func(*world) visit { return visit{reader: bob, link: carries("abc")} }, ReasonLinkInvalid},
	{"a bad link takes nothing from a subscriber", func(w *world) visit {
		w.subscribe(0, 0)
		return visit{reader: ann, link: carries("abc")}
	}, ReasonEntitled},
	{"two links take nothing from a subscriber", func(w *world) visit {
		w.subscribe(0, 0)
		return visit{reader: ann, link: LinkEvidence{Token: "abc", Ambiguous: true, Readable: true}}
	}, ReasonEntitled},
	{"a bad link takes nothing from the holder of a link cookie", func(w *world) visit {
		w.newLink(keys.LinkClaims{})
		link := carries("abc")
		link.Redeemed = []RedeemedLink{passOf("link_1")}
		return visit{link: link}
	}, ReasonSignedLink},
	{"two links take nothing from the holder of a link cookie", func(w *world) visit {
		w.newLink(keys.LinkClaims{})
		return visit{link: LinkEvidence{Token: "abc", Ambiguous: true, Readable: true, Redeemed: []RedeemedLink{passOf("link_1")}}}
	}, ReasonSignedLink},

	// Link cookies.
	{"a link cookie opens its article", func(w *world) visit {
		w.newLink(keys.LinkClaims{MaxUses: 1})
		return visit{link: LinkEvidence{Redeemed: []RedeemedLink{passOf("link_1")}}}
	}, ReasonSignedLink},
	{"the second of two link cookies opens", func(w *world) visit {
		w.newLink(keys.LinkClaims{ID: "other", PublisherContentID: "a2"})
		w.newLink(keys.LinkClaims{})
		return visit{link: LinkEvidence{Redeemed: []RedeemedLink{passOf("other"), passOf("gone"), passOf("link_1")}}}
	}, ReasonSignedLink},
	{"a link cookie for another article says nothing", func(w *world) visit {
		w.newLink(keys.LinkClaims{})
		return visit{path: "/articles/a2", link: LinkEvidence{Redeemed: []RedeemedLink{passOf("link_1")}}}
	}, ReasonLoginRequired},
	{"a link cookie for another article says nothing to a reader", func(w *world) visit {
		w.newLink(keys.LinkClaims{})
		return visit{path: "/articles/a2", reader: bob, link: LinkEvidence{Redeemed: []RedeemedLink{passOf("link_1")}}}
	}, ReasonNotEntitled},
	{"the cookie of a revoked link says nothing", func(w *world) visit {
		w.newLink(keys.LinkClaims{})
		w.records.revokeLink("link_1")
		return visit{link: LinkEvidence{Redeemed: []RedeemedLink{passOf("link_1")}}}
	}, ReasonLoginRequired},
	{"a link cookie at its end says nothing", func(w *world) visit {
		w.newLink(keys.LinkClaims{})
		w.wait(30 * time.Minute)
		return visit{link: LinkEvidence{Redeemed: []RedeemedLink{passOf("link_1")}}}
	}, ReasonLoginRequired},
	{"a link cookie ends with its link", func(w *world) visit {
		w.newLink(keys.LinkClaims{ExpiresAt: start + 60})
		w.wait(time.Minute)
		return visit{link: LinkEvidence{Redeemed: []RedeemedLink{passOf("link_1")}}}
	}, ReasonLoginRequired},
	{"a link cookie whose record cannot be read", func(w *world) visit {
		w.newLink(keys.LinkClaims{})
		w.records.linksDown = errDown
		return visit{link: LinkEvidence{Redeemed: []RedeemedLink{passOf("link_1")}}}
	}, ReasonStoreUnavailable},

	// Counted links.
	{"a counted link is spent", func(w *world) visit { return visit{link: carries(w.newLink(keys.LinkClaims{MaxUses: 1}))} }, ReasonSignedLink},
	{"a counted link is used up", func(w *world) visit {
		link := carries(w.newLink(keys.LinkClaims{MaxUses: 1}))
		w.want(visit{link: link}, ReasonSignedLink)
		return visit{link: link}
	}, ReasonLinkUsedUp},
	{"a counted link in early data", func(w *world) visit {
		link := carries(w.newLink(keys.LinkClaims{MaxUses: 1}))
		link.Early = true
		return visit{link: link}
	}, ReasonTooEarly},
	{"an uncounted link in early data", func(w *world) visit {
		link := carries(w.newLink(keys.LinkClaims{}))
		link.Early = true
		return visit{link: link}
	}, ReasonSignedLink},
	{"a preview of a counted link sees what anyone sees", func(w *world) visit {
		return visit{link: LinkEvidence{Token: w.newLink(keys.LinkClaims{MaxUses: 1}), Readable: true}}
	}, ReasonLoginRequired},
	{"a preview of a counted link for another article, too", func(w *world) visit {
		return visit{path: "/articles/a2", link: LinkEvidence{Token: w.newLink(keys.LinkClaims{MaxUses: 1}), Readable: true}}
	}, ReasonLoginRequired},
	{"a preview of a counted link whose record cannot be read, too", func(w *world) visit {
		w.records.linksDown = errDown
		return visit{link: LinkEvidence{Token: w.newLink(keys.LinkClaims{MaxUses: 1}), Readable: true}}
	}, ReasonLoginRequired},
}

func TestDecide(t *testing.T) {
	for _, c := range decideCases {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			v := c.given(w)
			decision := w.want(v, c.want)
			if decision.Allow() != c.want.Allows() {
				t.Errorf("allowed: %t", decision.Allow())
			}
			// What was decided once is decided so again, now from memory.
			if w.settle(); !decision.Link.Token || decision.Link.MaxUses == 0 {
				w.want(v, c.want)
			}
		})
	}
}

func TestEveryReasonIsReached(t *testing.T) {
	for _, reason := range Reasons() {
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
			t.Errorf("reason %d has no name of its own: %q", reason, name)
		}
		seen[name] = true
		allows := slices.Contains([]Reason{ReasonPublic, ReasonAuthenticated, ReasonEntitled, ReasonSignedLink, ReasonPreflight}, reason)
		if reason.Allows() != allows {
			t.Errorf("%s allows: %t", reason, reason.Allows())
		}
		if shared := (&Decision{Reason: reason}).Public(); shared != (reason == ReasonPublic || reason == ReasonPreflight) {
			t.Errorf("%s may be kept by shared caches: %t", reason, shared)
		}
		if text, err := reason.MarshalJSON(); err != nil || string(text) != `"`+name+`"` {
			t.Errorf("%s in JSON: %s, %v", reason, text, err)
		}
	}
	if reason := reasonCount; reason.Allows() || reason.String() != "reason 24" {
		t.Errorf("a reason that is none: %s, allows: %t", reason, reason.Allows())
	}
	if (&Decision{}).Allow() {
		t.Error("no decision allows")
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
		{"head", false, "head", ReasonNone},
	} {
		r := &Request{Method: c.method, WebSocket: c.webSocket}
		if reason, _ := refuseMethod(r); reason != c.reason || reason == ReasonNone && r.method != c.want {
			t.Errorf("%s (WebSocket: %t) is judged as %s: %s", c.method, c.webSocket, r.method, reason)
		}
	}
}

// Of several reasons to refuse a request the first in the list counts, and no rule
// is asked.
func TestRefusalsComeInOrder(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct {
		visit visit
		want  Reason
	}{
		{visit{method: http.MethodTrace, path: "/public//#"}, ReasonBadMethod},
		{visit{path: "/#/public"}, ReasonBadPath},
		{visit{path: "/public//x", preflight: true}, ReasonBadPath},
		{visit{path: "/none", method: http.MethodOptions, preflight: true}, ReasonPreflight},
	} {
		if decision := w.want(c.visit, c.want); decision.Rule != nil {
			t.Errorf("%+v: the rule %s decided", c.visit, decision.Rule.Path)
		}
	}
	if decision := w.want(visit{path: "/public/#x"}, ReasonBadPath); !errors.Is(decision.Err, ErrFragment) {
		t.Errorf("a fragment is refused because %v", decision.Err)
	}
}

// TestOnlyTheUseThatIsNeededIsSpent: a counted link is spent only where nothing
// else lets the reader in, and an uncounted one never.
func TestOnlyTheUseThatIsNeededIsSpent(t *testing.T) {
	w := newWorld(t)
	w.subscribe(0, 0)
	link := carries(w.newLink(keys.LinkClaims{MaxUses: 2}))
	held := link
	held.Redeemed = []RedeemedLink{passOf("link_1")}
	early, preview := link, link
	early.Early, preview.Spendable = true, false
	for _, c := range []struct {
		name  string
		visit visit
		spent int
	}{
		{"a subscriber", visit{reader: ann, link: link}, 0},
		{"the holder of its cookie", visit{link: held}, 0},
		{"early data", visit{link: early}, 0},
		{"a preview", visit{link: preview}, 0},
		{"another page", visit{path: "/articles/a2", link: link}, 0},
		{"a page without links", visit{path: "/account", link: link}, 0},
		{"a first reader", visit{link: link}, 1},
		{"a second reader", visit{reader: bob, link: link}, 2},
		{"a third reader", visit{link: link}, 2},
	} {
		w.decide(c.visit)
		if spent := w.records.used("link_1"); spent != c.spent {
			t.Fatalf("after %s, %d uses are spent, want %d", c.name, spent, c.spent)
		}
	}
	w.want(visit{link: carries(w.newLink(keys.LinkClaims{ID: "free"}))}, ReasonSignedLink)
	if spent := w.records.used("free"); spent != 0 {
		t.Fatalf("an uncounted link was spent %d times", spent)
	}
}

// TestIgnoredLink: a request that cannot be a reader's own visit is told apart
// from one without a link, so that it is never sent to the login page.
func TestIgnoredLink(t *testing.T) {
	w := newWorld(t)
	counted := w.newLink(keys.LinkClaims{ID: "counted", MaxUses: 1})
	free := w.newLink(keys.LinkClaims{ID: "free"})
	for _, c := range []struct {
		token   string
		ignored bool
	}{{"", false}, {counted, true}, {free, false}} {
		decision := w.decide(visit{link: LinkEvidence{Token: c.token, Readable: true}})
		if decision.Link.Ignored != c.ignored || decision.Link.Spend {
			t.Errorf("%+v", decision.Link)
		}
	}
}

// TestStoreErrorNeverAllows lets each read of every allowed case fail.
func TestStoreErrorNeverAllows(t *testing.T) {
	for _, c := range decideCases {
		if c.want != ReasonEntitled && c.want != ReasonSignedLink {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			v := c.given(w)
			w.records.down = errDown
			decision := w.want(v, ReasonStoreUnavailable)
			if !errors.Is(decision.Err, ErrUnavailable) && !errors.Is(decision.Err, errDown) && !v.reader.Unknown {
				t.Errorf("the error says %v", decision.Err)
			}
		})
	}
}

// The readings of one path (see PathOptions).

func readingsWorld(t *testing.T) *world {
	w := newWorld(t)
	rules, err := CompileRules([]Rule{
		{Rank: 1, Path: "/wp/admin", Allow: Allow{Operator: "authenticated"}},
		{Rank: 2, Path: "/wp", Allow: Allow{Operator: "any"}},
		{Rank: 3, Path: "/p/{x}/{publisherContentId}", Allow: entitledTo("{x}")},
		{Rank: 4, Path: "/p/{publisherContentId}", Allow: entitledTo("premium")},
	}, StandardOperators())
	must(t, err)
	w.site = NewSite("acme", "news", rules, PathOptions{EmptySegments: true, EncodedSlash: true, Parameters: true}, w.keys)
	return w
}

func TestEveryReadingOfAPathMustBeAllowed(t *testing.T) {
	w := readingsWorld(t)
	w.want(visit{path: "/wp//x"}, ReasonPublic)
	// Merged, cut or stripped, this is the administrator's page.
	for _, path := range []string{"/wp//admin", "/wp/x%2F..", "/wp%2Fadmin", "/wp/admin;x", "/wp/admin;x/y"} {
		if decision := w.decide(visit{path: path}); decision.Allow() {
			t.Errorf("%s: %s", path, decision.Reason)
		}
	}
	w.want(visit{path: "/wp//admin", reader: bob}, ReasonAuthenticated)
	w.want(visit{path: "//wp"}, ReasonNoRule)
}

func TestReadingThatAsksMostIsTold(t *testing.T) {
	w := readingsWorld(t)
	w.subscribe(0, 1000)
	w.records.grant(fakeGrant{Grant: Grant{ID: "g2", SKU: "p1", EndsAt: start*1000 + 500}, userID: "ann"})
	// Whole, "p1/a1" is a content id of rule 4; cut, rule 3 asks for p1.
	decision := w.want(visit{path: "/p/p1%2Fa1", reader: ann}, ReasonEntitled)
	if decision.Until != start*1000+500 {
		t.Errorf("the readings together hold until %d", decision.Until-start*1000)
	}
	w.records.revoke("g2")
	w.want(visit{path: "/p/p1%2Fa1", reader: ann}, ReasonNotEntitled)
	// The other reading may be the one that ends first.
	w.records.grant(fakeGrant{Grant: Grant{ID: "g3", SKU: "p1", EndsAt: start*1000 + 1500}, userID: "ann"})
	decision = w.want(visit{path: "/p/p1%2Fa1", reader: ann}, ReasonEntitled)
	if decision.Until != start*1000+1000 {
		t.Errorf("the readings together hold until %d", decision.Until-start*1000)
	}
}

// TestOneReadingsCookieDoesNotPayForAnother: of two readings, one is opened by
// a cookie and one by a counted link, whose use must be spent.
func TestOneReadingsCookieDoesNotPayForAnother(t *testing.T) {
	for _, swapped := range []bool{false, true} {
		w := readingsWorld(t)
		ids := []string{"p1/a1", "a1"} // whole; cut
		if swapped {
			slices.Reverse(ids)
		}
		w.newLink(keys.LinkClaims{ID: "held", PublisherContentID: ids[0]})
		link := carries(w.newLink(keys.LinkClaims{ID: "counted", PublisherContentID: ids[1], MaxUses: 1}))
		w.want(visit{path: "/p/p1%2Fa1", link: link}, ReasonLinkOtherResource)
		link.Redeemed = []RedeemedLink{passOf("held")}
		w.want(visit{path: "/p/p1%2Fa1", link: link}, ReasonSignedLink)
		if spent := w.records.used("counted"); spent != 1 {
			t.Errorf("swapped: %t: the page was let in for %d uses", swapped, spent)
		}
		w.want(visit{path: "/p/p1%2Fa1", link: link}, ReasonLinkUsedUp)
	}
}

// TestDecisionUntil: a decision names the moment from which it may be another,
// and is the same until just before.
func TestDecisionUntil(t *testing.T) {
	const never = math.MaxInt64 - start*1000
	both := func(w *world) { // g1 ends at 1000, g2 is from 500 to 2000
		w.subscribe(0, 1000)
		w.records.grant(fakeGrant{Grant: Grant{ID: "g2", SKU: "premium", StartsAt: start*1000 + 500, EndsAt: start*1000 + 2000}, userID: "ann"})
	}
	for _, c := range []struct {
		name  string
		given func(w *world) visit
		want  int64 // milliseconds after the start
	}{
		{"a public page", func(*world) visit { return visit{path: "/public"} }, never},
		{"a member's page", func(*world) visit { return visit{path: "/account", reader: bob} }, never},
		{"no rule", func(*world) visit { return visit{path: "/elsewhere"} }, never},
		{"nobody is there", func(*world) visit { return visit{} }, never},
		{"no grant", func(*world) visit { return visit{reader: bob} }, never},
		{"a grant without end", func(w *world) visit { w.subscribe(0, 0); return visit{reader: ann} }, never},
		{"a grant that ends", func(w *world) visit { w.subscribe(0, 1000); return visit{reader: ann} }, 1000},
		{"a grant that begins", func(w *world) visit { w.subscribe(700, 1000); return visit{reader: ann} }, 700},
		{"a grant that is over", func(w *world) visit { w.subscribe(-700, -1); return visit{reader: ann} }, never},
		{"a grant before another takes over", func(w *world) visit { both(w); return visit{reader: ann} }, 500},
		{"the one that took over", func(w *world) visit {
			both(w)
			w.wait(500 * time.Millisecond)
			return visit{reader: ann}
		}, 2000},
		{"a grant before one of a sku that is asked for first", func(w *world) visit {
			w.records.grant(fakeGrant{Grant: Grant{ID: "g2", SKU: "a1"}, userID: "ann"})
			w.subscribe(300, 0)
			return visit{reader: ann}
		}, 300},
		{"a link", func(w *world) visit { return visit{link: carries(w.newLink(keys.LinkClaims{}))} }, 3600_000},
		{"a link before a grant begins", func(w *world) visit {
			w.subscribe(700, 0)
			return visit{reader: ann, link: carries(w.newLink(keys.LinkClaims{}))}
		}, 700},
		{"a link for another page", func(w *world) visit {
			return visit{path: "/articles/a2", link: carries(w.newLink(keys.LinkClaims{}))}
		}, 3600_000},
		{"a link that has expired", func(w *world) visit {
			token := w.newLink(keys.LinkClaims{})
			w.wait(time.Hour)
			return visit{link: carries(token)}
		}, never},
		{"a link that is none", func(*world) visit { return visit{link: carries("abc")} }, never},
		{"a link before its time, whenever that is", func(w *world) visit {
			return visit{link: carries(w.newLink(keys.LinkClaims{NotBefore: start + 61}))}
		}, 0},
		{"a link cookie", func(w *world) visit {
			w.newLink(keys.LinkClaims{})
			return visit{link: LinkEvidence{Redeemed: []RedeemedLink{passOf("link_1")}}}
		}, 1800_000},
		{"a link cookie of a short link", func(w *world) visit {
			w.newLink(keys.LinkClaims{ExpiresAt: start + 60})
			return visit{link: LinkEvidence{Redeemed: []RedeemedLink{passOf("link_1")}}}
		}, 60_000},
		{"a link cookie before a grant begins", func(w *world) visit {
			w.newLink(keys.LinkClaims{})
			w.subscribe(700, 0)
			return visit{reader: ann, link: LinkEvidence{Redeemed: []RedeemedLink{passOf("link_1")}}}
		}, 700},
		{"a store that is down", func(w *world) visit { w.records.down = errDown; return visit{reader: ann} }, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			v := c.given(w)
			before := w.decide(v)
			if got := before.Until - start*1000; got != c.want {
				t.Fatalf("holds until %d, want %d", got, c.want)
			}
			if c.want == 0 || c.want == never {
				return
			}
			w.clock.Store(before.Until - 1)
			if last := w.decide(v); !sameAnswer(&before, &last) {
				t.Errorf("just before, it is %+v, not %+v", last, before)
			}
			w.clock.Store(before.Until)
			if after := w.decide(v); sameAnswer(&before, &after) {
				t.Errorf("from then on, it is still %+v", after)
			}
		})
	}
}

// TestDecisionParam: a parameter is what the path captured, unless the rule
// states it.
func TestDecisionParam(t *testing.T) {
	w := newWorld(t)
	decision := w.decide(visit{path: "/articles/a%2B1/comments"})
	if id, ok := decision.Param("publisherContentId"); !ok || id != "a+1" {
		t.Errorf("captured %q, %t", id, ok)
	}
	if _, ok := decision.Param("sku"); ok {
		t.Error("a parameter that nothing sets")
	}
	decision = w.decide(visit{path: "/elsewhere"})
	if _, ok := decision.Param("publisherContentId"); ok {
		t.Error("a parameter without a rule")
	}
}
