package store

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
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
	// MaxContracts bounds how many contracts are made; zero for no bound. One that ends
	// without a confirmation counts too.
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

const (
	// DefaultConfirmWithin is how many days a contract waits to be confirmed by default, and
	// maxConfirmWithin at most.
	DefaultConfirmWithin = 30
	maxConfirmWithin     = 365
	// maxPromoNames bounds the providers, the methods and the sellers of a promo.
	maxPromoNames = 64
	// maxPromoContracts bounds MaxContracts.
	maxPromoContracts = 1_000_000_000
)

var promoKind = &kind[Promo]{
	prefix:    prefixPromo,
	path:      func(p *Promo) []string { return []string{p.Code} },
	normalize: (*Promo).normalize,
	keep:      func(next, old *Promo) { next.Code = old.Code },
	stamps:    func(p *Promo) (created, updated *time.Time) { return &p.CreatedAt, &p.UpdatedAt },
}

// promoKeeps are the members that Keeps may have.
var promoKeeps = []string{"birthday", "gender", "vatNr"}

// normalize fills in defaults and checks the promo.
func (p *Promo) normalize() error {
	for _, at := range []**time.Time{&p.EndsAt, &p.ValidFrom, &p.ValidUntil} {
		*at = inMilliseconds(*at)
	}
	p.MaxQuantity, p.ConfirmWithin = cmp.Or(p.MaxQuantity, 1), cmp.Or(p.ConfirmWithin, DefaultConfirmWithin)
	switch {
	case p.Code == "":
		return &FieldError{"code", "is required"}
	case p.MaxQuantity < 1 || p.MaxQuantity > maxQuantity:
		return &FieldError{"maxQuantity", fmt.Sprintf("must be from 1 to %d", maxQuantity)}
	case p.MaxContracts < 0 || p.MaxContracts > maxPromoContracts:
		return &FieldError{"maxContracts", fmt.Sprintf("must be from 1 to %d, or absent", maxPromoContracts)}
	case p.ConfirmWithin < 1 || p.ConfirmWithin > maxConfirmWithin:
		return &FieldError{"confirmWithinDays", fmt.Sprintf("must be from 1 to %d", maxConfirmWithin)}
	case p.ValidFrom != nil && p.ValidUntil != nil && !p.ValidUntil.After(*p.ValidFrom):
		return &FieldError{"validUntil", "must be after validFrom"}
	case seatsOf(p.Items, p.MaxQuantity) > maxSeats:
		return &FieldError{"maxQuantity", fmt.Sprintf("would give more than %d seats", maxSeats)}
	}
	slices.Sort(p.Keeps)
	p.Keeps = slices.Compact(p.Keeps)
	for _, member := range p.Keeps {
		if !slices.Contains(promoKeeps, member) {
			return &FieldError{"keeps", "must be of birthday, gender and vatNr"}
		}
	}
	for field, names := range map[string][]string{"paymentProviders": p.Providers, "paymentMethods": p.Methods, "sellers": p.Sellers} {
		if len(names) > maxPromoNames {
			return &FieldError{field, fmt.Sprintf("has more than %d", maxPromoNames)}
		}
		for _, name := range names {
			if err := checkText(field, name, 255); err != nil {
				return err
			}
		}
	}
	terms := contractTerms{p.Items, p.Duration, p.Interval, &p.Times, p.EndsAt}
	return cmp.Or(
		checkText("code", p.Code, MaxSlugSize), checkText("name", p.Name, 255), checkText("currency", p.Currency, 3),
		checkAmount("price", p.Price), terms.check("endsAt"),
	)
}

// PromoRecord returns a promo, or ErrNotFound.
func (s *Store) PromoRecord(ctx context.Context, vendor, code string) (Promo, error) {
	return read(ctx, s, vendor, promoKind, code)
}

// ListPromos lists promos by their codes.
func (s *Store) ListPromos(vendor string) Listing[Promo] {
	return listOf(s, vendor, promoKind, []byte{prefixPromo})
}

