package store

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/gatefold/gatefold/policy/hook"
)

// Events arrive twice and in any order, so that what they do to a contract must not depend
// on that. Each action is one of three kinds:
//
//   - Sell, Confirm, End and a Cancel at once are done or not done. What they need, the
//     provider sends again until it is there; and what has ended does not begin again.
//   - Renew moves the end forward only: the latest end wins.
//   - Of Cancel at a later time, CancelAtPeriodEnd and Resume the one that happened last
//     wins, and of two in the same second the cancellation. The contract has when that was.
//
// docs/contracts.md has the same in a table.

// applyHookEvent changes a contract by an event other than a sale.
func (t *transaction) applyHookEvent(seller string, act *hook.Action, e *HookEvent) (HookResult, string, error) {
	id := act.Contract
	if act.Order != "" {
		var err error
		if id, err = t.orderContract(seller, act.Order); err != nil {
			return "", "", err
		}
	}
	if id == "" {
		return HookNoContract, "", nil
	}
	old, err := contractKind.get(t, id)
	if err != nil || old == nil {
		return HookNoContract, "", err
	}
	e.Contract = old.ID
	next := *old
	result, problem := next.hookChange(act, t.now)
	if result != HookApplied && result != HookUnchanged {
		return result, problem, nil
	}
	err = contractKind.put(t, &next)
	if refused, ok := errors.AsType[*FieldError](err); ok {
		return HookInvalid, refused.Error(), nil
	}
	return result, problem, err
}

// hookChange changes a contract by an event other than a sale.
func (c *Contract) hookChange(act *hook.Action, now time.Time) (HookResult, string) {
	atOnce := act.Do == hook.End || act.Do == hook.Cancel && (act.Until == nil || !act.Until.After(act.At))
	status := c.Status(now)
	waits := status == StateUnconfirmed
	over := c.State == StateCanceled || status == StatusAbandoned
	if c.WillCancelAt != nil && !now.Before(*c.WillCancelAt) {
		// A resumption counts that happened before, even if it comes late.
		over = over || act.Do != hook.Resume || !act.At.Before(*c.WillCancelAt)
	}
	switch {
	case over && atOnce:
		return HookUnchanged, ""
	case over:
		return HookEnded, ""
	case atOnce:
		c.endByHook(act, now)
		return HookApplied, ""
	case act.Do == hook.Confirm:
		if !waits {
			return HookUnchanged, ""
		}
		return c.confirmByHook(act, now)
	case waits:
		return HookUnconfirmed, ""
	case act.Do == hook.Renew:
		return c.renewByHook(*act.EndsAt), ""
	}
	return c.decideByHook(act)
}

// endByHook ends access at once. Unlike by cancel, also one that has expired does not begin
// again by a renewal.
func (c *Contract) endByHook(act *hook.Action, now time.Time) {
	c.State = StateCanceled
	if c.WillCancelAt == nil || now.Before(*c.WillCancelAt) {
		c.WillCancelAt = &now
	}
	if c.CancelRequestedAt == nil {
		c.CancelRequestedAt = &act.At
	}
	c.CancelReason = cmp.Or(act.Reason, c.CancelReason)
}

// confirmByHook confirms, until the end of the event if it has one.
func (c *Contract) confirmByHook(act *hook.Action, now time.Time) (HookResult, string) {
	if err := c.confirm(now); err != nil {
		return HookEnded, ""
	}
	if c.EndsAt = cmp.Or(act.EndsAt, c.EndsAt); c.EndsAt != nil && !c.EndsAt.After(c.StartsAt) {
		c.StartsAt = c.EndsAt.Add(-time.Millisecond) // so late that what was paid for is over
	}
	return HookApplied, ""
}

// renewByHook moves the end forward. A cancellation at the end of the paid time goes with
// it, as if it had come after the renewal.
func (c *Contract) renewByHook(endsAt time.Time) HookResult {
	if c.EndsAt == nil || !endsAt.After(*c.EndsAt) {
		return HookUnchanged
	}
	c.EndsAt = &endsAt
	if c.WillCancelAt != nil && c.CancelAtEnd {
		c.WillCancelAt = &endsAt
	}
	return HookApplied
}

// decideByHook asks for a cancellation or takes it back, unless the opposite was decided
// later.
func (c *Contract) decideByHook(act *hook.Action) (HookResult, string) {
	decided := c.DecidedAt
	if at := c.CancelRequestedAt; at != nil && (decided == nil || at.After(*decided)) {
		decided = at // by another way than an event
	}
	resume, cancelled := act.Do == hook.Resume, c.WillCancelAt != nil
	if decided != nil && (act.At.Before(*decided) || resume && cancelled && act.At.Equal(*decided)) {
		return HookOlder, ""
	}
	if resume {
		c.CancelRequestedAt, c.WillCancelAt, c.CancelReason, c.CancelAtEnd, c.DecidedAt = nil, nil, "", false, &act.At
		if !cancelled {
			return HookUnchanged, ""
		}
		return HookApplied, ""
	}
	until, atEnd := act.Until, act.Do == hook.CancelAtPeriodEnd
	if atEnd {
		until = c.EndsAt
	}
	switch same := decided != nil && act.At.Equal(*decided); {
	case until == nil:
		return HookInvalid, "the contract has no end at which it could be cancelled: use cancel"
	case same && cancelled && (atEnd || !c.CancelAtEnd && !until.Before(*c.WillCancelAt)):
		return HookUnchanged, "" // of two in a second, the one with a time, and the earlier
	}
	c.CancelRequestedAt, c.WillCancelAt, c.CancelReason, c.DecidedAt = &act.At, until, act.Reason, &act.At
	c.CancelAtEnd = atEnd
	return HookApplied, ""
}

// sellByHook sells the promo of an event, and confirms that if the event says so. The note
// of the event is written with the contract.
func (w Writer) sellByHook(ctx context.Context, vendor string, act *hook.Action, note func(*transaction, HookResult, string) error) (HookResult, string, error) {
	w.beside = func(t *transaction) error {
		result := HookUnchanged
		if len(t.written) > 0 {
			result = HookApplied
		}
		return note(t, result, "")
	}
	party := Party{Email: act.Email, UserID: act.UserID}
	_, _, err := w.Sell(ctx, vendor, act.Promo, Contract{Seller: w.actor.Name, OrderID: act.Order, Quantity: act.Quantity, Owner: party, Payer: party}, act.Confirm)
	_, conflict := errors.AsType[*OrderConflictError](err)
	refused, isRefused := errors.AsType[*FieldError](err)
	switch {
	case err == nil:
		return HookApplied, "", nil // as noted
	case conflict:
		return HookConflict, "", nil
	case errors.Is(err, ErrContractEnded):
		return HookEnded, "", nil
	case isRefused:
		return HookInvalid, refused.Error(), nil
	case errors.Is(err, ErrPromoUnknown), errors.Is(err, ErrPromoEnded), errors.Is(err, ErrPromoUsedUp):
		return HookNoPromo, err.Error(), nil
	}
	return "", "", err
}

// orderContract returns the id of the contract of an order, empty for none.
func (t *transaction) orderContract(seller, order string) (string, error) {
	id, err := t.load(key(prefixOrder, seller, order))
	return string(id), err
}
