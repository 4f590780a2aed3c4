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

// Grants are read again only after a change to the reader.
func TestEntitlementsAreCached(t *testing.T) {
	env := newTestEnv(t)
	env.subscribe(0, 0)
	reads := func(reader Reader) int {
		before := env.records.readCount()
		env.decide(testRequest{reader: reader})
		env.waitForCaches()
		return env.records.readCount() - before
	}
	for i, c := range []struct {
		name   string
		write  func()
		reader Reader
		want   int
	}{
		{"first request", func() {}, ann, 1},
		{"repeated", func() {}, ann, 0},
		{"an hour later", func() { env.advance(time.Hour) }, ann, 0},
		{"the same user id without e-mail", func() {}, Reader{UserID: "ann"}, 1},
		{"after a grant to Bob", func() {
			env.records.grant(fakeGrant{Grant: Grant{ID: "g2", SKU: "premium"}, userID: "bob"})
		}, ann, 0},
		{"after Ann's grant is revoked", func() { env.records.revoke("g1") }, ann, 1},
		{"repeated", func() {}, ann, 0},
		{"after a change to lists or rules", func() { env.records.versions.Bump(Invalidation{Shared: true}) }, ann, 1},
		{"an anonymous reader", func() {}, Reader{}, 0},
	} {
		c.write()
		if got := reads(c.reader); got != c.want {
			t.Errorf("%d: %s: %d reads, want %d", i, c.name, got, c.want)
		}
	}
}

// A token is verified once, and the result counts until its expiry for the verifier
// that made it.
func TestVerifiedReaderIsCached(t *testing.T) {
	env := newTestEnv(t)
	token := env.readerToken(keys.ReaderClaims{UserID: "ann", PublisherUserID: "p-ann", Email: "Ann@Example.org", EmailVerified: true})
	read := func(verifier *ReaderVerifier) (Reader, error) {
		defer env.waitForCaches()
		return env.policy.Reader(context.Background(), verifier, token, env.now())
	}
	for range 3 {
		if reader, err := read(env.verifier()); err != nil || !sameReader(reader, ann) {
			t.Fatalf("read %+v, %v", reader, err)
		}
	}
	if calls := env.keys.calls.Load(); calls != 1 {
		t.Errorf("verified %d times", calls)
	}
	other := NewReaderVerifier("other", keys.OwnReaderIssuer("acme", "another-site"), env.keys)
	if _, err := read(&other); !errors.Is(err, keys.ErrAudience) {
		t.Errorf("a verifier of another site: %v", err)
	}
	env.keys.set = keys.NewKeySet()
	env.records.versions.Bump(Invalidation{Shared: true})
	if _, err := read(env.verifier()); !errors.Is(err, keys.ErrUnknownKey) {
		t.Errorf("after the key was removed: %v", err)
	}
	env.keys.set = testRing().KeySet()
	if _, err := read(env.verifier()); err != nil {
		t.Errorf("after the key was restored: %v", err)
	}
	env.advance(time.Hour)
	if _, err := read(env.verifier()); !errors.Is(err, keys.ErrExpired) {
		t.Errorf("at the expiry: %v", err)
	}
	if _, err := env.policy.Reader(context.Background(), env.verifier(), strings.Repeat("x", keys.MaxTokenSize+1), env.now()); !errors.Is(err, keys.ErrMalformed) {
		t.Errorf("an oversized token: %v", err)
	}
	env.keys.err = errDown
	token = env.readerToken(keys.ReaderClaims{UserID: "new", ExpiresAt: start + 7200})
	if _, err := read(env.verifier()); !errors.Is(err, ErrUnavailable) || !errors.Is(err, errDown) || strings.Contains(err.Error(), token) {
		t.Errorf("without keys: %v", err)
	}
}

// Refusing a malformed token reads no key, and is counted.
func TestMalformedTokenNeedsNoKey(t *testing.T) {
	env := newTestEnv(t)
	tokens := malformedTokens(env)
	for name, raw := range tokens {
		if _, err := env.policy.Reader(context.Background(), env.verifier(), raw, env.now()); !errors.Is(err, keys.ErrMalformed) {
			t.Errorf("%s as a reader's token: %v", name, err)
		}
		env.want(testRequest{link: linkEvidence(raw)}, ReasonLinkInvalid)
	}
	if calls := env.keys.calls.Load(); calls != 0 {
		t.Errorf("the keys were read %d times", calls)
	}
	for _, counted := range env.policy.Stats().Verifications {
		want := uint64(0)
		if counted.Result == "malformed" && (counted.Kind == "reader" || counted.Kind == "link") {
			want = uint64(len(tokens))
		}
		if counted.Count != want {
			t.Errorf("%s %s: counted %d, want %d", counted.Kind, counted.Result, counted.Count, want)
		}
	}
}

