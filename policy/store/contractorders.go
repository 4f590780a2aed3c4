package store

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store/engine"
)

// Durations of contracts and intervals of their periods.
const (
	DurationRecurring = "RECURRING"
	DurationRenewable = "RENEWABLE"
	DurationPerpetual = "PERPETUAL"

	IntervalDay   = "DAY"
	IntervalWeek  = "WEEK"
	IntervalMonth = "MONTH"
	IntervalYear  = "YEAR"
)

// OrderConflictError is returned for an order whose id the seller used for another one.
type OrderConflictError struct{ Contract string }

func (e *OrderConflictError) Error() string {
	return "the order is that of the contract " + e.Contract + ", with another content"
}

// terms are what promos and contracts have in common.
type terms struct {
	items    []ContractItem
	duration *string
	interval string
	times    *int
	endsAt   *time.Time
}

// check checks the terms; ends is the name of the field with the end.
func (t *terms) check(ends string) error {
	if len(t.items) == 0 {
		return &FieldError{"items", "is required"}
	}
	for i := range t.items {
		if err := cmp.Or(checkText("items", t.items[i].SKU, 255), checkText("items", t.items[i].Name, 255)); err != nil {
			return err
		}
		if t.items[i].SKU == "" {
			return &FieldError{"items", "must each have a sku"}
		}
	}
	switch {
	case !slices.Contains([]string{DurationRecurring, DurationRenewable, DurationPerpetual}, *t.duration):
		return &FieldError{"contractDuration", "must be RECURRING, RENEWABLE or PERPETUAL"}
	case *t.duration == DurationRecurring && t.interval == "":
		return &FieldError{"recurringInterval", "is required of a RECURRING contract"}
	case *t.duration == DurationRenewable && t.interval == "" && t.endsAt == nil:
		return &FieldError{ends, "is required of a RENEWABLE contract without a period"}
	case *t.duration == DurationPerpetual && (t.interval != "" || t.endsAt != nil):
		return &FieldError{"contractDuration", "must not be PERPETUAL for what has a period or an end"}
	}
	if t.interval != "" {
		*t.times = max(*t.times, 1)
	}
	return nil
}

var contractKind = &kind[Contract]{
	prefix:    prefixContract,
	path:      func(c *Contract) []string { return []string{c.ID} },
	normalize: (*Contract).normalize,
	stamps:    func(c *Contract) (created, updated *time.Time) { return &c.CreatedAt, &c.UpdatedAt },
	index:     indexContract,
	stale: func(change *policy.Invalidation, vendor string, old, next *Contract) {
		for _, c := range []*Contract{old, next} {
			if c == nil {
				continue
			}
			if c.Owner.UserID != "" {
				change.Add(policy.KindUserID, vendor, c.Owner.UserID)
			}
			if c.Owner.Email != "" {
				change.Add(policy.KindEmail, vendor, c.Owner.Email)
			}
		}
		if old != nil {
			change.Add(policy.KindContract, vendor, old.ID)
		}
	},
}

// normalize fills in defaults and checks the contract.
func (c *Contract) normalize() error {
	for _, at := range []*time.Time{&c.StartsAt, c.EndsAt, c.WillCancelAt, c.NextBillAt} {
		inMilliseconds(at)
	}
	c.Owner.Email, c.Payer.Email = policy.LowerEmail(c.Owner.Email), policy.LowerEmail(c.Payer.Email)
	terms := terms{c.Items, &c.Duration, c.Interval, &c.Times, c.EndsAt}
	if err := terms.check("expiresAt"); err != nil {
		return err
	}
	if c.EndsAt != nil && !c.EndsAt.After(c.StartsAt) {
		return &FieldError{"expiresAt", "must be after startsAt"}
	}
	return cmp.Or(c.Owner.check("ownerData"), c.Payer.check("userData"), checkText("name", c.Name, 255), checkText("externalOrderId", c.OrderID, 255))
}

func (p *Party) check(field string) error {
	if checkEmail(p.Email) != nil {
		return &FieldError{field + ".email", "is not an e-mail address"}
	}
	return cmp.Or(checkText(field+".userId", p.UserID, 255), checkText(field+".fullName", p.FullName, 255), checkText(field+".phone", p.Phone, 64))
}

// hash returns a digest of what was ordered.
func (c *Contract) hash() (string, error) {
	ordered := *c
	ordered.State, ordered.StartsAt = "", time.Time{}
	encoded, err := json.Marshal(ordered)
	sum := sha256.Sum256(encoded)
	return hex.EncodeToString(sum[:16]), err
}

// Sell makes a contract of an order by a promo code, and confirms it if confirm is set. The
// order again returns the contract that it has; isNew reports whether it was made now. It
// returns ErrPromoUnknown, ErrPromoEnded, ErrPromoUsedUp, *OrderConflictError or *FieldError.
func (w Writer) Sell(ctx context.Context, vendor, code string, order Contract, confirm bool) (made Contract, isNew bool, err error) {
	order.Promo = code
	return w.order(ctx, vendor, order, confirm, func(t *transaction, c *Contract) error {
		promo, err := promoKind.get(t, code)
		if err != nil || promo == nil {
			return cmp.Or(err, ErrPromoUnknown)
		}
		if err := promo.sells(&order, t.now); err != nil {
			return err
		}
		promo.fill(c, t.now)
		t.counters = append(t.counters, engine.Counter{Key: key(prefixPromoUses, code), Max: int64(promo.MaxContracts)})
		return nil
	})
}

