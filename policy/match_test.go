package policy

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
)

// djaoAppOperators are operators with DjaoApp's codes that deny every reader. Tests of
// the matcher use only their place in the rules.
func djaoAppOperators() *Operators {
	var operators []Operator
	for code := range 20 {
		operators = append(operators, Operator{
			Code: code, Name: "op" + strconv.Itoa(code),
			Compile: func(Arguments, []string) (Test, error) { return neverTest{}, nil },
		})
	}
	return NewOperators(operators...)
}

type neverTest struct{}

func (neverTest) Test(*Question) Reason { return ReasonNotEntitled }

// readSegments splits a path without checks, for tests of the matcher alone.
func readSegments(t testing.TB, path string) []string {
	t.Helper()
	var segments []string
	for segment := range strings.SplitSeq(path, "/") {
		if segment != "" {
			segments = append(segments, segment)
		}
	}
	return segments
}

// TestMatchAsDjaoApp compares the matcher with recorded results of DjaoApp's. It
// differs on purpose in one point: a null argument does not override a capture.
func TestMatchAsDjaoApp(t *testing.T) {
	data, err := os.ReadFile("testdata/rule-matching.json")
	require.NoError(t, err)
	var vectors struct {
		Rulesets map[string][]struct {
			Rank      int    `json:"rank"`
			Path      string `json:"path"`
			RuleOp    int    `json:"rule_op"`
			Kwargs    string `json:"kwargs"`
			IsForward bool   `json:"is_forward"`
		} `json:"rulesets"`
		Cases []struct {
			Ruleset string                     `json:"ruleset"`
			Path    string                     `json:"path"`
			Rank    *int                       `json:"rank"`
			Rule    *string                    `json:"rule"`
			Params  map[string]json.RawMessage `json:"params"`
			Forward *bool                      `json:"forward"`
		} `json:"cases"`
	}
	require.NoError(t, json.Unmarshal(data, &vectors))
	require.Len(t, vectors.Cases, 80)

	sets := make(map[string]*Ruleset)
	for name, rules := range vectors.Rulesets {
		var compiled []Rule
		for _, rule := range rules {
			allow := strconv.Itoa(rule.RuleOp)
			if rule.Kwargs != "" {
				allow += "/" + rule.Kwargs
			}
			parsed, err := ParseAllow(allow)
			require.NoError(t, err)
			compiled = append(compiled, Rule{Rank: rule.Rank, Path: rule.Path, Allow: parsed, Forward: rule.IsForward})
		}
		sets[name], err = CompileRules(compiled, djaoAppOperators())
		require.NoError(t, err, name)
	}
	for _, c := range vectors.Cases {
		t.Run(c.Ruleset+c.Path, func(t *testing.T) {
			segments := readSegments(t, c.Path)
			rule := sets[c.Ruleset].match("GET", segments)
			if c.Rank == nil {
				require.Nil(t, rule)
				return
			}
			require.NotNil(t, rule)
			require.Equal(t, *c.Rank, rule.Rank)
			require.Equal(t, *c.Rule, rule.Path)
			require.Equal(t, *c.Forward, rule.Forward)
			for name, want := range c.Params {
				if string(want) == "null" || want[0] != '"' {
					continue // a list is not a parameter
				}
				got, ok := rule.param(name, segments)
				require.True(t, ok, name)
				require.JSONEq(t, string(want), strconv.Quote(got), name)
			}
		})
	}
}

func TestNullArgumentNeverErasesACapture(t *testing.T) {
	allow, err := ParseAllow(`3/{"profile": null, "roledescription": "m"}`)
	require.NoError(t, err)
	set, err := CompileRules([]Rule{{Rank: 1, Path: "/nul/{profile}/", Allow: allow}}, djaoAppOperators())
	require.NoError(t, err)
	segments := readSegments(t, "/nul/xia")
	value, ok := set.match("GET", segments).param("profile", segments)
	require.True(t, ok)
	require.Equal(t, "xia", value)
}

