package store_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store"
)

// sell sells one contract of the promo "code" to a payer.
func (b *fixture) sell(order string, payer store.Party, confirm bool) store.Contract {
	b.Helper()
	made, _, err := b.Sell(b.Context(), vendor, store.Sale{Promo: "code", Seller: "telecom", OrderID: order, Payer: payer, Confirm: confirm})
	b.ok(err)
	return made
}

// A telecom sells a bundle to a reader of whom it knows the address, as they typed it. It gives
// nothing before it is confirmed, is read by the verified address from then on, and ends after
// a month without a job.
func TestSaleToAnAddress(t *testing.T) {
	b := newFixture(t)
	b.promo(store.Promo{Code: "code", Items: []store.ContractItem{{SKU: "premium"}, {SKU: "archive"}}, Keeps: []string{"birthday"}})
	payer := store.Party{Email: " Ada@Example.ORG ", Gender: "female", Birthday: "1985-12-10", VATNumber: "SE1"}
	sold := b.sell("1", payer, false)
	reader := policy.Reader{Email: "ada@example.org"}
	if got := b.skus(reader); got != "" || sold.Status(b.clock) != store.StatusUnconfirmed {
		t.Errorf("an unconfirmed contract is %s and gives %s", sold.Status(b.clock), got)
	}
	b.clock = b.clock.Add(time.Hour)
	confirmed, err := b.ConfirmContract(t.Context(), vendor, "code", "", sold.ID, map[string]string{"reference": "pay-1"})
	b.ok(err)
	if got := b.skus(reader); got != "premium+ archive+" || !confirmed.EndsAt.Equal(b.clock.AddDate(0, 1, 0)) {
		t.Errorf("a confirmed contract ends at %v and gives %s", confirmed.EndsAt, got)
	}
	again, err := b.ConfirmContract(t.Context(), vendor, "code", "", sold.ID, map[string]string{"reference": "pay-2"})
	b.ok(err)
	if again.ProviderPaymentData["reference"] != "pay-1" || !again.UpdatedAt.Equal(confirmed.UpdatedAt) {
		t.Errorf("a second confirmation changed it: %+v", again)
	}
	for _, p := range []store.Party{again.Owner, again.Payer} {
		if p.Gender != "" || p.VATNumber != "" || p.Birthday != "1985-12-10" || p.Email != "Ada@Example.ORG" {
			t.Errorf("what is kept of a party: %+v", p)
		}
	}
	b.clock = confirmed.EndsAt.Add(-time.Millisecond)
	if !again.Active(b.clock) || b.skus(reader) == "" {
		t.Error("it ended early")
	}
	b.clock = *confirmed.EndsAt
	if again.Active(b.clock) || b.skus(reader) != "" || again.Status(b.clock) != store.StatusExpired {
		t.Errorf("at its end it is %s and gives %s", again.Status(b.clock), b.skus(reader))
	}
	_, err = b.ConfirmContract(t.Context(), vendor, "code", "", sold.ID, nil)
	b.is(err, store.ErrContractEnded)
	_, err = b.ConfirmContract(t.Context(), vendor, "other", "", sold.ID, nil)
	b.is(err, store.ErrNotFound)
}

// A company pays for a reader: the owner reads, by their user id once that is known,
// and the payer does not.
func TestOwnerIsNotThePayer(t *testing.T) {
	b := newFixture(t)
	b.promo(store.Promo{Code: "code"})
	sold, _, err := b.Sell(t.Context(), vendor, store.Sale{
		Promo: "code", Payer: store.Party{Email: "company@example.org"}, Owner: store.Party{Email: "ada@example.org"}, Confirm: true,
	})
	b.ok(err)
	have := func() string {
		return fmt.Sprintf("company %q address %q id %q other %q", b.skus(policy.Reader{Email: "company@example.org"}), b.skus(policy.Reader{Email: "ada@example.org"}),
			b.skus(policy.Reader{UserID: "ada", Email: "moved@example.org"}), b.skus(policy.Reader{UserID: "other", Email: "ada@example.org"}))
	}
	if got := have(); got != `company "" address "premium+" id "" other "premium+"` {
		t.Error(got)
	}
	_, err = b.TransferContract(t.Context(), vendor, sold.ID, store.Party{UserID: "ada", Email: "ada@example.org"}, nil)
	b.ok(err)
	if got := have(); got != `company "" address "" id "premium+" other ""` {
		t.Errorf("with a user id: %s", got)
	}
}

