package main

import (
	"slices"
	"sync"
	"testing"
	"time"
)

// A fact decides requests and changes while they are in flight. Its history has every
// value that it was given, so that the verdicts that a request may have are exact: a
// change that was acknowledged before the request was sent must hold, and one that was
// in progress at any time until the response may.
type fact struct {
	mu      sync.Mutex
	lag     time.Duration // bound for the nodes that did not acknowledge a change
	history []factValue
}

type factValue struct {
	holds bool
	node  int       // that acknowledged it
	since time.Time // when it was acknowledged; zero: it was not
}

// noNode acknowledges what every node learns by itself.
const noNode = -1

func newFact(holds bool) *fact {
	return &fact{lag: reachesWithin, history: []factValue{{holds, noNode, time.Unix(0, 0)}}}
}

// change gives the fact a value at a node. After an error of do the old value and the
// new one are possible until the next change.
func (f *fact) change(node int, holds bool, do func() error) error {
	f.mu.Lock()
	i := len(f.history)
	f.history = append(f.history, factValue{holds: holds, node: node})
	f.mu.Unlock()
	err := do()
	if err == nil {
		f.mu.Lock()
		f.history[i].since = time.Now()
		f.mu.Unlock()
	}
	return err
}

// known returns the index of the last value that a node must know at a time.
func (f *fact) known(node int, at time.Time) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, value := range slices.Backward(f.history) {
		if !value.since.IsZero() && (value.node == node && value.since.Before(at) || at.Sub(value.since) > f.lag) {
			return i
		}
	}
	return 0
}

// may reports whether the fact had a value at or after an index of its history.
func (f *fact) may(from int, holds bool) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.ContainsFunc(f.history[from:], func(value factValue) bool { return value.holds == holds })
}

// A condition allows a request if all facts of one alternative hold.
type condition [][]*fact

var (
	always = condition{{}}
	never  condition
)

// expectation is a condition with what a node knows when a request is sent.
type expectation struct {
	condition condition
	known     map[*fact]int
}

func (c condition) at(node int) expectation {
	e := expectation{c, map[*fact]int{}}
	now := time.Now()
	for _, alternative := range c {
		for _, fact := range alternative {
			e.known[fact] = fact.known(node, now)
		}
	}
	return e
}

// verdicts returns, after the response, whether it may be an allow and whether it may
// be a denial.
func (e expectation) verdicts() (allow, deny bool) {
	deny = true
	for _, alternative := range e.condition {
		may, must := true, true
		for _, fact := range alternative {
			may = may && fact.may(e.known[fact], true)
			must = must && !fact.may(e.known[fact], false)
		}
		allow, deny = allow || may, deny && !must
	}
	return allow, deny
}

// The model is exact about changes: before, during and after them, at the node that
// acknowledges them and at another.
func TestSoakModel(t *testing.T) {
	t.Parallel()
	expect := func(when string, e expectation, allow, deny bool) {
		t.Helper()
		if a, d := e.verdicts(); a != allow || d != deny {
			t.Errorf("%s: allow %v, deny %v", when, a, d)
		}
	}
	granted := newFact(false)
	page := condition{{granted}}
	before := page.at(0)
	expect("without the grant", before, false, true)
	err := granted.change(0, true, func() error {
		expect("sent before the change, answered during it", before, true, true)
		expect("during the change", page.at(0), true, true)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	expect("after the change", page.at(0), true, false)
	expect("after the change, at another node", page.at(1), true, true)
	granted.lag = 0
	expect("after the lag, at another node", page.at(1), true, false)
	expect("public or granted", append(condition{{newFact(false), granted}}, always...).at(0), true, false)
	if err := granted.change(0, false, func() error { return errLost }); err == nil {
		t.Fatal("the error of a change is lost")
	}
	expect("after a change without an acknowledgement", page.at(0), true, true)
	if err := granted.change(0, false, func() error { return nil }); err != nil {
		t.Fatal(err)
	}
	expect("after its repetition", page.at(0), false, true)
	expect("never", never.at(0), false, true)
	expect("always", always.at(0), true, false)
}
