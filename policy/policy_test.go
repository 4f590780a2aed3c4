package policy

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gatefold/gatefold/keys"
)

// TestEntitlementsAreReadOnce until something about the reader changes.
func TestEntitlementsAreReadOnce(t *testing.T) {
	w := newWorld(t)
	w.subscribe(0, 0)
	reads := func(reader Reader) int {
		before := w.records.readCount()
		w.decide(visit{reader: reader})
		w.settle()
		return w.records.readCount() - before
	}
	for i, c := range []struct {
		name   string
		write  func()
		reader Reader
		want   int
	}{
		{"at first", func() {}, ann, 1},
		{"again", func() {}, ann, 0},
		{"an hour later", func() { w.wait(time.Hour) }, ann, 0},
		{"Ann in another browser, without e-mail", func() {}, Reader{UserID: "ann"}, 1},
		{"after a grant to Bob", func() {
			w.records.grant(fakeGrant{Grant: Grant{ID: "g2", SKU: "premium"}, userID: "bob"})
		}, ann, 0},
		{"after Ann's grant is revoked", func() { w.records.revoke("g1") }, ann, 1},
		{"again", func() {}, ann, 0},
		{"after a change to lists or rules", func() { w.records.versions.Bump(Change{Shared: true}) }, ann, 1},
		{"nobody", func() {}, Reader{}, 0},
	} {
		c.write()
		if got := reads(c.reader); got != c.want {
			t.Errorf("%d: %s: %d reads, want %d", i, c.name, got, c.want)
		}
	}
}

// TestReaderIsReadOnce: a token is verified once, and counts until its end, for
// the verifier that verified it.
func TestReaderIsReadOnce(t *testing.T) {
	w := newWorld(t)
	token := w.readerToken(keys.ReaderClaims{UserID: "ann", PublisherUserID: "p-ann", Email: "Ann@Example.org", EmailVerified: true})
	read := func(verifier *ReaderVerifier) (Reader, error) {
		defer w.settle()
		return w.policy.Reader(context.Background(), verifier, token, w.now())
	}
	for range 3 {
		if reader, err := read(w.verifier()); err != nil || !sameReader(reader, ann) {
			t.Fatalf("read %+v, %v", reader, err)
		}
	}
	if calls := w.keys.calls.Load(); calls != 1 {
		t.Errorf("verified %d times", calls)
	}
	other := w.verifier()
	other.ID, other.Issuer.Audience = "other", "another-site"
	if _, err := read(other); !errors.Is(err, keys.ErrAudience) {
		t.Errorf("another site takes it: %v", err)
	}
	w.keys.set = keys.NewKeySet()
	w.records.versions.Bump(Change{Shared: true})
	if _, err := read(w.verifier()); !errors.Is(err, keys.ErrUnknownKey) {
		t.Errorf("after its key was retired: %v", err)
	}
	w.keys.set = ring().KeySet()
	if _, err := read(w.verifier()); err != nil {
		t.Errorf("after its key came back: %v", err)
	}
	w.wait(time.Hour)
	if _, err := read(w.verifier()); !errors.Is(err, keys.ErrExpired) {
		t.Errorf("at its end: %v", err)
	}
	if _, err := w.policy.Reader(context.Background(), w.verifier(), strings.Repeat("x", keys.MaxTokenSize+1), w.now()); !errors.Is(err, keys.ErrMalformed) {
		t.Errorf("an oversized token: %v", err)
	}
	w.keys.err = errDown
	token = w.readerToken(keys.ReaderClaims{UserID: "new", ExpiresAt: start + 7200})
	if _, err := read(w.verifier()); !errors.Is(err, ErrUnavailable) || !errors.Is(err, errDown) || strings.Contains(err.Error(), token) {
		t.Errorf("without keys: %v", err)
	}
}

