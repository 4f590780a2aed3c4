package store

import (
	"cmp"
	"context"
	"errors"
	"time"
)

// PurchaseOption is a way in which a product is sold: a price and a period. It is a
// description: grants and contracts may name an option that is not stored.
type PurchaseOption struct {
	ID   string `json:"id"`
	SKU  string `json:"sku"`
	Name string `json:"name"`
	// Type is RECURRING or SINGLE.
	Type string `json:"type"`
	// Price is decimal text.
	Price    string `json:"price"`
	Currency string `json:"currency,omitempty"`
	// Interval and Times are the length of a period: so many times DAY, WEEK, MONTH or YEAR.
	Interval string `json:"interval,omitempty"`
	Times    int    `json:"time,omitempty"`
	// Seats is the number of seats; zero for an option of one reader.
	Seats     int       `json:"seats,omitempty"`
	Inactive  bool      `json:"inactive,omitempty"`
	CreatedAt time.Time `json:"createdAt"`
	UpdatedAt time.Time `json:"updatedAt"`
}

// The types of purchase options.
const (
	OptionRecurring = "RECURRING"
	OptionSingle    = "SINGLE"
)

var optionIntervals = map[string]bool{"DAY": true, "WEEK": true, "MONTH": true, "YEAR": true}

var purchaseOptionKind = &kind[PurchaseOption]{
	prefix:    prefixPurchaseOption,
	path:      func(o *PurchaseOption) []string { return []string{o.SKU, o.ID} },
	normalize: (*PurchaseOption).normalize,
	keep:      func(next, old *PurchaseOption) { next.SKU, next.ID = old.SKU, old.ID },
	stamps:    func(o *PurchaseOption) (created, updated *time.Time) { return &o.CreatedAt, &o.UpdatedAt },
	check: func(t *transaction, old, next *PurchaseOption) error {
		if old != nil || next == nil {
			return nil
		}
		known, err := t.has(key(prefixProduct, next.SKU))
		if err == nil && !known {
			err = ErrNotFound
		}
		return err
	},
}

func (o *PurchaseOption) normalize() error {
	o.Type = cmp.Or(o.Type, OptionSingle)
	recurring := o.Type == OptionRecurring
	if recurring {
		o.Times = cmp.Or(o.Times, 1)
	}
	switch {
	case o.Name == "":
		return &FieldError{"name", "is required"}
	case !recurring && o.Type != OptionSingle:
		return &FieldError{"type", "must be RECURRING or SINGLE"}
	case recurring && !optionIntervals[o.Interval]:
		return &FieldError{"interval", "must be DAY, WEEK, MONTH or YEAR for a RECURRING option"}
	case !recurring && (o.Interval != "" || o.Times != 0):
		return &FieldError{"interval", "is for RECURRING options only, and so is time"}
	case o.Times < 0 || o.Times > maxPeriods:
		return &FieldError{"time", "must be from 1 to 1000"}
	case o.Seats < 0 || o.Seats > maxSeats:
		return &FieldError{"seats", "must be from 0 to 1000000"}
	case o.Price == "":
		return &FieldError{"price", "is required"}
	}
	return cmp.Or(
		checkSlug("id", o.ID), checkText("name", o.Name, 255), checkAmount("price", o.Price), checkText("currency", o.Currency, 3),
	)
}

// CreatePurchaseOption stores a new option of a product; without an id it gets one. It
// returns ErrNotFound without the product, and ErrExists when it has an option with the id.
func (w Writer) CreatePurchaseOption(ctx context.Context, vendor string, option PurchaseOption) (PurchaseOption, error) {
	option.ID = cmp.Or(option.ID, newID("po_", w.now()))
	return create(ctx, w, vendor, purchaseOptionKind, option)
}

// UpdatePurchaseOption changes an option: change gets the current one, and may be called
// repeatedly.
func (w Writer) UpdatePurchaseOption(ctx context.Context, vendor, sku, id string, change func(*PurchaseOption) error) (PurchaseOption, error) {
	return update(ctx, w, vendor, purchaseOptionKind, change, sku, id)
}

// DeletePurchaseOption removes an option, unless allowed returns an error; it may be nil.
// Grants and contracts that name it stay as they are.
func (w Writer) DeletePurchaseOption(ctx context.Context, vendor, sku, id string, allowed func(PurchaseOption) error) error {
	return removeRecord(ctx, w, vendor, purchaseOptionKind, allowed, sku, id)
}

// PurchaseOptions returns a page of the options of a product, by id. It returns ErrNotFound
// without the product.
func (s *Store) PurchaseOptions(ctx context.Context, vendor, sku string, page Page) ([]PurchaseOption, error) {
	_, err := s.Product(ctx, vendor, sku)
	found, listErr := pageOf[PurchaseOption](ctx, s, vendor, keyPrefix(prefixPurchaseOption, sku), page)
	return found, errors.Join(err, listErr)
}