// Sales that a promo does not make name the reason, and store nothing.
func TestPromoRefuses(t *testing.T) {
	b := newFixture(t)
	past, later := b.clock.Add(-time.Hour), b.clock.Add(time.Hour)
	b.promo(store.Promo{Code: "code", Providers: []string{"SESAMY"}, Methods: []string{"INVOICE"}, MaxQuantity: 2, Sellers: []string{"telecom"}})
	b.promo(store.Promo{Code: "over", ValidUntil: &past})
	b.promo(store.Promo{Code: "early", ValidFrom: &later})
	b.promo(store.Promo{Code: "ended", Ended: true})
	for name, c := range map[string]struct {
		change  func(*store.Sale)
		problem store.PromoProblem
		field   string
	}{
		"unknown":        {func(s *store.Sale) { s.Promo = "none" }, store.PromoUnknown, ""},
		"another seller": {func(s *store.Sale) { s.Seller = "other" }, store.PromoUnknown, ""},
		"over":           {func(s *store.Sale) { s.Promo = "over" }, store.PromoEnded, ""},
		"early":          {func(s *store.Sale) { s.Promo = "early" }, store.PromoNotYet, ""},
		"ended":          {func(s *store.Sale) { s.Promo = "ended" }, store.PromoEnded, ""},
		"provider":       {func(s *store.Sale) { s.PaymentProvider = "KLARNA" }, store.PromoProvider, "paymentProvider"},
		"method":         {func(s *store.Sale) { s.PaymentMethod = "" }, store.PromoMethod, "paymentMethod"},
		"quantity":       {func(s *store.Sale) { s.Quantity = 3 }, store.PromoQuantity, "quantity"},
		"less than none": {func(s *store.Sale) { s.Quantity = -1 }, store.PromoQuantity, "quantity"},
		"no owner":       {func(s *store.Sale) { s.Payer = store.Party{FullName: "Ada"} }, "", "ownerData.email"},
		"two addresses":  {func(s *store.Sale) { s.Owner.Email = "a@b@example.org" }, "", "ownerData.email"},
		"payer":          {func(s *store.Sale) { s.Payer.InvoiceEmail = "none" }, "", "userData.invoiceEmail"},
		"data":           {func(s *store.Sale) { s.VendorData = map[string]string{"a": strings.Repeat("x", 9000)} }, "", "vendorData"},
	} {
		sale := store.Sale{Promo: "code", Seller: "telecom", OrderID: name, PaymentProvider: "SESAMY", PaymentMethod: "INVOICE", Payer: store.Party{UserID: "u"}, Owner: store.Party{UserID: "u"}}
		if name == "no owner" {
			sale.Owner = store.Party{}
		}
		c.change(&sale)
		_, _, err := b.Sell(t.Context(), vendor, sale)
		promo, ok := errors.AsType[*store.PromoError](err)
		if ok != (c.problem != "") || ok && promo.Problem != c.problem {
			t.Errorf("%s: %v", name, err)
		}
		if c.field != "" {
			b.names(err, c.field)
		}
	}
	if count, err := b.ListContracts(vendor, store.ContractQuery{}).Count(t.Context()); err != nil || count != 0 {
		t.Errorf("%d contracts are stored, %v", count, err)
	}
	for _, code := range []string{"code", "over"} {
		if sold, err := b.PromoSold(t.Context(), vendor, code); err != nil || sold != 0 {
			t.Errorf("%s counts %d, %v", code, sold, err)
		}
	}
}