// TestRubbishIsRefusedBeforeAnythingIsAsked: whoever sends what no token can be
// makes nobody look for a key, and is counted.
func TestRubbishIsRefusedBeforeAnythingIsAsked(t *testing.T) {
	w := newWorld(t)
	tokens := malformedTokens(w)
	for name, raw := range tokens {
		if _, err := w.policy.Reader(context.Background(), w.verifier(), raw, w.now()); !errors.Is(err, keys.ErrMalformed) {
			t.Errorf("%s as a reader's token: %v", name, err)
		}
		w.want(visit{link: carries(raw)}, ReasonLinkInvalid)
	}
	if calls := w.keys.calls.Load(); calls != 0 {
		t.Errorf("the keys were asked for %d times", calls)
	}
	for _, counted := range w.policy.Stats().Verifications {
		want := uint64(0)
		if counted.Result == "malformed" && (counted.Kind == "reader" || counted.Kind == "link") {
			want = uint64(len(tokens))
		}
		if counted.Count != want {
			t.Errorf("%s %s: counted %d, want %d", counted.Kind, counted.Result, counted.Count, want)
		}
	}
}

// TestFailedTokenIsNotRemembered: a link whose signature fails today may be
// signed by a key that is trusted a moment later.
func TestFailedTokenIsNotRemembered(t *testing.T) {
	w := newWorld(t)
	link := carries(w.newLink(keys.LinkClaims{}))
	w.keys.set = keys.NewKeySet()
	w.want(visit{link: link}, ReasonLinkInvalid)
	w.settle()
	w.keys.set = ring().KeySet()
	w.want(visit{link: link}, ReasonSignedLink)
	w.settle()
	// And what was verified is not, once its key is gone.
	w.keys.set = keys.NewKeySet()
	w.records.versions.Bump(Change{Shared: true})
	w.want(visit{link: link}, ReasonLinkInvalid)
}

// TestRevokedLinkEndsAtOnce, with the cookies that it was redeemed for.
func TestRevokedLinkEndsAtOnce(t *testing.T) {
	w := newWorld(t)
	link := carries(w.newLink(keys.LinkClaims{}))
	held := LinkEvidence{Passes: []Pass{passOf("link_1")}}
	for range 2 {
		w.want(visit{link: link}, ReasonSignedLink)
		w.want(visit{link: held}, ReasonSignedLink)
		w.settle()
	}
	w.records.revokeLink("link_1")
	w.want(visit{link: link}, ReasonLinkRevoked)
	w.want(visit{link: held}, ReasonLoginRequired)
}

func TestRedeem(t *testing.T) {
	for _, c := range []struct {
		name   string
		given  func(w *world)
		reader Reader
		want   Reason
	}{
		{"it counts", func(*world) {}, Reader{}, ReasonSignedLink},
		{"revoked meanwhile", func(w *world) { w.records.revokeLink("link_1") }, bob, ReasonLinkRevoked},
		{"used up meanwhile", func(w *world) {
			w.records.uses[linkKey{"acme", keys.VendorIssuer("acme"), "link_1"}] = map[string]bool{"x": true}
		}, bob, ReasonLinkUsedUp},
		{"gone meanwhile", func(w *world) { clear(w.records.links) }, bob, ReasonLinkInvalid},
		{"the store is down", func(w *world) { w.records.redeemDown = errDown }, bob, ReasonStoreUnavailable},
		{"the request is over", func(w *world) { w.records.redeemDown = context.Canceled }, bob, ReasonStoreUnavailable},
		{"the failed login is told, not the link", func(w *world) { w.records.revokeLink("link_1") }, Reader{Rejected: true}, ReasonBadCredential},
		{"nothing is told that cannot be known", func(w *world) { w.records.revokeLink("link_1") }, Reader{Unknown: true}, ReasonStoreUnavailable},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			r := &Request{
				Site: w.site, Method: "GET", Host: "news.example", Reader: c.reader, Now: w.now(),
				Link: carries(w.newLink(keys.LinkClaims{MaxUses: 1})),
			}
			must(t, r.Path.Read("/articles/a1", PathOptions{}))
			must(t, w.policy.Match(t.Context(), r))
			decision := w.policy.Decide(t.Context(), r)
			if decision.Reason != ReasonSignedLink || !decision.Link.Spend || decision.Link.MaxUses != 1 {
				t.Fatalf("decided %+v", decision)
			}
			c.given(w)
			for range 2 { // the same id twice counts once
				redeemed := w.policy.Redeem(t.Context(), r, decision, "one")
				if redeemed.Reason != c.want || redeemed.Link.Spend || redeemed.Link.ID != "link_1" {
					t.Fatalf("redeemed: %s, %+v", redeemed.Reason, redeemed.Link)
				}
				if c.want == ReasonStoreUnavailable && c.reader == bob && !errors.Is(redeemed.Err, ErrUnavailable) {
					t.Errorf("the error says %v", redeemed.Err)
				}
			}
		})
	}
}

