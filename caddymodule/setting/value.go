package setting

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/caddyserver/caddy/v2"
)

// Value is a number of a configuration, or a placeholder for one. In JSON it is the
// number or a text. The zero value is no setting.
type Value[T ~int | ~int64, P parser[T]] struct {
	// V is the number. It is zero until Replace has replaced a placeholder.
	V           T
	placeholder string
}

type (
	// Duration is a text such as 30s, or a number of nanoseconds.
	Duration = Value[time.Duration, durations]
	// Count is a number.
	Count = Value[int, counts]
	// Size is a text such as 64MiB, or a number of bytes.
	Size = Value[int64, sizes]
)

// parser parses the text of a value. All values are above zero.
type parser[T any] interface {
	parse(text string) (T, error)
}

// Set sets the value from a text, or keeps the text if it is a placeholder.
func (v *Value[T, P]) Set(text string) (err error) {
	v.V, v.placeholder = 0, ""
	if Has(text) {
		v.placeholder = text
		return nil
	}
	var kind P
	v.V, err = kind.parse(text)
	return err
}

// Deferred reports whether the value is a placeholder that is not replaced yet.
func (v *Value[T, P]) Deferred() bool { return v.placeholder != "" }

func (v *Value[T, P]) replace(option string) error {
	if v.placeholder == "" {
		return nil
	}
	text, err := Text(option, v.placeholder)
	if err != nil {
		return err
	}
	var kind P
	if v.V, err = kind.parse(text); err != nil {
		return fmt.Errorf("%s: %s %w", option, v.placeholder, err)
	}
	v.placeholder = ""
	return nil
}

// MarshalJSON implements json.Marshaler.
func (v Value[T, P]) MarshalJSON() ([]byte, error) {
	if v.placeholder != "" {
		return json.Marshal(v.placeholder)
	}
	return json.Marshal(int64(v.V))
}

// UnmarshalJSON implements json.Unmarshaler.
func (v *Value[T, P]) UnmarshalJSON(data []byte) error {
	var text string
	if json.Unmarshal(data, &text) == nil {
		return v.Set(text)
	}
	v.placeholder = ""
	return json.Unmarshal(data, &v.V)
}

type durations struct{}

func (durations) parse(text string) (time.Duration, error) {
	parsed, err := caddy.ParseDuration(text)
	if err != nil || parsed <= 0 {
		return 0, errors.New("must be a duration above zero, such as 500ms, 30s or 24h")
	}
	return parsed, nil
}

type counts struct{}

func (counts) parse(text string) (int, error) {
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		return 0, errors.New("must be a number above zero")
	}
	return n, nil
}

type sizes struct{}

func (sizes) parse(text string) (int64, error) {
	size, err := humanize.ParseBytes(text)
	if err != nil || size < 1 || size > 1<<40 {
		return 0, errors.New("must be a size, such as 64MiB")
	}
	return int64(size), nil
}
