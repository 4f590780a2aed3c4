package store_test

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store"
)

// atOnce calls do from many goroutines at the same time.
func atOnce(n int, do func(i int)) {
	var wait sync.WaitGroup
	for i := range n {
		wait.Go(func() { do(i) })
	}
	wait.Wait()
}

// eachStore runs a test on both engines, on the shared one with two nodes.
func eachStore(t *testing.T, test func(b *fixture, nodes [2]store.Writer)) {
	for name, start := range map[string]func(*testing.T) (*fixture, [2]store.Writer){"bolt": oneNode, "Redis": twoNodes} {
		t.Run(name, func(t *testing.T) {
			b, nodes := start(t)
			test(b, nodes)
		})
	}
}

func (b *fixture) promo(p store.Promo) store.Promo {
	b.Helper()
	if p.Items == nil {
		p.Items = []store.ContractItem{{SKU: "premium"}}
	}
	if p.Duration == "" {
		p.Duration, p.Interval = store.DurationRecurring, store.IntervalMonth
	}
	made, err := b.CreatePromo(b.Context(), vendor, p)
	b.ok(err)
	return made
}

// Sellers send each order several times at once, at two nodes, half of them as confirmed: each
// order has one contract, all answers name it, and one of them is the new one. The promo is
// sold exactly as often as it may be, and the count is that of the contracts.
func TestOneContractAnOrder(t *testing.T) {
	eachStore(t, func(b *fixture, nodes [2]store.Writer) {
		const orders, may, copies = 12, 8, 6
		b.promo(store.Promo{Code: "code", MaxContracts: may})
		var created, full atomic.Int64
		var ledger sync.Map
		atOnce(orders*copies, func(i int) {
			order := fmt.Sprint("order-", i%orders)
			made, isNew, err := nodes[i%2].Sell(b.Context(), vendor, store.Sale{
				Promo: "code", Seller: "telecom", OrderID: order, Payer: store.Party{Email: order + "@example.org"}, Confirm: i%3 == 0,
			})
			var promo *store.PromoError
			switch {
			case errors.As(err, &promo) && promo.Problem == store.PromoUsedUp:
				full.Add(1)
				return
			case err != nil:
				b.Errorf("an order: %v", err)
				return
			}
			if isNew {
				created.Add(1)
			}
			if other, known := ledger.LoadOrStore(order, made.ID); known && other != made.ID {
				b.Errorf("%s has the contracts %s and %s", order, other, made.ID)
			}
		})
		sold, err := b.PromoSold(b.Context(), vendor, "code")
		b.ok(err)
		count, err := b.ListContracts(vendor, store.ContractQuery{}).Count(b.Context())
		b.ok(err)
		if created.Load() != may || sold != may || count != may || full.Load() == 0 {
			b.Errorf("created %d, counted %d, stored %d, refused %d: want %d of each, and some refused", created.Load(), sold, count, full.Load(), may)
		}
	})
}

