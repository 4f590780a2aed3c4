package store_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/hook"
	"github.com/gatefold/gatefold/policy/store"
	"github.com/gatefold/gatefold/policy/store/engine"
)

// entries returns all entries of the vendor's partition.
func (b *fixture) entries() map[string]string {
	b.Helper()
	all := map[string]string{}
	b.ok(b.records.View(b.Context(), vendor, func(snapshot engine.Snapshot) error {
		for entry, err := range snapshot.Scan(nil, nil) {
			if err != nil {
				return err
			}
			all[string(entry.Key)] = string(entry.Value)
		}
		return nil
	}))
	return all
}

// holding returns the prefixes of the entries with a text in their key or value, in any case,
// also in stored responses.
func (b *fixture) holding(texts ...string) string {
	b.Helper()
	found := map[string]bool{}
	for k, value := range b.entries() {
		lower := strings.ReplaceAll(strings.ToLower(k+"\n"+value), "kund-70", "")
		for _, encoded := range strings.FieldsFunc(value, func(c rune) bool { return c == '"' }) {
			if decoded, err := base64.StdEncoding.DecodeString(encoded); err == nil && len(decoded) > 8 {
				lower += string(bytes.ToLower(decoded))
			}
		}
		for _, text := range texts {
			if strings.Contains(lower, strings.ToLower(text)) {
				found[k[:1]] = true
			}
		}
	}
	prefixes := make([]string, 0, len(found))
	for prefix := range found {
		prefixes = append(prefixes, prefix)
	}
	slices.Sort(prefixes)
	return strings.Join(prefixes, "")
}

// personal are the prefixes of records that hold something of a person, indexes included.
const personal = "%13456:;@AEGIQSYciopqrx~"

// person stores a person with data in every kind of record that has any.
func (b *fixture) person(id, email, first, last string) {
	b.Helper()
	ctx := b.Context()
	by := b.As(store.Actor{Name: "desk", Operation: "test"})
	reader := store.Reader{User: store.User{Slug: id, FullName: first + " " + last, NickName: first, Contact: store.Contact{Email: email}}}
	reader.ReaderDetails = store.ReaderDetails{FirstName: first, LastName: last, Tags: []string{"vip"}, Metadata: map[string]string{"of": last}}
	b.after(by.CreateReader(ctx, vendor, reader))
	b.after(by.UpdateReader(ctx, vendor, id, func(r *store.Reader) error { r.Phone = "1"; return nil }))
	b.after(by.CreateProfileFor(ctx, vendor, store.Profile{Slug: strings.ToLower(first), Type: store.TypePersonal, FullName: first + " " + last, Contact: store.Contact{Email: email}}, reader.User))
	b.after(by.CreateRole(ctx, vendor, store.Role{Profile: "paper", User: id, Type: policy.RoleContributor}))
	b.after(by.Sign(ctx, vendor, "terms", id))
	made, err := by.CreateGrant(ctx, vendor, store.DefaultList, store.Grant{UserID: id, Email: email, SKU: "news", FirstName: first})
	b.ok(err)
	b.after(by.UpdateGrant(ctx, vendor, store.DefaultList, made.ID, func(g *store.Grant) error { g.LastName = last; return nil }))
	gone, err := by.CreateGrant(ctx, vendor, store.DefaultList, store.Grant{Email: strings.ToUpper(email), SKU: "old"})
	b.ok(err)
	b.after(by.UpdateGrant(ctx, vendor, store.DefaultList, gone.ID, func(g *store.Grant) error { g.FirstName = first; return nil }))
	b.ok(by.DeleteGrant(ctx, vendor, store.DefaultList, gone.ID, nil))
	b.after(by.ImportGrants(ctx, vendor, store.DefaultList, store.ImportBatch{ID: "day-" + first[:1], Chain: []byte{1}, Rows: []store.ImportRow{
		{Grant: store.Grant{UserID: id, SKU: "news", FirstName: first, LastName: last}},
	}}))
	link := b.link(keys.LinkClaims{URL: "https://x.example/1", Subject: id})
	b.ok(b.redeem(link, "use"))
	_, _, err = b.RecordRefusals(ctx, vendor, []store.Refusal{{Code: "7KQ2M4X" + first[:1], At: b.now(), UserID: id}})
	b.ok(err)
	b.ok(b.RecordVisits(ctx, vendor, []store.Visit{{Site: "site", UserID: id, At: b.now(), Tags: []string{"sport"}}}))
	once := &store.IdempotencyRecord{ID: "call-" + first[:1], Fingerprint: []byte{1}}
	b.ok(b.Complete(ctx, vendor, once))
	b.ok(b.SaveAnswer(ctx, once, []byte(fmt.Sprintf(`{"status":201,"body":%q}`, base64.StdEncoding.EncodeToString([]byte(`{"email":"`+email+`"}`))))))
	contract := store.Contract{
		Owner: store.Party{UserID: id, Email: email, FullName: first + " " + last}, Payer: store.Party{Email: email, FullName: last},
		Items: []store.ContractItem{{SKU: "news"}}, State: store.StateActive, Seats: 2, Duration: "PERPETUAL", StartsAt: b.now(),
	}
	sold, _, err := by.CreateContract(ctx, vendor, contract, true)
	b.ok(err)
	b.after(by.PutBill(ctx, vendor, store.Bill{ID: "bill-" + first[:1], UserID: id, Price: "1", Status: "PAID"}, nil))
	b.after(by.PutTransaction(ctx, vendor, store.Transaction{ID: "paid-" + first[:1], UserID: id, Amount: "1"}, nil))
	_, _, err = by.AddSeat(ctx, vendor, sold.ID, store.Seat{UserID: id, Email: email, FullName: first + " " + last})
	b.ok(err)
	b.mentioned(id, email, first)
}

