package store_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/hook"
	"github.com/gatefold/gatefold/policy/store"
	"github.com/gatefold/gatefold/policy/store/redisengine"
	"github.com/gatefold/gatefold/policy/store/redisengine/redistest"
)

// hookRun delivers events of a billing system to the nodes of a shared store.
type hookRun struct {
	*fixture
	nodes []store.Writer
}

var testHook = &store.Hook{ID: "hook_test"}

// deliver sends an event to all nodes at once. It returns whether it is to be sent again.
func (h *hookRun) deliver(t *rapid.T, vendor string, act hook.Action) bool {
	results := make([]store.HookResult, len(h.nodes))
	var wait sync.WaitGroup
	for i, node := range h.nodes {
		wait.Go(func() {
			done, err := node.ApplyHookEvent(h.Context(), vendor, testHook, act)
			if err != nil {
				done.Result = store.HookResult("error: " + err.Error())
			}
			results[i] = done.Result
		})
	}
	wait.Wait()
	retry, final := true, 0
	for _, result := range results {
		switch {
		case len(result) > 6 && result[:6] == "error:":
			t.Fatalf("%+v: %s", act, result)
		case result != store.HookDuplicate && !result.Retry():
			final++
		}
		retry = retry && result.Retry()
	}
	if final > 1 {
		t.Fatalf("%+v was applied more than once: %v", act, results)
	}
	return retry
}

// deliverAll sends events until each is acknowledged, or none can be any more. Next chooses
// which of those that wait is sent, and whether it is kept in the queue as a duplicate.
func (h *hookRun) deliverAll(t *rapid.T, vendor string, events []hook.Action, next func(waiting int) (index int, again bool)) {
	waiting, tried := slices.Clone(events), map[string]bool{} // those since the last that was acknowledged
	for len(waiting) > 0 {
		i, again := next(len(waiting))
		act := waiting[i]
		waiting = slices.Delete(waiting, i, i+1)
		retry := h.deliver(t, vendor, act)
		if retry || again {
			waiting = append(waiting, act)
		}
		if !retry {
			clear(tried)
			continue
		}
		if tried[act.Event] = true; !slices.ContainsFunc(waiting, func(a hook.Action) bool { return !tried[a.Event] }) {
			return
		}
	}
}

// state is what counts of the contracts of some orders.
func (h *hookRun) state(t *rapid.T, vendor string, orders []string) string {
	text := ""
	for _, order := range orders {
		found, _, err := h.nodes[0].FindContracts(h.Context(), vendor, store.ContractQuery{OrderID: order}, store.Page{Limit: 10})
		if err != nil || len(found) > 1 {
			t.Fatalf("%d contracts, %v", len(found), err)
		}
		if len(found) == 0 {
			text += order + " none\n"
			continue
		}
		if c := found[0]; c.State == store.StateCanceled {
			text += order + " canceled\n"
		} else {
			text += fmt.Sprintln(order, c.State, c.Owner.Email, timeText(c.EndsAt), timeText(c.WillCancelAt), timeText(c.CancelRequestedAt), c.CancelAtEnd)
		}
	}
	return text
}

func timeText(at *time.Time) string {
	if at == nil {
		return "-"
	}
	return at.UTC().Format(time.RFC3339)
}

// randomEvents are events of a few orders, in the order in which they happened. Some happen
// in the same second.
func (h *hookRun) randomEvents(t *rapid.T) (events []hook.Action, orders []string) {
	orders = []string{"o1", "o2"}
	at := h.now().Add(-time.Hour)
	for i := range rapid.IntRange(1, 14).Draw(t, "events") {
		at = at.Add(time.Duration(rapid.IntRange(0, 2).Draw(t, "seconds")) * time.Second)
		act := hook.Action{Event: fmt.Sprint("e", i), Type: "t", At: at, Order: pick(t, orders)}
		act.Do = pick(t, []string{hook.Sell, hook.Sell, hook.Confirm, hook.Confirm, hook.Renew, hook.Renew, hook.Cancel, hook.CancelAtPeriodEnd, hook.CancelAtPeriodEnd, hook.Resume, hook.Resume, hook.End})
		later := h.now().Add(time.Duration(rapid.IntRange(1, 90).Draw(t, "days")) * 24 * time.Hour)
		switch act.Do {
		case hook.Sell:
			act.Promo, act.Email, act.Confirm = "MONTH", act.Order+"@example.com", false
		case hook.Renew:
			act.EndsAt = &later
		case hook.Cancel:
			act.Until = &later
		}
		events = append(events, act)
	}
	return events, orders
}

func (h *hookRun) check(t *rapid.T, run string) {
	events, orders := h.randomEvents(t)
	inOrder, shuffled := "a"+run, "b"+run
	for _, vendor := range []string{inOrder, shuffled} {
		_, err := h.nodes[0].CreatePromo(h.Context(), vendor, store.Promo{
			Code: "MONTH", Items: []store.ContractItem{{SKU: "news"}}, Duration: store.DurationRecurring, Interval: store.IntervalMonth,
		})
		h.ok(err)
	}
	h.deliverAll(t, inOrder, events, func(int) (int, bool) { return 0, false })
	duplicates := 10
	h.deliverAll(t, shuffled, events, func(waiting int) (int, bool) {
		again := duplicates > 0 && rapid.Bool().Draw(t, "again")
		if again {
			duplicates--
		}
		return rapid.IntRange(0, waiting-1).Draw(t, "next"), again
	})
	// Once more, each of them: nothing changes.
	got := h.state(t, shuffled, orders)
	for _, act := range events {
		h.deliver(t, shuffled, act)
	}
	if want := h.state(t, inOrder, orders); got != want || h.state(t, shuffled, orders) != want {
		t.Fatalf("in order:\n%s\nshuffled:\n%s", want, got)
	}
}

// Events that arrive twice, at two nodes at once and in any order leave each contract as
// those that arrive in order.
func TestOrderOfEventsDoesNotMatter(t *testing.T) {
	t.Parallel()
	t.Run("bolt", func(t *testing.T) {
		t.Parallel()
		b := newFixture(t)
		b.run(&hookRun{b, []store.Writer{b.Writer}})
	})
	t.Run("redis", func(t *testing.T) {
		t.Parallel()
		server := redistest.Start(t)
		b := newFixture(t)
		h := &hookRun{fixture: b}
		for range 2 {
			options, err := redisengine.ParseURLs([]string{server.URL()})
			b.ok(err)
			backend, err := redisengine.New(options)
			b.ok(err)
			t.Cleanup(func() { _ = backend.Close() })
			b.records = backend
			h.nodes = append(h.nodes, store.New(backend, new(policy.Versions), b.now).As(store.Actor{}))
		}
		b.Writer = h.nodes[0]
		b.run(h)
	})
}

func (b *fixture) run(h *hookRun) {
	b.Helper()
	runs := 0
	rapid.Check(b.T, func(t *rapid.T) {
		runs++
		h.check(t, fmt.Sprint(runs))
	})
}
