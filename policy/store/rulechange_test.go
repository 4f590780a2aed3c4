package store_test

import (
	"errors"
	"slices"
	"sync"
	"testing"

	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store"
)

// Two editors have read the same rules. The second to write is told so, and
// must look again: nothing of the first one's work is lost.
func TestRulesAreNotChangedOverSomebodyElsesChange(t *testing.T) {
	b := newFixture(t)
	operators := policy.StandardOperators()
	for _, first := range []bool{true, false} { // on a site without rules, and on one with some
		other := rule(7, "/other", "any")
		if !first {
			other = rule(8, "/another", "any")
		}
		_, err := b.ChangeRules(t.Context(), vendor, "news", operators, func(rules []policy.Rule) ([]policy.Rule, error) {
			b.ok(b.ReplaceRules(t.Context(), vendor, "news", append(slices.Clone(rules), other), operators))
			return append(rules, rule(1, "/mine", "any")), nil
		})
		if !errors.Is(err, store.ErrConflict) {
			t.Errorf("the change over another gives %v", err)
		}
	}
	rules, err := b.Rules(t.Context(), vendor, "news")
	b.ok(err)
	if len(rules) != 2 || rules[0].Path != "/other" || rules[1].Path != "/another" {
		t.Errorf("the rules are %v", rules)
	}
	// The sites of a vendor do not get in each other's way.
	_, err = b.ChangeRules(t.Context(), vendor, "news", operators, func(rules []policy.Rule) ([]policy.Rule, error) {
		b.ok(b.ReplaceRules(t.Context(), vendor, "sport", []policy.Rule{rule(1, "/", "any")}, operators))
		return rules[1:], nil
	})
	b.ok(err)
}

// Many add a rule at once, each trying again after a conflict: every
// acknowledged rule is there.
func TestConcurrentChangesAddUp(t *testing.T) {
	b := newFixture(t)
	operators := policy.StandardOperators()
	paths := []string{"/a", "/b", "/c", "/d", "/e", "/f", "/g", "/h"}
	var editors sync.WaitGroup
	for _, path := range paths {
		editors.Go(func() {
			for {
				_, err := b.ChangeRules(t.Context(), vendor, "news", operators, func(rules []policy.Rule) ([]policy.Rule, error) {
					return append(rules, rule(len(rules), path, "any")), nil
				})
				if err == nil {
					return
				}
				if !errors.Is(err, store.ErrConflict) {
					t.Errorf("adding %s: %v", path, err)
					return
				}
			}
		})
	}
	editors.Wait()
	rules, err := b.Rules(t.Context(), vendor, "news")
	b.ok(err)
	var got []string
	for _, r := range rules {
		got = append(got, r.Path)
	}
	if slices.Sort(got); !slices.Equal(got, paths) {
		t.Errorf("the rules are %v", got)
	}
}

func TestChangeOfRulesReturnsItsOwnError(t *testing.T) {
	b := newFixture(t)
	wanted := errors.New("not today")
	stamp := b.versions.Shared()
	_, err := b.ChangeRules(t.Context(), vendor, "news", policy.StandardOperators(), func(rules []policy.Rule) ([]policy.Rule, error) {
		return append(rules, rule(1, "/", "any")), wanted
	})
	rules, readErr := b.Rules(t.Context(), vendor, "news")
	b.ok(readErr)
	if !errors.Is(err, wanted) || len(rules) != 0 || b.versions.Shared() != stamp {
		t.Errorf("the change gives %v, the rules are %v", err, rules)
	}
	set, err := b.ChangeRules(t.Context(), vendor, "news", policy.StandardOperators(), func([]policy.Rule) ([]policy.Rule, error) {
		return []policy.Rule{rule(1, "/", "any"), rule(2, "/x", "any")}, nil
	})
	b.ok(err)
	if hidden := set.Warnings(policy.PathOptions{}); len(hidden) != 1 || hidden[0].Rule.Path != "/x" {
		t.Errorf("hidden are %v", hidden)
	}
}
