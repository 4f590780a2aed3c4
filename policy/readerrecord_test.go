package policy

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/gatefold/gatefold/keys"
)

// reads returns how often a visit asks the store for grants.
func (w *world) reads(v visit, want Reason) uint64 {
	w.t.Helper()
	before := w.policy.counts.entitlements.misses.Load()
	w.want(v, want)
	after := w.policy.counts.entitlements.misses.Load()
	return after - before
}

// A reader who came with a token is found with what she was granted, in one
// record: her grants are read once, and again when they changed.
func TestGrantsAreKeptWithTheToken(t *testing.T) {
	w := newWorld(t)
	w.subscribe(0, 0)
	token := w.readerToken(keys.ReaderClaims{UserID: "ann", PublisherUserID: "p-ann", Email: "ann@example.org", EmailVerified: true})
	nobody := w.readerToken(keys.ReaderClaims{UserID: "bob"})
	come := func(token string) Reader {
		t.Helper()
		reader, err := w.policy.Reader(context.Background(), w.verifier(), token, w.now())
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
		{"her first visit", func() {}, token, ReasonEntitled, 1},
		{"the next", func() {}, token, ReasonEntitled, 0},
		{"one who has nothing", func() {}, nobody, ReasonNotEntitled, 1},
		{"again", func() {}, nobody, ReasonNotEntitled, 0},
		{"after another's grant", func() { w.records.grant(fakeGrant{Grant: Grant{ID: "g9", SKU: "premium"}, userID: "carl"}) }, token, ReasonEntitled, 0},
		{"after her user's grants changed", func() { w.records.revoke("g1") }, token, ReasonNotEntitled, 1},
		{"after her address was granted", func() { w.records.grant(fakeGrant{Grant: Grant{ID: "g2", SKU: "premium"}, email: "ann@example.org"}) }, token, ReasonEntitled, 1},
		{"after that was revoked", func() { w.records.revoke("g2") }, token, ReasonNotEntitled, 1},
		{"after the publisher's user was granted", func() { w.records.grant(fakeGrant{Grant: Grant{ID: "g3", SKU: "premium"}, publisherUserID: "p-ann"}) }, token, ReasonEntitled, 1},
		{"the next", func() {}, token, ReasonEntitled, 0},
	} {
		c.write()
		if reads := w.reads(visit{reader: come(c.token)}, c.want); reads != c.reads {
			t.Errorf("%d: %s: %d reads, want %d", i, c.name, reads, c.reads)
		}
	}
	// What she asks a second time in one visit is not read again either.
	w.records.versions.Bump(Invalidation{Shared: true})
	reader := come(token)
	for _, want := range []uint64{1, 0} {
		before := w.policy.counts.entitlements.misses.Load()
		_, err := w.policy.granted(context.Background(), "acme", &reader, w.now())
		must(t, err)
		if after := w.policy.counts.entitlements.misses.Load(); after-before != want {
			t.Errorf("%d reads, want %d", after-before, want)
		}
	}
	if calls := w.keys.calls.Load(); calls != 3 {
		t.Errorf("3 tokens were verified %d times", calls) // the first one twice: the keys may have changed
	}
}

// Two vendors may take the tokens of one issuer. What the one granted opens nothing
// at the other.
func TestGrantsKeptWithATokenAreOneVendors(t *testing.T) {
	w := newWorld(t)
	w.subscribe(0, 0)
	token := w.readerToken(keys.ReaderClaims{UserID: "ann"})
	other := NewSite("other", "news", w.site.Rules, PathOptions{}, w.keys)
	own, verifier := w.site, w.verifier()
	for i := range 6 {
		reader, err := w.policy.Reader(context.Background(), verifier, token, w.now())
		must(t, err)
		w.site = own
		if reads := w.reads(visit{reader: reader}, ReasonEntitled); reads != 0 && i > 1 {
			t.Errorf("visit %d: the own vendor's grants are read again", i)
		}
		w.site = other
		if reads := w.reads(visit{reader: reader}, ReasonNotEntitled); reads != 0 && i > 0 {
			t.Errorf("visit %d: the other vendor's grants are read again", i)
		}
	}
}

// A reader whom one policy found is nobody's else: another's versions are others.
func TestGrantsKeptWithATokenAreOnePolicys(t *testing.T) {
	w, other := newWorld(t), newWorld(t)
	w.subscribe(0, 0)
	reader, err := w.policy.Reader(context.Background(), w.verifier(), w.readerToken(keys.ReaderClaims{UserID: "ann"}), w.now())
	must(t, err)
	w.want(visit{reader: reader}, ReasonEntitled)
	reader, err = w.policy.Reader(context.Background(), w.verifier(), w.readerToken(keys.ReaderClaims{UserID: "ann"}), w.now())
	must(t, err)
	w.want(visit{reader: reader}, ReasonEntitled)
	other.want(visit{reader: reader}, ReasonNotEntitled)
}

