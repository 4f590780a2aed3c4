package store

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/gatefold/gatefold/policy/store/engine"
)

// Promo is a base contract: what a promo code sells.
type Promo struct {
	Code string `json:"code"`
	Name string `json:"name,omitempty"`
	// Items are what a contract gives; see Contract for the meaning of the fields that have
	// the same name.
	Items    []ContractItem `json:"items"`
	Duration string         `json:"contractDuration"`
	Interval string         `json:"recurringInterval,omitempty"`
	Times    int            `json:"recurringTime,omitempty"`
	// EndsAt is the end of the contracts, if it is not counted from their start.
	EndsAt   *time.Time `json:"endsAt,omitempty"`
	Price    string     `json:"price,omitempty"`
	Currency string     `json:"currency,omitempty"`
	// MaxQuantity bounds the quantity of an order. Default: 1.
	MaxQuantity int `json:"maxQuantity,omitempty"`
	// Providers and Methods are the accepted ways of payment, Sellers the clients that may
	// sell. Empty: any.
	Providers []string `json:"paymentProviders,omitempty"`
	Methods   []string `json:"paymentMethods,omitempty"`
	Sellers   []string `json:"sellers,omitempty"`
	// MaxContracts bounds how many contracts are sold; zero for no bound.
	MaxContracts int `json:"maxContracts,omitempty"`
	// ConfirmWithin is how many days a contract waits to be confirmed.
	ConfirmWithin int `json:"confirmWithinDays,omitempty"`
	// ValidFrom and ValidUntil bound the time of the sale.
	ValidFrom  *time.Time `json:"validFrom,omitempty"`
	ValidUntil *time.Time `json:"validUntil,omitempty"`
	// Keeps are the members of parties that are kept, besides those that all contracts keep:
	// gender, birthday and vatNr.
	Keeps []string `json:"keeps,omitempty"`
	// Ended promos sell nothing.
	Ended     bool      `json:"ended,omitempty"`
	CreatedAt time.Time `json:"createdAt"`
	UpdatedAt time.Time `json:"updatedAt"`
}

// DefaultConfirmWithin is how many days a contract waits to be confirmed by default.
const DefaultConfirmWithin = 30

var promoKind = &kind[Promo]{
	prefix:    prefixPromo,
	path:      func(p *Promo) []string { return []string{p.Code} },
	normalize: (*Promo).normalize,
	keep:      func(next, old *Promo) { next.Code = old.Code },
	stamps:    func(p *Promo) (created, updated *time.Time) { return &p.CreatedAt, &p.UpdatedAt },
}

// normalize fills in defaults and checks the promo.
func (p *Promo) normalize() error {
	for _, at := range []*time.Time{p.EndsAt, p.ValidFrom, p.ValidUntil} {
		inMilliseconds(at)
	}
	if p.Code == "" {
		return &FieldError{"code", "is required"}
	}
	if p.ValidFrom != nil && p.ValidUntil != nil && !p.ValidUntil.After(*p.ValidFrom) {
		return &FieldError{"validUntil", "must be after validFrom"}
	}
	terms := terms{p.Items, &p.Duration, p.Interval, &p.Times, p.EndsAt}
	return cmp.Or(checkText("code", p.Code, MaxSlugSize), checkText("name", p.Name, 255), terms.check("endsAt"))
}

// inMilliseconds rounds a time down, as decisions count in milliseconds; nil is none.
func inMilliseconds(at *time.Time) {
	if at != nil {
		*at = at.UTC().Truncate(time.Millisecond)
	}
}

// Promo returns a promo, or ErrNotFound.
func (s *Store) Promo(ctx context.Context, vendor, code string) (Promo, error) {
	return read(ctx, s, vendor, promoKind, code)
}

// Promos lists promos by their codes.
func (s *Store) Promos(ctx context.Context, vendor string, page Page) (found []Promo, err error) {
	for promo, err := range listOf(s, vendor, promoKind, []byte{prefixPromo}).All(ctx) {
		if err != nil {
			return nil, err
		}
		if promo.Code > page.From && len(found) < page.Limit {
			found = append(found, promo)
		}
	}
	return found, nil
}

// PromoSold returns how many contracts were made of a promo.
func (s *Store) PromoSold(ctx context.Context, vendor, code string) (sold int, err error) {
	err = s.engine.View(ctx, vendor, func(snapshot engine.Snapshot) error {
		n, err := snapshot.Count(key(prefixPromoUses, code))
		sold = int(n)
		return err
	})
	return sold, err
}

// CreatePromo stores a new promo. It returns ErrExists when its code has one.
func (w Writer) CreatePromo(ctx context.Context, vendor string, promo Promo) (Promo, error) {
	return create(ctx, w, vendor, promoKind, promo)
}

// UpdatePromo changes a promo: change gets the current one. Its code and time of creation
// cannot be changed.
func (w Writer) UpdatePromo(ctx context.Context, vendor, code string, change func(*Promo) error) (Promo, error) {
	return update(ctx, w, vendor, promoKind, change, code)
}

// Errors of sales.
var (
	ErrPromoUnknown = errors.New("there is no such promo")
	ErrPromoEnded   = errors.New("the promo does not sell now")
	ErrPromoUsedUp  = errors.New("the promo sold as many contracts as it may")
)

// sells returns why the promo does not sell to an order.
func (p *Promo) sells(order *Contract, now time.Time) error {
	switch {
	case len(p.Sellers) > 0 && !slices.Contains(p.Sellers, order.Seller):
		return ErrPromoUnknown
	case p.Ended, p.ValidFrom != nil && now.Before(*p.ValidFrom), p.ValidUntil != nil && !now.Before(*p.ValidUntil), p.EndsAt != nil && !now.Before(*p.EndsAt):
		return ErrPromoEnded
	case len(p.Providers) > 0 && !slices.Contains(p.Providers, order.PaymentProvider):
		return &FieldError{"paymentProvider", "is not one that the promo accepts"}
	case len(p.Methods) > 0 && !slices.Contains(p.Methods, order.PaymentMethod):
		return &FieldError{"paymentMethod", "is not one that the promo accepts"}
	case order.Quantity > max(p.MaxQuantity, 1):
		return &FieldError{"quantity", "is above the promo's maxQuantity"}
	}
	return nil
}
