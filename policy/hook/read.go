package hook

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"io"
	"math"
	"strconv"
	"strings"
	"time"
)

// Source is how the events of one provider are read.
type Source struct {
	Scheme string
	// Type and Time are JSON Pointers to the type of an event and to when it happened.
	// Empty: where the scheme has them, see Defaults.
	Type, Time string
	Table      []Entry
}

// Defaults returns where the events of a scheme have their type and their time.
func Defaults(scheme string) (typeAt, timeAt string) {
	if scheme == Stripe {
		return "/type", "/created"
	}
	return "/type", "/timestamp"
}

// stripeID is where an event of Stripe has its id.
const stripeID = "/id"

// Action is what an event does to a contract.
type Action struct {
	// Event is the id of the event, Type its type, and At when it happened.
	Event, Type string
	At          time.Time
	// Do is the action; empty if no entry of the table is that of the event.
	Do string

	Contract, Order, Promo, Email, UserID, Reason string
	PaymentProvider, PaymentMethod                string

	Quantity int
	Confirm  bool
	// EndsAt is the new end of the contract, Until when a cancellation takes effect.
	EndsAt, Until *time.Time
}

const (
	// maxEventID bounds the id of an event, in bytes.
	maxEventID = 255
	// maxValue bounds a text that is taken from an event, in bytes.
	maxValue = 1024
	// lastSecond is the end of the year 9999: a number beyond it is one of milliseconds.
	lastSecond = 253402300799
)

// ErrUnreadable is returned for a body that is not the JSON object of an event.
var ErrUnreadable = errors.New("the body is not the JSON object of an event, with an id and a type")

// Read returns what an event does. The id is that of the header, or empty if the scheme has
// it in the body. Read returns ErrUnreadable, or an *Error for what the table refers to and
// the event does not have; the action then has the event's id and type, as far as they are
// known. No error repeats a value of the event.
func (s *Source) Read(id string, body []byte) (Action, error) {
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber()
	var document map[string]any
	if err := decoder.Decode(&document); err != nil || document == nil {
		return Action{}, ErrUnreadable
	}
	if _, err := decoder.Token(); err != io.EOF { //nolint:errorlint // encoding/json returns it unwrapped
		return Action{}, ErrUnreadable
	}
	if s.Scheme == Stripe {
		id, _ = document[strings.TrimPrefix(stripeID, "/")].(string)
	}
	typeAt, timeAt := Defaults(s.Scheme)
	eventType, _ := find(document, cmp.Or(s.Type, typeAt)).(string)
	act := Action{}
	if !plain(id, maxEventID) || !plain(eventType, maxType) {
		return act, ErrUnreadable
	}
	act.Event, act.Type = id, eventType
	for i := range s.Table {
		e := &s.Table[i]
		if !e.matches(eventType, document) {
			continue
		}
		if act.Do = e.Do; e.Do == Ignore {
			return act, nil
		}
		at, err := timeAtPointer(document, cmp.Or(s.Time, timeAt))
		if err != nil {
			return act, err
		}
		act.At = *at
		return act, e.read(document, &act)
	}
	return act, nil
}

// plain reports whether an id or a type is printable ASCII of at most some bytes.
func plain(text string, maxBytes int) bool {
	return text != "" && len(text) <= maxBytes && !strings.ContainsFunc(text, func(c rune) bool { return c < ' ' || c > '~' })
}

// read takes from an event what the entry refers to.
func (e *Entry) read(document any, act *Action) error {
	act.Promo, act.Confirm, act.PaymentProvider, act.PaymentMethod = e.Promo, e.Confirm, e.PaymentProvider, e.PaymentMethod
	for _, text := range []struct {
		pointer  string
		to       *string
		optional bool
	}{
		{e.Contract, &act.Contract, false},
		{e.Order, &act.Order, false},
		// One of two is enough.
		{e.Email, &act.Email, e.UserID != ""},
		{e.UserID, &act.UserID, e.Email != ""},
		{e.Reason, &act.Reason, true},
	} {
		if text.pointer == "" {
			continue
		}
		value, err := textAt(document, text.pointer)
		if err != nil {
			return err
		}
		if *text.to = value; value == "" && !text.optional {
			return missing(text.pointer)
		}
	}
	if e.Do == Sell && act.Email == "" && act.UserID == "" {
		return missing(cmp.Or(e.Email, e.UserID))
	}
	for pointer, to := range map[string]**time.Time{e.EndsAt: &act.EndsAt, e.At: &act.Until} {
		if pointer == "" {
			continue
		}
		at, err := timeAtPointer(document, pointer)
		if err != nil {
			return err
		}
		*to = at
	}
	return e.readQuantity(document, act)
}

func (e *Entry) readQuantity(document any, act *Action) error {
	if e.Quantity == "" {
		return nil
	}
	text, err := textAt(document, e.Quantity)
	if err != nil {
		return err
	}
	if act.Quantity, err = strconv.Atoi(text); err != nil || act.Quantity < 1 || act.Quantity > math.MaxInt32 {
		return &Error{e.Quantity, "must be a whole number from 1"}
	}
	return nil
}

func missing(pointer string) error {
	return &Error{pointer, "is not in the event, but the table needs it: correct the table, and let the provider send the event again"}
}

// textAt returns a text or a number; it is empty for none.
func textAt(document any, pointer string) (string, error) {
	text := ""
	switch value := find(document, pointer).(type) {
	case nil:
	case string:
		text = value
	case json.Number:
		text = value.String()
	default:
		return "", &Error{pointer, "must be a text or a number"}
	}
	if len(text) > maxValue || strings.ContainsFunc(text, func(c rune) bool { return c < ' ' || c == 0x7f || c == '\uFFFD' }) {
		return "", &Error{pointer, "is longer than 1024 bytes, or has a control character"}
	}
	return text, nil
}

// timeAtPointer returns a time in RFC 3339 or in Unix seconds.
func timeAtPointer(document any, pointer string) (*time.Time, error) {
	text, err := textAt(document, pointer)
	if err != nil {
		return nil, err
	}
	if text == "" {
		return nil, missing(pointer)
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		seconds, err := strconv.ParseInt(text, 10, 64)
		if err != nil || seconds < 0 || seconds > lastSecond {
			return nil, &Error{pointer, "must be a time such as 2027-01-31T12:00:00Z, or in Unix seconds"}
		}
		at = time.Unix(seconds, 0)
	}
	at = at.UTC().Truncate(time.Millisecond)
	return &at, nil
}