// The key of a token whose verification failed may become trusted a moment later.
func TestFailedVerificationIsNotCached(t *testing.T) {
	env := newTestEnv(t)
	link := linkEvidence(env.newLink(keys.LinkClaims{}))
	env.keys.set = keys.NewKeySet()
	env.want(testRequest{link: link}, ReasonLinkInvalid)
	env.waitForCaches()
	env.keys.set = testRing().KeySet()
	env.want(testRequest{link: link}, ReasonSignedLink)
	env.waitForCaches()
	// A cached result is not used once its key is gone.
	env.keys.set = keys.NewKeySet()
	env.records.versions.Bump(Invalidation{Shared: true})
	env.want(testRequest{link: link}, ReasonLinkInvalid)
}

// A revocation also applies to link cookies.
func TestRevokedLinkIsRefusedAtOnce(t *testing.T) {
	env := newTestEnv(t)
	link := linkEvidence(env.newLink(keys.LinkClaims{}))
	held := LinkEvidence{Redeemed: []RedeemedLink{redeemedLink("link_1")}}
	for range 2 {
		env.want(testRequest{link: link}, ReasonSignedLink)
		env.want(testRequest{link: held}, ReasonSignedLink)
		env.waitForCaches()
	}
	env.records.revokeLink("link_1")
	env.want(testRequest{link: link}, ReasonLinkRevoked)
	env.want(testRequest{link: held}, ReasonLoginRequired)
}

func TestRedeem(t *testing.T) {
	for _, c := range []struct {
		name   string
		given  func(env *testEnv)
		reader Reader
		want   Reason
	}{
		{"redeemed", func(*testEnv) {}, Reader{}, ReasonSignedLink},
		{"revoked meanwhile", func(env *testEnv) { env.records.revokeLink("link_1") }, bob, ReasonLinkRevoked},
		{"used up meanwhile", func(env *testEnv) {
			env.records.uses[linkKey{"acme", keys.VendorIssuer("acme"), "link_1"}] = map[string]time.Time{"x": env.now()}
		}, bob, ReasonLinkUsedUp},
		{"deleted meanwhile", func(env *testEnv) { clear(env.records.links) }, bob, ReasonLinkInvalid},
		{"the store is down", func(env *testEnv) { env.records.redeemDown = errDown }, bob, ReasonStoreUnavailable},
		{"the request is canceled", func(env *testEnv) { env.records.redeemDown = context.Canceled }, bob, ReasonStoreUnavailable},
		{"the failed credential precedes the link", func(env *testEnv) { env.records.revokeLink("link_1") }, Reader{Rejected: true}, ReasonBadCredential},
		{"the unverified credential precedes the link", func(env *testEnv) { env.records.revokeLink("link_1") }, Reader{Unknown: true}, ReasonStoreUnavailable},
	} {
		t.Run(c.name, func(t *testing.T) {
			env := newTestEnv(t)
			r := &Request{
				Site: env.site, Method: "GET", EscapedPath: "/articles/a1", Host: "news.example", Reader: c.reader, Now: env.now(),
				Link: linkEvidence(env.newLink(keys.LinkClaims{MaxUses: 1})),
			}
			decision := env.policy.Decide(t.Context(), r)
			if decision.Reason != ReasonSignedLink || !decision.Link.Spend || decision.Link.MaxUses != 1 {
				t.Fatalf("decided %+v", decision)
			}
			c.given(env)
			for range 2 { // the same id twice counts once
				redeemed := env.policy.Redeem(t.Context(), r, decision, "one")
				if redeemed.Reason != c.want || redeemed.Link.Spend || redeemed.Link.ID != "link_1" {
					t.Fatalf("redeemed: %s, %+v", redeemed.Reason, redeemed.Link)
				}
				if c.want == ReasonStoreUnavailable && c.reader == bob && !errors.Is(redeemed.Err, ErrUnavailable) {
					t.Errorf("the error is %v", redeemed.Err)
				}
			}
		})
	}
}

