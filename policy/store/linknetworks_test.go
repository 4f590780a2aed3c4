package store_test

import (
	"strings"
	"testing"
	"time"

	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy/store"
)

// networks are some networks, by number.
func networks(from, to uint64) (hashes []uint64) {
	for hash := from; hash < to; hash++ {
		hashes = append(hashes, hash)
	}
	return hashes
}

func (b *fixture) opened(link store.SignedLink, hashes []uint64, limit store.NetworkLimit) int {
	b.Helper()
	exceeded, err := b.CountNetworks(b.Context(), vendor, link.Claims.Issuer, link.Claims.ID, hashes, limit)
	b.ok(err)
	return exceeded
}

// A link opens from 21 networks within an hour: it is reported once, and again only when
// the hour is over and it opens from as many again. The audit log has it.
func TestLeakIsReportedOnce(t *testing.T) {
	b := newFixture(t)
	link, limit := b.link(keys.LinkClaims{SKU: "s"}), store.NetworkLimit{Networks: 20}
	for network := range uint64(20) {
		b.clock = b.clock.Add(2 * time.Minute)
		if n := b.opened(link, []uint64{network, network / 2}, limit); n != 0 {
			t.Fatalf("network %d exceeds the limit with %d", network, n)
		}
	}
	if n := b.opened(link, []uint64{20}, limit); n != 21 {
		t.Errorf("the 21st network exceeds the limit with %d", n)
	}
	for range 3 {
		if n := b.opened(link, networks(100, 200), limit); n != 0 {
			t.Errorf("reported again, with %d", n)
		}
	}
	if shown, err := b.SignedLink(t.Context(), vendor, link.Claims.Issuer, link.Claims.ID); err != nil || !shown.RevokedAt.IsZero() {
		t.Errorf("a report revokes: %+v, %v", shown, err)
	}
	entries, _, _, err := b.Audit(t.Context(), vendor, store.AuditQuery{Actor: "leak-detector"})
	if err != nil || len(entries) != 1 || entries[0].Operation != "report-link" || !strings.Contains(string(entries[0].Records[0].After), `"networks":21`) {
		t.Errorf("the audit log has %+v, %v", entries, err)
	}
	b.clock = b.clock.Add(store.LeakWindow)
	if n := b.opened(link, networks(0, 20), limit); n != 0 {
		t.Errorf("20 networks of the next hour exceed the limit with %d", n)
	}
	if n := b.opened(link, networks(0, 30), limit); n != 21 {
		t.Errorf("a leak of the next hour is reported with %d", n)
	}
}

// The same 21 networks over three hours are readers of a newspaper.
func TestNetworksOverThreeHoursAreNoLeak(t *testing.T) {
	b := newFixture(t)
	link := b.link(keys.LinkClaims{SKU: "s", ExpiresAt: b.clock.Add(24 * time.Hour).Unix()})
	for round := range 3 {
		for network := range uint64(21) {
			b.clock = b.clock.Add(3 * time.Hour / 21)
			if n := b.opened(link, []uint64{network}, store.NetworkLimit{Networks: 20, Quarantine: true}); n != 0 {
				t.Fatalf("round %d: network %d exceeds the limit with %d", round, network, n)
			}
		}
	}
}

// An hour is any hour, not one of the clock.
func TestLeakAcrossTheHour(t *testing.T) {
	b := newFixture(t)
	link, limit := b.link(keys.LinkClaims{SKU: "s", ExpiresAt: b.clock.Add(24 * time.Hour).Unix()}), store.NetworkLimit{Networks: 20}
	b.clock = b.clock.Truncate(time.Hour).Add(45 * time.Minute)
	b.opened(link, networks(0, 11), limit)
	b.clock = b.clock.Add(30 * time.Minute)
	if n := b.opened(link, networks(11, 21), limit); n != 21 {
		t.Errorf("21 networks in 30 minutes exceed the limit with %d", n)
	}
}

// A quarantined link is revoked with its cause. When it is restored, the networks from
// which it was opened do not count any more, and others do. Its record stays bounded.
func TestQuarantineAndRestore(t *testing.T) {
	for name, restore := range map[string]func(b *fixture, issuer, id string) error{
		"one": func(b *fixture, issuer, id string) error {
			_, err := b.RestoreLink(b.Context(), vendor, issuer, id)
			return err
		},
		"many": func(b *fixture, issuer, _ string) error {
			_, _, _, err := b.RestoreLinks(b.Context(), vendor, issuer, store.LinkQuery{SKU: "s"})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newFixture(t)
			link, limit := b.link(keys.LinkClaims{SKU: "s"}), store.NetworkLimit{Networks: store.MaxLinkNetworks, Quarantine: true}
			issuer, id := link.Claims.Issuer, link.Claims.ID
			const step = store.MaxLinkNetworks + 1
			for round := range uint64(3) {
				from := step * round
				stamp := b.versions.Link(vendor, issuer, id)
				if n := b.opened(link, networks(from, from+step), limit); n != step || b.versions.Link(vendor, issuer, id) == stamp {
					t.Fatalf("round %d: %d networks exceed the limit, or nothing became stale", round, n)
				}
				shown, err := b.SignedLink(t.Context(), vendor, issuer, id)
				if err != nil || shown.State(b.clock) != store.LinkRevoked || shown.RevokedFor != store.CauseLeak || !shown.RevokedAt.Equal(b.clock) {
					t.Fatalf("%+v, %v", shown, err)
				}
				b.ok(restore(b, issuer, id))
				b.clock = b.clock.Add(time.Minute)
				if n := b.opened(link, networks(from, from+step), limit); n != 0 {
					t.Fatalf("round %d: the same networks exceed the limit with %d", round, n)
				}
				for _, entry := range b.entriesOf(id) {
					if len(entry.Value) > 9<<10 {
						t.Errorf("a record of %d bytes", len(entry.Value))
					}
				}
			}
			entries, _, _, err := b.Audit(t.Context(), vendor, store.AuditQuery{Operation: "quarantine-link"})
			if err != nil || len(entries) != 3 || !strings.Contains(string(entries[0].Records[0].After), `"revokedFor":"leak"`) {
				t.Errorf("the audit log has %+v, %v", entries, err)
			}
		})
	}
}

// A link that a caller revoked is not revoked again, and restoring it forgives nothing.
func TestRevokedLinkIsNotQuarantined(t *testing.T) {
	b := newFixture(t)
	link, limit := b.link(keys.LinkClaims{SKU: "s"}), store.NetworkLimit{Networks: 2, Quarantine: true}
	issuer, id := link.Claims.Issuer, link.Claims.ID
	b.opened(link, networks(0, 2), limit)
	_, err := b.RevokeLink(t.Context(), vendor, issuer, id)
	b.ok(err)
	if n := b.opened(link, networks(0, 9), limit); n != 0 {
		t.Errorf("a revoked link exceeds its limit with %d", n)
	}
	restored, err := b.RestoreLink(t.Context(), vendor, issuer, id)
	b.ok(err)
	if restored.RevokedFor != "" {
		t.Errorf("restored is %+v", restored)
	}
	if n := b.opened(link, networks(2, 3), limit); n != 3 {
		t.Errorf("the third network exceeds the limit with %d", n)
	}
	_, err = b.CountNetworks(t.Context(), vendor, issuer, "link_none", networks(0, 9), limit)
	b.is(err, store.ErrNotFound)
}
