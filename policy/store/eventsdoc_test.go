package store_test

import (
	"encoding/json"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/gatefold/gatefold/policy/store"
)

// documentedTypes returns the types of events that the table of docs/webhooks.md has. In a
// cell, prefixes such as `user.` have the verbs that stand beside them.
func documentedTypes(t *testing.T, text string) []string {
	t.Helper()
	_, table, found := strings.Cut(text, "\n| type | when |\n|---|---|\n")
	if !found {
		t.Fatal("docs/webhooks.md has no table of types")
	}
	table, _, _ = strings.Cut(table, "\n\n")
	var types, kinds []string
	for line := range strings.Lines(table) {
		cell, _, _ := strings.Cut(strings.TrimPrefix(line, "| "), " | ")
		var prefixes, verbs []string
		for _, quoted := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(cell, -1) {
			switch name := quoted[1]; {
			case strings.HasSuffix(name, "."):
				prefixes = append(prefixes, name)
			case strings.HasPrefix(name, "."):
				for _, kind := range kinds {
					types = append(types, kind+name)
				}
			case strings.Contains(name, "."):
				types = append(types, name)
			default:
				verbs = append(verbs, name)
			}
		}
		for _, prefix := range prefixes {
			for _, verb := range verbs {
				types = append(types, prefix+verb)
			}
		}
		for _, name := range types {
			if kind, _, _ := strings.Cut(name, "."); kind != "webhook" && !slices.Contains(kinds, kind) {
				kinds = append(kinds, kind)
			}
		}
	}
	slices.Sort(types)
	return slices.Compact(types)
}

// Every type of events in the code is in the document, and the document has no other.
func TestDocumentHasEveryTypeOfEvents(t *testing.T) {
	text, err := os.ReadFile("../../docs/webhooks.md")
	if err != nil {
		t.Fatal(err)
	}
	has, want := documentedTypes(t, string(text)), store.EventTypes()
	for _, name := range want {
		if !slices.Contains(has, name) {
			t.Errorf("docs/webhooks.md lacks %s", name)
		}
	}
	for _, name := range has {
		if !slices.Contains(want, name) {
			t.Errorf("docs/webhooks.md has %s, which is no type of events", name)
		}
	}
}

// volatile are the ids and times of a run.
var volatile = regexp.MustCompile(`[0-9a-f]{32}|20\d\d-\d\d-\d\dT[0-9:.]+Z|(seat|hook|po)_[0-9a-z]+`)

// comparableEvent returns JSON with its ids and times replaced.
func comparableEvent(t *testing.T, text string) any {
	t.Helper()
	var value any
	if err := json.Unmarshal([]byte(volatile.ReplaceAllString(text, "*")), &value); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return value
}

// The examples of docs/webhooks.md are the events that a sale, a seat, a bill and a payment
// make, member by member.
func TestDocumentedEvents(t *testing.T) {
	b := newFixture(t)
	ctx := b.Context()
	webhooks := store.NewWebhooks(store.NewKeyring(b.Store, sealer(t, strings.Repeat("s", 40))))
	endpoint, _, err := webhooks.CreateWebhook(ctx, b.Writer, vendor, store.Webhook{URL: "https://hook.example/"})
	b.ok(err)
	b.after(b.CreatePromo(ctx, vendor, store.Promo{
		Code: "BUNDLE", Name: "News with your phone", Items: []store.ContractItem{{SKU: "news", Seats: 2}}, Duration: store.DurationRecurring, Interval: store.IntervalMonth,
		Price: "9.90", Currency: "SEK",
	}))
	sold, _, err := b.Sell(ctx, vendor, store.Sale{
		Promo: "BUNDLE", Seller: "client_telecom", OrderID: "order-4711", Payer: store.Party{Email: "ann@example.com", FullName: "Ann Lee"}, Confirm: true,
		PaymentProvider: "SESAMY", PaymentMethod: "EXTERNAL",
	})
	b.ok(err)
	_, _, err = b.AddSeat(ctx, vendor, sold.ID, store.Seat{Email: "ben@example.com", FullName: "Ben Lee"})
	b.ok(err)
	b.after(b.PutBill(ctx, vendor, store.Bill{ID: "bill-1", ContractID: sold.ID, UserID: "ann", Items: []store.BillItem{{SKU: "news"}}, Price: "9.90", Currency: "SEK", Status: "PAID"}, nil))
	b.after(b.PutTransaction(ctx, vendor, store.Transaction{ID: "paid-1", BillID: "bill-1", ContractID: sold.ID, UserID: "ann", Amount: "9.90", Currency: "SEK"}, nil))
	waiting, err := b.Deliveries(ctx, vendor, endpoint.ID, store.DeliveryWaiting, 100)
	b.ok(err)
	made := map[string]string{}
	for _, d := range waiting {
		made[d.Type] = string(d.Body)
	}
	text, err := os.ReadFile("../../docs/webhooks.md")
	b.ok(err)
	blocks := map[string]string{}
	for _, block := range regexp.MustCompile("(?ms)^```json event\n(.*?)^```$").FindAllStringSubmatch(string(text), -1) {
		var event struct{ Type string }
		b.ok(json.Unmarshal([]byte(block[1]), &event))
		blocks[event.Type] = block[1]
	}
	for _, name := range []string{"promo.created", "contract.confirmed", "seat.created", "bill.created", "transaction.created"} {
		switch {
		case blocks[name] == "":
			t.Errorf("docs/webhooks.md has no example of %s: %s", name, made[name])
		case !reflect.DeepEqual(comparableEvent(t, blocks[name]), comparableEvent(t, made[name])):
			t.Errorf("docs/webhooks.md has\n%s\nand the event is\n%s", blocks[name], made[name])
		}
	}
}
