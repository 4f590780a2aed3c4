package store_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store"
	"github.com/gatefold/gatefold/policy/store/engine"
)

// faulty is an engine whose writes can fail: with an error before or after they are made.
type faulty struct {
	engine.Engine
	before atomic.Pointer[error]
	after  atomic.Pointer[func() error]
}

func (f *faulty) Commit(ctx context.Context, partition string, batch *engine.Batch) (engine.Committed, error) {
	if err := f.before.Load(); err != nil {
		return engine.Committed{}, *err
	}
	committed, err := f.Engine.Commit(ctx, partition, batch)
	if fail := f.after.Load(); fail != nil && err == nil {
		err = (*fail)()
	}
	return committed, err
}

// withFaults returns a fixture whose writes can fail.
func withFaults(t *testing.T) (*fixture, *faulty) {
	t.Helper()
	b := newFixture(t)
	f := &faulty{Engine: b.records}
	b.Writer = store.New(f, b.versions, b.now).As(store.Actor{})
	return b, f
}

func (b *fixture) uses(link store.SignedLink) int64 {
	b.Helper()
	found, err := b.Uses(b.Context(), vendor, link.Claims.Issuer, link.Claims.ID, nil, "")
	b.ok(err)
	return found.Count
}

// until polls until a condition holds.
func (b *fixture) until(what string, holds func() bool) {
	b.Helper()
	for end := time.Now().Add(30 * time.Second); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			b.Fatalf("%s: not in 30 s", what)
		}
	}
}

// The answers to redemptions are lost, and the store is away for a while. When it is back,
// the uses are given back to the link, and other readers have them.
func TestUseOfALostAnswerIsTakenBack(t *testing.T) {
	b, faults := withFaults(t)
	link := b.link(keys.LinkClaims{SKU: "s", MaxUses: 5})
	b.ok(b.redeem(link, "delivered"))
	away := engine.ErrUnavailable
	lost := func() error {
		faults.before.Store(&away)
		return away
	}
	for i := range 4 {
		faults.before.Store(nil)
		faults.after.Store(&lost)
		b.is(b.redeem(link, fmt.Sprint(i)), engine.ErrUnavailable)
	}
	if uses := b.uses(link); uses != 5 {
		t.Fatalf("%d uses are counted, want 5", uses)
	}
	faults.after.Store(nil)
	faults.before.Store(nil)
	b.until("the uses are taken back", func() bool { return b.uses(link) == 1 })
	b.until("each is done", func() bool { return b.Refunds() == store.RefundStats{Done: 4} })
	for i := range 4 {
		b.ok(b.redeem(link, fmt.Sprint("other", i)))
	}
	b.is(b.redeem(link, "one more"), policy.ErrLinkUsedUp)
}

// The store is away for longer than a use may be taken back: that is given up, and said.
// Too many that wait are given up at once.
func TestRefundsAreBounded(t *testing.T) {
	b, faults := withFaults(t)
	link := b.link(keys.LinkClaims{SKU: "s"})
	link.Claims.MaxUses = 1 << 20
	away := engine.ErrUnavailable
	faults.before.Store(&away)
	const waiting = 4096
	for i := range waiting + 3 {
		b.is(b.redeem(link, fmt.Sprint(i)), engine.ErrUnavailable)
	}
	if got := b.Refunds(); got.GivenUp < 3 {
		t.Errorf("%+v, want 3 given up", got)
	}
	before := b.Refunds().GivenUp
	b.moveClock(policy.RefundsFor)
	b.until("the others are given up", func() bool { return b.Refunds().GivenUp == before+waiting })
	faults.before.Store(nil)
	b.ok(b.redeem(link, "later"))
	if got := b.Refunds(); got.Done != 0 || b.uses(link) != 1 {
		t.Errorf("%+v, %d uses", got, b.uses(link))
	}
}

// Two requests of one device come at once. The first counts the use, but too few replicas
// have it: it gets no page. The second finds the use, and gets the page. The use is not
// taken back then, so that no reader more than the link allows gets the page.
func TestUseWithWhichAnotherRequestGotThePageIsKept(t *testing.T) {
	b, faults := withFaults(t)
	link := b.link(keys.LinkClaims{SKU: "s", MaxUses: 1})
	second := func() error {
		faults.after.Store(nil)
		b.clock = b.clock.Add(time.Second)
		found, err := b.Uses(t.Context(), vendor, link.Claims.Issuer, link.Claims.ID, []string{"device"}, "")
		b.ok(err)
		if found.IDs[0].At.IsZero() || found.IDs[0].Kept {
			t.Errorf("the use is %+v, want one that is not kept", found)
		}
		b.ok(b.redeem(link, "device"))
		b.clock = b.clock.Add(-time.Second)
		return fmt.Errorf("%w: none", engine.ErrNotAcknowledged)
	}
	faults.after.Store(&second)
	b.is(b.redeem(link, "device"), engine.ErrNotAcknowledged)
	found, err := b.Uses(t.Context(), vendor, link.Claims.Issuer, link.Claims.ID, []string{"device"}, "")
	b.ok(err)
	if found.Count != 1 || found.IDs[0].At.IsZero() || !found.IDs[0].Kept {
		t.Errorf("the use is %+v, want one that is kept", found)
	}
	b.is(b.redeem(link, "another"), policy.ErrLinkUsedUp)
}

// A use is taken back between the moment at which another request finds it and that at
// which it would keep it: the request counts its own, if there is one left.
func TestUseThatIsTakenBackMeanwhileIsCountedAgain(t *testing.T) {
	b, faults := withFaults(t)
	link := b.link(keys.LinkClaims{SKU: "s", MaxUses: 1})
	first := policy.Redemption{
		Issuer: link.Claims.Issuer, LinkID: link.Claims.ID, ID: "device", MaxUses: 1, At: b.clock, ExpiresAt: time.Unix(link.Claims.ExpiresAt, 0),
	}
	b.ok(b.Redeem(t.Context(), vendor, first))
	meanwhile := func() error { // behind the count of the second request, before it keeps the use
		faults.after.Store(nil)
		return b.Refund(t.Context(), vendor, first)
	}
	faults.after.Store(&meanwhile)
	b.clock = b.clock.Add(time.Second)
	b.ok(b.redeem(link, "device"))
	if uses := b.uses(link); uses != 1 {
		t.Errorf("%d uses, want 1", uses)
	}
	b.ok(b.Refund(t.Context(), vendor, first)) // not the use of the second request
	b.is(b.redeem(link, "another"), policy.ErrLinkUsedUp)
}
