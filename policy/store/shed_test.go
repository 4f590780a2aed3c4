package store_test

import (
	"context"
	"maps"
	"testing"
	"time"

	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store"
	"github.com/gatefold/gatefold/policy/store/engine"
)

func always() bool { return true }

// repeatable makes a grant by a call that may be repeated.
func (b *fixture) repeatable(id, user string) {
	b.Helper()
	_, err := b.Once(&store.IdempotencyRecord{ID: id, Fingerprint: []byte(id)}).CreateGrant(b.Context(), vendor, store.DefaultList, store.Grant{UserID: user, SKU: "premium"})
	b.ok(err)
}

// A nearly full store removes what it can spare, the refusals for support first, and keeps what
// decides, what a client may still repeat, and what support is asked about. Nothing is left of
// the removed records.
func TestNearlyFullStoreSheds(t *testing.T) {
	onBoth(t, func(b *fixture) {
		end := b.now().Add(time.Hour)
		ended := b.grant(store.Grant{UserID: "ended", SKU: "trial", EndsAt: &end})
		later := end.Add(30 * time.Hour)
		renewed := b.grant(store.Grant{UserID: "renewed", SKU: "trial", EndsAt: &end})
		_, err := b.UpdateGrant(b.Context(), vendor, store.DefaultList, renewed.ID, func(g *store.Grant) error { g.EndsAt = &later; return nil })
		b.ok(err)
		b.grant(store.Grant{UserID: "endless", SKU: "trial"})
		b.keep(vendor, b.refusals("OLD", 1, false)...)
		b.moveClock(24*time.Hour + 50*time.Minute)
		lately := b.now()
		b.grant(store.Grant{UserID: "lately", SKU: "trial", EndsAt: &lately})
		b.keep(vendor, b.refusals("NEW", 1, false)...)
		b.repeatable("old", "ann")
		b.moveClock(time.Hour)
		b.repeatable("new", "bob")

		var kinds []string
		shedder := b.NewShedder()
		for end, was := false, b.Shed(); !end; {
			steps := 0
			_, end, err = shedder.Shed(b.Context(), func() bool { steps++; return steps == 1 })
			b.ok(err)
			for kind, count := range b.Shed() {
				if count != was[kind] {
					kinds = append(kinds, kind)
				}
			}
			was = b.Shed()
		}
		if want := map[string]uint64{"support_code": 1, "repeated_call": 1, "ended_grant": 1}; !maps.Equal(b.Shed(), want) || len(kinds) != 3 || kinds[0] != "support_code" || kinds[2] != "ended_grant" {
			b.Fatalf("removed: %v, in the order %v", b.Shed(), kinds)
		}
		for _, gone := range []string{ended.ID, "OLD00000"} {
			if left := b.entriesNaming(gone); len(left) != 0 {
				b.Errorf("entries are left: %q", left)
			}
		}
		for user, want := range map[string]string{"ended": "", "renewed": "trial+", "endless": "trial+", "lately": "trial+", "ann": "premium+"} {
			if got := b.skus(policy.Reader{UserID: user}); got != want {
				b.Errorf("%s has %q, want %q", user, got, want)
			}
		}
		_, err = b.Refusal(b.Context(), vendor, "NEW00000")
		b.ok(err)
		for id, kept := range map[string]bool{"old": false, "new": true} {
			call, err := b.CompletedCall(b.Context(), vendor, id)
			if b.ok(err); (call != nil) != kept {
				b.Errorf("the repeated call %s: %+v", id, call)
			}
		}
		if removed, end, err := shedder.Shed(b.Context(), always); removed != 0 || !end || err != nil {
			b.Errorf("the next pass removed %d, %v, %v", removed, end, err)
		}
	})
}

// A store that has room again keeps the rest: nothing is removed that need not be.
func TestSheddingStopsWithRoom(t *testing.T) {
	onBoth(t, func(b *fixture) {
		end := b.now()
		for range 600 {
			_, err := b.CreateGrant(b.Context(), vendor, store.DefaultList, store.Grant{UserID: "u", SKU: "trial", EndsAt: &end})
			b.ok(err)
		}
		b.moveClock(25 * time.Hour)
		full := func() bool { return b.Shed()["ended_grant"] == 0 }
		removed, finished, err := b.NewShedder().Shed(b.Context(), full)
		if err != nil || finished || removed != 500 {
			b.Fatalf("%d removed, %v, %v", removed, finished, err)
		}
	})
}

// renewing renews a grant before the first commit that removes some.
type renewing struct {
	engine.Engine
	renew func()
}

func (e *renewing) Commit(ctx context.Context, partition string, batch *engine.Batch) (engine.Committed, error) {
	if renew := e.renew; renew != nil && batch.Spares {
		e.renew = nil
		renew()
	}
	return e.Engine.Commit(ctx, partition, batch)
}

// An ended grant is renewed in the moment in which it would be removed: it stays.
func TestSheddingSparesARenewedGrant(t *testing.T) {
	onBoth(t, func(b *fixture) {
		end := b.now().Add(time.Hour)
		grant := b.grant(store.Grant{UserID: "ada", SKU: "trial", EndsAt: &end})
		b.moveClock(26 * time.Hour)
		racing := &renewing{b.records, func() {
			_, err := b.UpdateGrant(b.Context(), vendor, store.DefaultList, grant.ID, func(g *store.Grant) error { g.EndsAt = nil; return nil })
			b.ok(err)
		}}
		shedding := store.New(racing, b.versions, b.now)
		if removed, end, err := shedding.NewShedder().Shed(b.Context(), always); removed != 0 || !end || err != nil {
			b.Fatalf("%d removed, %v, %v", removed, end, err)
		}
		if racing.renew != nil {
			b.Fatal("the grant would not have been removed")
		}
		if got := b.skus(policy.Reader{UserID: "ada"}); got != "trial+" {
			b.Errorf("the reader has %q", got)
		}
	})
}
