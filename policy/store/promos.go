package store

import "time"

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
	// Ended promos sell nothing.
	Ended     bool      `json:"ended,omitempty"`
	CreatedAt time.Time `json:"createdAt"`
	UpdatedAt time.Time `json:"updatedAt"`
}
