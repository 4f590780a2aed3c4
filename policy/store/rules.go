package store

import (
	"context"
	"fmt"

	"github.com/gatefold/gatefold/policy/store/engine"

	"github.com/gatefold/gatefold/policy"
)

// MaxRules bounds how many rules a site may have.
const MaxRules = 20_000

// Rules implements policy.Records: the rules of a site, by rank.
func (s *Store) Rules(ctx context.Context, vendor, site string) ([]policy.Rule, error) {
	var rules []policy.Rule
	err := s.engine.View(ctx, vendor, func(snapshot engine.Snapshot) error {
		var decoder policy.RuleDecoder
		for entry, err := range snapshot.Scan(keyPrefix(prefixRule, site), nil) {
			if err != nil {
				return err
			}
			rule, err := decodeRule(&decoder, entry)
			if err != nil {
				return err
			}
			rules = append(growFor(rules), rule)
		}
		return nil
	})
	return rules, err
}

func decodeRule(decoder *policy.RuleDecoder, entry engine.Entry) (policy.Rule, error) {
	rule, err := decoder.Decode(entry.Value)
	if err != nil {
		err = fmt.Errorf("the record %q cannot be read: %w", entry.Key, err)
	}
	return rule, err
}

// ReplaceRules puts rules in the place of all that a site had. Rules that
// cannot be compiled are refused with a *policy.RuleError, and nothing is
// stored. The caller publishes them with policy.Policy.RefreshRules before it
// acknowledges.
func (w Writer) ReplaceRules(ctx context.Context, vendor, site string, rules []policy.Rule, operators *policy.Operators) error {
	_, err := w.ChangeRules(ctx, vendor, site, operators, func([]policy.Rule) ([]policy.Rule, error) { return rules, nil })
	return err
}
