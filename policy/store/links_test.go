package store_test

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store"
)

func TestLinkIsStoredAndShown(t *testing.T) {
	b := newFixture(t)
	made := b.link(keys.LinkClaims{SKU: "s", MaxUses: 2, Subject: "u", Meta: []byte(`{"a":1}`)})
	shown, err := b.SignedLink(t.Context(), vendor, made.Claims.Issuer, made.Claims.ID)
	b.ok(err)
	if shown.Claims.SKU != "s" || string(shown.Claims.Meta) != `{"a":1}` || !shown.CreatedAt.Equal(b.clock) || shown.Uses != 0 || !shown.RevokedAt.IsZero() {
		t.Errorf("shown is %+v", shown)
	}
	_, err = b.CreateLink(t.Context(), vendor, made.Claims)
	b.is(err, store.ErrConflict)
	_, err = b.SignedLink(t.Context(), "other", made.Claims.Issuer, made.Claims.ID)
	b.is(err, store.ErrNotFound)
	_, err = b.Link(t.Context(), vendor, "gatefold:other", made.Claims.ID)
	b.is(err, store.ErrNotFound)
}

// 32 readers redeem a link for ten at the same moment: ten uses, whatever the
// race, and a retry is not another use.
func TestUsesAreCountedExactly(t *testing.T) {
	b := newFixture(t)
	link := b.link(keys.LinkClaims{SKU: "s", MaxUses: 10})
	var redeemed, refused atomic.Int32
	var readers sync.WaitGroup
	for i := range 32 {
		readers.Go(func() {
			for range 2 { // each tries again, as after a lost answer
				switch err := b.redeem(link, fmt.Sprint(i)); {
				case err == nil:
					redeemed.Add(1)
				case errors.Is(err, policy.ErrLinkUsedUp):
					refused.Add(1)
				default:
					t.Error(err)
				}
			}
		})
	}
	readers.Wait()
	if redeemed.Load() != 20 || refused.Load() != 44 {
		t.Errorf("%d calls were redeemed and %d refused, want 20 and 44", redeemed.Load(), refused.Load())
	}
	if shown, err := b.SignedLink(t.Context(), vendor, link.Claims.Issuer, link.Claims.ID); err != nil || shown.Uses != 10 {
		t.Errorf("%d uses, %v", shown.Uses, err)
	}
}

func TestRevokedLinkIsNotRedeemed(t *testing.T) {
	b := newFixture(t)
	link := b.link(keys.LinkClaims{SKU: "s", MaxUses: 10})
	issuer, id := link.Claims.Issuer, link.Claims.ID
	b.ok(b.redeem(link, "one"))
	stamp := b.versions.Link(vendor, issuer, id)
	revoked, err := b.RevokeLink(t.Context(), vendor, issuer, id)
	b.ok(err)
	if b.versions.Link(vendor, issuer, id) == stamp {
		t.Error("nothing became stale")
	}
	b.is(b.redeem(link, "two"), policy.ErrLinkRevoked)
	b.is(b.redeem(link, "one"), policy.ErrLinkRevoked)
	if state, err := b.Link(t.Context(), vendor, issuer, id); err != nil || !state.Revoked {
		t.Errorf("%+v, %v", state, err)
	}
	// Twice is no error, and keeps the first moment.
	b.clock = b.clock.Add(time.Hour)
	again, err := b.RevokeLink(t.Context(), vendor, issuer, id)
	if err != nil || !again.RevokedAt.Equal(revoked.RevokedAt) || again.Uses != 1 {
		t.Errorf("%+v, %v", again, err)
	}
	_, err = b.RevokeLink(t.Context(), vendor, issuer, "link_none")
	b.is(err, store.ErrNotFound)
	unknown := link
	unknown.Claims.ID = "link_none"
	b.is(b.redeem(unknown, "x"), store.ErrNotFound)
}

