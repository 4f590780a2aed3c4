package admin

import (
	"bytes"
	"errors"
	"regexp"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-jose/go-jose/v4/json"
)

// amount is a sum of money: decimal text, which is a JSON number on the wire, with the
// digits that were sent. It is never read through a binary floating-point number.
type amount string

// amountPattern bounds the digits, so that an amount is exact in every database.
var amountPattern = regexp.MustCompile(`^(0|[1-9][0-9]{0,14})(\.[0-9]{1,4})?$`)

const aboutAmount = "An amount: at most 15 digits and 4 decimals, never negative."

const amountProblem = "must be an amount such as 99 or 9.90: not negative, at most 15 digits and 4 decimals"

// MarshalJSON implements json.Marshaler.
func (a amount) MarshalJSON() ([]byte, error) {
	if a == "" {
		return []byte("0"), nil
	}
	return []byte(a), nil
}

// UnmarshalJSON implements json.Unmarshaler.
func (a *amount) UnmarshalJSON(raw []byte) error {
	*a = amount(raw)
	return nil
}

// sentAmount is an amount that a caller sends, as a number or a string.
type sentAmount amount

// MarshalJSON implements json.Marshaler.
func (a sentAmount) MarshalJSON() ([]byte, error) { return amount(a).MarshalJSON() }

// UnmarshalJSON implements json.Unmarshaler.
func (a *sentAmount) UnmarshalJSON(raw []byte) error {
	text := string(raw)
	if bytes.HasPrefix(raw, []byte(`"`)) {
		if err := json.Unmarshal(raw, &text); err != nil {
			return err
		}
	}
	*a = sentAmount(text)
	return nil
}

// Schema implements huma.SchemaProvider. Null is no amount.
func (sentAmount) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{
		Description: aboutAmount + " A number, or its text.", Examples: []any{9.9},
		OneOf: []*huma.Schema{{Type: huma.TypeNumber, Minimum: new(0.0)}, {Type: huma.TypeString, MaxLength: new(20), Nullable: true}},
	}
}

// check returns the problem of an amount that was sent.
func (a *sentAmount) check(field string) error {
	if a == nil || amountPattern.MatchString(string(*a)) {
		return nil
	}
	return invalid(field, amountProblem)
}

// text returns an amount as the store has it; nil is none.
func (a *sentAmount) text() string {
	if a == nil {
		return ""
	}
	return string(*a)
}

// amountOf returns an amount of the store, nil for none.
func amountOf(text string) *amount {
	if text == "" {
		return nil
	}
	return new(amount(text))
}

// Schema implements huma.SchemaProvider.
func (amount) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeNumber, Format: "decimal", Minimum: new(0.0), Description: aboutAmount, Examples: []any{9.9}}
}

// textMap has texts by name, which are the caller's own.
type textMap map[string]string

// Bounds of a textMap, besides that of all of its bytes, see checkSize.
const (
	maxTextMapMembers = 64
	maxTextMapValue   = 2048
	maxTextMapBytes   = 8 << 10
)

// Schema implements huma.SchemaProvider.
func (textMap) Schema(huma.Registry) *huma.Schema {
	schema := &huma.Schema{
		Type: huma.TypeObject, MaxProperties: new(maxTextMapMembers),
		AdditionalProperties: &huma.Schema{Type: huma.TypeString, MaxLength: new(maxTextMapValue)},
	}
	schema.PrecomputeMessages()
	schema.AdditionalProperties.(*huma.Schema).PrecomputeMessages()
	return schema
}

var errTextMapSize = errors.New("has more than 8 KiB of names and values")

// checkSize returns the problem of a map with too many bytes.
func (m textMap) checkSize(field string) error {
	size := 0
	for name, value := range m {
		size += len(name) + len(value)
	}
	if size > maxTextMapBytes {
		return invalid(field, errTextMapSize.Error())
	}
	return nil
}
