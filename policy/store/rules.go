package store

import (
	"context"
	"fmt"

	"github.com/gatefold/gatefold/policy"
)

// MaxRules bounds how many rules a site may have.
const MaxRules = 20_000

// Rules implements policy.Records: the rules of a site, by rank.
func (s *Store) Rules(ctx context.Context, vendor, site string) ([]policy.Rule, error) {
	var rules []policy.Rule
	err := s.engine.View(ctx, vendor, func(snapshot Snapshot) error {
		for entry, err := range snapshot.Scan(keyPrefix(prefixRule, site), nil) {
			if err != nil {
				return err
			}
			var rule policy.Rule
			if err := decode(entry.Key, entry.Value, &rule); err != nil {
				return err
			}
			rules = append(rules, rule)
		}
		return nil
	})
	return rules, err
}

// ReplaceRules puts rules in the place of all that a site had. Rules that
// cannot be compiled are refused with a *policy.RuleError, and nothing is
// stored. The caller publishes them with policy.Policy.RefreshRules before it
// acknowledges.
func (s *Store) ReplaceRules(ctx context.Context, vendor, site string, rules []policy.Rule, operators *policy.Operators) error {
	if len(rules) > MaxRules {
		return &FieldError{"rules", fmt.Sprintf("are more than %d", MaxRules)}
	}
	for _, rule := range rules {
		if rule.Rank < 0 {
			return &FieldError{"rank", "must not be negative"}
		}
	}
	if _, err := policy.CompileRules(rules, operators); err != nil {
		return err
	}
	old, err := s.Rules(ctx, vendor, site)
	if err != nil {
		return err
	}
	batch := &Batch{}
	for _, rule := range old {
		batch.Deletes = append(batch.Deletes, ruleKey(site, rule.Rank))
	}
	for _, rule := range rules {
		stored, err := encode(rule)
		if err != nil {
			return err
		}
		batch.Puts = append(batch.Puts, Put{Key: ruleKey(site, rule.Rank), Value: stored})
	}
	return s.commit(ctx, vendor, batch, policy.Change{Shared: true})
}