// mentioned stores records of others that have a person's address, and what was delivered and
// sold to the person.
func (b *fixture) mentioned(id, email, first string) {
	b.Helper()
	ctx := b.Context()
	by := b.As(store.Actor{Name: "desk", Operation: "test"})
	b.after(by.CreateProfile(ctx, vendor, store.Profile{Slug: "club-" + first[:1], Type: store.TypeOrganization, FullName: "The club", Contact: store.Contact{Email: email}}))
	b.after(by.CreateGrant(ctx, vendor, store.DefaultList, store.Grant{ID: "of-" + first[:1], UserID: "other", Email: email, SKU: "shared", FirstName: first}))
	family := store.Contract{
		Owner: store.Party{UserID: "other", Email: email, InvoiceEmail: email, FullName: first}, Payer: store.Party{UserID: "firm", InvoiceEmail: email},
		Items: []store.ContractItem{{SKU: "family"}}, Seats: 2, Duration: "PERPETUAL", StartsAt: b.now(), OwnerSeat: true,
	}
	sold, _, err := by.CreateContract(ctx, vendor, family, true)
	b.ok(err)
	_, _, err = by.AddSeat(ctx, vendor, sold.ID, store.Seat{UserID: "other", Email: email, FullName: first})
	b.ok(err)
	b.after(by.ImportRecords(ctx, vendor, store.RecordFulfilments, store.RecordBatch{ID: "issue-" + first[:1], Chain: []byte{1}, Rows: []store.RecordRow{
		{Record: &store.Fulfilment{ID: "f-" + first[:1], SKU: "paper", Status: "SENT", UserID: id}},
	}}))
	for _, event := range []hook.Action{
		{Event: "evt-" + email, Type: "sold", At: b.now(), Do: hook.Sell, Order: first[:1], Promo: "MONTH", Email: email},
		{Event: "evt-none-" + email, Type: "sold", At: b.now(), Do: hook.Sell, Order: email, Promo: "NONE", Email: email},
	} {
		b.after(b.ApplyHookEvent(ctx, vendor, testHook, event))
	}
}

// monthly makes a promo.
func (b *fixture) monthly() {
	b.Helper()
	b.after(b.CreatePromo(b.Context(), vendor, store.Promo{
		Code: "MONTH", Items: []store.ContractItem{{SKU: "news"}}, Duration: store.DurationRecurring, Interval: store.IntervalMonth,
	}))
}

// subscribed makes an endpoint that wants all events, so that they wait in its queue.
func (b *fixture) subscribed() {
	b.Helper()
	_, _, err := store.NewWebhooks(store.NewKeyring(b.Store, sealer(b.T, strings.Repeat("s", 40)))).CreateWebhook(b.Context(), b.Writer, vendor, store.Webhook{URL: "https://hook.example/"})
	b.ok(err)
}