func anyRules(paths ...string) []Rule {
	rules := make([]Rule, len(paths))
	for i, path := range paths {
		rules[i] = Rule{Rank: i, Path: path, Allow: Allow{Operator: "any"}}
	}
	return rules
}

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		name  string
		rules []string
		path  string
		want  int // rank, -1 for none
	}{
		{"prefix on segment boundary", []string{"/app"}, "/apps", -1},
		{"longer path", []string{"/app"}, "/app/x/y", 0},
		{"trailing slash is irrelevant", []string{"/app/"}, "/app", 0},
		{"root matches all", []string{"/"}, "/a/b", 0},
		{"root matches root", []string{"/"}, "/", 0},
		{"case-sensitive", []string{"/App"}, "/app", -1},
		{"too short", []string{"/a/b"}, "/a", -1},
		{"first by rank, not the most specific", []string{"/{x}", "/a/b"}, "/a/b", 0},
		{"the capture if no rule below the literal matches", []string{"/a/b/c", "/{x}/b"}, "/a/b/d", 1},
		{"the literal if no rule below the capture matches", []string{"/{x}/q", "/a"}, "/a/b", 1},
		{"captures with a colon", []string{"/:y/z"}, "/1/z", 0},
		{"open brace is literal", []string{"/{open"}, "/{open", 0},
		{"partial braces are literal", []string{"/pre{x}"}, "/prefoo", -1},
		{"no leading slash", []string{"noslash"}, "/noslash", 0},
		{"empty braces are literal", []string{"/{}"}, "/x", -1},
		{"lone colon is literal", []string{"/:"}, "/x", -1},
	} {
		t.Run(c.name, func(t *testing.T) {
			set, err := CompileRules(anyRules(c.rules...), StandardOperators())
			require.NoError(t, err)
			rule := set.match("GET", readSegments(t, c.path))
			if c.want < 0 {
				require.Nil(t, rule)
				return
			}
			require.NotNil(t, rule)
			require.Equal(t, c.want, rule.Rank)
		})
	}
}

func TestMatchMethods(t *testing.T) {
	set, err := CompileRules([]Rule{
		{Rank: 1, Path: "/a", Methods: []string{"POST"}, Allow: Allow{Operator: "authenticated"}},
		{Rank: 2, Path: "/a", Methods: []string{"GET", "PURGE"}, Allow: Allow{Operator: "any"}},
		{Rank: 3, Path: "/", Methods: []string{"OPTIONS", "GET"}, Allow: Allow{Operator: "any"}},
	}, StandardOperators())
	require.NoError(t, err)
	for method, want := range map[string]int{"POST": 1, "GET": 2, "HEAD": 2, "PURGE": 2, "OPTIONS": 3, "PUT": 0, "LINK": 0} {
		rule := set.match(method, []string{"a"})
		if want == 0 {
			require.Nil(t, rule, method)
			continue
		}
		require.NotNil(t, rule, method)
		require.Equal(t, want, rule.Rank, method)
	}
}

