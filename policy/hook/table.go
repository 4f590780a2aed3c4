package hook

import (
	"encoding/json"
	"strings"
)

// Entry says what the events of some types do.
type Entry struct {
	// Event is a type of events, or all that begin so: `invoice.*`.
	Event string `json:"event"`
	// When selects among them: by JSON Pointer, what the event must have there. Null also
	// means that there is nothing.
	When map[string]any `json:"when,omitempty"`
	// Do is the action.
	Do string `json:"do"`

	// JSON Pointers to what the action needs. Order is the order that an event of this
	// provider sold, Contract the id of any contract.
	Contract string `json:"contract,omitempty"`
	Order    string `json:"order,omitempty"`
	Email    string `json:"email,omitempty"`
	UserID   string `json:"userId,omitempty"`
	Quantity string `json:"quantity,omitempty"`
	EndsAt   string `json:"endsAt,omitempty"`
	At       string `json:"at,omitempty"`
	Reason   string `json:"reason,omitempty"`

	// Promo is the code of what is sold, PaymentProvider and PaymentMethod how it is paid by
	// all events of the entry. Confirm confirms the contract at once.
	Promo           string `json:"promo,omitempty"`
	PaymentProvider string `json:"paymentProvider,omitempty"`
	PaymentMethod   string `json:"paymentMethod,omitempty"`
	Confirm         bool   `json:"confirm,omitempty"`
}

// The actions.
const (
	Sell    = "sell"
	Confirm = "confirm"
	Renew   = "renew"
	// Cancel ends access at a time, or at once.
	Cancel = "cancel"
	// CancelAtPeriodEnd ends access when the paid time is over, Resume takes that back.
	CancelAtPeriodEnd = "cancel_at_period_end"
	Resume            = "resume"
	// End ends access at once.
	End = "end"
	// Ignore does nothing, and leaves no trace of the event.
	Ignore = "ignore"
)

// action is what an action needs and takes of an entry.
type action struct {
	name         string
	needs, takes []string
	// refers: it needs Contract or Order. reader: it needs Email or UserID.
	refers, reader bool
}

// actions has all of them, in the order of the documentation.
var actions = []action{
	{name: Sell, needs: []string{"order", "promo"}, takes: []string{"quantity", "confirm", "paymentProvider", "paymentMethod"}, reader: true},
	{name: Confirm, refers: true, takes: []string{"endsAt"}},
	{name: Renew, refers: true, needs: []string{"endsAt"}},
	{name: Cancel, refers: true, takes: []string{"at", "reason"}},
	{name: CancelAtPeriodEnd, refers: true, takes: []string{"reason"}},
	{name: Resume, refers: true},
	{name: End, refers: true, takes: []string{"reason"}},
	{name: Ignore},
}

// Actions returns the names of all actions.
func Actions() []string {
	names := make([]string, len(actions))
	for i, a := range actions {
		names[i] = a.name
	}
	return names
}

// field is a member of an entry that an action needs or takes.
type field struct {
	name    string
	present bool
	pointer string // empty for one that is no pointer
}

func (e *Entry) fields() []field {
	at := func(name, pointer string) field { return field{name, pointer != "", pointer} }
	return []field{
		at("contract", e.Contract), at("order", e.Order), at("email", e.Email), at("userId", e.UserID), at("quantity", e.Quantity),
		at("endsAt", e.EndsAt), at("at", e.At), at("reason", e.Reason),
		{name: "promo", present: e.Promo != ""},
		{name: "confirm", present: e.Confirm},
		{name: "paymentProvider", present: e.PaymentProvider != ""},
		{name: "paymentMethod", present: e.PaymentMethod != ""},
	}
}

// matches reports whether an entry is that of an event.
func (e *Entry) matches(eventType string, document any) bool {
	if !covers(e.Event, eventType) {
		return false
	}
	for pointer, want := range e.When {
		if !equal(find(document, pointer), want) {
			return false
		}
	}
	return true
}

// covers reports whether a type of an entry includes another one.
func covers(pattern, eventType string) bool {
	if prefix, all := strings.CutSuffix(pattern, "*"); all {
		return strings.HasPrefix(eventType, prefix)
	}
	return pattern == eventType
}

// equal compares a value of an event with one of a table. A text also equals the number
// that is written so.
func equal(value, want any) bool {
	if number, ok := value.(json.Number); ok {
		value = number.String()
	}
	switch value.(type) {
	case nil, string, bool:
		return value == want
	}
	return false
}