// TestCountedLinkAtOnce: of many readers who come at once, as many get in as
// the link may be used.
func TestCountedLinkAtOnce(t *testing.T) {
	w := newWorld(t)
	link := carries(w.newLink(keys.LinkClaims{MaxUses: 3}))
	var mu sync.Mutex
	seen := map[Reason]int{}
	var group sync.WaitGroup
	for range 20 {
		group.Go(func() {
			decision := w.decide(visit{link: link})
			mu.Lock()
			defer mu.Unlock()
			seen[decision.Reason]++
		})
	}
	group.Wait()
	if seen[ReasonSignedLink] != 3 || seen[ReasonLinkUsedUp] != 17 {
		t.Errorf("decided %v", seen)
	}
}

func TestStoredRules(t *testing.T) {
	w := newWorld(t)
	w.site = NewSite("acme", "stored", nil, PathOptions{}, w.keys)
	set := func(rules ...Rule) {
		w.records.mu.Lock()
		w.records.rules[siteKey{"acme", "stored"}] = rules
		w.records.mu.Unlock()
		// What comes of it, the decisions tell.
		_, _ = w.policy.RefreshRules(t.Context(), "acme", "stored")
	}
	open, members := Rule{Rank: 1, Path: "/", Allow: Allow{Operator: "any"}}, Rule{Rank: 1, Path: "/", Allow: Allow{Operator: "1"}}
	set(open)
	w.want(visit{path: "/x"}, ReasonPublic)
	before := w.records.readCount()
	w.want(visit{path: "/x"}, ReasonPublic)
	if reads := w.records.readCount() - before; reads != 0 {
		t.Errorf("rules are read %d times more", reads)
	}
	set(members)
	w.want(visit{path: "/x"}, ReasonLoginRequired)
	// The new rules are what was acknowledged: the old ones do not return.
	w.records.down = errDown
	set(open)
	w.want(visit{path: "/x", reader: bob}, ReasonStoreUnavailable)
	w.records.down = nil
	w.want(visit{path: "/x"}, ReasonPublic)
	// Another site, and another vendor's site of this name, have rules of
	// their own.
	for _, site := range []*Site{NewSite("acme", "other", nil, PathOptions{}, w.keys), NewSite("other", "stored", nil, PathOptions{}, w.keys)} {
		w.site = site
		w.want(visit{path: "/x"}, ReasonNoRule)
	}
}

// TestVendorsAreApart: what one vendor granted or signed is nothing to another.
// As after a start, no version tells the two apart: only the keys do.
func TestVendorsAreApart(t *testing.T) {
	w := newWorld(t)
	w.records.silent = true
	w.subscribe(0, 0)
	link := carries(w.newLink(keys.LinkClaims{}))
	held := LinkEvidence{Passes: []Pass{passOf("link_1")}}
	w.want(visit{reader: ann}, ReasonEntitled)
	w.want(visit{link: link}, ReasonSignedLink)
	w.want(visit{link: held}, ReasonSignedLink)
	w.settle()
	w.site = NewSite("other", "news", w.site.Rules, PathOptions{}, w.keys)
	w.want(visit{reader: ann}, ReasonNotEntitled)
	w.want(visit{link: link}, ReasonLinkInvalid)
	w.want(visit{link: held}, ReasonLoginRequired)
	// Not even a record of that name makes it the other's link.
	w.records.putLink("other", Link{Claims: complete(keys.LinkClaims{})})
	w.want(visit{link: link}, ReasonLinkInvalid)
}

// TestReadersAreApart: each of the identifiers counts in what is remembered,
// and where one ends and the next begins.
func TestReadersAreApart(t *testing.T) {
	w := newWorld(t)
	w.records.silent = true
	w.records.grant(fakeGrant{Grant: Grant{ID: "g", SKU: "premium"}, email: "x@example.org"})
	w.records.grant(fakeGrant{Grant: Grant{ID: "g", SKU: "premium"}, publisherUserID: "bc"})
	for _, c := range []struct {
		reader Reader
		want   Reason
	}{
		{Reader{UserID: "a", PublisherUserID: "bc"}, ReasonEntitled},
		{Reader{UserID: "ab", PublisherUserID: "c"}, ReasonNotEntitled},
		{Reader{UserID: "abc"}, ReasonNotEntitled},
		{Reader{UserID: "a"}, ReasonNotEntitled},
		{Reader{UserID: "a", Email: "bc"}, ReasonNotEntitled},
		{Reader{UserID: "a", Email: "x@example.org"}, ReasonEntitled},
		{Reader{UserID: "a", PublisherUserID: "x@example.org"}, ReasonNotEntitled},
		{Reader{UserID: "x@example.org"}, ReasonNotEntitled},
	} {
		w.want(visit{reader: c.reader}, c.want)
		w.settle()
	}
}

