package store

import "time"

// Agreement is a document that readers sign, such as terms of use.
type Agreement struct {
	Slug  string `json:"slug"`
	Title string `json:"title"`
	Text  string `json:"text,omitempty"`
	// UpdatedAt is the version: signatures before it do not count. It is not in the future.
	UpdatedAt time.Time `json:"updated_at"`
	CreatedAt time.Time `json:"created_at"`
}

// Signature is a user's consent to an agreement.
type Signature struct {
	Agreement string `json:"agreement"`
	User      string `json:"user"`
	// SignedAt is the last signature. Version is the agreement's UpdatedAt and TextHash the
	// SHA-256 of its text that were signed.
	SignedAt time.Time `json:"signed_at"`
	Version  time.Time `json:"version"`
	TextHash string    `json:"text_hash,omitempty"`
}
