package store_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store"
	"github.com/gatefold/gatefold/policy/store/engine"
)

var (
	testAPIKeys = policy.NewReaderKeys(policy.PrefixAPIKey, [32]byte{3}, vendor, "news")
	testFeeds   = policy.NewReaderKeys(policy.PrefixFeed, [32]byte{4}, vendor, "news")
)

func feedID(k *store.ReaderKey) string {
	_, id := testFeeds.Derived(k.FeedTexts()...)
	return id
}

func (b *fixture) apiKey(user string) store.ReaderKey {
	b.Helper()
	_, id := testAPIKeys.New()
	made, err := b.As(store.Actor{Name: "client", Operation: "create-api-key"}).CreateReaderKey(b.Context(), vendor, store.ReaderKey{
		ID: id, Site: "news", UserID: user, Email: user + "@Example.com", Title: "archive search", EndsAt: b.now().Add(30 * 24 * time.Hour),
	})
	b.ok(err)
	return made
}

func (b *fixture) feed(user string) store.ReaderKey {
	b.Helper()
	made, err := b.As(store.Actor{Name: "client", Operation: "create-feed"}).PutFeeds(b.Context(), vendor, []store.ReaderKey{{Site: "news", Space: "podcasts", UserID: user}}, feedID)
	b.ok(err)
	return made[0]
}

// keysOf lists the ids of a reader's keys of a kind.
func (b *fixture) keysOf(user, kind string) string {
	b.Helper()
	found, err := b.ReaderKeysOf(b.Context(), vendor, user, kind)
	b.ok(err)
	ids := make([]string, len(found))
	for i := range found {
		ids[i] = found[i].ID
	}
	return strings.Join(ids, " ")
}

// A key is found by its reader and revoked by its id, of the reader that is named; it counts
// until its end, after which nothing of it is left. No secret is stored.
func TestReaderKeys(t *testing.T) {
	onBothEngines(t, func(b *fixture) {
		stored := b.StoredReaderKeys()
		first := b.apiKey("ann")
		b.clock = b.clock.Add(time.Second)
		second, other := b.apiKey("ann"), b.apiKey("bob")
		if got := b.keysOf("ann", policy.PrefixAPIKey); got != first.ID+" "+second.ID {
			t.Fatalf("keys are %s", got)
		}
		if b.keysOf("ann", policy.PrefixFeed) != "" || b.keysOf("an", policy.PrefixAPIKey) != "" || b.keysOf("\xff", policy.PrefixAPIKey) != "" {
			t.Error("keys of others are found")
		}
		read, err := stored.LoginSession(b.Context(), vendor, first.ID)
		b.ok(err)
		if read.Reader.UserID != "ann" || read.Reader.Email != "ann@example.com" || read.Origin != policy.KeyOrigin(policy.PrefixAPIKey, "news") || !read.EndsAt.Equal(first.EndsAt) {
			t.Errorf("the key is read as %+v", read)
		}
		b.is(b.RevokeReaderKey(b.Context(), vendor, policy.PrefixAPIKey, "bob", first.ID), store.ErrNotFound)
		b.is(b.RevokeReaderKey(b.Context(), vendor, policy.PrefixFeed, "ann", first.ID), store.ErrNotFound)
		b.is(b.RevokeReaderKey(b.Context(), vendor, policy.PrefixAPIKey, "", "no id"), store.ErrNotFound)
		b.ok(b.RevokeReaderKey(b.Context(), vendor, policy.PrefixAPIKey, "ann", first.ID))
		b.is(b.RevokeReaderKey(b.Context(), vendor, policy.PrefixAPIKey, "ann", first.ID), store.ErrNotFound)
		_, err = stored.LoginSession(b.Context(), vendor, first.ID)
		b.is(err, policy.ErrNotFound)
		b.clock = second.EndsAt
		_, err = stored.LoginSession(b.Context(), vendor, second.ID)
		b.is(err, policy.ErrNotFound)
		if got := b.keysOf("bob", policy.PrefixAPIKey); got != "" {
			t.Errorf("after the end of %s there is %s", other.ID, got)
		}
		b.clock = b.clock.Add(time.Second)
		_, err = b.Sweep(b.Context())
		b.ok(err)
		b.ok(b.records.View(b.Context(), vendor, func(snapshot engine.Snapshot) error {
			for _, prefix := range []string{"(", ")", "X"} {
				for entry, err := range snapshot.Scan([]byte(prefix), nil) {
					b.Errorf("%q is left, %v", entry.Key, err)
				}
			}
			return nil
		}))
	})
}

