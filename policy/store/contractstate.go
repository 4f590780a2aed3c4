package store

import (
	"errors"
	"time"
)

// States of a contract, which are stored.
const (
	StateUnconfirmed = "UNCONFIRMED"
	StateActive      = "ACTIVE"
	StateCanceled    = "CANCELED"
)

// Statuses of a contract besides its states: what time did to it.
const (
	StatusAbandoned       = "ABANDONED"
	StatusCancelRequested = "CANCEL_REQUESTED"
	StatusExpired         = "EXPIRED"
)

// ErrContractEnded is returned for a change of a contract that has ended.
var ErrContractEnded = errors.New("the contract has ended")

// Status returns the state of the contract at a time.
func (c *Contract) Status(now time.Time) string {
	passed := func(at *time.Time) bool { return at != nil && !now.Before(*at) }
	switch {
	case c.State == StateUnconfirmed && passed(c.AbandonAt):
		return StatusAbandoned
	case c.State != StateActive:
		return c.State
	case passed(c.WillCancelAt):
		return StateCanceled
	case passed(c.EndsAt):
		return StatusExpired
	case c.WillCancelAt != nil:
		return StatusCancelRequested
	}
	return StateActive
}

// end returns when access ends, nil for never.
func (c *Contract) end() *time.Time {
	if c.WillCancelAt != nil && (c.EndsAt == nil || c.WillCancelAt.Before(*c.EndsAt)) {
		return c.WillCancelAt
	}
	return c.EndsAt
}

// Active reports whether the contract gives access at a time.
func (c *Contract) Active(now time.Time) bool {
	end := c.end()
	return c.State == StateActive && !now.Before(c.StartsAt) && (end == nil || now.Before(*end))
}

// Window returns the half-open interval of the access; end is nil for none.
func (c *Contract) Window() (start time.Time, end *time.Time) { return c.StartsAt, c.end() }

// confirm makes the contract active. It returns ErrContractEnded for one that ended.
func (c *Contract) confirm(now time.Time) error {
	switch c.Status(now) {
	case StateUnconfirmed:
	case StateActive, StatusCancelRequested:
		return nil
	default:
		return ErrContractEnded
	}
	c.State, c.ConfirmedAt, c.AbandonAt = StateActive, &now, nil
	if c.StartsAt.Before(now) {
		c.StartsAt = now
	}
	if c.EndsAt == nil && c.Interval != "" && c.Duration != DurationPerpetual {
		c.EndsAt = new(addPeriod(c.StartsAt, c.Interval, c.Times))
	}
	return nil
}

// Cancellation is how a contract is cancelled: now, at a time, or at the end of its period.
type Cancellation struct {
	Now    bool
	At     *time.Time
	Reason string
}

// cancel cancels the contract. One that was cancelled stays as it is.
func (c *Contract) cancel(how Cancellation, now time.Time) error {
	inMilliseconds(how.At)
	switch c.Status(now) {
	case StateCanceled:
		return nil
	case StatusExpired, StatusAbandoned:
		return ErrContractEnded
	case StateUnconfirmed:
		how = Cancellation{Now: true, Reason: how.Reason}
	}
	at := now
	switch {
	case how.Now:
	case how.At != nil:
		at = *how.At
	case c.EndsAt != nil:
		at = *c.EndsAt
	case c.NextBillAt != nil:
		at = *c.NextBillAt
	default:
		return &FieldError{"at", "must be NOW or a time: the contract has no period"}
	}
	if !at.After(now) {
		c.State, at = StateCanceled, now
	}
	if c.WillCancelAt == nil || at.Before(*c.WillCancelAt) {
		c.WillCancelAt = &at
	}
	if c.CancelRequestedAt == nil {
		c.CancelRequestedAt = &now
	}
	if how.Reason != "" {
		c.CancelReason = how.Reason
	}
	return nil
}

// Renewal moves the end of a contract.
type Renewal struct {
	EndsAt, NextBillAt *time.Time
	Price, NextPrice   string
}

// renew moves the end on, by one period unless the renewal names the end.
func (c *Contract) renew(r Renewal, now time.Time) error {
	switch c.Status(now) {
	case StateActive, StatusCancelRequested, StatusExpired:
	default:
		return ErrContractEnded
	}
	inMilliseconds(r.EndsAt)
	switch {
	case c.EndsAt == nil:
		return &FieldError{"expiresAt", "cannot be moved: the contract has no end"}
	case r.EndsAt == nil && c.Interval == "":
		return &FieldError{"expiresAt", "is required: the contract has no period"}
	case r.EndsAt == nil:
		r.EndsAt = new(addPeriod(*c.EndsAt, c.Interval, c.Times))
	case r.EndsAt.Before(*c.EndsAt):
		return &FieldError{"expiresAt", "must not be before the end that the contract has"}
	}
	c.EndsAt, c.WillCancelAt, c.CancelRequestedAt, c.CancelReason = r.EndsAt, nil, nil, ""
	if r.NextBillAt != nil {
		c.NextBillAt = r.NextBillAt
	}
	switch {
	case r.Price != "":
		c.Price = r.Price
	case c.NextPrice != "":
		c.Price = c.NextPrice
	}
	if r.NextPrice != "" {
		c.NextPrice = r.NextPrice
	}
	return nil
}

// addPeriod adds so many intervals to a time. A month without the day ends on its last one.
func addPeriod(at time.Time, interval string, times int) time.Time {
	years, months, days := 0, 0, 0
	switch times = max(times, 1); interval {
	case IntervalDay:
		days = times
	case IntervalWeek:
		days = 7 * times
	case IntervalMonth:
		months = times
	default:
		years = times
	}
	next := at.AddDate(years, months, days)
	if days == 0 && next.Day() != at.Day() {
		next = next.AddDate(0, 0, -next.Day())
	}
	return next
}
