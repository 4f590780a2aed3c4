package command

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/gatefold/gatefold/admin"
)

// ruleChanges is the difference between two states of a site's rules.
type ruleChanges struct {
	DryRun  bool         `json:"dryRun"`
	Rules   int          `json:"rules"`
	Added   []placedRule `json:"added"`
	Removed []placedRule `json:"removed"`
	Changed []ruleChange `json:"changed"`
	Moved   []movedRule  `json:"moved"`
}

// placedRule is a rule and its place in the order, from one.
type placedRule struct {
	Place int            `json:"place"`
	Rule  admin.RuleBody `json:"rule"`
}

type ruleChange struct {
	From placedRule `json:"from"`
	To   placedRule `json:"to"`
}

type movedRule struct {
	Path string `json:"path"`
	From int    `json:"from"`
	To   int    `json:"to"`
}

func (d *ruleChanges) any() bool {
	return len(d.Added)+len(d.Removed)+len(d.Changed)+len(d.Moved) > 0
}

// diffRules compares two states of a site's rules, by path. Of a rank only the
// order counts. As few rules as possible are reported as moved.
func diffRules(from, to []admin.RuleBody) ruleChanges {
	from, to = inOrder(from), inOrder(to)
	d := ruleChanges{Rules: len(to), Added: []placedRule{}, Removed: []placedRule{}, Changed: []ruleChange{}, Moved: []movedRule{}}
	places := make(map[string]int, len(from))
	for i := range from {
		places[from[i].Path] = i
	}
	var common []int // places in from, in the order of to
	kept := make(map[string]bool, len(to))
	for i, rule := range to {
		kept[rule.Path] = true
		was, existed := places[rule.Path]
		if !existed {
			d.Added = append(d.Added, placedRule{i + 1, rule})
			continue
		}
		common = append(common, was)
		if ruleText(&from[was]) != ruleText(&rule) {
			d.Changed = append(d.Changed, ruleChange{placedRule{was + 1, from[was]}, placedRule{i + 1, rule}})
		}
	}
	for i, rule := range from {
		if !kept[rule.Path] {
			d.Removed = append(d.Removed, placedRule{i + 1, rule})
		}
	}
	unmoved := longestIncreasing(common)
	for i, rule := range to {
		if was, existed := places[rule.Path]; existed && !unmoved[was] {
			d.Moved = append(d.Moved, movedRule{rule.Path, was + 1, i + 1})
		}
	}
	return d
}

// inOrder returns rules by rank, with paths in the form of the API.
func inOrder(rules []admin.RuleBody) []admin.RuleBody {
	rules = slices.Clone(rules)
	slices.SortStableFunc(rules, func(a, b admin.RuleBody) int { return cmp.Compare(rankOf(&a), rankOf(&b)) })
	for i := range rules {
		rules[i].Path = "/" + strings.TrimPrefix(rules[i].Path, "/")
	}
	return rules
}

// longestIncreasing returns the members of a longest increasing subsequence of
// distinct numbers.
func longestIncreasing(numbers []int) map[int]bool {
	var ends []int                        // ends[n]: the index of the least number that ends a subsequence of length n+1
	previous := make([]int, len(numbers)) // the index before, in the subsequence that ends here
	for i, number := range numbers {
		at, _ := slices.BinarySearchFunc(ends, number, func(end, n int) int { return cmp.Compare(numbers[end], n) })
		previous[i] = -1
		if at > 0 {
			previous[i] = ends[at-1]
		}
		if at == len(ends) {
			ends = append(ends, i)
		} else {
			ends[at] = i
		}
	}
	members := make(map[int]bool, len(ends))
	if len(ends) > 0 {
		for i := ends[len(ends)-1]; i >= 0; i = previous[i] {
			members[numbers[i]] = true
		}
	}
	return members
}

// text formats the differences, one per line, and their number.
func (d *ruleChanges) text() string {
	var text strings.Builder
	write := func(mark string, r placedRule) {
		text.WriteString(line("%s %d %s", mark, r.Place, ruleText(&r.Rule)))
	}
	for _, r := range d.Removed {
		write("-", r)
	}
	for _, change := range d.Changed {
		write("-", change.From)
		write("+", change.To)
	}
	for _, r := range d.Added {
		write("+", r)
	}
	for _, move := range d.Moved {
		text.WriteString(line("> %s from %d to %d", move.Path, move.From, move.To))
	}
	verb := "imported"
	if d.DryRun {
		verb = "would import"
	}
	if !d.any() {
		return fmt.Sprintf("nothing changes: the site has these %d rules\n", d.Rules)
	}
	fmt.Fprintf(&text, "%s %d rules: %d added, %d removed, %d changed, %d moved\n",
		verb, d.Rules, len(d.Added), len(d.Removed), len(d.Changed), len(d.Moved))
	return text.String()
}