// What cannot be a key is refused, with the field.
func TestReaderKeyChecks(t *testing.T) {
	b := newFixture(t)
	_, id := testAPIKeys.New()
	good := store.ReaderKey{ID: id, Site: "news", UserID: "ann", EndsAt: b.now().Add(time.Hour)}
	for field, change := range map[string]func(*store.ReaderKey){
		"user":    func(k *store.ReaderKey) { k.UserID = "" },
		"site":    func(k *store.ReaderKey) { k.Site = "" },
		"email":   func(k *store.ReaderKey) { k.Email = "no address" },
		"title":   func(k *store.ReaderKey) { k.Title = strings.Repeat("x", 256) },
		"id":      func(k *store.ReaderKey) { k.ID = "short" },
		"ends_at": func(k *store.ReaderKey) { k.EndsAt = b.now() },
	} {
		bad := good
		change(&bad)
		_, err := b.CreateReaderKey(b.Context(), vendor, bad)
		b.names(err, field)
	}
	good.EndsAt = b.now().Add(store.MaxReaderKeyLife + time.Hour)
	_, err := b.CreateReaderKey(b.Context(), vendor, good)
	b.names(err, "ends_at")
	for range store.MaxReaderKeys {
		b.apiKey("ann")
	}
	good.EndsAt = b.now().Add(time.Hour)
	_, err = b.CreateReaderKey(b.Context(), vendor, good)
	b.names(err, "user")
}

// The feed of a reader stays the same however often it is made, until it is revoked: then it is
// another one, and the revoked one never counts again, even if the store loses the removal of
// its record.
func TestFeeds(t *testing.T) {
	onBothEngines(t, func(b *fixture) {
		first := b.feed("ann")
		b.clock = b.clock.Add(1000 * 24 * time.Hour) // it has no end of its own
		if again := b.feed("ann"); again != first || b.keysOf("ann", policy.PrefixFeed) != first.ID {
			t.Fatalf("the feed %+v becomes %+v", first, again)
		}
		_, err := b.StoredReaderKeys().LoginSession(b.Context(), vendor, first.ID)
		b.ok(err)
		removed := b.entriesNaming(first.ID)
		b.ok(b.RevokeReaderKey(b.Context(), vendor, policy.PrefixFeed, "", first.ID))
		second := b.feed("ann")
		if second.ID == first.ID || second.Serial != 1 || b.keysOf("ann", policy.PrefixFeed) != second.ID {
			t.Fatalf("after %+v was revoked there is %+v", first, second)
		}
		b.put(removed...) // a store that lost the removal
		_, err = b.StoredReaderKeys().LoginSession(b.Context(), vendor, first.ID)
		b.is(err, policy.ErrNotFound)
		if got := b.keysOf("ann", policy.PrefixFeed); got != second.ID {
			t.Errorf("the feeds are %s", got)
		}
		revoked, err := b.RevokeReaderKeysOf(b.Context(), vendor, policy.PrefixFeed, "ann")
		b.ok(err)
		if revoked != 1 || b.keysOf("ann", policy.PrefixFeed) != "" {
			t.Errorf("%d feeds were revoked, left is %q", revoked, b.keysOf("ann", policy.PrefixFeed))
		}
	})
}

// A feed is made again by a system that knows no address: it keeps that, by which it opens. A
// reader has a bounded number of feeds, so that all of them are listed and revoked.
func TestFeedsOfOneReader(t *testing.T) {
	b := newFixture(t)
	keys := policy.NewReaderKeys(policy.PrefixFeed, [32]byte{1}, vendor, "news")
	id := func(k *store.ReaderKey) string {
		_, id := keys.Derived(k.FeedTexts()...)
		return id
	}
	put := func(space, email string) ([]store.ReaderKey, error) {
		return b.PutFeeds(b.Context(), vendor, []store.ReaderKey{{Site: "news", Space: space, UserID: "ann", Email: email}}, id)
	}
	_, err := put("space-0", "ann@example.com")
	b.ok(err)
	again, err := put("space-0", "")
	b.ok(err)
	if again[0].Email != "ann@example.com" {
		t.Errorf("the feed is %+v", again[0])
	}
	for i := 1; i < store.MaxReaderFeeds; i += store.MaxFeedBatch {
		var feeds []store.ReaderKey
		for j := i; j < min(i+store.MaxFeedBatch, store.MaxReaderFeeds); j++ {
			feeds = append(feeds, store.ReaderKey{Site: "news", Space: fmt.Sprint("space-", j), UserID: "ann"})
		}
		_, err := b.PutFeeds(b.Context(), vendor, feeds, id)
		b.ok(err)
	}
	_, err = put("space-more", "")
	b.names(err, "user")
	_, err = put("space-7", "ann@example.com")
	b.ok(err)
	if revoked, err := b.RevokeReaderKeysOf(b.Context(), vendor, policy.PrefixFeed, "ann"); err != nil || revoked != store.MaxReaderFeeds {
		t.Errorf("%d feeds were revoked, %v", revoked, err)
	}
}

