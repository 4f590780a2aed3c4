package store

import (
	"encoding/json"
	"time"
)

// Plan is what a provider sells to profiles.
type Plan struct {
	Slug        string `json:"slug"`
	Provider    string `json:"provider"` // slug of the profile that owns it
	Title       string `json:"title"`
	Description string `json:"description,omitempty"`
	// Inactive plans take no new subscriptions.
	Inactive    bool `json:"inactive,omitempty"`
	IsNotPriced bool `json:"is_not_priced,omitempty"`
	// Amounts are in the smallest unit of the currency Unit. They are data: the gate moves
	// no money.
	SetupAmount  int64  `json:"setup_amount,omitempty"`
	PeriodAmount int64  `json:"period_amount,omitempty"`
	Unit         string `json:"unit,omitempty"`
	// PeriodType is hourly, daily, weekly, monthly or yearly, and PeriodLength the number
	// of them.
	PeriodType   string `json:"period_type"`
	PeriodLength int    `json:"period_length"`
	// RenewalType is one-time, auto-renew or repeat.
	RenewalType      string `json:"renewal_type"`
	SkipOptInOnGrant bool   `json:"skip_optin_on_grant,omitempty"`
	OptInOnRequest   bool   `json:"optin_on_request,omitempty"`
	// SKUs are what a subscription gives to readers with a role on the subscribed profile;
	// none means the plan's slug. RoleTypes are the roles that give it; none means any.
	SKUs      []string        `json:"skus,omitempty"`
	RoleTypes []string        `json:"role_types,omitempty"`
	Extra     json.RawMessage `json:"extra,omitempty"`
	CreatedAt time.Time       `json:"created_at"`
	UpdatedAt time.Time       `json:"updated_at"`
}

// Subscription is a profile's subscription to a plan. A profile may have several to one
// plan, one after the other.
type Subscription struct {
	ID      string `json:"id"`
	Profile string `json:"profile"`
	Plan    string `json:"plan"`
	// StartsAt is the API's created_at, which a billing system may set.
	StartsAt  time.Time `json:"starts_at"`
	EndsAt    time.Time `json:"ends_at"`
	AutoRenew bool      `json:"auto_renew,omitempty"`
	// BalanceDue locks the subscription: the profile owes money for it.
	BalanceDue  bool   `json:"balance_due,omitempty"`
	Description string `json:"description,omitempty"`
	// GrantKey and RequestKey are hashes of the keys that accept it. With either one the
	// subscription gives nothing.
	GrantKey   string          `json:"grant_key,omitempty"`
	RequestKey string          `json:"request_key,omitempty"`
	Extra      json.RawMessage `json:"extra,omitempty"`
	CreatedAt  time.Time       `json:"created_at"`
	UpdatedAt  time.Time       `json:"updated_at"`
}