// Of many concurrent redemptions exactly as many succeed as the link allows.
func TestConcurrentRedemptions(t *testing.T) {
	env := newTestEnv(t)
	link := linkEvidence(env.newLink(keys.LinkClaims{MaxUses: 3}))
	var mu sync.Mutex
	seen := map[Reason]int{}
	var group sync.WaitGroup
	for range 20 {
		group.Go(func() {
			decision := env.decide(testRequest{link: link})
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
	env := newTestEnv(t)
	env.site = NewSite("acme", "stored", nil, PathOptions{}, env.keys)
	set := func(rules ...Rule) {
		env.records.mu.Lock()
		env.records.rules[siteKey{"acme", "stored"}] = rules
		env.records.mu.Unlock()
		// The decisions below show the result.
		_, _ = env.policy.RefreshRules(t.Context(), "acme", "stored")
	}
	open, members := Rule{Rank: 1, Path: "/", Allow: Allow{Operator: "any"}}, Rule{Rank: 1, Path: "/", Allow: Allow{Operator: "1"}}
	set(open)
	env.want(testRequest{path: "/x"}, ReasonPublic)
	before := env.records.readCount()
	env.want(testRequest{path: "/x"}, ReasonPublic)
	if reads := env.records.readCount() - before; reads != 0 {
		t.Errorf("rules were read %d times more", reads)
	}
	set(members)
	env.want(testRequest{path: "/x"}, ReasonLoginRequired)
	// The old rules are not used again: the new ones were acknowledged.
	env.records.down = errDown
	set(open)
	env.want(testRequest{path: "/x", reader: bob}, ReasonStoreUnavailable)
	env.records.down = nil
	env.want(testRequest{path: "/x"}, ReasonPublic)
	// Sites of other names or vendors have their own rules.
	for _, site := range []*Site{NewSite("acme", "other", nil, PathOptions{}, env.keys), NewSite("other", "stored", nil, PathOptions{}, env.keys)} {
		env.site = site
		env.want(testRequest{path: "/x"}, ReasonNoRule)
	}
}

// One vendor's grants and links do not count for another. No write bumps a version
// here, so that only the cache keys distinguish them.
func TestCachesSeparateVendors(t *testing.T) {
	env := newTestEnv(t)
	env.records.unannounced = true
	env.subscribe(0, 0)
	link := linkEvidence(env.newLink(keys.LinkClaims{}))
	held := LinkEvidence{Redeemed: []RedeemedLink{redeemedLink("link_1")}}
	env.want(testRequest{reader: ann}, ReasonEntitled)
	env.want(testRequest{link: link}, ReasonSignedLink)
	env.want(testRequest{link: held}, ReasonSignedLink)
	env.waitForCaches()
	env.site = NewSite("other", "news", env.site.Rules, PathOptions{}, env.keys)
	env.want(testRequest{reader: ann}, ReasonNotEntitled)
	env.want(testRequest{link: link}, ReasonLinkInvalid)
	env.want(testRequest{link: held}, ReasonLoginRequired)
	// A record with the same id does not make it the other vendor's link.
	env.records.putLink("other", Link{Claims: withDefaults(keys.LinkClaims{})})
	env.want(testRequest{link: link}, ReasonLinkInvalid)
}

// Cache keys contain each identifier, with its boundaries.
func TestCachesSeparateReaders(t *testing.T) {
	env := newTestEnv(t)
	env.records.unannounced = true
	env.records.grant(fakeGrant{Grant: Grant{ID: "g", SKU: "premium"}, email: "x@example.org"})
	env.records.grant(fakeGrant{Grant: Grant{ID: "g", SKU: "premium"}, publisherUserID: "bc"})
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
		env.want(testRequest{reader: c.reader}, c.want)
		env.waitForCaches()
	}
}

func TestNewRefusesASmallCache(t *testing.T) {
	for _, bytes := range []int64{-1, 0, MinCacheBytes - 1} {
		if _, err := New(Options{CacheBytes: bytes}); err == nil {
			t.Errorf("a cache of %d bytes is accepted", bytes)
		}
	}
}

// Resizing changes no decision and keeps cached records.
func TestResizeChangesNoAnswer(t *testing.T) {
	env := newTestEnv(t)
	env.subscribe(0, 0)
	for _, bytes := range []int64{0, 1 << 30, MinCacheBytes} {
		env.policy.Resize(bytes)
		env.want(testRequest{reader: ann}, ReasonEntitled)
		env.waitForCaches()
		var bound int64
		for _, part := range []int64{
			env.policy.readers.MaxBytes(), env.policy.containers.MaxBytes(), env.policy.links.MaxBytes(),
			env.policy.linkTokens.MaxBytes(), env.policy.sessions.MaxBytes(),
		} {
			bound += part
		}
		if want := max(bytes, MinCacheBytes); bound != want {
			t.Errorf("after Resize(%d) the bound of the caches is %d", bytes, bound)
		}
	}
	if hits := env.policy.counts.entitlements.hits.Load(); hits != 2 {
		t.Errorf("%d of 2 later decisions were cached", hits)
	}
}