func TestLinkPages(t *testing.T) {
	b := newFixture(t)
	var want []string
	for range 5 {
		want = append(want, b.link(keys.LinkClaims{SKU: "s"}).Claims.ID)
	}
	first, err := b.SignedLinks(t.Context(), vendor, keys.VendorIssuer(vendor), store.Page{Limit: 3})
	b.ok(err)
	second, err := b.SignedLinks(t.Context(), vendor, keys.VendorIssuer(vendor), store.Page{Limit: 3, From: first[2].Claims.ID})
	b.ok(err)
	var got []string
	for _, link := range append(first, second...) {
		got = append(got, link.Claims.ID)
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("the pages hold %v, want %v", got, want)
	}
}

// What ended is kept for a month to be looked at, and then collected: the link,
// its revocation, its counter and the marks of its uses.
func TestSweepCollectsWhatEndedLongAgo(t *testing.T) {
	b := newFixture(t)
	link := b.link(keys.LinkClaims{SKU: "s", MaxUses: 3})
	kept := b.link(keys.LinkClaims{SKU: "s", ExpiresAt: b.clock.Unix() + 90*24*3600})
	b.grant(store.Grant{UserID: "u", SKU: "s", EndsAt: at("2030-01-01T00:00:00Z")})
	b.ok(b.redeem(link, "one"))
	_, err := b.RevokeLink(t.Context(), vendor, link.Claims.Issuer, link.Claims.ID)
	b.ok(err)
	sweep := func(want int) {
		t.Helper()
		removed, err := b.Sweep(t.Context())
		if err != nil || removed != want {
			t.Fatalf("%d were removed, want %d, %v", removed, want, err)
		}
	}
	sweep(0)
	b.clock = time.Unix(link.Claims.ExpiresAt, 0).Add(store.Retention)
	sweep(0)
	b.clock = b.clock.Add(time.Millisecond)
	sweep(4)
	sweep(0)
	_, err = b.SignedLink(t.Context(), vendor, link.Claims.Issuer, link.Claims.ID)
	b.is(err, store.ErrNotFound)
	_, err = b.SignedLink(t.Context(), vendor, kept.Claims.Issuer, kept.Claims.ID)
	b.ok(err)
	if got := b.skus(policy.Reader{UserID: "u"}); got != "s+" {
		t.Errorf("the grant became %q", got)
	}
}

// A use that a page was not delivered for is taken back exactly: only by the redemption that
// counted it, and once. Then another reader has it.
func TestRefund(t *testing.T) {
	b := newFixture(t)
	link := b.link(keys.LinkClaims{SKU: "s", MaxUses: 1})
	issuer, id := link.Claims.Issuer, link.Claims.ID
	redemption := policy.Redemption{Issuer: issuer, LinkID: id, ID: "one", MaxUses: 1, At: b.clock, ExpiresAt: time.Unix(link.Claims.ExpiresAt, 0)}
	uses := func() policy.Uses {
		t.Helper()
		found, err := b.Uses(t.Context(), vendor, issuer, id, []string{"one", "two"}, "")
		b.ok(err)
		return found
	}
	b.ok(b.Refund(t.Context(), vendor, redemption))
	b.ok(b.redeem(link, "one"))
	if found := uses(); found.Count != 1 || !found.IDs[0].At.Equal(b.clock) || !found.IDs[1].At.IsZero() || found.Revoked {
		t.Errorf("the uses are %+v", found)
	}
	later := redemption
	later.At = later.At.Add(time.Second) // the same use, of a request that did not count it
	b.ok(b.Refund(t.Context(), vendor, later))
	b.is(b.redeem(link, "two"), policy.ErrLinkUsedUp)
	for range 2 {
		b.ok(b.Refund(t.Context(), vendor, redemption))
	}
	if found := uses(); found.Count != 0 || !found.IDs[0].At.IsZero() {
		t.Errorf("the uses are %+v", found)
	}
	b.ok(b.redeem(link, "two"))
	b.is(b.redeem(link, "one"), policy.ErrLinkUsedUp)
	_, err := b.RevokeLink(t.Context(), vendor, issuer, id)
	b.ok(err)
	if found := uses(); found.Count != 1 || !found.Revoked {
		t.Errorf("the uses are %+v", found)
	}
}
