package main

import (
	"strings"
	"testing"
)

// What is probably not meant in rules is in the API's answer, which `rule import` prints,
// and in the output of `rule test`, of every kind.
func TestRuleWarningsAreShown(t *testing.T) {
	t.Parallel()
	s := startWithoutRules(t)
	table := s.write("rules.test", "GET / anonymous public\n")
	for kind, test := range map[string]struct{ rules, want string }{
		"hidden rule":    {`[{"path":"/a","allow":1},{"path":"/a/b","allow":0},{"path":"/","allow":0}]`, "Rule 2 (/a/b) never decides: the earlier rule 1 (/a)"},
		"laxer methods":  {`[{"path":"/a","allow":1,"methods":["GET"]},{"path":"/","allow":0}]`, "Rule 1 (/a) is for GET only: its pages are open to POST, PUT, PATCH, DELETE, OPTIONS by the laxer rule 2 (/)"},
		"dead rule":      {`[{"path":"/a\\;b","allow":1},{"path":"/c","allow":1},{"path":"/","allow":0}]`, "never decides unless the site has `paths { allow … }`"},
		"literal braces": {`[{"path":"/article-{id}","allow":1},{"path":"/","allow":0}]`, "captures nothing by its braces"},
		"only any":       {`[{"path":"/","allow":0},{"path":"/a","allow":1}]`, "No rule but `any` ever decides"},
	} {
		file := s.write("rules.json", test.rules)
		for _, args := range [][]string{{"rule", "import", file, "--dry-run"}, {"rule", "import", file}} {
			if got := s.command(args...); got.code != 0 || !strings.Contains(got.stderr, test.want) {
				t.Errorf("%s: %q: %+v, want %q", kind, args, got, test.want)
			}
		}
		for _, args := range [][]string{{"rule", "test", table}, {"rule", "test", table, "--rules", file}} {
			if got := s.command(args...); got.code != 0 || !strings.Contains(got.stdout, "warning: ") || !strings.Contains(got.stdout, test.want) {
				t.Errorf("%s: %q: %+v, want %q", kind, args, got, test.want)
			}
		}
	}
	clean := s.write("rules.json", `[{"path":"/a","allow":1},{"path":"/","allow":0}]`)
	if got := s.command("rule", "import", clean); got.code != 0 || got.stderr != "" {
		t.Errorf("rules that are meant: %+v", got)
	}
	if got := s.command("rule", "test", table); got.code != 0 || strings.Contains(got.stdout, "warning") {
		t.Errorf("rules that are meant: %+v", got)
	}
}
