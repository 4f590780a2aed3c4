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

// onEachEngine runs a test over the embedded engine and over Redis.
func onEachEngine(t *testing.T, test func(b *fixture)) {
	t.Run("bolt", func(t *testing.T) { test(newFixture(t)) })
	t.Run("redis", func(t *testing.T) { test(onRedis(t)) })
}

// redemptionOf returns a redemption of a link with both bounds.
func (b *fixture) redemptionOf(link store.SignedLink, use, device string) policy.Redemption {
	return policy.Redemption{
		Issuer: link.Claims.Issuer, LinkID: link.Claims.ID, ID: use, MaxUses: link.Claims.MaxUses, DeviceID: device, MaxDevices: link.Claims.MaxDevices,
		At: b.clock, ExpiresAt: time.Unix(link.Claims.ExpiresAt, 0),
	}
}

// counted fails the test unless a link was counted so often.
func (b *fixture) counted(link store.SignedLink, uses, devices int64) {
	b.Helper()
	shown, err := b.SignedLink(b.Context(), vendor, link.Claims.Issuer, link.Claims.ID)
	b.ok(err)
	if shown.Uses != uses || shown.Devices != devices {
		b.Errorf("%d uses and %d devices are counted, want %d and %d", shown.Uses, shown.Devices, uses, devices)
	}
	listed, err := b.SignedLinks(b.Context(), vendor, link.Claims.Issuer, store.Page{})
	b.ok(err)
	if len(listed) != 1 || listed[0].Uses != uses || listed[0].Devices != devices {
		b.Errorf("the listing has %+v", listed)
	}
}

// 32 devices open a link for ten at the same moment: ten devices, whatever the race. Each
// tries again, and those that are known are not refused.
func TestDevicesAreCountedExactly(t *testing.T) {
	for name, claims := range map[string]keys.LinkClaims{
		"devices alone":           {SKU: "s", MaxDevices: 10},
		"with more uses":          {SKU: "s", MaxDevices: 10, MaxUses: 1000},
		"with the same number":    {SKU: "s", MaxDevices: 10, MaxUses: 10},
		"with fewer uses than it": {SKU: "s", MaxDevices: 20, MaxUses: 10},
	} {
		t.Run(name, func(t *testing.T) {
			onEachEngine(t, func(b *fixture) {
				link := b.link(claims)
				var redeemed, refused atomic.Int32
				var clients sync.WaitGroup
				for i := range 32 {
					clients.Go(func() {
						for range 2 {
							err := b.Redeem(b.Context(), vendor, b.redemptionOf(link, fmt.Sprint("use", i), fmt.Sprint("device", i)))
							switch {
							case err == nil:
								redeemed.Add(1)
							case errors.Is(err, policy.ErrLinkUsedUp), errors.Is(err, policy.ErrLinkDeviceLimit):
								refused.Add(1)
							default:
								b.Error(err)
							}
						}
					})
				}
				clients.Wait()
				if redeemed.Load() != 20 || refused.Load() != 44 {
					b.Errorf("%d calls were redeemed and %d refused, want 20 and 44", redeemed.Load(), refused.Load())
				}
				b.counted(link, min(claims.MaxUses, 10), 10)
			})
		})
	}
}

// The bound that is reached has its own error, and a refused redemption counts nothing of
// the other.
func TestWhichBoundRefuses(t *testing.T) {
	onEachEngine(t, func(b *fixture) {
		link := b.link(keys.LinkClaims{SKU: "s", MaxUses: 3, MaxDevices: 2})
		redeem := func(use, device string) error {
			return b.Redeem(b.Context(), vendor, b.redemptionOf(link, use, device))
		}
		b.ok(redeem("1", "a"))
		b.ok(redeem("2", "b"))
		b.is(redeem("3", "c"), policy.ErrLinkDeviceLimit)
		b.counted(link, 2, 2)
		b.ok(redeem("3", "b")) // another use of a known device
		b.ok(redeem("3", "b"))
		b.is(redeem("4", "b"), policy.ErrLinkUsedUp)
		b.ok(redeem("1", "a"))
		b.is(redeem("1", "c"), policy.ErrLinkDeviceLimit) // the use is known, the device is not
		b.counted(link, 3, 2)
		_, err := b.RevokeLink(b.Context(), vendor, link.Claims.Issuer, link.Claims.ID)
		b.ok(err)
		b.is(redeem("1", "a"), policy.ErrLinkRevoked)
	})
}

