package command

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/gatefold/gatefold/admin"
)

func ruleAllow(text string) admin.RuleAllow {
	return admin.RuleAllow{RawMessage: json.RawMessage(text)}
}

// longestByDefinition returns the length of a longest increasing subsequence by its
// definition, in quadratic time.
func longestByDefinition(numbers []int) int {
	best, longest := make([]int, len(numbers)), 0
	for i := range numbers {
		best[i] = 1
		for j := range i {
			if numbers[j] < numbers[i] {
				best[i] = max(best[i], best[j]+1)
			}
		}
		longest = max(longest, best[i])
	}
	return longest
}

// Applying the difference to one state yields the other, and no more rules are moved
// than necessary.
func TestDiffRulesTransformsOneStateIntoTheOther(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 7))
	allow := []admin.RuleAllow{ruleAllow(`"any"`), ruleAllow(`"authenticated"`)}
	state := func() []admin.RuleBody {
		var rules []admin.RuleBody
		for _, n := range random.Perm(12)[:random.IntN(12)] {
			rules = append(rules, admin.RuleBody{Path: fmt.Sprint("/", n), Allow: allow[random.IntN(2)]})
		}
		return rules
	}
	text := func(rules []admin.RuleBody) string {
		var lines []string
		for i := range rules {
			lines = append(lines, ruleText(&rules[i]))
		}
		return strings.Join(lines, "\n")
	}
	for range 2000 {
		from, to := state(), state()
		d := diffRules(from, to)
		if d.any() == (text(from) == text(to)) {
			t.Fatalf("from\n%s\nto\n%s\nthe difference is %+v", text(from), text(to), d)
		}
		// Rules that the difference does not name keep their order between the others.
		gone := map[string]bool{}
		for _, r := range d.Removed {
			gone[r.Rule.Path] = true
		}
		put := make([]*admin.RuleBody, len(to))
		for _, move := range d.Moved {
			gone[move.Path] = true
			for i := range from {
				if from[i].Path == move.Path {
					put[move.To-1] = &from[i]
				}
			}
		}
		for i := range d.Added {
			put[d.Added[i].Place-1] = &d.Added[i].Rule
		}
		next := 0
		for i := range from {
			if gone[from[i].Path] {
				continue
			}
			for put[next] != nil {
				next++
			}
			put[next] = &from[i]
		}
		for i := range d.Changed {
			put[d.Changed[i].To.Place-1] = &d.Changed[i].To.Rule
		}
		got := make([]admin.RuleBody, len(put))
		for i := range put {
			got[i] = *put[i]
		}
		if text(got) != text(to) {
			t.Fatalf("from\n%s\nto\n%s\nthe difference leads to\n%s", text(from), text(to), text(got))
		}
		var common []int
		for i := range to {
			for j := range from {
				if from[j].Path == to[i].Path {
					common = append(common, j)
				}
			}
		}
		if len(d.Moved) != len(common)-longestByDefinition(common) {
			t.Fatalf("%d rules are moved of %v", len(d.Moved), common)
		}
	}
}

// A file keeps every member of a rule, and a second export is identical.
func TestRuleFileKeepsEverything(t *testing.T) {
	rules := []admin.RuleBody{
		{Rank: new(3), Path: "/a<b>&c", Methods: []string{"GET"}, Allow: ruleAllow(`"entitled/{\"sku\":[\"x\"]}"`), Forward: new(false), Engaged: "a,b"},
		{Rank: new(7), Path: "/", Allow: ruleAllow("0"), Forward: new(true)},
	}
	var first, second strings.Builder
	if err := writeRuleFile(&first, rules); err != nil {
		t.Fatal(err)
	}
	const want = "[\n\t" + `{"path":"/a<b>&c","methods":["GET"],"allow":"entitled/{\"sku\":[\"x\"]}","is_forward":false,"engaged":"a,b"}` +
		",\n\t" + `{"path":"/","allow":0}` + "\n]\n"
	if first.String() != want {
		t.Errorf("the file is\n%s", &first)
	}
	read, err := readRuleFile("-", strings.NewReader(first.String()))
	if err != nil {
		t.Fatal(err)
	}
	if err := writeRuleFile(&second, read); err != nil || second.String() != want {
		t.Errorf("%v, the second export is\n%s", err, &second)
	}
	if changes := diffRules(rules, read); changes.any() {
		t.Errorf("after reading, the rules differ: %+v", changes)
	}
	if _, err := readRuleFile("-", strings.NewReader(strings.Repeat(" ", maxRuleFile+1))); err == nil {
		t.Error("a file above the limit is read")
	}
}