// fill sets what a contract has of its promo.
func (p *Promo) fill(c *Contract, now time.Time) {
	c.Name, c.Items, c.Duration, c.Interval, c.Times = p.Name, p.Items, p.Duration, p.Interval, p.Times
	c.EndsAt, c.Price, c.Currency = p.EndsAt, p.Price, p.Currency
	c.AbandonAt = new(now.AddDate(0, 0, cmp.Or(p.ConfirmWithin, DefaultConfirmWithin)))
	for _, party := range []*Party{&c.Owner, &c.Payer} {
		for name, value := range map[string]*string{"gender": &party.Gender, "birthday": &party.Birthday, "vatNr": &party.VATNumber} {
			if !slices.Contains(p.Keeps, name) {
				*value = ""
			}
		}
	}
}

// CreateContract stores a contract without a promo. It is idempotent by the order as Sell is.
func (w Writer) CreateContract(ctx context.Context, vendor string, wanted Contract, confirm bool) (made Contract, isNew bool, err error) {
	return w.order(ctx, vendor, wanted, confirm, func(t *transaction, c *Contract) error {
		c.AbandonAt = new(t.now.AddDate(0, 0, DefaultConfirmWithin))
		return nil
	})
}

// order makes the contract of an order, or returns the one that it has.
func (w Writer) order(ctx context.Context, vendor string, order Contract, confirm bool, fill func(*transaction, *Contract) error) (made Contract, isNew bool, err error) {
	hash, err := order.hash()
	if err != nil {
		return made, false, err
	}
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails, see crypto/rand
	err = w.transact(ctx, vendor, func(t *transaction) error {
		at := key(prefixOrder, order.Seller, order.OrderID)
		if order.OrderID != "" {
			taken, err := t.load(at)
			if err != nil {
				return err
			}
			if taken != nil {
				isNew = false
				return t.repeat(string(taken), order.Promo, hash, confirm, &made)
			}
		}
		made, isNew = order, true
		made.ID, made.State, made.OrderHash, made.Quantity = hex.EncodeToString(id[:]), StateUnconfirmed, hash, max(order.Quantity, 1)
		if err := fill(t, &made); err != nil {
			return err
		}
		for _, item := range made.Items {
			made.Seats += item.Seats * made.Quantity
		}
		if made.StartsAt.IsZero() {
			made.StartsAt = t.now
		}
		if confirm {
			if err := made.confirm(t.now); err != nil {
				return err
			}
		}
		if order.OrderID != "" {
			t.set(at, []byte(made.ID), time.Time{})
		}
		return contractKind.put(t, &made)
	})
	if _, full := errors.AsType[*engine.BoundError](err); full {
		err = ErrPromoUsedUp
	}
	return made, isNew, err
}

// repeat answers an order that has a contract.
func (t *transaction) repeat(id, promo, hash string, confirm bool, made *Contract) error {
	found, err := contractKind.need(t, id)
	if err != nil {
		return err
	}
	if found.OrderHash != hash || found.Promo != promo {
		return &OrderConflictError{id}
	}
	*made = *found
	if !confirm {
		return nil
	}
	if err := made.confirm(t.now); err != nil {
		return err
	}
	return contractKind.put(t, made)
}

// Contract returns a contract, or ErrNotFound.
func (s *Store) Contract(ctx context.Context, vendor, id string) (Contract, error) {
	return read(ctx, s, vendor, contractKind, id)
}

// ConfirmContract confirms a contract of a promo; another promo's is ErrNotFound. Confirming a
// confirmed one changes nothing.
func (w Writer) ConfirmContract(ctx context.Context, vendor, promo, id string, paid map[string]string) (Contract, error) {
	return w.changeContract(ctx, vendor, id, nil, func(t *transaction, c *Contract) error {
		if c.Promo != promo {
			return ErrNotFound
		}
		if c.State == StateUnconfirmed {
			c.ProviderPaymentData = paid
		}
		return c.confirm(t.now)
	})
}

// changeContract changes a contract, unless check returns an error.
func (w Writer) changeContract(ctx context.Context, vendor, id string, check func(*Contract) error, change func(*transaction, *Contract) error) (made Contract, err error) {
	err = w.transact(ctx, vendor, func(t *transaction) error {
		old, err := contractKind.need(t, id)
		if err != nil {
			return err
		}
		made = *old
		if check != nil {
			if err := check(&made); err != nil {
				return err
			}
		}
		if err := change(t, &made); err != nil {
			return err
		}
		return contractKind.put(t, &made)
	})
	return made, err
}

// UpdateContract changes a contract that has not ended.
func (w Writer) UpdateContract(ctx context.Context, vendor, id string, change func(*Contract) error) (Contract, error) {
	return w.changeContract(ctx, vendor, id, nil, func(t *transaction, c *Contract) error {
		switch c.Status(t.now) {
		case StateCanceled, StatusAbandoned:
			return ErrContractEnded
		}
		return change(c)
	})
}

// CancelContract cancels a contract.
func (w Writer) CancelContract(ctx context.Context, vendor, id string, how Cancellation, check func(*Contract) error) (Contract, error) {
	return w.changeContract(ctx, vendor, id, check, func(t *transaction, c *Contract) error { return c.cancel(how, t.now) })
}

// RenewContract moves the end of a contract on.
func (w Writer) RenewContract(ctx context.Context, vendor, id string, r Renewal, check func(*Contract) error) (Contract, error) {
	return w.changeContract(ctx, vendor, id, check, func(t *transaction, c *Contract) error { return c.renew(r, t.now) })
}

// TransferContract gives a contract to another owner.
func (w Writer) TransferContract(ctx context.Context, vendor, id string, owner Party, check func(*Contract) error) (Contract, error) {
	return w.changeContract(ctx, vendor, id, check, func(t *transaction, c *Contract) error {
		if status := c.Status(t.now); status != StateActive && status != StatusCancelRequested && status != StateUnconfirmed {
			return ErrContractEnded
		}
		c.Owner = owner
		return nil
	})
}