// A refund takes back the use and the device that its redemption counted: not a device that
// an earlier one counted or a later one found, and nothing twice.
func TestRefundOfBoth(t *testing.T) {
	onEachEngine(t, func(b *fixture) {
		link := b.link(keys.LinkClaims{SKU: "s", MaxUses: 2, MaxDevices: 1})
		first := b.redemptionOf(link, "1", "a")
		b.ok(b.Refund(b.Context(), vendor, first)) // of nothing
		b.ok(b.Redeem(b.Context(), vendor, first))
		b.clock = b.clock.Add(time.Second)
		second := b.redemptionOf(link, "2", "a")
		b.ok(b.Redeem(b.Context(), vendor, second))
		b.counted(link, 2, 1)
		for range 2 {
			b.ok(b.Refund(b.Context(), vendor, second))
			b.counted(link, 1, 1)
		}
		uses, err := b.Uses(b.Context(), vendor, link.Claims.Issuer, link.Claims.ID, []string{"1", "2"}, "a")
		b.ok(err)
		if uses.Count != 1 || uses.IDs[0].At.IsZero() || !uses.IDs[1].At.IsZero() || uses.Devices != 1 || uses.Device.At.IsZero() {
			b.Errorf("the uses are %+v", uses)
		}
		for range 2 {
			b.ok(b.Refund(b.Context(), vendor, first))
			b.counted(link, 0, 1)
		}
		b.is(b.Redeem(b.Context(), vendor, b.redemptionOf(link, "3", "b")), policy.ErrLinkDeviceLimit)
	})
}

// A device that no other request found is given back with its use.
func TestRefundOfADevice(t *testing.T) {
	onEachEngine(t, func(b *fixture) {
		link := b.link(keys.LinkClaims{SKU: "s", MaxUses: 2, MaxDevices: 1})
		alone := b.redemptionOf(link, "1", "a")
		b.ok(b.Redeem(b.Context(), vendor, alone))
		for range 2 {
			b.ok(b.Refund(b.Context(), vendor, alone))
			b.counted(link, 0, 0)
		}
		b.ok(b.Redeem(b.Context(), vendor, b.redemptionOf(link, "3", "b")))
		uses, err := b.Uses(b.Context(), vendor, link.Claims.Issuer, link.Claims.ID, nil, "a")
		b.ok(err)
		if !uses.Device.At.IsZero() || uses.Devices != 1 {
			b.Errorf("the device that was given back is %+v", uses)
		}
	})
}

// The devices of a link are erased with it.
func TestDevicesAreSweptWithTheirLink(t *testing.T) {
	b := newFixture(t)
	link := b.link(keys.LinkClaims{SKU: "s", Subject: "u", MaxUses: 2, MaxDevices: 2})
	b.ok(b.Redeem(t.Context(), vendor, b.redemptionOf(link, "1", "a")))
	for _, want := range []int{0, 6} { // the link, its entry in the index, two counters and their markers
		removed, err := b.Sweep(t.Context())
		if err != nil || removed != want {
			t.Errorf("%d records removed, want %d, %v", removed, want, err)
		}
		b.clock = b.clock.Add(time.Hour + store.Retention + time.Second)
	}
}

// A link before its start is scheduled, and found as that.
func TestScheduledLink(t *testing.T) {
	b := newFixture(t)
	link := b.link(keys.LinkClaims{SKU: "s", NotBefore: b.clock.Unix() + 601, MaxUses: 1})
	b.link(keys.LinkClaims{SKU: "s"})
	for _, status := range []string{store.LinkScheduled, store.LinkActive, store.LinkUsedUp} {
		shown, err := b.SignedLink(t.Context(), vendor, link.Claims.Issuer, link.Claims.ID)
		b.ok(err)
		found, _, _, err := b.FindLinks(t.Context(), vendor, link.Claims.Issuer, store.LinkQuery{Status: status})
		b.ok(err)
		if shown.State(b.clock) != status || len(found) == 0 || found[0].Claims.ID != link.Claims.ID {
			t.Errorf("the link is %s and is not found as %s: %v", shown.State(b.clock), status, found)
		}
		if status == store.LinkScheduled {
			b.clock = b.clock.Add(600 * time.Second)
		} else {
			b.ok(b.redeem(link, "one"))
		}
	}
}