// Two sellers have an order of the same id: each has a contract of its own. A seller's own
// order with other content is refused, and names the contract that it has.
func TestOrdersDoNotMeet(t *testing.T) {
	b := newFixture(t)
	b.promo(store.Promo{Code: "code"})
	first := b.sell("1", store.Party{UserID: "u"}, false)
	other, created, err := b.Sell(t.Context(), vendor, store.Sale{Promo: "code", Seller: "kiosk", OrderID: "1", Payer: store.Party{UserID: "v"}})
	b.ok(err)
	if !created || other.ID == first.ID {
		t.Errorf("another seller's order is %s, created %v", other.ID, created)
	}
	_, _, err = b.Sell(t.Context(), vendor, store.Sale{Promo: "code", Seller: "telecom", OrderID: "1", Payer: store.Party{UserID: "v"}, Confirm: true})
	conflict, ok := errors.AsType[*store.OrderConflictError](err)
	if !ok || conflict.Contract != first.ID {
		t.Errorf("an order with other content: %v", err)
	}
	if got := b.skus(policy.Reader{UserID: "v"}) + b.skus(policy.Reader{UserID: "u"}); got != "" {
		t.Errorf("a refused order gave %s", got)
	}
	if again := b.sell("1", store.Party{UserID: "u"}, true); again.ID != first.ID || b.skus(policy.Reader{UserID: "u"}) != "premium+" {
		t.Errorf("the same order with a confirmation is %s, want %s", again.ID, first.ID)
	}
	_, err = b.CancelContract(t.Context(), vendor, first.ID, store.Cancellation{}, nil)
	b.ok(err)
	if again := b.sell("1", store.Party{UserID: "u"}, true); again.ID != first.ID || b.skus(policy.Reader{UserID: "u"}) != "" {
		t.Errorf("the order of a canceled contract opened it again: %s", again.Status(b.clock))
	}
}

// A contract that began on the 31st is renewed to the last days of the months, and one that
// is to end with its period ends with the new one unless the renewal takes that back.
func TestRenewal(t *testing.T) {
	b := newFixture(t)
	b.clock = time.Date(2027, 1, 31, 9, 0, 0, 0, time.UTC)
	b.promo(store.Promo{Code: "code", Price: "9.90"})
	sold := b.sell("1", store.Party{UserID: "u"}, true)
	_, err := b.UpdateContract(t.Context(), vendor, sold.ID, func(c *store.Contract) error { c.NextPrice, c.State = "12.90", "CANCELED"; return nil })
	b.ok(err)
	_, err = b.CancelContract(t.Context(), vendor, sold.ID, store.Cancellation{AtPeriodEnd: true, Reason: "moved"}, nil)
	b.ok(err)
	got := ""
	for _, renewal := range []store.Renewal{{}, {Periods: 2}, {Resume: true}, {Reference: "a"}, {Reference: "a"}} {
		c, err := b.RenewContract(t.Context(), vendor, sold.ID, renewal, nil)
		b.ok(err)
		got += fmt.Sprint(c.EndsAt.Format("01-02 "), c.Status(b.clock), " ", c.WillCancelAt != nil && c.WillCancelAt.Equal(*c.EndsAt), " ", c.Price, "\n")
	}
	want := "03-31 CANCEL_REQUESTED true 12.90\n05-31 CANCEL_REQUESTED true 12.90\n06-30 ACTIVE false 12.90\n07-31 ACTIVE false 12.90\n07-31 ACTIVE false 12.90\n"
	if got != want {
		t.Errorf("renewals:\n%swant\n%s", got, want)
	}
	early := b.clock
	_, err = b.RenewContract(t.Context(), vendor, sold.ID, store.Renewal{EndsAt: &early}, nil)
	b.names(err, "expiresAt")
}

