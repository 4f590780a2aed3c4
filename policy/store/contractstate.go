package store

import (
	"fmt"
	"time"
)

// The state machine of contracts. Stored is what was decided (State); Status also says what
// time did since, so that no job is needed for an end. docs/contracts.md has the table.
const (
	StateUnconfirmed = "UNCONFIRMED"
	StateActive      = StatusActive
	StateCanceled    = StatusCanceled

	// StatusAbandoned is the status of a contract that was not confirmed in time.
	StatusUnconfirmed = StateUnconfirmed
	StatusAbandoned   = "ABANDONED"
	// StatusCancelRequested is that of one that gives access until WillCancelAt.
	StatusCancelRequested = "CANCEL_REQUESTED"
	StatusExpired         = "EXPIRED"
)

// contractStep is a change of a contract that depends on its status.
type contractStep string

const (
	stepConfirm  contractStep = "confirm"
	stepCancel   contractStep = "cancel"
	stepRenew    contractStep = "renew"
	stepChange   contractStep = "change"
	stepTransfer contractStep = "transfer"
	stepSeats    contractStep = "assign seats in"
)

// transition is what a step does in a status.
type transition byte

const (
	refused   transition = iota
	unchanged            // the step was taken already
	taken
)

// contractSteps has the steps that are not refused, by status. A step that is taken leads to
// the state that its method sets: confirming and renewing to ACTIVE, cancelling to CANCELED
// or CANCEL_REQUESTED, and the others leave it.
var contractSteps = map[string]map[contractStep]transition{
	StatusUnconfirmed:     {stepConfirm: taken, stepCancel: taken, stepChange: taken, stepTransfer: taken, stepSeats: taken},
	StatusAbandoned:       {stepCancel: taken},
	StatusActive:          {stepConfirm: unchanged, stepCancel: taken, stepRenew: taken, stepChange: taken, stepTransfer: taken, stepSeats: taken},
	StatusCancelRequested: {stepConfirm: unchanged, stepCancel: taken, stepRenew: taken, stepChange: taken, stepTransfer: taken, stepSeats: taken},
	StatusCanceled:        {stepCancel: unchanged},
	StatusExpired:         {stepCancel: taken, stepRenew: taken},
}

// ErrContractEnded is wrapped by the error of a step that a contract does not take any more.
var ErrContractEnded = fmt.Errorf("the contract has ended")

// ContractStateError is the error of a step that the status of a contract refuses. It wraps
// ErrContractEnded, unless the contract only has to be confirmed first.
type ContractStateError struct {
	Contract, Status, Step string
}

func (e *ContractStateError) Error() string {
	if e.Status == StatusUnconfirmed {
		return "the contract " + e.Contract + " is not confirmed: confirm it first to " + e.Step + " it"
	}
	return "the contract " + e.Contract + " is " + e.Status + ": it is too late to " + e.Step + " it"
}

// Unwrap returns ErrContractEnded for a contract that has ended.
func (e *ContractStateError) Unwrap() error {
	if e.Status == StatusUnconfirmed {
		return nil
	}
	return ErrContractEnded
}

// allows returns the error of a step that the status at a time refuses, and done for one that
// was taken already.
func (c *Contract) allows(step contractStep, now time.Time) (done bool, err error) {
	status := c.Status(now)
	switch contractSteps[status][step] {
	case refused:
		return false, &ContractStateError{c.ID, status, string(step)}
	case unchanged:
		return true, nil
	default:
		return false, nil
	}
}

// Status returns the status of the contract at a time: UNCONFIRMED, ABANDONED, ACTIVE,
// CANCEL_REQUESTED, CANCELED or EXPIRED.
func (c *Contract) Status(now time.Time) string {
	passed := func(at *time.Time) bool { return at != nil && !now.Before(*at) }
	switch {
	case c.State == StateCanceled:
		return StatusCanceled
	case c.State != StateActive && passed(c.AbandonAt):
		return StatusAbandoned
	case c.State != StateActive:
		return StatusUnconfirmed
	case passed(c.WillCancelAt):
		return StatusCanceled
	case passed(c.EndsAt):
		return StatusExpired
	case c.WillCancelAt != nil:
		return StatusCancelRequested
	}
	return StatusActive
}

// Active reports whether the contract gives access at a time: it is confirmed, and the time
// is in the half-open interval from StartsAt to the first of EndsAt and WillCancelAt.
func (c *Contract) Active(now time.Time) bool {
	given := c.gives()
	ms := now.UnixMilli()
	return given != nil && given.StartsAt <= ms && (given.EndsAt == 0 || ms < given.EndsAt)
}

// confirm confirms a contract now. A contract of a promo starts then, and without an end ends
// after one period.
func (c *Contract) confirm(now time.Time) {
	c.State, c.ConfirmedAt, c.AbandonAt = StateActive, &now, nil
	if c.Promo != "" {
		c.StartsAt = now
	}
	from := c.StartsAt
	if from.Before(now) {
		from = now
	}
	if c.EndsAt == nil && c.Duration != DurationPerpetual {
		end := c.after(from, 1)
		c.EndsAt = &end
	}
	if c.Duration == DurationRecurring && c.NextBillAt == nil {
		c.NextBillAt = c.EndsAt
	}
}

// endNow cancels a contract at once.
func (c *Contract) endNow(now time.Time, reason string) {
	c.State, c.CanceledAt, c.CancelReason, c.CancelAtEnd = StateCanceled, &now, reason, false
	if c.CancelRequestedAt == nil {
		c.CancelRequestedAt = &now
	}
	if c.WillCancelAt == nil || c.WillCancelAt.After(now) {
		c.WillCancelAt = &now
	}
}

// planPeriods are the names that plans have for intervals.
var planPeriods = map[string]string{IntervalDay: PeriodDaily, IntervalWeek: PeriodWeekly, IntervalMonth: PeriodMonthly, IntervalYear: PeriodYearly}

// plan returns a plan with the period of the contract.
func (c *Contract) plan() *Plan {
	return &Plan{PeriodType: planPeriods[c.Interval], PeriodLength: c.Times}
}

// after returns the time after some periods of the contract.
func (c *Contract) after(from time.Time, periods int) time.Time { return c.plan().after(from, periods) }

// endRetention is how long a contract is kept after it ended, with its order: as long is the
// same order known.
const endRetention = 400 * 24 * time.Hour

// end returns when a contract that is not changed any more ends, zero for never.
func (c *Contract) end() (end time.Time) {
	ends := []*time.Time{c.EndsAt, c.WillCancelAt}
	switch c.State {
	case StateUnconfirmed:
		ends = []*time.Time{c.AbandonAt}
	case StateCanceled:
		ends = []*time.Time{c.CanceledAt}
	}
	for _, at := range ends {
		if at != nil && (end.IsZero() || at.Before(end)) {
			end = *at
		}
	}
	return end
}

// kept returns until when a contract is kept, zero for without an end.
func (c *Contract) kept() time.Time {
	end := c.end()
	if !end.IsZero() {
		end = end.Add(endRetention)
	}
	return end
}

// expires returns when the engine may remove the contract. One with seats is removed with
// them, by sweepContracts.
func (c *Contract) expires() time.Time {
	if c.Seats > 0 || c.SeatsTaken > 0 {
		return time.Time{}
	}
	return c.kept()
}
