package store

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"slices"
	"time"

	"github.com/gatefold/gatefold/policy/hook"
)

// HookEvent is what became of an event of a billing system. It has nothing of the event's
// body but its id, type and time.
type HookEvent struct {
	ID   string `json:"id"`
	Type string `json:"type"`
	// Do is the action of the table; empty if no entry is that of the event.
	Do     string     `json:"do,omitempty"`
	Result HookResult `json:"result"`
	// Problem says what is wrong with an event that is not valid.
	Problem  string `json:"problem,omitempty"`
	Contract string `json:"contract,omitempty"`
	// At is when the event happened, FirstAt and LastAt when it arrived.
	At       time.Time `json:"at,omitzero"`
	FirstAt  time.Time `json:"firstAt"`
	LastAt   time.Time `json:"lastAt"`
	Attempts int       `json:"attempts"`
}

// HookResult is what became of an event.
type HookResult string

// The results.
const (
	HookApplied   HookResult = "applied"
	HookUnchanged HookResult = "unchanged" // the contract was so already
	HookDuplicate HookResult = "duplicate" // the same event came before
	HookOlder     HookResult = "older"     // one that happened later was applied
	HookTooOld    HookResult = "too_old"   // it happened before HookEventLife
	HookEnded     HookResult = "contract_ended"
	HookConflict  HookResult = "order_conflict" // the order was sold with other content
	HookNoEntry   HookResult = "no_entry"
	HookIgnored   HookResult = "ignored"

	// With these the same event may be applied later.
	HookNoContract  HookResult = "contract_not_found"
	HookUnconfirmed HookResult = "contract_unconfirmed"
	HookNoPromo     HookResult = "promo_unavailable"
	HookInvalid     HookResult = "invalid"
)

// Retry reports whether the same event may be applied when it is sent again.
func (r HookResult) Retry() bool {
	switch r {
	case HookNoContract, HookUnconfirmed, HookNoPromo, HookInvalid:
		return true
	default:
		return false
	}
}

const (
	// HookEventLife is how long after it happened an event may be applied. That it was is
	// known for longer, so that no event is applied twice.
	HookEventLife = 30 * 24 * time.Hour
	hookNoteLife  = HookEventLife + 24*time.Hour
	// HookLogLife is how long what became of an event can be read.
	HookLogLife = 14 * 24 * time.Hour
	// hookAhead is how far the clock of a provider may be ahead.
	hookAhead = 5 * time.Minute
	// MaxHookEvents bounds the events of one answer.
	MaxHookEvents = 500
)

// hookEventName is an event's id in keys: a provider's id may have a reader's address, and an
// erasure changes no keys.
func hookEventName(event string) string {
	sum := sha256.Sum256([]byte(event))
	return hex.EncodeToString(sum[:16])
}

func hookNoteKey(id, event string) []byte {
	return key(prefixHookEvent, id, "e", hookEventName(event))
}

func hookLogPrefix(id string) []byte { return keyPrefix(prefixHookEvent, id, "r") }

func hookLogKey(id, event string, at time.Time) []byte {
	return append(binary.BigEndian.AppendUint64(hookLogPrefix(id), ^uint64(at.UnixMilli())), hookEventName(event)...)
}

// HookEvents returns what became of the last events of a hook, the newest first.
func (s *Store) HookEvents(ctx context.Context, vendor, id string, limit int) ([]HookEvent, error) {
	found, err := pageOf[HookEvent](ctx, s, vendor, hookLogPrefix(id), Page{Limit: min(limit, MaxHookEvents)})
	since := s.now().Add(-HookLogLife) // Sweep may be late
	return slices.DeleteFunc(found, func(e HookEvent) bool { return !e.LastAt.After(since) }), err
}

// RecordHookEvent notes an event that changes no contract, with its result.
func (w Writer) RecordHookEvent(ctx context.Context, vendor string, h *Hook, act hook.Action, result HookResult, problem string) (HookEvent, error) {
	n := hookNote{hook: h.ID, act: &act}
	err := w.transact(ctx, vendor, func(t *transaction) error {
		if came, err := n.begin(t); err != nil || came {
			return err
		}
		return n.end(t, result, problem)
	})
	return n.event, err
}

// ApplyHookEvent changes a contract as an event says. That the event was applied is written
// in the same atomic step: the same event again changes nothing, on no node. With a result
// that has Retry, nothing but the result is written.
func (w Writer) ApplyHookEvent(ctx context.Context, vendor string, h *Hook, act hook.Action) (HookEvent, error) {
	now := w.timestamp()
	switch ahead := now.Add(hookAhead); {
	case act.At.After(ahead):
		act.At = ahead // it would win against all events until then
	case now.Sub(act.At) >= HookEventLife:
		return w.RecordHookEvent(ctx, vendor, h, act, HookTooOld, "")
	}
	w = w.As(Actor{Name: hookSeller(h.ID), Operation: "hook-" + act.Do})
	n := hookNote{hook: h.ID, act: &act}
	err := w.transact(ctx, vendor, func(t *transaction) error {
		if came, err := n.begin(t); err != nil || came {
			return err
		}
		written := len(t.written)
		result, problem, err := t.applyHookEvent(w.actor.Name, &act, &n.event)
		if err != nil {
			return err
		}
		if result.Retry() {
			t.undo(written)
		}
		return n.end(t, result, problem)
	})
	if used, ok := errors.AsType[*PromoError](soldOut(act.Promo, err)); ok {
		return w.RecordHookEvent(ctx, vendor, h, act, HookNoPromo, used.Error())
	}
	return n.event, err
}

// hookSeller is the seller of the orders of a hook, and the actor of its changes.
func hookSeller(id string) string { return "hook:" + id }

// hookNote writes what became of an event: by its id, so that it is not applied again, and
// by its time, to be read.
type hookNote struct {
	hook  string
	act   *hook.Action
	event HookEvent
}

// begin reports whether the event came before and is not to be applied again.
func (n *hookNote) begin(t *transaction) (came bool, err error) {
	k := hookNoteKey(n.hook, n.act.Event)
	stored, err := t.load(k)
	if err != nil {
		return false, err
	}
	n.event = HookEvent{FirstAt: t.now}
	if stored != nil {
		if err := decode(k, stored, &n.event); err != nil {
			return false, err
		}
		if !n.event.Result.Retry() {
			n.event.Result = HookDuplicate
			return true, nil
		}
		t.set(hookLogKey(n.hook, n.act.Event, n.event.LastAt), nil, time.Time{})
	}
	e := &n.event
	e.ID, e.Type, e.Do, e.At, e.LastAt, e.Contract = n.act.Event, n.act.Type, n.act.Do, n.act.At, t.now, ""
	e.Attempts++
	return false, nil
}

// end writes the result of an event that began.
func (n *hookNote) end(t *transaction, result HookResult, problem string) error {
	n.event.Result, n.event.Problem = result, problem
	value, err := encode(n.event)
	if err != nil {
		return err
	}
	t.set(hookNoteKey(n.hook, n.act.Event), value, t.now.Add(hookNoteLife))
	t.set(hookLogKey(n.hook, n.act.Event, n.event.LastAt), value, t.now.Add(HookLogLife))
	return nil
}