// PromoSold returns how many contracts were made of a promo.
func (s *Store) PromoSold(ctx context.Context, vendor, code string) (sold int64, err error) {
	err = s.engine.View(ctx, vendor, func(snapshot engine.Snapshot) error {
		sold, err = snapshot.Count(key(prefixPromoUses, code))
		return err
	})
	return sold, err
}

// CreatePromo stores a new promo. It returns ErrExists when its code has one.
func (w Writer) CreatePromo(ctx context.Context, vendor string, promo Promo) (Promo, error) {
	return create(ctx, w, vendor, promoKind, promo)
}

// UpdatePromo changes a promo: change gets the current one. Its code and time of creation
// cannot be changed. Contracts stay as they are. A promo is not removed, as its contracts
// name it: one that is Ended sells nothing.
func (w Writer) UpdatePromo(ctx context.Context, vendor, code string, change func(*Promo) error) (Promo, error) {
	return update(ctx, w, vendor, promoKind, change, code)
}

// PromoProblem is why a promo does not sell.
type PromoProblem string

// The problems.
const (
	PromoUnknown  PromoProblem = "unknown" // there is none, or it is not for this seller
	PromoEnded    PromoProblem = "ended"
	PromoNotYet   PromoProblem = "not_yet"
	PromoUsedUp   PromoProblem = "used_up"
	PromoProvider PromoProblem = "provider"
	PromoMethod   PromoProblem = "method"
	PromoQuantity PromoProblem = "quantity"
)

// PromoError is the error of a sale that the promo does not make. It wraps ErrNotFound for
// PromoUnknown, and a *FieldError when a field of the order is the cause.
type PromoError struct {
	Code    string
	Problem PromoProblem
	cause   error
}

func (e *PromoError) Error() string {
	switch e.Problem {
	case PromoUnknown:
		return "there is no promo " + e.Code
	case PromoEnded:
		return "the promo " + e.Code + " has ended"
	case PromoNotYet:
		return "the promo " + e.Code + " does not sell yet"
	case PromoUsedUp:
		return "the promo " + e.Code + " has sold as many contracts as it may"
	default:
		return e.cause.Error()
	}
}

func (e *PromoError) Unwrap() error { return e.cause }

// ofPayment reports whether the promo does not accept how an order is paid.
func (e *PromoError) ofPayment() bool {
	return e.Problem == PromoProvider || e.Problem == PromoMethod
}

// sells returns the problem of an order with the promo, nil if it sells.
func (p *Promo) sells(sale *Sale, now time.Time) error {
	problem := func(of PromoProblem, cause error) error { return &PromoError{p.Code, of, cause} }
	switch {
	case !p.soldBy(sale.Seller):
		return problem(PromoUnknown, ErrNotFound)
	case p.Ended, p.ValidUntil != nil && !now.Before(*p.ValidUntil), p.EndsAt != nil && !now.Before(*p.EndsAt):
		return problem(PromoEnded, nil)
	case p.ValidFrom != nil && now.Before(*p.ValidFrom):
		return problem(PromoNotYet, nil)
	}
	if of, err := p.accepts(sale.PaymentProvider, sale.PaymentMethod); err != nil {
		return problem(of, err)
	}
	if sale.Quantity < 1 || sale.Quantity > p.MaxQuantity {
		return problem(PromoQuantity, &FieldError{"quantity", fmt.Sprintf("must be from 1 to %d, which the promo allows", p.MaxQuantity)})
	}
	return nil
}

// soldBy reports whether a seller may sell by the code, and confirm what was sold.
func (p *Promo) soldBy(seller string) bool {
	return len(p.Sellers) == 0 || slices.Contains(p.Sellers, seller)
}

// accepts returns a *FieldError if the promo does not accept how an order is paid.
func (p *Promo) accepts(provider, method string) (PromoProblem, error) {
	for _, of := range []struct {
		problem  PromoProblem
		field    string
		accepted []string
		given    string
	}{{PromoProvider, "paymentProvider", p.Providers, provider}, {PromoMethod, "paymentMethod", p.Methods, method}} {
		if len(of.accepted) > 0 && !slices.Contains(of.accepted, of.given) {
			return of.problem, &FieldError{of.field, "must be one that the promo accepts: " + strings.Join(of.accepted, ", ")}
		}
	}
	return "", nil
}
