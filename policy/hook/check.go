package hook

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

const (
	// maxTable bounds the entries of a table.
	maxTable = 32
	// maxWhen bounds the conditions of an entry.
	maxWhen = 4
	// maxType bounds the type of an event, in bytes.
	maxType = 128
)

// Error is the error of a part of a table.
type Error struct {
	// Field is the part, such as `table[2].endsAt`.
	Field string
	// Problem says what is wrong, and what to do.
	Problem string
}

func (e *Error) Error() string { return e.Field + ": " + e.Problem }

// Check returns an *Error for what in a table can only be a mistake.
func Check(table []Entry) error {
	switch {
	case len(table) == 0:
		return &Error{"table", "is required: without an entry, no event does anything"}
	case len(table) > maxTable:
		return &Error{"table", "has more than 32 entries"}
	}
	for i := range table {
		e := &table[i]
		at := fmt.Sprintf("table[%d]", i)
		if err := e.check(at); err != nil {
			return err
		}
		for j := range table[:i] {
			if earlier := &table[j]; len(earlier.When) == 0 && covers(earlier.Event, e.Event) {
				return &Error{at + ".event", fmt.Sprintf("is never reached: table[%d] takes all of its events. Write the special entry first", j)}
			}
		}
	}
	return nil
}

func (e *Entry) check(at string) error {
	if err := checkType(e.Event); err != nil {
		return &Error{at + ".event", err.Error()}
	}
	if len(e.When) > maxWhen {
		return &Error{at + ".when", "has more than 4 conditions"}
	}
	for _, pointer := range slices.Sorted(maps.Keys(e.When)) {
		if err := CheckPointer(pointer); err != nil {
			return &Error{at + ".when", "a name " + err.Error()}
		}
		switch want := e.When[pointer].(type) {
		case nil, bool:
		case string:
			if len(want) > maxPointer {
				return &Error{at + ".when", "a value is longer than 255 bytes"}
			}
		default:
			return &Error{at + ".when", "a value must be a text, true, false or null: write a number as text"}
		}
	}
	i := slices.IndexFunc(actions, func(a action) bool { return a.name == e.Do })
	if i < 0 {
		return &Error{at + ".do", "must be one of " + strings.Join(Actions(), ", ")}
	}
	return e.checkFields(at, &actions[i])
}

// checkType checks the type of an entry.
func checkType(text string) error {
	name := strings.TrimSuffix(text, ".*")
	switch {
	case text == "":
		return errors.New("is required: the type of an event, or all that begin so, such as invoice.*")
	case len(text) > maxType:
		return errors.New("is longer than 128 bytes")
	case name == "" || strings.ContainsFunc(name, func(c rune) bool { return c <= ' ' || c > '~' || c == '*' }):
		return errors.New("must be a type such as invoice.paid, or all that begin so, such as invoice.*")
	}
	return nil
}

// checkFields checks that an entry has what its action needs, and nothing that it would
// ignore.
func (e *Entry) checkFields(at string, a *action) error {
	switch {
	case a.refers && e.Contract == "" && e.Order == "":
		return &Error{at + ".order", "is required for " + a.name + ": where the event has the order that was sold, or contract"}
	case a.refers && e.Contract != "" && e.Order != "":
		return &Error{at + ".contract", "and order are both given: which of them names the contract?"}
	case a.reader && e.Email == "" && e.UserID == "":
		return &Error{at + ".email", "is required for " + a.name + ": where the event has the reader's address, or userId"}
	}
	for _, f := range e.fields() {
		known := slices.Contains(a.needs, f.name) || slices.Contains(a.takes, f.name) ||
			a.refers && (f.name == "contract" || f.name == "order") || a.reader && (f.name == "email" || f.name == "userId")
		switch {
		case f.present && !known:
			return &Error{at + "." + f.name, "has no meaning for " + a.name + ": leave it out"}
		case !f.present && slices.Contains(a.needs, f.name):
			return &Error{at + "." + f.name, "is required for " + a.name}
		case f.pointer == "":
		default:
			if err := CheckPointer(f.pointer); err != nil {
				return &Error{at + "." + f.name, err.Error()}
			}
		}
	}
	return nil
}
