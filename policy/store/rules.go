package store

import (
	"context"

	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store/engine"
)

// MaxRules bounds how many rules a site may have.
const MaxRules = 20_000

// Rules implements policy.Records: the rules of a site, by rank.
func (s *Store) Rules(ctx context.Context, vendor, site string) (rules []policy.Rule, err error) {
	err = s.engine.View(decides(ctx), vendor, func(snapshot engine.Snapshot) error {
		rules, err = all[policy.Rule](snapshot, keyPrefix(prefixRule, site))
		return err
	})
	return rules, err
}

// ReplaceRules replaces all rules of a site. It returns a *policy.RuleError for
// rules that do not compile, and stores nothing then. The caller publishes them
// with policy.Policy.RefreshRules before acknowledging the change.
func (w Writer) ReplaceRules(ctx context.Context, vendor, site string, rules []policy.Rule, operators *policy.Operators) error {
	_, err := w.ChangeRules(ctx, vendor, site, operators, func([]policy.Rule) ([]policy.Rule, error) { return rules, nil })
	return err
}
