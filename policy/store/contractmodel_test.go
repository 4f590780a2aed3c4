package store_test

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store"
	"github.com/gatefold/gatefold/policy/store/redisengine"
	"github.com/gatefold/gatefold/policy/store/redisengine/redistest"
)

// modelled is what a contract is by the table of docs/contracts.md, without the store.
type modelled struct {
	id, owner               string
	confirmed, cancelled    bool
	cancelAtEnd             bool
	abandons, ends, cancels time.Time
	content                 string
	seats                   int
	holders                 map[string]bool
	references              map[string]bool
}

func (m *modelled) status(now time.Time) string {
	over := func(at time.Time) bool { return !at.IsZero() && !at.After(now) }
	switch {
	case m.cancelled, m.confirmed && over(m.cancels):
		return "CANCELED"
	case !m.confirmed && over(m.abandons):
		return "ABANDONED"
	case !m.confirmed:
		return "UNCONFIRMED"
	case over(m.ends):
		return "EXPIRED"
	case !m.cancels.IsZero():
		return "CANCEL_REQUESTED"
	}
	return "ACTIVE"
}

// contractRun does random operations on the contracts of a vendor, at two nodes.
type contractRun struct {
	*fixture
	nodes  [2]store.Writer
	vendor string
	orders map[string]*modelled
	sold   int
}

const (
	modelPeriod  = 10 * 24 * time.Hour
	modelConfirm = 5 * 24 * time.Hour
	modelSold    = 4
)

// modelReaders are how the readers of the model come: by user id or by address.
var modelReaders = map[string]policy.Reader{
	"u1": {UserID: "u1"}, "u2": {UserID: "u2", Email: "other@example.org"}, "m@example.org": {Email: "m@example.org"},
}

// party writes an address as sellers do: with capitals and spaces.
func party(name string) store.Party {
	if strings.Contains(name, "@") {
		return store.Party{Email: " " + strings.ToUpper(name) + " "}
	}
	return store.Party{UserID: name}
}

// want is what an operation returns: nil, or one of these errors.
func (r *contractRun) want(t *rapid.T, what string, err, want error) {
	if (err == nil) != (want == nil) || want != nil && !errors.Is(err, want) {
		t.Fatalf("%s: the error is %v, want %v", what, err, want)
	}
}

var errOther = errors.New("another order")

// act does one operation, at one of the nodes.
func (r *contractRun) act(t *rapid.T) {
	ctx, w, now := r.Context(), r.nodes[rapid.IntRange(0, 1).Draw(t, "node")], r.now()
	order, reader := pick(t, []string{"o1", "o2", "o3", "o4", "o5"}), pick(t, slices.Sorted(maps.Keys(modelReaders)))
	if m := r.orders[order]; m == nil || rapid.IntRange(0, 5).Draw(t, "again") == 0 {
		r.sell(t, w, order, reader, rapid.Bool().Draw(t, "confirm"))
		return
	}
	m := r.orders[order]
	status := m.status(now)
	ended := func(open ...string) error {
		if slices.Contains(open, status) {
			return nil
		}
		if status == "UNCONFIRMED" {
			return errOther // not confirmed: another error than an end
		}
		return store.ErrContractEnded
	}
	live := []string{"UNCONFIRMED", "ACTIVE", "CANCEL_REQUESTED"}
	switch rapid.SampledFrom([]string{"confirm", "cancel", "cancel at end", "cancel at", "renew", "renew", "transfer", "assign", "assign", "withdraw", "seats"}).Draw(t, "operation") {
	case "confirm":
		_, err := w.ConfirmContract(ctx, r.vendor, "code", "", m.id, nil)
		r.want(t, "confirm", err, ended(live...))
		m.confirm(now, err == nil)
	case "cancel":
		_, err := w.CancelContract(ctx, r.vendor, m.id, store.Cancellation{}, nil)
		r.want(t, "cancel", err, nil)
		m.cancelled = true
	case "cancel at end":
		_, err := w.CancelContract(ctx, r.vendor, m.id, store.Cancellation{AtPeriodEnd: true}, nil)
		r.want(t, "cancel at end", err, nil)
		m.cancelAt(status, m.ends, true)
	case "cancel at":
		at := now.Add(time.Duration(rapid.IntRange(-3, 12).Draw(t, "in")) * 24 * time.Hour)
		_, err := w.CancelContract(ctx, r.vendor, m.id, store.Cancellation{At: &at}, nil)
		r.want(t, "cancel at", err, nil)
		if !at.After(now) {
			status = "now"
		}
		m.cancelAt(status, at, false)
	case "renew":
		reference := pick(t, []string{"", "r1", "r2"})
		_, err := w.RenewContract(ctx, r.vendor, m.id, store.Renewal{Reference: reference}, nil)
		want := ended("ACTIVE", "CANCEL_REQUESTED", "EXPIRED")
		if errors.Is(want, errOther) {
			if err == nil || errors.Is(err, store.ErrContractEnded) {
				t.Fatalf("a contract that is not confirmed was renewed: %v", err)
			}
			return
		}
		r.want(t, "renew", err, want)
		m.renew(now, err == nil, reference)
	case "transfer":
		_, err := w.TransferContract(ctx, r.vendor, m.id, party(reader), nil)
		r.want(t, "transfer", err, ended(live...))
		if err == nil {
			m.owner = reader
		}
	case "assign":
		p := party(reader)
		_, _, err := w.AddSeat(ctx, r.vendor, m.id, store.Seat{UserID: p.UserID, Email: p.Email})
		want := ended(live...)
		if want == nil && !m.holders[reader] && len(m.holders) >= m.seats {
			want = store.ErrSeatsTaken
		}
		r.want(t, "assign", err, want)
		if err == nil {
			m.holders[reader] = true
		}
	case "withdraw":
		for seat, err := range w.ListSeats(r.vendor, m.id).All(ctx) {
			r.ok(err)
			if seat.UserID == reader || policy.LowerEmail(seat.Email) == reader {
				_, err := w.RemoveSeat(ctx, r.vendor, m.id, seat.ID)
				r.want(t, "withdraw", err, nil)
				delete(m.holders, reader)
				break
			}
		}
	case "seats":
		total := rapid.IntRange(0, 3).Draw(t, "total")
		_, err := w.SetSeats(ctx, r.vendor, m.id, total, nil)
		want := ended(live...)
		if want == nil && total < len(m.holders) {
			want = store.ErrSeatsTaken
		}
		r.want(t, "seats", err, want)
		if err == nil {
			m.seats = total
		}
	}
}

