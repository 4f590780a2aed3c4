package store

import (
	"encoding/json"
	"time"
)

// RoleType describes a kind of role: DjaoApp's role description.
type RoleType struct {
	Slug  string `json:"slug"`
	Title string `json:"title"`
	// Profile is the profile to which the type is local; empty for one of the whole site.
	Profile string `json:"profile,omitempty"`
	// SkipOptInOnGrant makes a granted role count at once, without an acceptance.
	SkipOptInOnGrant bool `json:"skip_optin_on_grant,omitempty"`
	// ImplicitCreateOnNone is kept and has no effect: no role follows from an address.
	ImplicitCreateOnNone bool `json:"implicit_create_on_none,omitempty"`
	// OTPRequired requires a second factor of the users who have such a role.
	OTPRequired bool            `json:"otp_required,omitempty"`
	Extra       json.RawMessage `json:"extra,omitempty"`
	CreatedAt   time.Time       `json:"created_at"`
	UpdatedAt   time.Time       `json:"updated_at"`
}

// Role is a user's role on a profile. There is at most one for both.
type Role struct {
	Profile string `json:"profile"`
	User    string `json:"user"`
	// Type is the slug of the role type that counts, unless GrantKey is set. It is empty
	// if the user only asked for a role.
	Type string `json:"type,omitempty"`
	// GrantKey is the hash of the key that accepts an invitation.
	GrantKey string `json:"grant_key,omitempty"`
	// RequestKey is the hash of the key of a request, and Requested the type that the user
	// asks for; empty for any. A role that counts goes on counting beside it.
	RequestKey string          `json:"request_key,omitempty"`
	Requested  string          `json:"requested,omitempty"`
	EndsAt     *time.Time      `json:"ends_at,omitempty"`
	Extra      json.RawMessage `json:"extra,omitempty"`
	CreatedAt  time.Time       `json:"created_at"`
	UpdatedAt  time.Time       `json:"updated_at"`
}
