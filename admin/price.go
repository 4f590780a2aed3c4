package admin

import (
	"bytes"
	"encoding/json"

	"github.com/danielgtaylor/huma/v2"
)

// price is an amount in a response: decimal text, which is a JSON number on the wire and
// never one in binary.
type price string

// sentPrice is an amount in a request: a JSON number or its text.
type sentPrice string

const aboutPrice = "An amount: at most 15 digits and 4 decimals, never negative."

// Schema implements huma.SchemaProvider.
func (price) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeNumber, Minimum: new(0.0), Description: aboutPrice, Examples: []any{99.9}}
}

// Schema implements huma.SchemaProvider.
func (sentPrice) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{
		Description: aboutPrice + " A number, or its text.", Examples: []any{99.9},
		OneOf: []*huma.Schema{{Type: huma.TypeNumber, Minimum: new(0.0)}, {Type: huma.TypeString, MaxLength: new(20)}},
	}
}

// MarshalJSON implements json.Marshaler.
func (p price) MarshalJSON() ([]byte, error) {
	if p == "" {
		return []byte("0"), nil
	}
	return []byte(p), nil
}

// MarshalJSON implements json.Marshaler.
func (p sentPrice) MarshalJSON() ([]byte, error) { return price(p).MarshalJSON() }

// UnmarshalJSON implements json.Unmarshaler.
func (p *sentPrice) UnmarshalJSON(raw []byte) error {
	if bytes.HasPrefix(raw, []byte(`"`)) {
		return json.Unmarshal(raw, (*string)(p))
	}
	*p = sentPrice(raw)
	return nil
}
