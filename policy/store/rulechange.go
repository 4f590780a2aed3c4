package store

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/gatefold/gatefold/policy/store/engine"

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
	return compiled, w.commitReplacing(ctx, vendor, batch, policy.Invalidation{Shared: true, SameDomains: true}, old.held)
}

// storedRules are the rules of a site at one moment.
type storedRules struct {
	rules   []policy.Rule
	entries []engine.Entry // of the rules, as they are stored, by key
	// revision is the record that every change of the site's rules replaces,
	// nil before the first one. Checking it guards all rules at once, those
	// that do not exist among them.
	revision []byte
}

func (s *Store) storedRules(ctx context.Context, vendor, site string) (*storedRules, error) {
	stored := new(storedRules)
	err := s.engine.View(ctx, vendor, func(snapshot engine.Snapshot) error {
		revision, err := snapshot.Get(key(prefixRevision, site))
		if err != nil {
			return err
		}
		stored.revision = bytes.Clone(revision)
		var space copies
		for entry, err := range snapshot.Scan(keyPrefix(prefixRule, site), nil) {
			if err != nil {
				return err
			}
			stored.entries = append(growFor(stored.entries), engine.Entry{Key: space.of(entry.Key), Value: space.of(entry.Value)})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	var decoder policy.RuleDecoder
	if len(stored.entries) > 0 {
		stored.rules = make([]policy.Rule, len(stored.entries))
	}
	for i, entry := range stored.entries {
		if stored.rules[i], err = decodeRule(&decoder, entry); err != nil {
			return nil, err
		}
	}
	return stored, nil
}

// roomFor returns a list with room for one more, and for as many as it holds:
// what append adds to a long one is a quarter, which is copied more often.
func growFor[T any](list []T) []T {
	if len(list) < cap(list) {
		return list
	}
	return slices.Grow(list, max(len(list), 16))
}

// copies are those of small texts, in memory that many of them share.
type copies struct{ space []byte }

// copiesAtOnce is how many bytes are taken at once.
const copiesAtOnce = 64 << 10

func (c *copies) of(text []byte) []byte {
	if cap(c.space)-len(c.space) < len(text) {
		c.space = make([]byte, 0, max(copiesAtOnce, len(text)))
	}
	begin := len(c.space)
	c.space = append(c.space, text...)
	return slices.Clip(c.space[begin:])
}

// find returns the index of the rule that is stored under a key, or -1. Where next
// is one it is tried first: rules mostly come in the order of their keys.
func (s *storedRules) find(k []byte, next int) int {
	if next < len(s.entries) && bytes.Equal(s.entries[next].Key, k) {
		return next
	}
	i, found := slices.BinarySearchFunc(s.entries, k, func(e engine.Entry, k []byte) int { return bytes.Compare(e.Key, k) })
	if !found {
		return -1
	}
	return i
}

// held returns what a key of a rule held.
func (s *storedRules) held(k []byte) ([]byte, bool) {
	if i := s.find(k, len(s.entries)); i >= 0 {
		return s.entries[i].Value, true
	}
	return nil, false
}

// replace returns the batch that makes rules of what is stored, nil when there
// is nothing to do. It writes only what differs.
func (s *storedRules) replace(site string, rules []policy.Rule) (*engine.Batch, error) {
	batch := new(engine.Batch)
	taken := make([]bool, len(s.entries)) // by one of the rules
	var encoder policy.RuleEncoder
	var space copies
	var encoded, k []byte
	at := -1
	for i := range rules {
		var err error
		if encoded, err = encoder.Append(encoded[:0], &rules[i]); err != nil {
			return nil, fmt.Errorf("encoding a record: %w", err)
		}
		k = appendRuleKey(k[:0], site, rules[i].Rank)
		at = s.find(k, at+1)
		if at >= 0 {
			taken[at] = true
			if bytes.Equal(s.entries[at].Value, encoded) {
				continue
			}
		}
		if batch.Puts == nil {
			batch.Puts = make([]engine.Put, 0, len(rules)-i+2) // and the revision, and the audit log's entry
		}
		batch.Puts = append(batch.Puts, engine.Put{Key: space.of(k), Value: space.of(encoded)})
	}
	for i, entry := range s.entries {
		if !taken[i] {
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
	k = key(prefixRevision, site)
	batch.Checks = []engine.Check{{Key: k, Value: s.revision}}
	batch.Puts = append(batch.Puts, engine.Put{Key: k, Value: revision})
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