// Who makes another reader of one that was found gets the other's grants.
func TestGrantsKeptWithATokenAreOneReaders(t *testing.T) {
	w := newWorld(t)
	w.subscribe(0, 0)
	w.records.grant(fakeGrant{Grant: Grant{ID: "g2", SKU: "premium"}, email: "x@example.org"})
	for range 2 {
		for user, want := range map[string]Reason{"ann": ReasonEntitled, "bob": ReasonNotEntitled} {
			token := w.readerToken(keys.ReaderClaims{UserID: user})
			reader, err := w.policy.Reader(context.Background(), w.verifier(), token, w.now())
			must(t, err)
			w.want(visit{reader: reader}, want)
			if reader, err = w.policy.Reader(context.Background(), w.verifier(), token, w.now()); err != nil || reader.UserID != user {
				t.Fatalf("%s is %s, %v", user, reader.UserID, err)
			}
			changed := reader
			changed.UserID = "carl"
			w.want(visit{reader: changed}, ReasonNotEntitled)
			changed.Email = "x@example.org"
			w.want(visit{reader: changed}, ReasonEntitled)
			w.want(visit{reader: reader}, want)
		}
	}
}

// TestOnlyTheVerifiedTokenIsKnown: whoever has a token may change a letter of it, add to it, or
// show it to a site whose verifier is another. None of that is the token that was
// verified.
func TestOnlyTheVerifiedTokenIsKnown(t *testing.T) {
	w := newWorld(t)
	token := w.readerToken(keys.ReaderClaims{UserID: "ann"})
	verifier := w.verifier()
	_, err := w.policy.Reader(context.Background(), verifier, token, w.now())
	must(t, err)
	for i := range token {
		changed := []byte(token)
		changed[i] ^= 1
		if reader, err := w.policy.Reader(context.Background(), verifier, string(changed), w.now()); err == nil {
			t.Fatalf("with its byte %d changed it is %+v's", i, reader.UserID)
		}
	}
	for _, other := range []string{token + "\x00", token[:len(token)-1], token + token, "", strings.Repeat(token, 1+fingerprintFirst/len(token))} {
		if reader, err := w.policy.Reader(context.Background(), verifier, other, w.now()); err == nil {
			t.Errorf("%q is %+v's", other, reader.UserID)
		}
	}
	// A copy of a verifier that is made another one is another one.
	another := *verifier
	another.ID, another.Issuer.Audience = "another", "another-site"
	if _, err := w.policy.Reader(context.Background(), &another, token, w.now()); err == nil {
		t.Error("another verifier takes it")
	}
	// A long token is known too, by its SHA-256.
	long := w.readerToken(keys.ReaderClaims{
		UserID: strings.Repeat("u", 250), PublisherUserID: strings.Repeat("p", 250), Email: strings.Repeat("e", 230) + "@reader.example", EmailVerified: true,
	})
	if len(long) <= fingerprintFirst {
		t.Fatalf("a token of %d bytes is not long", len(long))
	}
	w.keys.calls.Store(0)
	for range 3 {
		if reader, err := w.policy.Reader(context.Background(), verifier, long, w.now()); err != nil || len(reader.UserID) != 250 {
			t.Fatalf("%+v, %v", reader, err)
		}
	}
	if calls := w.keys.calls.Load(); calls != 1 {
		t.Errorf("a long token was verified %d times", calls)
	}
}

// Readers come at once while grants change, in so little memory that records come
// and go: each is told of her own, and what was acknowledged counts.
func TestKnownReadersAreConcurrent(t *testing.T) {
	w := newWorld(t)
	w.policy.Resize(0)
	w.policy.readers.Resize(64 << 10)
	var group sync.WaitGroup
	for worker := range 4 {
		var tokens []string
		for i := range 10 {
			tokens = append(tokens, w.readerToken(keys.ReaderClaims{UserID: fmt.Sprintf("user-%d-%d", worker, i)}))
		}
		verifier := w.verifier()
		group.Go(func() {
			for i := range 200 {
				user := fmt.Sprintf("user-%d-%d", worker, i%10)
				come := func(want Reason) {
					reader, err := w.policy.Reader(context.Background(), verifier, tokens[i%10], w.now())
					if err != nil || reader.UserID != user {
						t.Errorf("%s is %s, %v", user, reader.UserID, err)
					}
					if decision := w.decide(visit{reader: reader}); decision.Reason != want {
						t.Errorf("%s: %s, want %s", user, decision.Reason, want)
					}
				}
				come(ReasonNotEntitled)
				w.records.grant(fakeGrant{Grant: Grant{ID: user, SKU: "premium"}, userID: user})
				come(ReasonEntitled)
				come(ReasonEntitled)
				w.records.revoke(user)
			}
		})
	}
	group.Wait()
}