func TestNewRefusesATinyCache(t *testing.T) {
	for _, bytes := range []int64{-1, 0, MinCacheBytes - 1} {
		if _, err := New(Options{CacheBytes: bytes}); err == nil {
			t.Errorf("a cache of %d bytes is made", bytes)
		}
	}
}

// TestResizeChangesNoAnswer, and neither does it lose what is remembered.
func TestResizeChangesNoAnswer(t *testing.T) {
	w := newWorld(t)
	w.subscribe(0, 0)
	for _, bytes := range []int64{0, 1 << 30, MinCacheBytes} {
		w.policy.Resize(bytes)
		w.want(visit{reader: ann}, ReasonEntitled)
		w.settle()
		var bound int64
		for _, part := range []int64{
			w.policy.readers.maxBytes, w.policy.containers.entries.MaxCost(), w.policy.links.entries.MaxCost(),
			w.policy.linkTokens.entries.MaxCost(), w.policy.sessions.entries.MaxCost(),
		} {
			bound += part
		}
		if want := max(bytes, MinCacheBytes); bound != want {
			t.Errorf("resized to %d, the caches may take %d", bytes, bound)
		}
	}
	if hits, _ := w.policy.readers.counted(kindEntitlements); hits != 2 {
		t.Errorf("%d of 2 later decisions came from memory", hits)
	}
}

// The property: a cached decision equals the uncached one.

// history is a sequence of writes, waits and visits, made from bytes.
type history struct {
	w      *world
	tokens []string
	fresh  int // grants so far
	first  [4]Reader
	// asked and differed count the visits.
	asked, differed int
}

// identities overlap: two readers share an address, and there are names that
// would be one if they were joined.
var identities = []Reader{
	{UserID: "a", PublisherUserID: "bc", Email: "x@example.org"},
	{UserID: "ab", PublisherUserID: "c", Email: "x@example.org"},
	{UserID: "abc"},
	{UserID: "a", Email: "x@example.org"},
	{},
}

var historyLinks = sync.OnceValue(func() (links []keys.LinkClaims) {
	for i, claims := range []keys.LinkClaims{
		{PublisherContentID: "a1"}, {SKU: "premium", ExpiresAt: start + 20}, {URL: "https://news.example/articles/a2", MaxUses: 2},
	} {
		claims.ID = fmt.Sprint("link_", i)
		links = append(links, complete(claims))
	}
	return links
})

var historyTokens = sync.OnceValues(func() (tokens []string, err error) {
	for _, claims := range historyLinks() {
		token, err := keys.SignLink(ring(), claims)
		if err != nil {
			return nil, err
		}
		tokens = append(tokens, token)
	}
	return tokens, nil
})

// identityTokens are tokens of the identities that are somebody.
var identityTokens = sync.OnceValues(func() (tokens []string, err error) {
	for _, reader := range identities[:4] {
		token, err := keys.SignReader(ring(), "acme", "news", keys.ReaderClaims{
			UserID: reader.UserID, PublisherUserID: reader.PublisherUserID,
			Email: reader.Email, EmailVerified: reader.Email != "", ExpiresAt: start + 100*24*3600,
		}, time.Unix(start, 0))
		if err != nil {
			return nil, err
		}
		tokens = append(tokens, token)
	}
	return tokens, nil
})

// known returns a reader as she is known by her token: now, or as she was when she
// first came.
func (h *history) known(who int, first bool) Reader {
	h.w.t.Helper()
	if first && !h.first[who].Anonymous() {
		return h.first[who]
	}
	tokens, err := identityTokens()
	must(h.w.t, err)
	reader, err := h.w.policy.Reader(context.Background(), h.w.verifier(), tokens[who], h.w.now())
	must(h.w.t, err)
	if !sameReader(reader, identities[who]) {
		h.w.t.Fatalf("%+v is known as %+v", identities[who], reader)
	}
	if h.first[who].Anonymous() {
		h.first[who] = reader
	}
	return reader
}

