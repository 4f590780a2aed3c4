package store_test

import (
	"errors"
	"testing"

	"github.com/gatefold/gatefold/policy"
)

func rule(rank int, path, operator string) policy.Rule {
	return policy.Rule{Rank: rank, Path: path, Forward: true, Allow: policy.Allow{Operator: operator}}
}

func TestRulesAreReplacedAsAWhole(t *testing.T) {
	b := newFixture(t)
	operators := policy.StandardOperators()
	replace := func(site string, rules ...policy.Rule) error {
		return b.ReplaceRules(t.Context(), vendor, site, rules, operators)
	}
	paths := func(site string) string {
		t.Helper()
		rules, err := b.Rules(t.Context(), vendor, site)
		b.ok(err)
		all := ""
		for _, r := range rules {
			all += r.Path + " "
		}
		return all
	}
	b.ok(replace("news", rule(2, "/two", "any"), rule(1, "/one", "authenticated"), rule(256, "/last", "any")))
	b.ok(replace("news-2", rule(1, "/other", "any")))
	if got := paths("news"); got != "/one /two /last " {
		t.Errorf("the rules are %q", got)
	}
	stamp := b.versions.Shared()
	b.ok(replace("news", rule(2, "/new", "any")))
	if got := paths("news") + "| " + paths("news-2"); got != "/new | /other " {
		t.Errorf("the rules are %q", got)
	}
	if b.versions.Shared() == stamp {
		t.Error("nothing became stale")
	}
	// What cannot be compiled changes nothing.
	err := replace("news", rule(1, "/ok", "any"), rule(2, "/bad", "everybody"))
	if _, ok := errors.AsType[*policy.RuleError](err); !ok {
		t.Errorf("an unknown operator gives %v", err)
	}
	b.names(replace("news", rule(-1, "/ok", "any")), "rank")
	b.names(replace("news", make([]policy.Rule, 20_001)...), "rules")
	if got := paths("news"); got != "/new " {
		t.Errorf("the rules are %q", got)
	}
	b.ok(replace("news"))
	if got := paths("news"); got != "" {
		t.Errorf("the rules are %q", got)
	}
}