// A seat is that of one reader: the same address in capitals, or with the user id that is
// known now, has the seat it had. A total below the seats in use is refused with the surplus,
// and many seats are added together or not at all.
func TestSeats(t *testing.T) {
	b := newFixture(t)
	b.promo(store.Promo{Code: "code", Items: []store.ContractItem{{SKU: "premium", Seats: 3}, {SKU: "owners"}}, MaxQuantity: 2})
	sold, _, err := b.Sell(t.Context(), vendor, store.Sale{Promo: "code", Quantity: 2, Payer: store.Party{UserID: "owner"}, Confirm: true})
	b.ok(err)
	if sold.Seats != 6 {
		t.Errorf("%d seats, want 6", sold.Seats)
	}
	_, first, err := b.AddSeat(t.Context(), vendor, sold.ID, store.Seat{Email: "Ada@example.edu"})
	b.ok(err)
	_, same, err := b.AddSeat(t.Context(), vendor, sold.ID, store.Seat{Email: " ada@EXAMPLE.edu", UserID: "ada"})
	b.ok(err)
	if !first.Created || same.Created || same.ID != first.ID {
		t.Errorf("the seat again is %+v", same)
	}
	if got := b.skus(policy.Reader{Email: "ada@example.edu"}) + " / " + b.skus(policy.Reader{UserID: "owner"}); got != "premium+ / premium+ owners+" {
		t.Errorf("a seat and the owner have %s", got)
	}
	var many []store.Seat
	for i := range 6 {
		many = append(many, store.Seat{UserID: fmt.Sprint("u", i)})
	}
	_, _, err = b.AddSeats(t.Context(), vendor, sold.ID, many)
	if full, ok := errors.AsType[*store.SeatsError](err); !ok || full.Missing != 1 || full.Taken != 1 || b.skus(policy.Reader{UserID: "u0"}) != "" {
		t.Errorf("too many: %v", err)
	}
	many[2] = store.Seat{Email: "none"}
	_, _, err = b.AddSeats(t.Context(), vendor, sold.ID, many[:5])
	b.names(err, "[2].email")
	changed, added, err := b.AddSeats(t.Context(), vendor, sold.ID, slices.Delete(many, 2, 3))
	b.ok(err)
	if len(added) != 5 || changed.SeatsTaken != 6 {
		t.Errorf("added %d, taken %d", len(added), changed.SeatsTaken)
	}
	_, err = b.SetSeats(t.Context(), vendor, sold.ID, 4, nil)
	if few, ok := errors.AsType[*store.SeatsError](err); !ok || few.Missing != 2 {
		t.Errorf("fewer seats than are taken: %v", err)
	}
	_, err = b.RemoveSeat(t.Context(), vendor, sold.ID, first.ID)
	b.ok(err)
	if got := b.skus(policy.Reader{Email: "ada@example.edu"}); got != "" {
		t.Errorf("a withdrawn seat gives %s", got)
	}
	_, err = b.RemoveSeat(t.Context(), vendor, sold.ID, first.ID)
	b.is(err, store.ErrNotFound)
	b.seatsAre(sold.ID, 5)
	found, _, err := b.FindSeats(t.Context(), vendor, sold.ID, "U4", store.Page{})
	if err != nil || len(found) != 1 || found[0].UserID != "u4" {
		t.Errorf("found %+v, %v", found, err)
	}
}