// historyShares are a publisher's tokens: for a1, for a2, and by a key that does
// not count.
var historyShares = sync.OnceValue(func() []string {
	return []string{
		editor.share(map[string]any{"exp": start + 90}),
		editor.share(map[string]any{"jti": "share_2", "resourceId": "a2", "maxUses": 2}),
		successor.share(map[string]any{"jti": "share_3"}),
	}
})

// trust changes whom the vendor trusts, or what is known of a publisher's link.
func (h *history) trust(y int) {
	editors := TrustedDomain{Domain: newsDomain, SigningKeyPEM: editor.pem()}
	switch y % 6 {
	case 0:
		h.w.trusts(Domains{})
	case 1:
		h.w.trusts(Domains{Trusted: []*TrustedDomain{&editors}, DeniedKeys: []string{editor.kid}})
	case 2:
		editors.AllowedResourceIDs = []string{"a2"}
		h.w.trusts(Domains{Trusted: []*TrustedDomain{&editors}})
	case 3:
		claims := keys.LinkClaims{
			Issuer: newsDomain, ID: "share_1", IssuedAt: start, ExpiresAt: start + 90, PublisherContentID: "a1", ContentNames: []string{"bodytext"},
		}
		h.w.records.putLink("acme", Link{Claims: claims, KeyID: editor.kid, Revoked: y&64 != 0})
	default:
		h.w.trusts(Domains{Trusted: []*TrustedDomain{&editors}})
	}
}

// play makes a history: each step is three bytes.
func play(t testing.TB, steps []byte, silent bool) *history {
	t.Helper()
	h := &history{w: newWorld(t)}
	var err error
	h.tokens, err = historyTokens()
	must(t, err)
	for _, claims := range historyLinks() {
		h.w.records.putLink("acme", Link{Claims: claims})
	}
	h.w.records.silent = silent
	for len(steps) >= 3 {
		h.step(steps[0], int(steps[1]), int(steps[2]))
		steps = steps[3:]
	}
	return h
}

func (h *history) step(what byte, x, y int) {
	records := h.w.records
	switch what % 8 {
	case 0:
		h.fresh++
		who := identities[x%4]
		g := fakeGrant{Grant: Grant{ID: fmt.Sprint("g", h.fresh), SKU: []string{"premium", "a1", "a2", "gold"}[y%4]}}
		switch x / 4 % 3 {
		case 0:
			g.userID = who.UserID
		case 1:
			g.publisherUserID = who.PublisherUserID
		case 2:
			g.email = who.Email
		}
		if y&4 != 0 {
			g.StartsAt = h.w.clock.Load() + int64(x%16)*1000
		}
		if y&8 != 0 {
			g.EndsAt = h.w.clock.Load() + int64(y/16)*1000
		}
		records.grant(g)
	case 1:
		records.revoke(fmt.Sprint("g", 1+x%(h.fresh+1)))
	case 2:
		h.w.wait(time.Duration(x) * 100 * time.Millisecond)
	case 3:
		if x%8 == 1 {
			// What is in a collection changes for everybody.
			records.collect([]string{"a1", "a2", "gold"}[y%3], [][]string{nil, {"premium"}, {"premium", "gold"}, {"gold"}}[y/4%4]...)
			return
		}
		if x%8 == 2 {
			h.trust(y)
			return
		}
		if x%4 == 0 {
			records.revokeLink(fmt.Sprint("link_", y%3))
		} else {
			records.putLink("acme", Link{Claims: historyLinks()[y%3]})
		}
	default:
		h.ask(x, y)
	}
}

