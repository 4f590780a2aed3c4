package policy

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/gatefold/gatefold/keys"
)

// grantReads returns how often a decision reads grants from the store.
func (env *testEnv) grantReads(v testRequest, want Reason) uint64 {
	env.t.Helper()
	before := env.policy.counts.entitlements.misses.Load()
	env.want(v, want)
	after := env.policy.counts.entitlements.misses.Load()
	return after - before
}

// The record of a token caches the reader's grants, which are read again only after a
// change.
func TestGrantsAreCachedWithTheToken(t *testing.T) {
	env := newTestEnv(t)
	env.subscribe(0, 0)
	token := env.readerToken(keys.ReaderClaims{UserID: "ann", PublisherUserID: "p-ann", Email: "ann@example.org", EmailVerified: true})
	other := env.readerToken(keys.ReaderClaims{UserID: "bob"})
	identify := func(token string) Reader {
		t.Helper()
		reader, err := env.policy.Reader(context.Background(), env.verifier(), token, env.now())
		must(t, err)
		return reader
	}
	for i, c := range []struct {
		name  string
		write func()
		token string
		want  Reason
		reads uint64
	}{
		{"the first request", func() {}, token, ReasonEntitled, 1},
		{"the next request", func() {}, token, ReasonEntitled, 0},
		{"a reader without grants", func() {}, other, ReasonNotEntitled, 1},
		{"again", func() {}, other, ReasonNotEntitled, 0},
		{"after a grant to another reader", func() { env.records.grant(fakeGrant{Grant: Grant{ID: "g9", SKU: "premium"}, userID: "carl"}) }, token, ReasonEntitled, 0},
		{"after the revocation of the user id's grant", func() { env.records.revoke("g1") }, token, ReasonNotEntitled, 1},
		{"after a grant to the address", func() { env.records.grant(fakeGrant{Grant: Grant{ID: "g2", SKU: "premium"}, email: "ann@example.org"}) }, token, ReasonEntitled, 1},
		{"after its revocation", func() { env.records.revoke("g2") }, token, ReasonNotEntitled, 1},
		{"after a grant to the publisher's user id", func() { env.records.grant(fakeGrant{Grant: Grant{ID: "g3", SKU: "premium"}, publisherUserID: "p-ann"}) }, token, ReasonEntitled, 1},
		{"the next request", func() {}, token, ReasonEntitled, 0},
	} {
		c.write()
		if reads := env.grantReads(testRequest{reader: identify(c.token)}, c.want); reads != c.reads {
			t.Errorf("%d: %s: %d reads, want %d", i, c.name, reads, c.reads)
		}
	}
	// A second lookup in one request reads nothing either.
	env.records.versions.Bump(Invalidation{Shared: true})
	reader := identify(token)
	for _, want := range []uint64{1, 0} {
		before := env.policy.counts.entitlements.misses.Load()
		must(t, env.policy.readerRecords(context.Background(), "acme", &reader, env.now(), new(packedReader)))
		if after := env.policy.counts.entitlements.misses.Load(); after-before != want {
			t.Errorf("%d reads, want %d", after-before, want)
		}
	}
	if calls := env.keys.calls.Load(); calls != 3 {
		t.Errorf("3 tokens were verified %d times", calls) // one again after the change, because keys may have changed
	}
}

// Two vendors may accept the tokens of one issuer. One vendor's grants do not count for
// the other.
func TestGrantsCachedWithATokenAreOneVendors(t *testing.T) {
	env := newTestEnv(t)
	env.subscribe(0, 0)
	token := env.readerToken(keys.ReaderClaims{UserID: "ann"})
	other := NewSite("other", "news", env.site.Rules, PathOptions{}, env.keys)
	own, verifier := env.site, env.verifier()
	for i := range 6 {
		reader, err := env.policy.Reader(context.Background(), verifier, token, env.now())
		must(t, err)
		env.site = own
		if reads := env.grantReads(testRequest{reader: reader}, ReasonEntitled); reads != 0 && i > 1 {
			t.Errorf("request %d: the own vendor's grants are read again", i)
		}
		env.site = other
		if reads := env.grantReads(testRequest{reader: reader}, ReasonNotEntitled); reads != 0 && i > 0 {
			t.Errorf("request %d: the other vendor's grants are read again", i)
		}
	}
}

// A reader from one policy has no cached grants in another, whose versions are
// different.
func TestGrantsCachedWithATokenAreOnePolicys(t *testing.T) {
	env, other := newTestEnv(t), newTestEnv(t)
	env.subscribe(0, 0)
	reader, err := env.policy.Reader(context.Background(), env.verifier(), env.readerToken(keys.ReaderClaims{UserID: "ann"}), env.now())
	must(t, err)
	env.want(testRequest{reader: reader}, ReasonEntitled)
	reader, err = env.policy.Reader(context.Background(), env.verifier(), env.readerToken(keys.ReaderClaims{UserID: "ann"}), env.now())
	must(t, err)
	env.want(testRequest{reader: reader}, ReasonEntitled)
	other.want(testRequest{reader: reader}, ReasonNotEntitled)
}

