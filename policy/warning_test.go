package policy

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// parseRules parses lines of `<path> [<METHOD,…>] <operator>`.
func parseRules(t testing.TB, text string) *Ruleset {
	t.Helper()
	var rules []Rule
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		rule := Rule{Rank: len(rules) + 1, Path: fields[0], Allow: Allow{Operator: fields[len(fields)-1]}}
		if rule.Allow.Operator == "entitled" {
			rule.Allow = entitledTo("premium")
		}
		if len(fields) == 3 {
			rule.Methods = strings.Split(fields[1], ",")
		}
		rules = append(rules, rule)
	}
	set, err := CompileRules(rules, StandardOperators())
	require.NoError(t, err)
	return set
}

func TestWarnings(t *testing.T) {
	const lax, dead, braces, only = "laxer", "paths { allow", "captures nothing", "No rule but"
	for _, c := range []struct {
		name, rules string
		want        []string
	}{
		{"the trap", "/account GET,HEAD authenticated\n/ any", []string{"Rule 1 (/account) is for GET, HEAD only: its pages are open to POST, PUT, PATCH, DELETE, OPTIONS by the laxer rule 2 (/)"}},
		{"by DjaoApp's codes", "/account GET 1\n/ 0", []string{lax}},
		{"writing", "/comments POST authenticated\n/ any", []string{"open to GET, HEAD, PUT, PATCH, DELETE, OPTIONS"}},
		{"two steps down", "/a GET entitled\n/ authenticated", []string{lax}},
		{"a capture", "/a/{id} GET entitled\n/{x} any\n/ authenticated", []string{"the laxer rule 2 (/{x})"}},
		{"the pair", "/comments GET,HEAD any\n/comments authenticated\n/ any", nil},
		{"a strict rule for the same path first", "/account POST authenticated\n/account any\n/ any", nil},
		{"stricter below", "/a GET authenticated\n/a/ entitled\n/ any", nil},
		{"as strict", "/a GET entitled\n/ subscribed", nil},
		{"no rule is left", "/a GET entitled\n/b any", nil},
		{"not certain", "/a/{id} GET entitled\n/a/b any\n/ entitled", nil},
		{"uncommon methods do not fall through", "/a GET,POST,PUT,PATCH,DELETE,OPTIONS entitled\n/ any", nil},
		{"hidden already", "/a entitled\n/a/b GET entitled\n/ any", []string{"never decides"}},
		{"parameters", `/a\;b entitled` + "\n/ any", []string{dead, only}},
		{"path info", "/index.php/a entitled\n/ any", []string{dead, only}},
		{"braces", "/article-{id} entitled\n/ any", []string{braces}},
		{"escaped braces", `/article-\{id\} entitled` + "\n/ any", nil},
		{"everything is hidden", "/ any\n/a entitled\n/b authenticated", []string{"never", "never", only}},
		{"public on purpose", "/a any\n/ any", nil},
		{"PROPFIND is not hidden", "/ any\n/dav PROPFIND entitled", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			warnings := parseRules(t, c.rules).Warnings(PathOptions{})
			require.Len(t, warnings, len(c.want), "%v", warnings)
			for i, want := range c.want {
				require.Contains(t, warnings[i].String(), want)
			}
		})
	}
	admitted := parseRules(t, `/a\;b entitled`+"\n/index.php/a entitled\n/ any").Warnings(PathOptions{Parameters: true, PathInfo: true})
	require.Empty(t, admitted)
}

// A warning of laxer methods is certain: the other rule decides such a request.
func TestLaxerRuleDecides(t *testing.T) {
	set := parseRules(t, "/account GET,HEAD authenticated\n/ any")
	warning := set.Warnings(PathOptions{})[0]
	for _, method := range warning.Methods {
		require.Equal(t, warning.Other.Rank, set.match(method, []string{"account"}).Rank)
	}
}

func TestUncommonMethods(t *testing.T) {
	set := parseRules(t, "/dav PROPFIND,M-SEARCH authenticated\n/ any\n/late PURGE any")
	for _, c := range []struct {
		method, path string
		want         int
	}{
		{"PROPFIND", "dav", 1},
		{"M-SEARCH", "dav", 1},
		{"GET", "dav", 2},
		{"PROPFIND", "x", 0},
		{"PURGE", "late", 3},
		{"FOO", "dav", 0},
		{"QUERY", "x", 0},
		{"propfind", "dav", 0},
		{"PropFind", "dav", 0},
	} {
		rule := set.forMethod(c.method).match(c.method, []string{c.path})
		if c.want == 0 {
			require.Nil(t, rule, c.method)
			continue
		}
		require.NotNil(t, rule, c.method)
		require.Equal(t, c.want, rule.Rank, c.method)
	}
}

// BenchmarkWarnings examines 10,000 rules, without methods and with them.
func BenchmarkWarnings(b *testing.B) {
	for name, methods := range map[string][]string{"plain": nil, "methods": {"GET"}} {
		rules := make([]Rule, 10_001)
		for i := range rules {
			rules[i] = Rule{Rank: i, Path: fmt.Sprintf("/section-%d/{publisherContentId}", i), Methods: methods, Allow: entitledTo("premium")}
		}
		rules[10_000] = Rule{Rank: 10_000, Path: "/", Allow: Allow{Operator: "any"}}
		set, err := CompileRules(rules, StandardOperators())
		require.NoError(b, err)
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				set.Warnings(PathOptions{})
			}
		})
	}
}