func TestCompileRefuses(t *testing.T) {
	for _, c := range []struct {
		name, want string
		rule       Rule
	}{
		{"unknown operator", `unknown operator "fail_direct"; known are address, all, any, authenticated, crawler, direct`, Rule{Path: "/", Allow: Allow{Operator: "fail_direct"}}},
		{"unknown code", "unknown operator", Rule{Path: "/", Allow: Allow{Operator: "19"}}},
		{"no operator", "unknown operator", Rule{Path: "/"}},
		{"entitled without a sku", "needs at least one sku", Rule{Path: "/", Allow: Allow{Operator: "entitled"}}},
		{"a parameter that the path does not capture", "{id} is not captured", Rule{Path: "/x", Allow: entitledTo("{id}")}},
		{"half a parameter", "must be the whole argument", Rule{Path: "/{id}", Allow: entitledTo("article-{id}")}},
		{"an empty sku", "is empty", Rule{Path: "/", Allow: entitledTo("")}},
		{"arguments of any", "takes no argument", Rule{Path: "/", Allow: Allow{Operator: "any", Arguments: Arguments{"sku": json.RawMessage(`"x"`)}}}},
		{"an argument of the wrong type", "must be a string or a list", Rule{Path: "/", Allow: Allow{Operator: "entitled", Arguments: Arguments{"sku": json.RawMessage(`{}`)}}}},
		{"an unknown argument", "takes no argument \"skus\"", Rule{Path: "/", Allow: Allow{Operator: "entitled", Arguments: Arguments{"skus": json.RawMessage(`["a"]`)}}}},
		{"a wildcard", "leave a wildcard out", Rule{Path: "/articles/*", Allow: Allow{Operator: "any"}}},
		{"a dot segment", "dot segment", Rule{Path: "/a/../b", Allow: Allow{Operator: "any"}}},
		{"an escape", "decoded paths", Rule{Path: "/a%20b", Allow: Allow{Operator: "any"}}},
		{"a query", "not queries", Rule{Path: "/a?b", Allow: Allow{Operator: "any"}}},
		{"a control character", "control character", Rule{Path: "/a\x00b", Allow: Allow{Operator: "any"}}},
		{"TRACE", "never served", Rule{Path: "/", Methods: []string{"TRACE"}, Allow: Allow{Operator: "any"}}},
		{"CONNECT", "never served", Rule{Path: "/", Methods: []string{"CONNECT"}, Allow: Allow{Operator: "any"}}},
		{"a method in lower case", "not a method in upper case", Rule{Path: "/", Methods: []string{"get"}, Allow: Allow{Operator: "any"}}},
		{"HEAD alone", "name GET instead", Rule{Path: "/", Methods: []string{"HEAD"}, Allow: Allow{Operator: "any"}}},
		{"a method twice", "is repeated", Rule{Path: "/", Methods: []string{"GET", "GET"}, Allow: Allow{Operator: "any"}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := CompileRules([]Rule{c.rule}, StandardOperators())
			require.ErrorContains(t, err, c.want)
			var failed *RuleError
			require.ErrorAs(t, err, &failed)
		})
	}
	_, err := CompileRules([]Rule{{Rank: 1, Path: "/a", Allow: Allow{Operator: "any"}}, {Rank: 1, Path: "/b", Allow: Allow{Operator: "any"}}}, StandardOperators())
	require.ErrorContains(t, err, "same rank")
}

func entitledTo(skus ...string) Allow {
	list, _ := json.Marshal(skus)
	return Allow{Operator: "entitled", Arguments: Arguments{"sku": list}}
}

func TestHidden(t *testing.T) {
	rules := []Rule{
		{Rank: 1, Path: "/a", Methods: []string{"GET"}, Allow: Allow{Operator: "any"}},
		{Rank: 2, Path: "/a/b", Allow: Allow{Operator: "any"}}, // decides POST
		{Rank: 3, Path: "/a/c", Methods: []string{"GET"}, Allow: Allow{Operator: "any"}},
		{Rank: 4, Path: "/{x}/y", Allow: Allow{Operator: "any"}},
		{Rank: 5, Path: "/q/y/z", Allow: Allow{Operator: "any"}},
		{Rank: 6, Path: "/:v/y", Allow: Allow{Operator: "any"}},
		{Rank: 7, Path: "/", Allow: Allow{Operator: "any"}},
		{Rank: 8, Path: "/last", Allow: Allow{Operator: "any"}},
	}
	set, err := CompileRules(rules, StandardOperators())
	require.NoError(t, err)
	var got []string
	for _, warning := range set.Warnings(PathOptions{}) {
		require.Equal(t, HiddenRule, warning.Kind)
		got = append(got, fmt.Sprintf("%d by %d", warning.Rule.Rank, warning.Other.Rank))
	}
	require.Equal(t, []string{"3 by 1", "5 by 4", "6 by 4", "8 by 7"}, got)
}

