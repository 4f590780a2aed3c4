package store_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store"
)

// A reader whose id is one digit, and whose address ends another one, is erased and exported
// without what only looks like them: a product, a plan, a profile, a bill and a link that have
// the same id, and the reader with the longer address.
func TestErasureLeavesWhatOnlyLooksLikeThePerson(t *testing.T) {
	onBoth(t, func(b *fixture) {
		ctx := b.Context()
		by := b.As(store.Actor{Name: "desk", Operation: "test"})
		b.world("7 paper", "boss", "paper/7")
		b.staff("paper", "boss")
		b.staff("7", "boss")
		b.subscribed()
		b.after(by.CreateReader(ctx, vendor, store.Reader{User: store.User{Slug: "70", FullName: "Jo Annex", Contact: store.Contact{Email: "jo@example.com"}}}))
		b.after(by.CreateProduct(ctx, vendor, store.Product{SKU: "7", Type: "article", Title: "Seven"}))
		b.after(by.CreateGrant(ctx, vendor, store.DefaultList, store.Grant{ID: "7", UserID: "70", Email: "jo@example.com", SKU: "7", FirstName: "Jo"}))
		b.after(by.CreateGrant(ctx, vendor, store.DefaultList, store.Grant{ID: "8", Email: "mary-o@example.com", SKU: "7", FirstName: "Mary"}))
		b.after(by.PutBill(ctx, vendor, store.Bill{ID: "7", UserID: "70", Price: "1", Status: "PAID"}, nil))
		b.link(keys.LinkClaims{URL: "https://x.example/7", Subject: "70", Meta: []byte(`{"id":"7","name":"7","slug":"7","to":"jo@example.com"}`)})
		once := &store.IdempotencyRecord{ID: "call", Fingerprint: []byte{1}}
		b.after(by.Once(once).UpdateProduct(ctx, vendor, "7", func(p *store.Product) error { p.Title = "Seven again"; return nil }))
		before := b.entries()

		b.after(by.CreateReader(ctx, vendor, store.Reader{User: store.User{Slug: "7", FullName: "Olga Seven", Contact: store.Contact{Email: "o@example.com"}}}))
		b.after(by.CreateGrant(ctx, vendor, store.DefaultList, store.Grant{UserID: "7", Email: "o@example.com", SKU: "news", FirstName: "Olga"}))
		b.ok(b.ExportPerson(ctx, vendor, "7", nil, func(r store.PersonalRecord) error {
			if text := strings.Join(r.ID, " ") + string(r.Record); !strings.Contains(text, "Olga") && !strings.Contains(text, "o@example.com") && r.Kind != "readers" {
				b.Errorf("the export has %s %v %s", r.Kind, r.ID, r.Record)
			}
			return nil
		}))
		b.after(b.As(store.Actor{Name: "desk", Operation: "erase"}).Erase(ctx, vendor, "7"))
		if held := b.holding("Olga", `"o@example.com`, ">o@example.com"); held != "" {
			b.Errorf("records with %q hold something of the person", held)
		}
		after := b.entries()
		for _, k := range slices.Sorted(maps.Keys(before)) {
			if after[k] != before[k] {
				b.Errorf("%q was %s, and is %s", k, before[k], after[k])
			}
		}
		if skus := b.skus(policy.Reader{UserID: "70", Email: "jo@example.com"}); skus != "7+" {
			b.Errorf("the reader with the longer address has %q", skus)
		}
	})
}

// A user with the id of a personal profile that was removed before is in no audit entry about
// that profile, and one with the id of an organization's profile leaves that profile's entries.
func TestErasureOfAuditEntriesAboutProfiles(t *testing.T) {
	onBoth(t, func(b *fixture) {
		ctx := b.Context()
		by := b.As(store.Actor{Name: "desk", Operation: "test"})
		b.world("paper", "boss", "")
		b.staff("paper", "boss")
		user := store.User{Slug: "gone-1"}
		b.after(by.CreateUser(ctx, vendor, user))
		b.after(by.CreateProfileFor(ctx, vendor, store.Profile{Slug: "gone-1", Type: store.TypePersonal}, user))
		b.after(by.CreateRole(ctx, vendor, store.Role{Profile: "gone-1", User: "boss", Type: policy.RoleContributor}))
		b.ok(by.DeleteProfile(ctx, vendor, "gone-1", nil))
		b.after(b.Sweep(ctx))
		b.after(b.Erase(ctx, vendor, "gone-1"))
		for k, value := range b.entries() {
			if strings.Contains(k[1:]+value, "gone-1") && !strings.HasPrefix(k, "x") {
				b.Errorf("%q %s names the user", k, value)
			}
		}
	})
}

// An event about a person is being delivered while they are erased. The attempt fails, and the
// event does not come back into the queue, with their name, to be sent again.
func TestErasedPersonDoesNotComeBackWithAnEvent(t *testing.T) {
	onBoth(t, func(b *fixture) {
		ctx := b.Context()
		webhooks := store.NewWebhooks(store.NewKeyring(b.Store, sealer(b.T, strings.Repeat("s", 40))))
		endpoint, _, err := webhooks.CreateWebhook(ctx, b.Writer, vendor, store.Webhook{URL: "https://hook.example/"})
		b.ok(err)
		b.world("paper", "boss", "")
		b.after(b.CreateReader(ctx, vendor, store.Reader{User: store.User{Slug: "kund-7", FullName: "Gretaxa Oest"}}))
		due, err := b.DueDeliveries(ctx, vendor, endpoint.ID, 100)
		b.ok(err)
		about := slices.IndexFunc(due, func(d store.Delivery) bool { return strings.Contains(string(d.Body), "Gretaxa") })
		if about < 0 || len(due) < 3 {
			b.Fatalf("the queue has %d events, and none about the person", len(due))
		}
		b.after(b.Erase(ctx, vendor, "kund-7"))
		for i := range due {
			due[i].Attempts, due[i].Error, due[i].NextAt = 1, "no answer", b.now()
		}
		half := len(due) / 2
		b.ok(b.Settle(ctx, vendor, endpoint.ID, map[string][]store.Delivery{store.DeliveryRetrying: due[:half], store.DeliveryDead: due[half:]}))
		if held := b.holding("Gretaxa"); held != "" {
			b.Errorf("records with %q hold the person's name after the attempt", held)
		}
		left := 0
		for _, state := range []string{store.DeliveryWaiting, store.DeliveryRetrying, store.DeliveryDead} {
			found, err := b.Deliveries(ctx, vendor, endpoint.ID, state, 100)
			b.ok(err)
			left += len(found)
		}
		if left != len(due)-1 {
			b.Errorf("%d events are left of %d, want all but the person's", left, len(due))
		}
	})
}