// A revocation that the store lost is made again by a node that remembers it.
func TestRevokedKeyAfterALoss(t *testing.T) {
	onBothEngines(t, func(b *fixture) {
		made := b.apiKey("ann")
		removed := b.entriesNaming(made.ID)
		b.ok(b.RevokeReaderKey(b.Context(), vendor, policy.PrefixAPIKey, "ann", made.ID))
		revoked := b.entriesNaming(made.ID)
		if len(revoked) != 1 {
			t.Fatalf("of a revoked key there are %d entries", len(revoked))
		}
		b.remove(revoked[0].Key)
		b.put(removed...)
		if b.keysOf("ann", policy.PrefixAPIKey) != made.ID {
			t.Fatal("the store did not lose the revocation")
		}
		lost, err := b.Rewrite(b.Context(), vendor, []store.Removal{{Key: revoked[0].Key, Value: revoked[0].Value, Expires: revoked[0].Expires}})
		b.ok(err)
		if lost != 1 || b.keysOf("ann", policy.PrefixAPIKey) != "" {
			t.Errorf("%d removals were made again, and the key is %q", lost, b.keysOf("ann", policy.PrefixAPIKey))
		}
	})
}

// Uses are added up over nodes, and those of a key that is revoked meanwhile are dropped.
func TestKeyUses(t *testing.T) {
	onBothEngines(t, func(b *fixture) {
		made, other := b.apiKey("ann"), b.apiKey("bob")
		at := b.now().Add(time.Minute)
		count := func(uses ...store.KeyUses) {
			t.Helper()
			b.ok(b.CountKeyUses(b.Context(), vendor, uses))
		}
		count(store.KeyUses{ID: made.ID, Uses: 3, Last: at})
		count(store.KeyUses{ID: other.ID, Uses: 1, Last: at}, store.KeyUses{ID: made.ID, Uses: 4, Last: at.Add(-time.Second)})
		found, err := b.ReaderKey(b.Context(), vendor, made.ID)
		b.ok(err)
		if found.Uses != 7 || !found.LastUsedAt.Equal(at.Truncate(time.Second)) {
			t.Errorf("the key was used %d times, until %v", found.Uses, found.LastUsedAt)
		}
		b.ok(b.RevokeReaderKey(b.Context(), vendor, policy.PrefixAPIKey, "ann", made.ID))
		count(store.KeyUses{ID: made.ID, Uses: 1, Last: at}, store.KeyUses{ID: other.ID, Uses: 1, Last: at})
		if found, err = b.ReaderKey(b.Context(), vendor, other.ID); err != nil || found.Uses != 2 {
			t.Errorf("beside a key that is revoked: %+v, %v", found, err)
		}
		_, err = b.ReaderKey(b.Context(), vendor, made.ID)
		b.is(err, store.ErrNotFound)
	})
}

// An erased reader has no keys and no feeds; that of another reader with their address goes on
// without it. The audit log has no secret.
func TestKeysOfAnErasedReader(t *testing.T) {
	onBothEngines(t, func(b *fixture) {
		b.apiKey("ann")
		b.feed("ann")
		_, id := testAPIKeys.New()
		_, err := b.CreateReaderKey(b.Context(), vendor, store.ReaderKey{ID: id, Site: "news", UserID: "bob", Email: "ann@example.com", EndsAt: b.now().Add(time.Hour)})
		b.ok(err)
		erased, err := b.Erase(b.Context(), vendor, "ann", "ann@example.com")
		b.ok(err)
		if erased["readerKeys"] != 3 || b.keysOf("ann", policy.PrefixAPIKey)+b.keysOf("ann", policy.PrefixFeed) != "" {
			t.Errorf("erased are %v", erased)
		}
		other, err := b.ReaderKey(b.Context(), vendor, id)
		b.ok(err)
		if other.Email != "" || other.UserID != "bob" {
			t.Errorf("the other reader's key is %+v", other)
		}
		if left := b.holding("ann"); left != "" {
			t.Errorf("still there: %s", left)
		}
	})
}

// One stream makes the feeds of 50,000 readers; made again they are the same.
func TestManyFeeds(t *testing.T) {
	b := newFixture(t)
	readers := 50_000
	if testing.Short() {
		readers = 2_000
	}
	var sum [2]string
	for round := range 2 {
		began := time.Now()
		for from := 0; from < readers; from += store.MaxFeedBatch {
			chunk := make([]store.ReaderKey, store.MaxFeedBatch)
			for i := range chunk {
				chunk[i] = store.ReaderKey{Site: "news", Space: "podcasts", UserID: fmt.Sprintf("reader-%d", from+i)}
			}
			made, err := b.PutFeeds(b.Context(), vendor, chunk, feedID)
			b.ok(err)
			sum[round] += made[0].ID
		}
		t.Logf("%d feeds in %v", readers, time.Since(began))
	}
	if sum[0] != sum[1] {
		t.Error("feeds that are made again are others")
	}
}

// put and remove write entries as a store that lost writes has them.
func (b *fixture) put(entries ...engine.Put) {
	b.Helper()
	_, err := b.records.Commit(b.Context(), vendor, &engine.Batch{Puts: entries})
	b.ok(err)
	b.versions.Bump(policy.Invalidation{Shared: true})
}

func (b *fixture) remove(k []byte) {
	b.Helper()
	_, err := b.records.Commit(b.Context(), vendor, &engine.Batch{Deletes: [][]byte{k}})
	b.ok(err)
}
