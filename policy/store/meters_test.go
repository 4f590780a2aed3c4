package store_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store/engine"
)

// spend counts the view of a content by a reader of a meter with three pages.
func (b *fixture) spend(user string, content uint64) error {
	return b.CountView(context.Background(), vendor, policy.MeterSpend{
		MeterReader: policy.MeterReader{Site: "news", Meter: "free", UserID: user}, MeterView: policy.MeterView{Content: content, At: b.now().Unix()},
		Since: b.now().Add(-time.Hour).Unix(), Limit: 3, Expires: b.now().Add(time.Hour),
	})
}

func (b *fixture) views(vendor, user string) int {
	b.Helper()
	views, err := b.MeterViews(b.Context(), vendor, policy.MeterReader{Site: "news", Meter: "free", UserID: user})
	b.ok(err)
	return len(views)
}

// A reader's telephone and computer open pages at once, each of them several times. However
// the requests meet, three contents are counted, and each of them once.
func TestViewsAreCountedExactly(t *testing.T) {
	b := newFixture(t)
	var counted, refused atomic.Int64
	var requests sync.WaitGroup
	opened := [16]atomic.Bool{}
	for i := range 16 * 3 {
		requests.Go(func() {
			switch err := b.spend("ann", uint64(i%16)); {
			case err == nil:
				if !opened[i%16].Swap(true) {
					counted.Add(1)
				}
			case errors.Is(err, policy.ErrMeterUsedUp):
				refused.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	requests.Wait()
	if counted.Load() != 3 || b.views(vendor, "ann") != 3 {
		t.Errorf("%d contents were opened, %d are counted", counted.Load(), b.views(vendor, "ann"))
	}
	if refused.Load() != 13*3 {
		t.Errorf("%d were refused", refused.Load())
	}
}

// A content that is counted is not written again, and the answers that the store lost are not
// counted twice.
func TestViewsAreWrittenOnce(t *testing.T) {
	b, faults := withFaults(t)
	lost := func() error { return engine.ErrUnavailable }
	faults.after.Store(&lost)
	b.is(b.spend("ann", 1), engine.ErrUnavailable)
	faults.after.Store(nil)
	down := engine.ErrUnavailable
	faults.before.Store(&down)
	b.ok(b.spend("ann", 1)) // without a write
	b.is(b.spend("ann", 2), engine.ErrUnavailable)
	faults.before.Store(nil)
	b.ok(b.spend("ann", 2))
	b.ok(b.spend("ann", 3))
	b.is(b.spend("ann", 4), policy.ErrMeterUsedUp)
	b.ok(b.spend("bob", 4))
}

// Another vendor has other records; a period that is over counts for nothing, and its record
// is swept; and a reader who is erased has none.
func TestViewsOfAMeterEnd(t *testing.T) {
	b := newFixture(t)
	for content := range 3 {
		b.ok(b.spend("ann", uint64(content)))
	}
	if b.views("other", "ann") != 0 {
		t.Error("another vendor has the views")
	}
	b.moveClock(2 * time.Hour)
	b.ok(b.spend("ann", 9))
	if got := b.views(vendor, "ann"); got != 1 {
		t.Errorf("the next period has %d views", got)
	}
	b.moveClock(2 * time.Hour)
	_, err := b.Sweep(t.Context())
	b.ok(err)
	if got := b.views(vendor, "ann"); got != 0 {
		t.Errorf("%d views are left after the sweep", got)
	}
	b.ok(b.spend("ann", 1))
	b.ok(b.spend("ann2", 1))
	_, err = b.Erase(t.Context(), vendor, "ann")
	b.ok(err)
	if b.views(vendor, "ann") != 0 || b.views(vendor, "ann2") != 1 {
		t.Errorf("after the erasure: %d and %d", b.views(vendor, "ann"), b.views(vendor, "ann2"))
	}
}

// A record holds no more than the limit of its meter.
func TestViewsAreBounded(t *testing.T) {
	b := newFixture(t)
	for content := range policy.MaxMeterViews + 5 {
		err := b.CountView(t.Context(), vendor, policy.MeterSpend{
			MeterReader: policy.MeterReader{Site: "news", Meter: "free", UserID: "ann"}, MeterView: policy.MeterView{Content: uint64(content), At: b.now().Unix()},
			Limit: policy.MaxMeterViews, Expires: b.now().Add(time.Hour),
		})
		if want := fmt.Sprint(error(nil)); content < policy.MaxMeterViews && fmt.Sprint(err) != want {
			t.Fatal(content, err)
		}
	}
	if got := b.views(vendor, "ann"); got != policy.MaxMeterViews {
		t.Errorf("%d views", got)
	}
}