// A person who has data in every kind of record is erased: neither their id nor their e-mail
// address nor their names are in any entry of the store afterwards, on both engines. What is
// kept of others is as it was.
func TestErasedPersonIsInNoRecord(t *testing.T) {
	onBoth(t, func(b *fixture) {
		ctx := b.Context()
		b.world("paper", "boss", "")
		b.staff("paper", "boss")
		b.after(b.CreateAgreement(ctx, vendor, store.Agreement{Slug: "terms", Title: "Terms"}))
		b.subscribed()
		b.monthly()
		b.person("kund-7", "greta.oest@example.com", "Gretaxa", "Oestxa")
		b.person("kund-70", "ann.lund@example.com", "Annxa", "Lundxa")
		b.ok(b.BuildIndexes(ctx))
		theirs := []string{"kund-7", "greta.oest@", "gretaxa", "oestxa"}
		if held := b.holding(theirs...); held != personal {
			b.Fatalf("the person is in records with %q, want %q: all kinds that keep something", held, personal)
		}
		var exported []string
		b.ok(b.ExportPerson(ctx, vendor, "kund-7", nil, func(r store.PersonalRecord) error {
			if !slices.Contains(exported, r.Kind) {
				exported = append(exported, r.Kind)
			}
			return nil
		}))
		counts, err := b.As(store.Actor{Name: "desk", Operation: "erase"}).Erase(ctx, vendor, "kund-7")
		b.ok(err)
		for _, kind := range exported {
			if counts[kind] == 0 {
				b.Errorf("%s are exported and not erased: %v", kind, counts)
			}
		}
		for kind := range counts {
			if !slices.Contains(exported, kind) {
				b.Errorf("%s are erased and not exported: %v", kind, exported)
			}
		}
		if held := b.holding(theirs...); held != "" {
			b.Errorf("after the erasure, records with %q hold something of the person", held)
		}
		if skus := b.skus(policy.Reader{UserID: "kund-7", Email: "greta.oest@example.com"}); skus != "" {
			b.Errorf("an erased reader has %s", skus)
		}
		if skus := b.skus(policy.Reader{UserID: "kund-70", Email: "ann.lund@example.com"}); !strings.Contains(skus, "news+") {
			b.Errorf("another reader has %q", skus)
		}
		if skus := b.skus(policy.Reader{UserID: "other"}); skus != strings.Join([]string{"shared+", "shared+", "family+", "family+"}, " ") {
			b.Errorf("the user whose grant and seat had the address has %q", skus)
		}
		if club, err := b.ProfileRecord(ctx, vendor, "club-G"); err != nil || club.Email != "" || club.FullName != "The club" {
			b.Errorf("the organization that had the address is %+v, %v", club, err)
		}
		again, err := b.ApplyHookEvent(ctx, vendor, testHook, hook.Action{
			Event: "evt-greta.oest@example.com", Type: "sold", At: b.now(), Do: hook.Sell, Order: "G", Promo: "MONTH", Email: "greta.oest@example.com",
		})
		if err != nil || again.Result != store.HookDuplicate {
			b.Errorf("an event of before the erasure is %+v, %v when it comes again, want a duplicate", again, err)
		}
		if held := b.holding(theirs...); held != "" {
			b.Errorf("after an event came again, records with %q hold something of the person", held)
		}
		b.after(b.ReaderRecord(ctx, vendor, "kund-70"))
		if tags, err := b.Engagements(ctx, vendor, "site"); err != nil || len(tags) != 1 || tags[0].Count != 2 {
			b.Errorf("the tags are %v, %v: their counts must stay", tags, err)
		}
		log, _, _, err := b.Audit(ctx, vendor, store.AuditQuery{})
		b.ok(err)
		if len(log) == 0 || log[0].Operation != "erase" || log[0].Actor != "desk" || !strings.Contains(string(log[0].Records[0].After), `"grants":2`) {
			b.Errorf("the newest audit entry is %+v", log[0])
		}
		second, err := b.Erase(ctx, vendor, "kund-7")
		b.ok(err)
		if len(second) != 0 {
			b.Errorf("a second erasure changed %v", second)
		}
		b.after(b.CreateReader(ctx, vendor, store.Reader{User: store.User{Slug: "kund-7"}}))
	})
}

// An erasure that is cut after any of its steps is continued by the next call, or by Sweep.
// Until then, the id is not used again.
func TestCutErasureContinues(t *testing.T) {
	for cut := 1; cut < 40; cut += 5 {
		b := newFixture(t)
		b.world("paper", "boss", "")
		b.staff("paper", "boss")
		b.after(b.CreateAgreement(b.Context(), vendor, store.Agreement{Slug: "terms", Title: "Terms"}))
		b.monthly()
		b.person("kund-7", "greta.oest@example.com", "Gretaxa", "Oestxa")
		writer := store.New(&cutEngine{Engine: b.engine, left: cut}, b.versions, b.now).As(store.Actor{Name: "desk", Operation: "erase"})
		if _, err := writer.Erase(b.Context(), vendor, "kund-7"); err == nil {
			break
		} else if !errors.Is(err, errCut) {
			t.Fatal(err)
		}
		_, err := b.CreateReader(b.Context(), vendor, store.Reader{User: store.User{Slug: "kund-7"}})
		if !errors.Is(err, store.ErrReserved) && !errors.Is(err, store.ErrExists) {
			b.Fatalf("cut after %d steps, the id is used again: %v", cut, err)
		}
		if cut%2 == 0 {
			b.after(b.Sweep(b.Context()))
		} else {
			b.after(b.Erase(b.Context(), vendor, "kund-7"))
		}
		if held := b.holding("kund-7", "greta.oest@", "gretaxa", "oestxa"); held != "" {
			b.Fatalf("cut after %d steps and continued, records with %q hold something of the person", cut, held)
		}
	}
}

// after wants that something succeeded that also returns what is not used.
func (b *fixture) after(_ any, err error) {
	b.Helper()
	b.ok(err)
}
