package store

import (
	"encoding/json"
	"time"
)

// Profile is an account that can subscribe to plans, and own them: DjaoApp's
// organization. The profile whose slug is the vendor's id is the broker: it exists from
// the start and cannot be removed.
type Profile struct {
	Slug string `json:"slug"`
	// Type is TypeOrganization or TypePersonal.
	Type string `json:"type"`
	// Owner is the user whose personal profile it is.
	Owner    string `json:"owner,omitempty"`
	FullName string `json:"full_name,omitempty"`
	Contact
	DefaultTimezone string          `json:"default_timezone,omitempty"`
	IsProvider      bool            `json:"is_provider,omitempty"`
	IsBulkBuyer     bool            `json:"is_bulk_buyer,omitempty"`
	Extra           json.RawMessage `json:"extra,omitempty"`
	// Inactive profiles give no access: their roles and subscriptions do not count.
	Inactive  bool      `json:"inactive,omitempty"`
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
}

// Contact is how to reach a profile or user.
type Contact struct {
	Email         string `json:"email,omitempty"`
	Phone         string `json:"phone,omitempty"`
	StreetAddress string `json:"street_address,omitempty"`
	Locality      string `json:"locality,omitempty"`
	Region        string `json:"region,omitempty"`
	PostalCode    string `json:"postal_code,omitempty"`
	Country       string `json:"country,omitempty"`
	Language      string `json:"lang,omitempty"`
}

// Types of profiles.
const (
	TypeOrganization = "organization"
	TypePersonal     = "personal"
)

// User is a person who may have roles. Slug is the reader's id as their issuer gives it.
type User struct {
	Slug     string `json:"slug"`
	FullName string `json:"full_name,omitempty"`
	NickName string `json:"nick_name,omitempty"`
	Contact
	Extra json.RawMessage `json:"extra,omitempty"`
	// Inactive users have no roles that count.
	Inactive  bool      `json:"inactive,omitempty"`
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
}
