package store

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"strconv"

	"github.com/gatefold/gatefold/policy"
)

// ChangeRules alters the rules of a site in one atomic step: change gets the
// rules that there are, by rank, and returns those that take their place. Its
// error is returned as it is.
//
// Rules that cannot be compiled are refused with a *policy.RuleError, and
// nothing is stored. Where somebody else changes the site's rules at the same
// time the error is ErrConflict, and change was called for nothing. Returned
// are the rules as compiled; the caller publishes them with
// policy.Policy.RefreshRules before it acknowledges.
func (s *Store) ChangeRules(
	ctx context.Context, vendor, site string, operators *policy.Operators, change func([]policy.Rule) ([]policy.Rule, error),
) (*policy.Ruleset, error) {
	old, err := s.storedRules(ctx, vendor, site)
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
	return compiled, s.commit(ctx, vendor, batch, policy.Change{Shared: true})
}

// storedRules are the rules of a site at one moment.
type storedRules struct {
	rules   []policy.Rule
	entries []Entry // of the rules, as they are stored
	// revision is the record that every change of the site's rules replaces,
	// nil before the first one. Checking it guards all rules at once, those
	// that do not exist among them.
	revision []byte
}

func (s *Store) storedRules(ctx context.Context, vendor, site string) (*storedRules, error) {
	stored := new(storedRules)
	err := s.engine.View(ctx, vendor, func(snapshot Snapshot) error {
		revision, err := snapshot.Get(key(prefixRevision, site))
		if err != nil {
			return err
		}
		stored.revision = bytes.Clone(revision)
		for entry, err := range snapshot.Scan(keyPrefix(prefixRule, site), nil) {
			if err != nil {
				return err
			}
			var rule policy.Rule
			if err := decode(entry.Key, entry.Value, &rule); err != nil {
				return err
			}
			stored.rules = append(stored.rules, rule)
			stored.entries = append(stored.entries, Entry{Key: bytes.Clone(entry.Key), Value: bytes.Clone(entry.Value)})
		}
		return nil
	})
	return stored, err
}

// replace returns the batch that makes rules of what is stored, nil when there
// is nothing to do. It writes only what differs.
func (s *storedRules) replace(site string, rules []policy.Rule) (*Batch, error) {
	kept := make(map[string][]byte, len(s.entries))
	for _, entry := range s.entries {
		kept[string(entry.Key)] = entry.Value
	}
	batch := &Batch{was: maps.Clone(kept)}
	for _, rule := range rules {
		encoded, err := encode(rule)
		if err != nil {
			return nil, err
		}
		k := ruleKey(site, rule.Rank)
		if !bytes.Equal(kept[string(k)], encoded) {
			batch.Puts = append(batch.Puts, Put{Key: k, Value: encoded})
		}
		delete(kept, string(k))
	}
	for _, entry := range s.entries {
		if _, stale := kept[string(entry.Key)]; stale {
			batch.Deletes = append(batch.Deletes, entry.Key)
		}
	}
	if len(batch.Puts)+len(batch.Deletes) == 0 {
		return nil, nil
	}
	revision, err := s.nextRevision()
	if err != nil {
		return nil, err
	}
	k := key(prefixRevision, site)
	batch.Checks = []Check{{Key: k, Value: s.revision}}
	batch.Puts = append(batch.Puts, Put{Key: k, Value: revision})
	return batch, nil
}

func (s *storedRules) nextRevision() ([]byte, error) {
	if s.revision == nil {
		return []byte("1"), nil
	}
	revision, err := strconv.ParseUint(string(s.revision), 10, 64)
	if err != nil {
		return nil, fmt.Errorf("the revision of the rules is not a number: %w", err)
	}
	return strconv.AppendUint(nil, revision+1, 10), nil
}
