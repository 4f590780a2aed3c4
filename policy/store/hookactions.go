package store

import (
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

// applyHookEvent changes a contract by an event.
func (t *transaction) applyHookEvent(seller string, act *hook.Action, e *HookEvent) (HookResult, string, error) {
	if act.Do == hook.Sell {
		return t.sellByHook(seller, act, e)
	}
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
	waits := status == StatusUnconfirmed
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
		c.endNow(now, act.Reason)
		return HookApplied, ""
	case act.Do == hook.Confirm:
		if !waits {
			return HookUnchanged, ""
		}
		return c.confirmByHook(act, now)
	case waits:
		return HookUnconfirmed, ""
	case act.Do == hook.Renew:
		return c.renewByHook(*act.EndsAt, now)
	}
	return c.decideByHook(act)
}

// confirmByHook confirms, until the end of the event if it has one.
func (c *Contract) confirmByHook(act *hook.Action, now time.Time) (HookResult, string) {
	if c.confirm(now); act.EndsAt == nil {
		return HookApplied, ""
	}
	if c.EndsAt = act.EndsAt; !c.EndsAt.After(c.StartsAt) {
		c.StartsAt = c.EndsAt.Add(-time.Millisecond) // so late that what was paid for is over
	}
	if c.Duration == DurationRecurring {
		c.NextBillAt = c.EndsAt
	}
	return HookApplied, ""
}

// renewByHook moves the end forward. A cancellation at the end of the paid time goes with
// it, as if it had come after the renewal.
func (c *Contract) renewByHook(endsAt, now time.Time) (HookResult, string) {
	if c.EndsAt == nil || !endsAt.After(*c.EndsAt) {
		return HookUnchanged, ""
	}
	if err := c.renew(&Renewal{EndsAt: &endsAt}, now); err != nil {
		return HookInvalid, err.Error()
	}
	return HookApplied, ""
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

// sellByHook sells the promo of an event, and confirms that if the event says so.
func (t *transaction) sellByHook(seller string, act *hook.Action, e *HookEvent) (HookResult, string, error) {
	written := len(t.written)
	made, _, err := t.sell(Sale{
		Promo: act.Promo, Seller: seller, OrderID: act.Order, Quantity: act.Quantity,
		Payer: Party{Email: act.Email, UserID: act.UserID}, Confirm: act.Confirm,
		PaymentProvider: act.PaymentProvider, PaymentMethod: act.PaymentMethod,
	})
	if err == nil {
		if e.Contract = made.ID; len(t.written) == written {
			return HookUnchanged, "", nil
		}
		return HookApplied, "", nil
	}
	t.counters = nil // nothing is sold
	conflict, isConflict := errors.AsType[*OrderConflictError](err)
	refused, isRefused := errors.AsType[*FieldError](err)
	promo, isPromo := errors.AsType[*PromoError](err)
	switch {
	case isConflict:
		e.Contract = conflict.Contract
		return HookConflict, "", nil
	case errors.Is(err, ErrContractEnded):
		return HookEnded, "", nil
	case isPromo && promo.ofPayment():
		return HookNoPromo, "the table's " + promo.Error(), nil
	case isRefused:
		return HookInvalid, refused.Error(), nil
	case isPromo:
		return HookNoPromo, promo.Error(), nil
	}
	return "", "", err
}
