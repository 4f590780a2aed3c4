package store_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store"
)

// A seller sends its bills twice, and in another order: the second time changes nothing, not
// even the times. They are found by what they name, the newest first, and a page goes on
// where the last one ended while others are sent.
func TestBillsOfASeller(t *testing.T) {
	onEachEngine(t, testBillsOfASeller)
}

func testBillsOfASeller(b *fixture) {
	day := func(n int) time.Time { return time.Date(2027, 1, n, 9, 0, 0, 0, time.UTC) }
	send := func() {
		for i := range 6 {
			_, err := b.PutBill(b.Context(), vendor, store.Bill{
				ID: fmt.Sprintf("b%d", i), ContractID: fmt.Sprintf("c%d", i%2), UserID: "ann", Price: "99.90", Status: []string{"PAID", "OVERDUE"}[i/3], CreatedAt: day(1 + i),
			}, nil)
			b.ok(err)
		}
	}
	send()
	first, err := b.BillRecord(b.Context(), vendor, "b3")
	b.ok(err)
	b.moveClock(time.Hour)
	send()
	if again, err := b.BillRecord(b.Context(), vendor, "b3"); err != nil || !again.UpdatedAt.Equal(first.UpdatedAt) || !again.CreatedAt.Equal(day(4)) {
		b.Errorf("a bill that is sent again was changed: %+v, %v", again, err)
	}
	ids := func(query store.BillQuery, page store.Page) (found []string) {
		bills, _, err := b.FindBills(b.Context(), vendor, query, page)
		b.ok(err)
		for _, bill := range bills {
			found = append(found, bill.ID)
		}
		return found
	}
	for _, test := range []struct {
		query store.BillQuery
		want  []string
	}{
		{store.BillQuery{}, []string{"b5", "b4", "b3", "b2", "b1", "b0"}},
		{store.BillQuery{ContractID: "c1"}, []string{"b5", "b3", "b1"}},
		{store.BillQuery{ContractID: "c1", Status: "PAID"}, []string{"b1"}},
		{store.BillQuery{Status: "OVERDUE"}, []string{"b5", "b4", "b3"}},
		{store.BillQuery{UserID: "ann", From: day(2), To: day(4)}, []string{"b2", "b1"}},
		{store.BillQuery{UserID: "bob"}, nil},
		{store.BillQuery{Text: "B4"}, []string{"b4"}},
	} {
		if got := ids(test.query, store.Page{}); !slices.Equal(got, test.want) {
			b.Errorf("%+v finds %v, want %v", test.query, got, test.want)
		}
	}
	page := ids(store.BillQuery{}, store.Page{Limit: 2})
	_, err = b.PutBill(b.Context(), vendor, store.Bill{ID: "new", Price: "1", Status: "DRAFT", CreatedAt: day(20)}, nil)
	b.ok(err)
	if page = append(page, ids(store.BillQuery{}, store.Page{Limit: 2, From: page[1]})...); !slices.Equal(page, []string{"b5", "b4", "b3", "b2"}) {
		b.Errorf("the pages are %v", page)
	}
	_, _, err = b.FindBills(b.Context(), vendor, store.BillQuery{}, store.Page{From: "nothing"})
	b.names(err, "from")

	// A bill that moves to another contract and state is found there only.
	_, err = b.PutBill(b.Context(), vendor, store.Bill{ID: "b5", ContractID: "c9", Price: "99.90", Status: "VOIDED"}, nil)
	b.ok(err)
	if got := ids(store.BillQuery{ContractID: "c1"}, store.Page{}); !slices.Equal(got, []string{"b3", "b1"}) {
		b.Errorf("the contract has %v", got)
	}
	if got := ids(store.BillQuery{Status: "VOIDED"}, store.Page{}); !slices.Equal(got, []string{"b5"}) {
		b.Errorf("voided are %v", got)
	}
	if other, _, err := b.FindBills(b.Context(), "other", store.BillQuery{}, store.Page{}); err != nil || len(other) != 0 {
		b.Errorf("another vendor has %v, %v", other, err)
	}
}

// Bills say what is owed: they change no contract.
func TestBillsChangeNoContract(t *testing.T) {
	b := newFixture(t)
	ann := &policy.Reader{UserID: "ann"}
	shared, reader := b.versions.Shared(), b.versions.Reader(vendor, ann)
	for _, status := range []string{"OVERDUE", "VOIDED", "CANCELED"} {
		_, err := b.PutBill(t.Context(), vendor, store.Bill{ID: "b", ContractID: "c", UserID: "ann", Price: "9", Status: status}, nil)
		b.ok(err)
	}
	if b.versions.Shared() != shared || b.versions.Reader(vendor, ann) != reader {
		t.Error("a bill makes decisions stale")
	}
	for field, bill := range map[string]store.Bill{
		"price":        {ID: "b", Price: "1e3", Status: "PAID"},
		"status":       {ID: "b", Price: "1", Status: "paid"},
		"id":           {Price: "1", Status: "PAID"},
		"createdAt":    {ID: "b", Price: "1", Status: "PAID", CreatedAt: time.Date(1950, 1, 1, 0, 0, 0, 0, time.UTC)},
		"items[0].sku": {ID: "b", Price: "1", Status: "PAID", Items: []store.BillItem{{Title: "x"}}},
	} {
		_, err := b.PutBill(t.Context(), vendor, bill, nil)
		b.names(err, field)
	}
}