// sell sends an order, perhaps again, and perhaps with another content.
func (r *contractRun) sell(t *rapid.T, w store.Writer, order, reader string, confirm bool) {
	now := r.now()
	m := r.orders[order]
	sale := store.Sale{Promo: "code", Seller: "telecom", OrderID: order, Payer: party("payer@example.org"), Owner: party(reader), Confirm: confirm}
	made, created, err := w.Sell(r.Context(), r.vendor, sale)
	switch {
	case m == nil && r.sold == modelSold:
		var promo *store.PromoError
		if !errors.As(err, &promo) || promo.Problem != store.PromoUsedUp {
			t.Fatalf("a promo that is used up answers %v", err)
		}
	case m == nil:
		r.want(t, "sell", err, nil)
		r.sold++
		if !created || made.OrderID != order {
			t.Fatalf("a new order is %v %+v", created, made)
		}
		m = &modelled{
			id: made.ID, owner: reader, content: reader, abandons: now.Add(modelConfirm), seats: 2, holders: map[string]bool{}, references: map[string]bool{},
		}
		r.orders[order] = m
		m.confirm(now, confirm)
	case m.content != reader:
		var conflict *store.OrderConflictError
		if !errors.As(err, &conflict) || conflict.Contract != m.id {
			t.Fatalf("an order with other content answers %v", err)
		}
	case confirm && !m.confirmed && m.status(now) != "UNCONFIRMED":
		r.want(t, "confirm by the order", err, store.ErrContractEnded)
	default:
		r.want(t, "repeat", err, nil)
		if created || made.ID != m.id {
			t.Fatalf("a repeated order is %v %s, want %s", created, made.ID, m.id)
		}
		m.confirm(now, confirm)
	}
}

func (m *modelled) confirm(now time.Time, asked bool) {
	if asked && !m.confirmed {
		m.confirmed, m.ends = true, now.Add(modelPeriod)
	}
}

func (m *modelled) cancelAt(status string, at time.Time, atEnd bool) {
	switch {
	case status == "CANCELED":
	case status != "ACTIVE" && status != "CANCEL_REQUESTED":
		m.cancelled = true
	case m.cancels.IsZero() || at.Before(m.cancels):
		m.cancels, m.cancelAtEnd = at, atEnd
	}
}

func (m *modelled) renew(now time.Time, allowed bool, reference string) {
	if !allowed || m.references[reference] {
		return
	}
	if m.ends.Before(now) {
		m.ends = now
	}
	m.ends = m.ends.Add(modelPeriod)
	if m.cancelAtEnd {
		m.cancels = m.ends
	}
	if reference != "" {
		m.references[reference] = true
	}
}

// reads returns what decisions see of the readers, at a node.
func (r *contractRun) reads(node int) map[string]policy.ReaderRecords {
	seen := map[string]policy.ReaderRecords{}
	for name, reader := range modelReaders {
		found, err := r.nodes[node].ReaderRecords(r.Context(), r.vendor, reader)
		r.ok(err)
		seen[name] = found
	}
	return seen
}