// TestMatchEqualsALinearScan compares the trie with trying each rule in order.
func TestMatchEqualsALinearScan(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	words := []string{"a", "b", "c", "{x}", ":y"}
	methods := []string{"GET", "POST", "PURGE"}
	for range 300 {
		var rules []Rule
		for rank := range 1 + random.IntN(30) {
			var path strings.Builder
			for range random.IntN(5) {
				path.WriteString("/" + words[random.IntN(len(words))])
			}
			rule := Rule{Rank: rank, Path: cmp.Or(path.String(), "/"), Allow: Allow{Operator: "any"}}
			if random.IntN(3) == 0 {
				rule.Methods = []string{methods[random.IntN(len(methods))]}
			}
			rules = append(rules, rule)
		}
		set, err := CompileRules(rules, StandardOperators())
		require.NoError(t, err)
		for range 50 {
			var segments []string
			for range random.IntN(6) {
				segments = append(segments, words[random.IntN(3)])
			}
			method := methods[random.IntN(len(methods))]
			want := -1
			for _, rule := range rules {
				if linearMatch(t, rule, method, segments) {
					want = rule.Rank
					break
				}
			}
			got := -1
			if rule := set.match(method, segments); rule != nil {
				got = rule.Rank
			}
			require.Equal(t, want, got, "%v %s %v", rules, method, segments)
		}
	}
}

func linearMatch(t *testing.T, rule Rule, method string, segments []string) bool {
	if len(rule.Methods) > 0 && !slices.Contains(rule.Methods, method) {
		return false
	}
	template := readSegments(t, rule.Path)
	if len(template) > len(segments) {
		return false
	}
	for i, part := range template {
		if part[0] != '{' && part[0] != ':' && part != segments[i] {
			return false
		}
	}
	return true
}

func TestAllowWireForm(t *testing.T) {
	for _, c := range []struct{ in, out string }{
		{`1`, `1`},
		{`"1"`, `1`},
		{`"any"`, `"any"`},
		{`"entitled/{\"sku\":\"a/b\"}"`, `"entitled/{\"sku\":\"a/b\"}"`},
		{`"3/{\"profile\":null}"`, `"3/{\"profile\":null}"`},
	} {
		var allow Allow
		require.NoError(t, json.Unmarshal([]byte(c.in), &allow), c.in)
		out, err := json.Marshal(allow)
		require.NoError(t, err)
		require.Equal(t, c.out, string(out))
	}
	for _, bad := range []string{`true`, `null`, `""`, `"/x"`, `"entitled/"`, `"entitled/[]"`, `"entitled/{} {}"`, `"entitled/{"`, `1.5`} {
		var allow Allow
		require.Error(t, json.Unmarshal([]byte(bad), &allow), bad)
	}
}

func TestMatchDoesNotAllocate(t *testing.T) {
	set := manyRules(t, 1000)
	segments := readSegments(t, "/section-500/article/x/comments")
	require.NotNil(t, set.match("GET", segments))
	require.Zero(t, testing.AllocsPerRun(100, func() { set.match("GET", segments) }))
}

func manyRules(t testing.TB, n int) *Ruleset {
	t.Helper()
	rules := make([]Rule, 0, n+1)
	for i := range n {
		rules = append(rules, Rule{Rank: i, Path: fmt.Sprintf("/section-%d/article/{publisherContentId}", i), Allow: entitledTo("premium", "{publisherContentId}")})
	}
	rules = append(rules, Rule{Rank: n, Path: "/", Allow: Allow{Operator: "any"}})
	set, err := CompileRules(rules, StandardOperators())
	require.NoError(t, err)
	return set
}

// The number of visited nodes depends on the path, and not on the number of rules.
func TestLookupCostDependsOnThePathAlone(t *testing.T) {
	few, many := manyRules(t, 10), manyRules(t, 10_000)
	for _, path := range []string{"/section-3/article/x", "/section-9/article/y/z", "/nowhere/at/all", "/"} {
		segments := readSegments(t, path)
		_, a := few.trie.walk(0, segments, "GET", noRule, 0)
		_, b := many.trie.walk(0, segments, "GET", noRule, 0)
		if a != b || a > 2*len(segments)+1 {
			t.Errorf("%s: %d nodes with 10 rules, %d with 10,000", path, a, b)
		}
	}
}

