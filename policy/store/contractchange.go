package store

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"
)

// Cancellation is how a contract is cancelled: at the end of its period, at a time or, without
// either, at once.
type Cancellation struct {
	AtPeriodEnd bool
	At          *time.Time
	Reason      string
}

// CancelContract cancels a contract. One that is not confirmed, or has expired, is canceled at
// once. A later time than that of an earlier cancellation is ignored, and cancelling a
// canceled contract again changes nothing. It returns a *FieldError for one without an end
// that is to be cancelled at it. Allowed may refuse the contract; nil allows it.
func (w Writer) CancelContract(ctx context.Context, vendor, id string, cancel Cancellation, allowed func(*Contract) error) (Contract, error) {
	return w.changeContract(ctx, vendor, id, stepCancel, permittedContract(allowed, func(t *transaction, c *Contract) error { return c.cancel(cancel, t.now) }))
}

// permittedContract calls change for a contract that is allowed.
func permittedContract(allowed func(*Contract) error, change func(*transaction, *Contract) error) func(*transaction, *Contract) error {
	return func(t *transaction, c *Contract) error {
		if allowed != nil {
			if err := allowed(c); err != nil {
				return err
			}
		}
		return change(t, c)
	}
}

// cancel cancels a contract that allows it.
func (c *Contract) cancel(cancel Cancellation, now time.Time) error {
	status := c.Status(now)
	confirmed := status == StatusActive || status == StatusCancelRequested
	var at time.Time
	switch {
	case !confirmed:
	case cancel.At != nil:
		at = cancel.At.UTC().Truncate(time.Millisecond)
	case cancel.AtPeriodEnd:
		switch {
		case c.EndsAt != nil:
			at = *c.EndsAt
		case c.NextBillAt != nil:
			at = *c.NextBillAt
		default:
			return &FieldError{"at", "cannot be the end of the period: the contract has no end; name a time, or cancel it at once"}
		}
	}
	if !at.After(now) {
		c.endNow(now, cancel.Reason)
		return nil
	}
	if at.Year() > 9999 {
		return &FieldError{"at", "is too late"}
	}
	if c.WillCancelAt != nil && !at.Before(*c.WillCancelAt) {
		return nil
	}
	c.CancelRequestedAt, c.WillCancelAt, c.CancelReason, c.CancelAtEnd = &now, &at, cancel.Reason, cancel.At == nil && c.EndsAt != nil
	return nil
}

// Renewal moves the end of a contract on.
type Renewal struct {
	// EndsAt is the new end. Without one, it moves by Periods; zero means one.
	EndsAt  *time.Time
	Periods int
	// Price is that of the new period. Empty: the next price, if there is one. NextPrice is
	// that of the period after it.
	Price, NextPrice string
	// NextBillAt is when that is billed. Nil: at the new end, for a RECURRING contract.
	NextBillAt *time.Time
	// Resume takes back a cancellation that has not taken effect. Without it a contract that
	// is to be canceled at its end is canceled at the new one.
	Resume bool
	// Reference, unless empty, names the renewal: the same one again changes nothing.
	Reference string
}

// RenewalNote is a renewal of a contract.
type RenewalNote struct {
	Reference string    `json:"reference"`
	At        time.Time `json:"at"`
}

const (
	// maxRenewals bounds the renewals whose references a contract has.
	maxRenewals = 36
	// maxRenewalPeriods bounds the periods of one renewal.
	maxRenewalPeriods = 120
)

// RenewContract moves the end of a contract on: by periods from its end or, if that is over,
// from now. It returns a *ContractStateError for a contract that is not confirmed or was
// canceled, and a *FieldError for one without an end. Allowed may refuse the contract; nil
// allows it. It is not asked about a renewal that was made already.
func (w Writer) RenewContract(ctx context.Context, vendor, id string, renewal Renewal, allowed func(*Contract) error) (Contract, error) {
	change := permittedContract(allowed, func(t *transaction, c *Contract) error { return c.renew(&renewal, t.now) })
	return w.changeContract(ctx, vendor, id, stepRenew, func(t *transaction, c *Contract) error {
		if renewal.Reference != "" && slices.ContainsFunc(c.Renewals, func(n RenewalNote) bool { return n.Reference == renewal.Reference }) {
			return nil
		}
		return change(t, c)
	})
}

// renew renews a contract that allows it.
func (c *Contract) renew(r *Renewal, now time.Time) error {
	if c.EndsAt == nil {
		return &FieldError{"expiresAt", "cannot be moved: the contract has no end"}
	}
	var end time.Time
	switch {
	case r.EndsAt != nil && r.Periods != 0:
		return &FieldError{"periods", "cannot be named with expiresAt"}
	case r.EndsAt != nil:
		if end = r.EndsAt.UTC().Truncate(time.Millisecond); end.Before(*c.EndsAt) {
			return &FieldError{"expiresAt", "is before the end of the contract: cancel the contract to end it earlier"}
		}
	case c.Interval == "":
		return &FieldError{"expiresAt", "is required: the contract has no period"}
	case r.Periods < 0 || r.Periods > maxRenewalPeriods:
		return &FieldError{"periods", fmt.Sprintf("must be from 1 to %d", maxRenewalPeriods)}
	default:
		end = c.plan().renewed(&Subscription{StartsAt: c.StartsAt, EndsAt: *c.EndsAt}, now, max(r.Periods, 1))
	}
	if err := checkText("reference", r.Reference, 255); err != nil {
		return err
	}
	moved := end.After(*c.EndsAt)
	c.EndsAt = &end
	switch {
	case r.Resume:
		c.CancelRequestedAt, c.WillCancelAt, c.CancelReason, c.CancelAtEnd = nil, nil, "", false
	case c.CancelAtEnd:
		c.WillCancelAt = &end
	}
	if moved && (r.Price != "" || c.NextPrice != "") {
		c.Price, c.NextPrice = cmp.Or(r.Price, c.NextPrice), r.NextPrice
	}
	if r.NextBillAt != nil {
		c.NextBillAt = r.NextBillAt
	} else if moved && c.Duration == DurationRecurring {
		c.NextBillAt = &end
	}
	if r.Reference != "" {
		c.Renewals = append(slices.Clone(c.Renewals), RenewalNote{r.Reference, now})
		c.Renewals = c.Renewals[max(0, len(c.Renewals)-maxRenewals):]
	}
	return nil
}

// TransferContract gives a contract to another owner. The payer and the seats stay as they
// are. It returns a *ContractStateError for one that has ended. Allowed may refuse the
// contract; nil allows it.
func (w Writer) TransferContract(ctx context.Context, vendor, id string, owner Party, allowed func(*Contract) error) (Contract, error) {
	return w.changeContract(ctx, vendor, id, stepTransfer, permittedContract(allowed, func(_ *transaction, c *Contract) error {
		owner.keepOnly(nil)
		c.Owner = owner
		return nil
	}))
}