// check wants both nodes to give what the model gives, and the contracts to be as in it.
func (r *contractRun) check(t *rapid.T) {
	now := r.now()
	for node := range r.nodes {
		for name, records := range r.reads(node) {
			want, got := map[string]bool{}, map[string]bool{}
			for _, m := range r.orders {
				if status := m.status(now); (status == "ACTIVE" || status == "CANCEL_REQUESTED") && (m.owner == name || m.holders[name]) {
					want["contract:"+m.id] = true
				}
			}
			entitlements := policy.NewEntitlements(records.Grants)
			entitlements.Each(now.UnixMilli(), func(_, grant string, _, _ int64) bool { got[grant] = true; return true })
			if !maps.Equal(want, got) {
				t.Fatalf("node %d gives %s %v, want %v", node, name, got, want)
			}
		}
		for order, m := range r.orders {
			found, err := r.nodes[node].OrderContract(r.Context(), r.vendor, "telecom", order)
			r.ok(err)
			if found.ID != m.id || found.Status(now) != m.status(now) || found.SeatsTaken != len(m.holders) || found.Seats != m.seats {
				t.Fatalf("node %d has %s as %s with %d of %d seats, want %s with %d of %d",
					node, order, found.Status(now), found.SeatsTaken, found.Seats, m.status(now), len(m.holders), m.seats)
			}
		}
	}
}

// checkContractsStale wants each change of what a reader has to be invalidated: by their own
// stripes, or by those of the contracts in which they have a seat.
func (r *contractRun) checkContractsStale(t *rapid.T, before map[string]policy.ReaderRecords, change policy.Invalidation) {
	for name, is := range r.reads(1) {
		was := before[name]
		if reflect.DeepEqual(was, is) || change.Shared {
			continue
		}
		reader := modelReaders[name]
		stamps := []uint16{policy.Stripe(policy.KindUserID, r.vendor, reader.UserID), policy.Stripe(policy.KindEmail, r.vendor, reader.Email)}
		for _, contract := range was.Contracts {
			stamps = append(stamps, policy.Stripe(policy.KindContract, r.vendor, contract))
		}
		if !slices.ContainsFunc(stamps, func(s uint16) bool { return slices.Contains(change.Stripes, s) }) {
			t.Fatalf("%s had %+v and has %+v, and what is cached stays", name, was, is)
		}
	}
}

// Sellers and a back office do what they like, at two nodes, and the clock moves: at each
// moment all contracts are in the state that the table says, readers have exactly what their
// contracts and seats give, and everything that changes is invalidated.
func TestContractModel(t *testing.T) {
	for name, start := range map[string]func(*testing.T) (*fixture, [2]store.Writer){"bolt": oneNode, "Redis": twoNodes} {
		t.Run(name, func(t *testing.T) {
			b, nodes := start(t)
			runs := 0
			rapid.Check(t, func(t *rapid.T) {
				runs++
				r := &contractRun{fixture: b, nodes: nodes, vendor: fmt.Sprint("vendor-", runs), orders: map[string]*modelled{}}
				_, err := r.CreatePromo(b.Context(), r.vendor, store.Promo{
					Code: "code", Items: []store.ContractItem{{SKU: "premium", Seats: 2}}, Duration: store.DurationRenewable, Interval: store.IntervalDay, Times: 10,
					ConfirmWithin: 5, MaxContracts: modelSold,
				})
				b.ok(err)
				for range rapid.IntRange(1, 25).Draw(t, "operations") {
					b.clock = b.clock.Add(time.Duration(rapid.SampledFrom([]int{0, 0, 0, 1, 24, 100}).Draw(t, "wait")) * time.Hour)
					before := r.reads(1)
					position, err := b.records.Position(b.Context(), r.vendor)
					b.ok(err)
					r.act(t)
					run := memberRun{fixture: b, vendor: r.vendor}
					r.checkContractsStale(t, before, run.stale(position))
					r.check(t)
				}
			})
		})
	}
}

func oneNode(t *testing.T) (*fixture, [2]store.Writer) {
	b := newFixture(t)
	return b, [2]store.Writer{b.Writer, b.Writer}
}

// twoNodes returns two stores over one Redis server.
func twoNodes(t *testing.T) (*fixture, [2]store.Writer) {
	server := redistest.Start(t)
	b := newFixture(t)
	var nodes [2]store.Writer
	for i := range nodes {
		options, err := redisengine.ParseURLs([]string{server.URL()})
		b.ok(err)
		backend, err := redisengine.New(options)
		b.ok(err)
		t.Cleanup(func() { _ = backend.Close() })
		b.records = backend
		nodes[i] = store.New(backend, new(policy.Versions), b.now).As(store.Actor{})
	}
	b.Writer = nodes[0]
	return b, nodes
}