// A modified Reader does not get the grants of the record's reader.
func TestGrantsCachedWithATokenAreOneReaders(t *testing.T) {
	env := newTestEnv(t)
	env.subscribe(0, 0)
	env.records.grant(fakeGrant{Grant: Grant{ID: "g2", SKU: "premium"}, email: "x@example.org"})
	for range 2 {
		for user, want := range map[string]Reason{"ann": ReasonEntitled, "bob": ReasonNotEntitled} {
			token := env.readerToken(keys.ReaderClaims{UserID: user})
			reader, err := env.policy.Reader(context.Background(), env.verifier(), token, env.now())
			must(t, err)
			env.want(testRequest{reader: reader}, want)
			if reader, err = env.policy.Reader(context.Background(), env.verifier(), token, env.now()); err != nil || reader.UserID != user {
				t.Fatalf("the token of %s identifies %s, %v", user, reader.UserID, err)
			}
			changed := reader
			changed.UserID = "carl"
			env.want(testRequest{reader: changed}, ReasonNotEntitled)
			changed.Email = "x@example.org"
			env.want(testRequest{reader: changed}, ReasonEntitled)
			env.want(testRequest{reader: reader}, want)
		}
	}
}

// A changed or extended token is not the verified one, and neither is the same token
// with another verifier.
func TestCachedReaderRequiresTheExactToken(t *testing.T) {
	env := newTestEnv(t)
	token := env.readerToken(keys.ReaderClaims{UserID: "ann"})
	verifier := env.verifier()
	_, err := env.policy.Reader(context.Background(), verifier, token, env.now())
	must(t, err)
	for i := range token {
		changed := []byte(token)
		changed[i] ^= 1
		if reader, err := env.policy.Reader(context.Background(), verifier, string(changed), env.now()); err == nil {
			t.Fatalf("with byte %d changed the token identifies %+v", i, reader.UserID)
		}
	}
	for _, other := range []string{token + "\x00", token[:len(token)-1], token + token, "", strings.Repeat(token, 1+fingerprintFirst/len(token))} {
		if reader, err := env.policy.Reader(context.Background(), verifier, other, env.now()); err == nil {
			t.Errorf("%q identifies %+v", other, reader.UserID)
		}
	}
	// Another verifier does not share the results.
	another := NewReaderVerifier("another", keys.OwnReaderIssuer("acme", "another-site"), env.keys)
	if _, err := env.policy.Reader(context.Background(), &another, token, env.now()); err == nil {
		t.Error("another verifier accepts the token")
	}
	// Long tokens are cached too.
	long := env.readerToken(keys.ReaderClaims{
		UserID: strings.Repeat("u", 250), PublisherUserID: strings.Repeat("p", 250), Email: strings.Repeat("e", 230) + "@reader.example", EmailVerified: true,
	})
	if len(long) <= fingerprintFirst {
		t.Fatalf("a token of %d bytes is not long", len(long))
	}
	env.keys.calls.Store(0)
	for range 3 {
		if reader, err := env.policy.Reader(context.Background(), verifier, long, env.now()); err != nil || len(reader.UserID) != 250 {
			t.Fatalf("%+v, %v", reader, err)
		}
	}
	if calls := env.keys.calls.Load(); calls != 1 {
		t.Errorf("a long token was verified %d times", calls)
	}
}

// Readers are verified and decided concurrently while grants change, in so little
// memory that records are dropped. Each decision is that of the right reader and the
// last acknowledged write.
func TestReaderRecordsAreConcurrent(t *testing.T) {
	env := newTestEnv(t)
	env.policy.Resize(0)
	env.policy.readers.Resize(64 << 10)
	var group sync.WaitGroup
	for worker := range 4 {
		var tokens []string
		for i := range 10 {
			tokens = append(tokens, env.readerToken(keys.ReaderClaims{UserID: fmt.Sprintf("user-%d-%d", worker, i)}))
		}
		verifier := env.verifier()
		group.Go(func() {
			for i := range 200 {
				user := fmt.Sprintf("user-%d-%d", worker, i%10)
				identify := func(want Reason) {
					reader, err := env.policy.Reader(context.Background(), verifier, tokens[i%10], env.now())
					if err != nil || reader.UserID != user {
						t.Errorf("the token of %s identifies %s, %v", user, reader.UserID, err)
					}
					if decision := env.decide(testRequest{reader: reader}); decision.Reason != want {
						t.Errorf("%s: %s, want %s", user, decision.Reason, want)
					}
				}
				identify(ReasonNotEntitled)
				env.records.grant(fakeGrant{Grant: Grant{ID: user, SKU: "premium"}, userID: user})
				identify(ReasonEntitled)
				identify(ReasonEntitled)
				env.records.revoke(user)
			}
		})
	}
	group.Wait()
}