func BenchmarkMatch(b *testing.B) {
	for _, n := range []int{10, 10_000} {
		set := manyRules(b, n)
		paths := make([][]string, 256)
		for i := range paths {
			paths[i] = readSegments(b, fmt.Sprintf("/section-%d/article/some-article-%d", (i*7919)%n, i))
		}
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if set.match("GET", paths[i%len(paths)]) == nil {
					b.Fatal("no rule")
				}
			}
		})
	}
}

// One hash table contains the children of all nodes. A literal is found below its own
// parent only.
func TestLiteralIsFoundBelowItsParentOnly(t *testing.T) {
	// Literals with equal ends are included.
	long := "/a/begins-alike-%03d-and-ends-alike"
	paths := []string{fmt.Sprintf(long, 1), fmt.Sprintf(long, 2), "/s/sss", "/s/ss", "/s/s", "/s/ssss", "/s/sssssss", "/s/ssssssss", "/s/sssssssss", "/s/sssssssssssssssss", "/s/ssssssssssssssss"}
	for i := range 300 {
		paths = append(paths, fmt.Sprintf("/a/%d", i), fmt.Sprintf("/b/%d", 2*i), fmt.Sprintf("/%d/x", i))
	}
	set, err := CompileRules(anyRules(paths...), StandardOperators())
	require.NoError(t, err)
	for rank, path := range paths {
		if rule := set.match("GET", readSegments(t, path)); rule == nil || rule.Rank != rank {
			t.Fatalf("%s is matched by %v", path, rule)
		}
	}
	for _, path := range []string{"/a/300", "/b/1", "/b/600", "/300/x", "/1/y", fmt.Sprintf(long, 3), "/s/sssss", "/s/ssssssssssssssssss", "/s/", "/s", "/x", "/0", "/a/x"} {
		if rule := set.match("GET", readSegments(t, path)); rule != nil {
			t.Errorf("%s is matched by %s", path, rule.Path)
		}
	}
}

// A lookup reads one cache line for each node, and one for the steps of the rule.
func TestNodesAndStepsFitCacheLines(t *testing.T) {
	if node, steps := unsafe.Sizeof(node{}), unsafe.Sizeof(compiledSteps{}); node != 64 || steps != 64 {
		t.Errorf("a node has %d bytes, the steps of a rule %d", node, steps)
	}
}

// Rules with equal arguments are compiled once only if operator and captures are
// equal too.
func TestSharedArgumentsCompileByCaptures(t *testing.T) {
	shared := Arguments{"sku": json.RawMessage(`["{a}"]`)}
	allow := Allow{Operator: "entitled", Arguments: shared}
	operators := StandardOperators()
	_, err := CompileRules([]Rule{{Rank: 1, Path: "/x/{a}", Allow: allow}, {Rank: 2, Path: "/y/{b}", Allow: allow}}, operators)
	var failed *RuleError
	require.ErrorAs(t, err, &failed)
	require.Equal(t, 2, failed.Rule.Rank)
	_, err = CompileRules([]Rule{{Rank: 1, Path: "/x/{a}/{b}", Allow: allow}, {Rank: 2, Path: "/y/{b}/{c}", Allow: allow}}, operators)
	require.ErrorAs(t, err, &failed)
	require.Equal(t, 2, failed.Rule.Rank)
	_, err = CompileRules([]Rule{{Rank: 1, Path: "/x/{a}", Allow: allow}, {Rank: 2, Path: "/y/{a}", Allow: Allow{Operator: "any", Arguments: shared}}}, operators)
	require.ErrorAs(t, err, &failed)
	require.Equal(t, 2, failed.Rule.Rank)
	set, err := CompileRules([]Rule{{Rank: 1, Path: "/x/{a}/{b}", Allow: allow}, {Rank: 2, Path: "/y/{b}/{a}", Allow: allow}}, operators)
	require.NoError(t, err)
	for i, want := range []string{"1", "2"} {
		rule := &set.rules[i]
		if got, _ := rule.param("a", []string{"x", "1", "2"}); got != want {
			t.Errorf("rule %d gives the parameter a as %q", i+1, got)
		}
	}
}