// Contracts are found by what a back office has at hand, the newest first, and a page is the
// same while others are sold.
func TestFindContracts(t *testing.T) {
	b := newFixture(t)
	b.promo(store.Promo{Code: "code"})
	b.promo(store.Promo{Code: "late", Items: []store.ContractItem{{SKU: "archive"}}})
	var ids []string
	add := func(promo, order string, owner store.Party) {
		b.clock = b.clock.Add(time.Second)
		made, _, err := b.Sell(t.Context(), vendor, store.Sale{Promo: promo, Seller: "s-" + order, OrderID: order, Payer: store.Party{Email: "Payer@example.org"}, Owner: owner, Confirm: promo == "code"})
		b.ok(err)
		ids = append(ids, made.ID)
	}
	add("code", "0", store.Party{UserID: "u", FullName: "Ada Lovelace"})
	add("code", "1", store.Party{Email: "B@example.org"})
	add("late", "2", store.Party{UserID: "u"})
	for name, c := range map[string]struct {
		query store.ContractQuery
		want  string
	}{
		"all":    {store.ContractQuery{}, "210"},
		"user":   {store.ContractQuery{UserID: "u"}, "20"},
		"mail":   {store.ContractQuery{Email: "b@EXAMPLE.org"}, "1"},
		"payer":  {store.ContractQuery{Email: "payer@example.org"}, ""},
		"paid":   {store.ContractQuery{PayerEmail: "payer@EXAMPLE.org"}, "210"},
		"sku":    {store.ContractQuery{SKU: "premium"}, "10"},
		"promo":  {store.ContractQuery{Promo: "late"}, "2"},
		"status": {store.ContractQuery{Status: store.StatusUnconfirmed}, "2"},
		"seller": {store.ContractQuery{Seller: "s-1"}, "1"},
		"order":  {store.ContractQuery{OrderID: "1", UserID: "u"}, ""},
		"name":   {store.ContractQuery{Text: "ada l"}, "0"},
		"pays":   {store.ContractQuery{Text: "PAYER@example.org"}, "210"},
		"begins": {store.ContractQuery{Text: "b@ex"}, "1"},
		"id":     {store.ContractQuery{Text: ids[1]}, "1"},
	} {
		got := ""
		for from := ""; ; {
			page, next, err := b.FindContracts(t.Context(), vendor, c.query, store.Page{Limit: 1, From: from})
			b.ok(err)
			for _, found := range page {
				got += found.OrderID
			}
			if from = next; next == "" {
				break
			}
		}
		if got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
	page, next, err := b.FindContracts(t.Context(), vendor, store.ContractQuery{}, store.Page{Limit: 1})
	b.ok(err)
	add("code", "3", store.Party{UserID: "new"})
	rest, _, err := b.FindContracts(t.Context(), vendor, store.ContractQuery{}, store.Page{From: next})
	b.ok(err)
	if page[0].OrderID != "2" || len(rest) != 2 || rest[0].OrderID != "1" {
		t.Errorf("a page moved while a contract was sold: %+v", rest)
	}
	_, _, err = b.FindContracts(t.Context(), vendor, store.ContractQuery{}, store.Page{From: "7"})
	b.names(err, "from")
}

// A contract is kept for 400 days after its end, and so long the same order has it. Then it is
// removed with its seats, its order and its index, and nothing else is.
func TestSweepContracts(t *testing.T) {
	b := newFixture(t)
	b.promo(store.Promo{Code: "code", Items: []store.ContractItem{{SKU: "premium", Seats: 600}}})
	b.promo(store.Promo{Code: "plain"})
	abandoned, _, err := b.Sell(t.Context(), vendor, store.Sale{Promo: "plain", Seller: "telecom", OrderID: "2", Payer: store.Party{UserID: "v"}})
	b.ok(err)
	sold := b.sell("1", store.Party{UserID: "u"}, true)
	for i := range 2 {
		var seats []store.Seat
		for j := range 300 {
			seats = append(seats, store.Seat{UserID: fmt.Sprint(i, "-", j)})
		}
		_, _, err := b.AddSeats(t.Context(), vendor, sold.ID, seats)
		b.ok(err)
	}
	for _, at := range []time.Time{abandoned.AbandonAt.Add(399 * 24 * time.Hour), sold.EndsAt.Add(400 * 24 * time.Hour)} {
		b.clock = at
		_, err = b.Sweep(t.Context())
		b.ok(err)
		if again := b.sell("1", store.Party{UserID: "u"}, true); again.ID != sold.ID && at.Before(sold.EndsAt.Add(400*24*time.Hour)) {
			t.Fatalf("at %v the order was forgotten", at)
		}
	}
	b.clock = b.clock.Add(24 * time.Hour)
	_, err = b.Sweep(t.Context())
	b.ok(err)
	for _, id := range []string{sold.ID, abandoned.ID} {
		_, err := b.ContractRecord(t.Context(), vendor, id)
		b.is(err, store.ErrNotFound)
	}
	b.seatsGone(sold.ID)
	if fresh, err := b.OrderContract(t.Context(), vendor, "telecom", "1"); err != nil || fresh.ID == sold.ID {
		t.Errorf("the order has %s, %v", fresh.ID, err)
	}
}

func (b *fixture) seatsGone(contract string) {
	b.Helper()
	if count, err := b.ListSeats(vendor, contract).Count(b.Context()); err != nil || count != 0 {
		b.Errorf("%d seats are left, %v", count, err)
	}
	for i := range 2 {
		if records, err := b.ReaderRecords(b.Context(), vendor, policy.Reader{UserID: fmt.Sprint(i, "-7")}); err != nil || len(records.Contracts) > 0 {
			b.Errorf("the index has %v, %v", records.Contracts, err)
		}
	}
}
