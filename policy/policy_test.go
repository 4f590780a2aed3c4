package policy

import (
	"context"
	"errors"
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
		{"after a change to lists or rules", func() { w.records.versions.Bump(Invalidation{Shared: true}) }, ann, 1},
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
	w.records.versions.Bump(Invalidation{Shared: true})
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
	w.records.versions.Bump(Invalidation{Shared: true})
	w.want(visit{link: link}, ReasonLinkInvalid)
}

// TestRevokedLinkEndsAtOnce, with the cookies that it was redeemed for.
func TestRevokedLinkEndsAtOnce(t *testing.T) {
	w := newWorld(t)
	link := carries(w.newLink(keys.LinkClaims{}))
	held := LinkEvidence{Redeemed: []RedeemedLink{passOf("link_1")}}
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
				Site: w.site, Method: "GET", EscapedPath: "/articles/a1", Host: "news.example", Reader: c.reader, Now: w.now(),
				Link: carries(w.newLink(keys.LinkClaims{MaxUses: 1})),
			}
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
	held := LinkEvidence{Redeemed: []RedeemedLink{passOf("link_1")}}
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
			w.policy.readers.MaxBytes(), w.policy.containers.MaxBytes(), w.policy.links.MaxBytes(),
			w.policy.linkTokens.MaxBytes(), w.policy.sessions.MaxBytes(),
		} {
			bound += part
		}
		if want := max(bytes, MinCacheBytes); bound != want {
			t.Errorf("resized to %d, the caches may take %d", bytes, bound)
		}
	}
	if hits := w.policy.counts.entitlements.hits.Load(); hits != 2 {
		t.Errorf("%d of 2 later decisions came from memory", hits)
	}
}
