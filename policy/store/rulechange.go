package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store/engine"
)

// ChangeRules changes the rules of a site in one atomic step: change gets the
// current rules, by rank, and returns those that replace them. Its error is
// returned as it is.
//
// It returns a *policy.RuleError for rules that do not compile, and ErrConflict
// when the rules were changed concurrently; nothing is stored then. The caller
// publishes the compiled rules with policy.Policy.RefreshRules before acknowledging
// the change.
func (w Writer) ChangeRules(
	ctx context.Context, vendor, site string, operators *policy.Operators, change func([]policy.Rule) ([]policy.Rule, error),
) (*policy.Ruleset, error) {
	old, err := w.storedRules(ctx, vendor, site)
	if err != nil {
		return nil, err
	}
	rules, err := change(old.rules)
	if err != nil {
		return nil, err
	}
	if len(rules) > MaxRules {
		return nil, &FieldError{"rules", fmt.Sprintf("are more than %d", MaxRules)}
	}
	for _, rule := range rules {
		if rule.Rank < 0 {
			return nil, &FieldError{"rank", "must not be negative"}
		}
	}
	compiled, err := policy.CompileRules(rules, operators)
	if err != nil {
		return nil, err
	}
	batch, err := old.replace(site, rules)
	if err != nil || batch == nil {
		return compiled, err
	}
	return compiled, w.commitReplacing(ctx, vendor, batch, policy.Invalidation{Shared: true, SameDomains: true}, old.stored)
}

// storedRules are the rules of a site in one snapshot.
type storedRules struct {
	rules  []policy.Rule
	stored map[string][]byte // the rules as stored, by key
	// revision is the record that every change of the site's rules replaces, nil
	// before the first one. Checking it also guards the rules that do not exist.
	revision []byte
}

func (s *Store) storedRules(ctx context.Context, vendor, site string) (*storedRules, error) {
	old := &storedRules{stored: map[string][]byte{}}
	err := s.engine.View(ctx, vendor, func(snapshot engine.Snapshot) error {
		revision, err := snapshot.Get(key(prefixRevision, site))
		if err != nil {
			return err
		}
		old.revision = bytes.Clone(revision)
		for entry, err := range snapshot.Scan(keyPrefix(prefixRule, site), nil) {
			if err != nil {
				return err
			}
			var rule policy.Rule
			if err := decode(entry.Key, entry.Value, &rule); err != nil {
				return err
			}
			old.rules = append(old.rules, rule)
			old.stored[string(entry.Key)] = bytes.Clone(entry.Value)
		}
		return nil
	})
	return old, err
}

// replace returns the batch that replaces the stored rules, nil when nothing
// changes. It writes only what differs.
func (s *storedRules) replace(site string, rules []policy.Rule) (*engine.Batch, error) {
	batch := new(engine.Batch)
	kept := make(map[string]bool, len(rules))
	for i := range rules {
		stored, err := encode(&rules[i])
		if err != nil {
			return nil, err
		}
		k := ruleKey(site, rules[i].Rank)
		kept[string(k)] = true
		if before, ok := s.stored[string(k)]; !ok || !bytes.Equal(before, stored) {
			batch.Puts = append(batch.Puts, engine.Put{Key: k, Value: stored})
		}
	}
	for _, k := range slices.Sorted(maps.Keys(s.stored)) {
		if !kept[k] {
			batch.Deletes = append(batch.Deletes, []byte(k))
		}
	}
	if len(batch.Puts)+len(batch.Deletes) == 0 {
		return nil, nil
	}
	revision, err := strconv.ParseUint(string(s.revision), 10, 64)
	if err != nil && s.revision != nil {
		return nil, errors.New("the revision of the rules is not a number")
	}
	k := key(prefixRevision, site)
	batch.Checks = []engine.Check{{Key: k, Value: s.revision}}
	batch.Puts = append(batch.Puts, engine.Put{Key: k, Value: strconv.AppendUint(nil, revision+1, 10)})
	return batch, nil
}
