package policy

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// optionPaywall is the rule option that names the paywalls of its pages.
const optionPaywall = "paywall"

func init() {
	RegisterRuleOption(RuleOption{Name: optionPaywall, Compile: compilePaywalls})
}

// PaywallChoice is a paywall, and for which refused readers it is.
type PaywallChoice struct {
	// ID is the paywall's id.
	ID string `json:"id"`
	// For are `anonymous`, `not_entitled` and `links`. None means all.
	For []string `json:"for,omitempty"`
}

// The readers for whom a paywall can be.
const (
	PaywallAnonymous   = "anonymous"
	PaywallNotEntitled = "not_entitled"
	PaywallLinks       = "links"
)

var paywallReaders = []string{PaywallAnonymous, PaywallNotEntitled, PaywallLinks}

// maxPaywallChoices bounds the paywalls of a rule or a site.
const maxPaywallChoices = 8

// PaywallChoices are the paywalls of a rule or of a site.
type PaywallChoices []PaywallChoice

// Check returns an error for paywalls of which one could never be shown, or is for readers
// who do not exist.
func (c PaywallChoices) Check() error {
	if len(c) > maxPaywallChoices {
		return fmt.Errorf("are more than %d", maxPaywallChoices)
	}
	taken := map[string]string{}
	for _, choice := range c {
		if choice.ID == "" {
			return errors.New("need the id of a paywall")
		}
		readers := choice.For
		if len(readers) == 0 {
			readers = []string{"all others"}
		}
		for _, reader := range readers {
			if len(choice.For) > 0 && !slices.Contains(paywallReaders, reader) {
				return fmt.Errorf("%q are no readers: write %s, or nothing for all", reader, strings.Join(paywallReaders, ", "))
			}
			if other, ok := taken[reader]; ok {
				return fmt.Errorf("%s and %s are both for %s: name one", other, choice.ID, reader)
			}
			taken[reader] = choice.ID
		}
	}
	return nil
}

// Of returns the id of the paywall for the first of some readers that has one; otherwise of
// that for all, or "".
func (c PaywallChoices) Of(readers ...string) string {
	for _, reader := range readers {
		for _, choice := range c {
			if slices.Contains(choice.For, reader) {
				return choice.ID
			}
		}
	}
	for _, choice := range c {
		if len(choice.For) == 0 {
			return choice.ID
		}
	}
	return ""
}

func compilePaywalls(value json.RawMessage) (any, error) {
	var choices PaywallChoices
	if err := json.Unmarshal(value, &choices); err != nil {
		return nil, errors.New(`must be a list such as [{"id": "main"}, {"id": "gift", "for": ["links"]}]`)
	}
	if err := choices.Check(); err != nil {
		return nil, err
	}
	return choices, nil
}

// Paywall returns the id of the paywall of the rule that denied, of which a refused reader
// is one; "" if the rule names none for them.
func (d *Decision) Paywall(readers ...string) string {
	choices, _ := d.Option(optionPaywall).(PaywallChoices)
	return choices.Of(readers...)
}
