package store_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store"
	"github.com/gatefold/gatefold/policy/store/engine"
)

// entriesNaming returns the entries of the vendor's partition that name a text.
func (b *fixture) entriesNaming(text string) (found []engine.Put) {
	b.Helper()
	entries, err := b.records.(engine.Dumper).Dump(b.Context(), vendor, nil, 100_000)
	b.ok(err)
	for _, entry := range entries {
		if entry.Key[0] != 'A' && (bytes.Contains(entry.Key, []byte(text)) || bytes.Contains(entry.Value, []byte(text))) {
			found = append(found, entry)
		}
	}
	return found
}

// A publisher has a million trial subscriptions a year, each a grant with an end. A month
// after its end a grant is removed with its index, on both engines; until then support
// sees why a reader has no access. One without an end stays, and one that is renewed, too.
func TestSweepRemovesEndedGrants(t *testing.T) {
	for name, open := range map[string]func(*testing.T) *fixture{"bolt": newFixture, "redis": onRedis} {
		t.Run(name, func(t *testing.T) {
			b := open(t)
			end := b.now().Add(time.Hour)
			grant := func(user string) store.Grant {
				return b.grant(store.Grant{UserID: user, SKU: "trial", PublisherPurchaseID: "order-of-" + user, EndsAt: &end})
			}
			ended, renewed := grant("ended"), grant("renewed")
			b.grant(store.Grant{UserID: "endless", SKU: "trial"})
			later := end.Add(365 * 24 * time.Hour)
			_, err := b.UpdateGrant(t.Context(), vendor, store.DefaultList, renewed.ID, func(g *store.Grant) error {
				g.EndsAt = &later
				return nil
			})
			b.ok(err)
			sweep := func() {
				t.Helper()
				_, err := b.Sweep(t.Context())
				b.ok(err)
			}

			b.moveClock(time.Hour + store.Retention - time.Minute)
			sweep()
			if _, err := b.Grant(t.Context(), vendor, store.DefaultList, ended.ID); err != nil {
				t.Fatalf("before its retention is over: %v", err)
			}
			b.moveClock(2 * time.Minute)
			before := b.Swept()
			sweep()
			_, err = b.Grant(t.Context(), vendor, store.DefaultList, ended.ID)
			b.is(err, store.ErrNotFound)
			if left := b.entriesNaming(ended.ID); len(left) != 0 {
				t.Errorf("entries are left: %q", left)
			}
			if b.Swept() == before {
				t.Error("the removal is not counted")
			}
			for _, user := range []string{"endless", "renewed"} {
				if got := b.skus(policy.Reader{UserID: user}); got != "trial+" {
					t.Errorf("%s has %q", user, got)
				}
				if got := b.found(store.GrantQuery{SKU: "trial", UserID: user}); got != user {
					t.Errorf("the grant of %s is found as %q", user, got)
				}
			}
		})
	}
}

// A database of an earlier version has ended grants without an expiry, with an index that is
// complete. They get it by the sweep, in steps, and are removed like others.
func TestSweepRemovesEndedGrantsOfEarlierVersions(t *testing.T) {
	for name, open := range map[string]func(*testing.T) *fixture{"bolt": newFixture, "redis": onRedis} {
		t.Run(name, func(t *testing.T) {
			b := open(t)
			end := b.now().Add(-365 * 24 * time.Hour)
			var last store.Grant
			for range 3 {
				last = b.grant(store.Grant{UserID: "old", SKU: "trial", EndsAt: &end})
			}
			b.grant(store.Grant{UserID: "old", SKU: "endless"})
			batch := &engine.Batch{Puts: []engine.Put{{Key: []byte("g"), Value: []byte(`{"done":true}`)}}}
			for _, entry := range b.entriesNaming("grant_") {
				entry.Expires = time.Time{}
				batch.Puts = append(batch.Puts, entry)
			}
			_, err := b.records.Commit(t.Context(), vendor, batch)
			b.ok(err)

			_, err = b.Sweep(t.Context())
			b.ok(err)
			_, err = b.Grant(t.Context(), vendor, store.DefaultList, last.ID)
			b.is(err, store.ErrNotFound)
			if left := b.entriesNaming(last.ID); len(left) != 0 {
				t.Errorf("entries are left: %q", left)
			}
			if got := b.skus(policy.Reader{UserID: "old"}); got != "endless+" {
				t.Errorf("the reader has %q", got)
			}
		})
	}
}