// Confirmations, cancellations and renewals of one contract arrive at once at two nodes. Each
// is done or refused as if they had come one after the other: once a cancellation at once is
// acknowledged the contract is over, a renewal that is told many times is one, and the
// confirmation happened once.
func TestChangesOfOneContractAtOnce(t *testing.T) {
	eachStore(t, func(b *fixture, nodes [2]store.Writer) {
		b.promo(store.Promo{Code: "code"})
		sold, _, err := b.Sell(b.Context(), vendor, store.Sale{Promo: "code", Seller: "s", OrderID: "1", Payer: store.Party{UserID: "u"}})
		b.ok(err)
		atOnce(8, func(i int) {
			_, err := nodes[i%2].ConfirmContract(b.Context(), vendor, "code", "", sold.ID, nil)
			if err != nil {
				b.Errorf("confirm: %v", err)
			}
		})
		confirmed, err := b.ContractRecord(b.Context(), vendor, sold.ID)
		b.ok(err)
		atOnce(8, func(i int) {
			_, err := nodes[i%2].RenewContract(b.Context(), vendor, sold.ID, store.Renewal{Reference: "bill-7"}, nil)
			if err != nil {
				b.Errorf("renew: %v", err)
			}
		})
		renewed, err := b.ContractRecord(b.Context(), vendor, sold.ID)
		b.ok(err)
		if want := b.clock.AddDate(0, 2, 0); !confirmed.EndsAt.Equal(b.clock.AddDate(0, 1, 0)) || !renewed.EndsAt.Equal(want) {
			b.Errorf("it ended at %v and ends at %v, want %v", confirmed.EndsAt, renewed.EndsAt, want)
		}
		atOnce(12, func(i int) {
			w := nodes[i%2]
			if i%3 > 0 {
				_, err := w.RenewContract(b.Context(), vendor, sold.ID, store.Renewal{Resume: true}, nil)
				if err != nil && !errors.Is(err, store.ErrContractEnded) {
					b.Errorf("renew: %v", err)
				}
				return
			}
			if _, err := w.CancelContract(b.Context(), vendor, sold.ID, store.Cancellation{}, nil); err != nil {
				b.Errorf("cancel: %v", err)
			}
			if got := b.skus(policy.Reader{UserID: "u"}); got != "" {
				b.Errorf("after an acknowledged cancellation the owner has %q", got)
			}
		})
		if last, err := b.ContractRecord(b.Context(), vendor, sold.ID); err != nil || last.Status(b.clock) != store.StatusCanceled {
			b.Errorf("in the end the contract is %s, %v", last.Status(b.clock), err)
		}
	})
}

// A university has 20 seats. Many more readers ask for one at once, at two nodes, and some of
// them twice: exactly 20 have one, and those have one each. As seats are withdrawn and assigned
// at once, the count stays that of the seats.
func TestSeatsAreExactAtOnce(t *testing.T) {
	eachStore(t, func(b *fixture, nodes [2]store.Writer) {
		const seats, readers = 20, 30
		b.promo(store.Promo{Code: "code", Items: []store.ContractItem{{SKU: "premium", Seats: seats}}})
		sold, _, err := b.Sell(b.Context(), vendor, store.Sale{Promo: "code", Payer: store.Party{Email: "library@example.edu"}, Confirm: true})
		b.ok(err)
		var created, refused atomic.Int64
		atOnce(2*readers, func(i int) {
			_, added, err := nodes[i%2].AddSeat(b.Context(), vendor, sold.ID, store.Seat{Email: fmt.Sprintf("Reader-%d@example.edu", i%readers)})
			switch {
			case errors.Is(err, store.ErrSeatsTaken):
				refused.Add(1)
			case err != nil:
				b.Errorf("assign: %v", err)
			case added.Created:
				created.Add(1)
			}
		})
		b.seatsAre(sold.ID, seats)
		if created.Load() != seats || refused.Load() == 0 {
			b.Errorf("%d seats were given, want %d; %d calls were refused", created.Load(), seats, refused.Load())
		}
		var held []store.Seat
		for seat, err := range b.ListSeats(vendor, sold.ID).All(b.Context()) {
			b.ok(err)
			held = append(held, seat)
		}
		atOnce(20, func(i int) {
			var err error
			if i%2 == 0 {
				_, err = nodes[i/2%2].RemoveSeat(b.Context(), vendor, sold.ID, held[i].ID)
			} else {
				_, _, err = nodes[i/2%2].AddSeat(b.Context(), vendor, sold.ID, store.Seat{UserID: fmt.Sprint("late-", i)})
			}
			if err != nil && !errors.Is(err, store.ErrSeatsTaken) {
				b.Errorf("change: %v", err)
			}
		})
		changed, err := b.ContractRecord(b.Context(), vendor, sold.ID)
		b.ok(err)
		b.seatsAre(sold.ID, changed.SeatsTaken)
		if changed.SeatsTaken > seats {
			b.Errorf("%d of %d seats are taken", changed.SeatsTaken, seats)
		}
	})
}

// seatsAre wants a contract to have and to count a number of taken seats.
func (b *fixture) seatsAre(contract string, want int) {
	b.Helper()
	found, err := b.ContractRecord(b.Context(), vendor, contract)
	b.ok(err)
	count, err := b.ListSeats(vendor, contract).Count(b.Context())
	b.ok(err)
	if count != want || found.SeatsTaken != want {
		b.Errorf("%d seats are stored and %d counted, want %d", count, found.SeatsTaken, want)
	}
}
