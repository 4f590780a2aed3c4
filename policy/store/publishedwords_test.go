package store_test

import (
	"testing"

	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store"
)

// A back office cancels a grant, and then drafts a list, with the words of the published
// types. The words stay as they were sent, and the reader has the sku only while both are
// ACTIVE.
func TestOnlyActiveOpens(t *testing.T) {
	b := newFixture(t)
	grant := b.grant(store.Grant{UserID: "u", SKU: "premium"})
	for status, want := range map[string]string{"CANCELED": "premium", "INACTIVE": "premium", "ACTIVE": "premium+"} {
		changed, err := b.UpdateGrant(t.Context(), vendor, store.DefaultList, grant.ID, func(g *store.Grant) error { g.Status = status; return nil })
		b.ok(err)
		if got := b.skus(policy.Reader{UserID: "u"}); changed.Status != status || got != want {
			t.Errorf("with a grant that is %s, stored as %s, the reader has %q, want %q", status, changed.Status, got, want)
		}
	}
	for _, kind := range []string{"MANUAL", "HOOK", "BASIC_API", "CSV_FILE", "CSV_FILE_OLD", "CSV_TRANSACTIONS", "CLAIMED"} {
		for status, want := range map[string]string{"DRAFT": "l", "CANCELED": "l", "INACTIVE": "l", "ACTIVE": "l+"} {
			list, err := b.CreateList(t.Context(), vendor, store.AccessList{Name: "of a provider", Type: kind, Status: status})
			b.ok(err)
			_, err = b.CreateGrant(t.Context(), vendor, list.ID, store.Grant{UserID: kind + status, SKU: "l"})
			b.ok(err)
			if got := b.skus(policy.Reader{UserID: kind + status}); list.Type != kind || list.Status != status || got != want {
				t.Errorf("a list sent as %s %s is %s %s and gives %q, want %q", kind, status, list.Type, list.Status, got, want)
			}
		}
	}
	_, err := b.CreateList(t.Context(), vendor, store.AccessList{Name: "n", Type: "XML"})
	b.names(err, "type")
	_, err = b.CreateList(t.Context(), vendor, store.AccessList{Name: "n", Status: "PAUSED"})
	b.names(err, "status")
	_, err = b.CreateGrant(t.Context(), vendor, store.DefaultList, store.Grant{UserID: "u", SKU: "s", Status: "DRAFT"})
	b.names(err, "status")
}