// ask compares one visit, decided from memory, with the same from the store.
func (h *history) ask(x, y int) {
	v := visit{reader: identities[x%5], path: []string{"/articles/a1", "/articles/a2", "/gold", "/account"}[x/8%4]}
	if who := x % 5; y&16 != 0 && who < 4 {
		v.reader = h.known(who, y&32 != 0)
	}
	if y&1 != 0 {
		v.link = carries(h.tokens[y/8%3])
	}
	if y&1 != 0 && x&64 != 0 {
		v.link = shared(historyShares()[y/8%3])
	}
	if y&2 != 0 && x&128 != 0 {
		v.link.Passes = append(v.link.Passes, publisherPass("share_1"))
	}
	if y&2 != 0 {
		v.link.Passes = append(v.link.Passes, passOf(fmt.Sprint("link_", y/32%3)))
	}
	v.link.Spendable = y&4 != 0
	p := h.w.policy
	request := func() *Request {
		r := &Request{Site: h.w.site, Method: "GET", Host: "news.example", Reader: v.reader, Link: v.link, Now: h.w.now()}
		must(h.w.t, r.Path.Read(v.path, PathOptions{}))
		must(h.w.t, p.Match(context.Background(), r))
		return r
	}
	remembered, read := p.Decide(context.Background(), request()), p.uncached().Decide(context.Background(), request())
	h.asked++
	if !sameAnswer(&remembered, &read) {
		h.differed++
	}
	h.w.settle()
}

func FuzzCachedEqualsUncached(f *testing.F) {
	f.Add([]byte{0, 0, 0, 4, 0, 0, 4, 0, 0, 1, 0, 0, 4, 0, 0})
	f.Add([]byte{0, 0, 3, 4, 0, 0, 3, 1, 12, 4, 0, 0, 3, 1, 0, 4, 0, 0})
	f.Add([]byte{4, 0, 1, 3, 0, 0, 4, 0, 1, 2, 255, 0, 4, 0, 2, 4, 16, 25})
	f.Fuzz(func(t *testing.T, steps []byte) {
		if h := play(t, steps[:min(len(steps), 600)], false); h.differed > 0 {
			t.Errorf("%d of %d decisions from memory differ from the store", h.differed, h.asked)
		}
	})
}

func randomHistory(seed uint64) []byte {
	random := rand.New(rand.NewPCG(seed, 0))
	steps := make([]byte, 1500)
	for i := range steps {
		steps[i] = byte(random.Uint32())
	}
	return steps
}

func TestCachedEqualsUncached(t *testing.T) {
	var hits [5]uint64
	for seed := range uint64(20) {
		h := play(t, randomHistory(seed), false)
		if h.differed > 0 {
			t.Errorf("history %d: %d of %d decisions from memory differ from the store", seed, h.differed, h.asked)
		}
		entitlements, _ := h.w.policy.readers.counted(kindEntitlements)
		hits[0] += entitlements
		hits[1] += h.w.policy.links.hits.Load()
		hits[2] += h.w.policy.linkTokens.hits.Load()
		hits[3] += h.w.policy.containers.hits.Load()
		tokens, _ := h.w.policy.readers.counted(kindReaderTokens)
		hits[4] += tokens
	}
	if slices.Min(hits[:]) < 100 {
		t.Errorf("too little came from memory to prove anything: %v", hits)
	}
}

// TestUnannouncedWritesAreSeen: where writes are not announced, the property
// does not hold. So it is one that can fail.
func TestUnannouncedWritesAreSeen(t *testing.T) {
	if h := play(t, randomHistory(1), true); h.differed == 0 {
		t.Errorf("of %d decisions from memory none differs from the store", h.asked)
	}
}

// TestPolicyIsConcurrent: whoever's writes are acknowledged sees them, while
// others read and write around him.
func TestPolicyIsConcurrent(t *testing.T) {
	w := newWorld(t)
	link := carries(w.newLink(keys.LinkClaims{}))
	var group sync.WaitGroup
	for worker := range 4 {
		me := Reader{UserID: fmt.Sprint("me", worker), Email: "all@example.org"}
		id := fmt.Sprint("mine", worker)
		group.Go(func() {
			for range 100 {
				w.records.grant(fakeGrant{Grant: Grant{ID: id, SKU: "premium"}, userID: me.UserID})
				if decision := w.decide(visit{reader: me}); decision.Reason != ReasonEntitled {
					t.Errorf("after a grant: %s", decision.Reason)
				}
				w.records.revoke(id)
				if decision := w.decide(visit{reader: me}); decision.Reason != ReasonNotEntitled {
					t.Errorf("after it was revoked: %s", decision.Reason)
				}
				w.decide(visit{reader: ann})
				w.decide(visit{link: link})
				w.policy.SelfChecks()
			}
		})
	}
	group.Wait()
}
