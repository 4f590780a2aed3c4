package policy

import (
	"context"
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// matchCase is a site and a request that a byte string encodes.
type matchCase struct {
	rules             []Rule
	paths             PathOptions
	method            string
	received, current string
	reader            Reader
}

// bytesReader reads choices from a byte string, zeros at its end.
type bytesReader []byte

func (b *bytesReader) below(n int) int {
	if len(*b) == 0 {
		return 0
	}
	first := (*b)[0]
	*b = (*b)[1:]
	return int(first) % n
}

func oneOf[T any](b *bytesReader, from ...T) T { return from[b.below(len(from))] }

func (b *bytesReader) path(names ...string) string {
	var path strings.Builder
	for range b.below(4) {
		path.WriteString("/" + oneOf(b, names...))
	}
	if path.Len() == 0 || b.below(8) == 7 {
		path.WriteString("/")
	}
	return path.String()
}

func readMatchCase(data []byte) matchCase {
	b := bytesReader(data)
	var c matchCase
	for rank := range 1 + b.below(6) {
		c.rules = append(c.rules, Rule{
			Rank: rank, Path: b.path("a", "A", "b", "ab", "aB", "{x}", "{y}", "a.x"),
			Methods: oneOf(&b, nil, nil, nil, []string{"GET"}, []string{"POST", "PURGE"}, []string{"PURGE"}),
			Allow:   oneOf(&b, Allow{Operator: "any"}, Allow{Operator: "authenticated"}, entitledTo("premium")),
		})
	}
	c.paths = PathOptions{CaseSensitive: b.below(4) == 3, Judge: oneOf(&b, BothForms, BothForms, ReceivedForm, CurrentForm)}
	c.method = oneOf(&b, "GET", "GET", "HEAD", "POST", "DELETE", "PURGE", "purge", "GARBAGE")
	c.received = b.path("a", "A", "b", "B", "ab", "AB", "aB", "a.", "c", "a.x", "A.x.y", "ab.x", ".a")
	if b.below(3) == 2 {
		c.current = b.path("a", "A", "b", "B", "ab", "aB", "c", "a.x", "b.x.y")
	}
	c.reader = oneOf(&b, Reader{}, bob)
	return c
}

// reason returns the reason of the decision, naively: every rule is compared with every
// form of the path, exactly and without regard to case, and the strictest first rule
// counts.
func (c *matchCase) reason() Reason {
	method := c.method
	if method == "HEAD" {
		method = "GET"
	}
	common := slices.Contains([]string{"GET", "POST", "DELETE"}, method)
	if !common && strings.ToUpper(method) != method {
		return ReasonBadMethod
	}
	forms := []string{c.received, c.current}
	switch {
	case c.current == "" || c.current == c.received || c.paths.Judge == ReceivedForm:
		forms = forms[:1]
	case c.paths.Judge == CurrentForm:
		forms = forms[1:]
	}
	order := []Reason{ReasonPublic, ReasonAuthenticated, ReasonNotEntitled} // also: any other denial
	var strictest Reason
	add := func(reason Reason) {
		if strictest == ReasonNone || strictest.Allows() && (!reason.Allows() || slices.Index(order, reason) > slices.Index(order, strictest)) {
			strictest = reason
		}
	}
	for _, form := range forms {
		rule, reason := c.firstReason(form, method, false, common)
		add(reason)
		if !c.paths.CaseSensitive {
			rule, reason = c.firstReason(form, method, true, common)
			add(reason)
		}
		for _, page := range pagesOf(form) {
			if other, reason := c.firstReason(page, method, !c.paths.CaseSensitive, common); namesLast(other, form) && !namesLast(rule, form) {
				add(reason)
			}
		}
	}
	return strictest
}

// pagesOf returns a path without the extensions of its last name.
func pagesOf(path string) []string {
	path = strings.TrimSuffix(path, "/")
	name := path[strings.LastIndexByte(path, '/')+1:]
	var pages []string
	for i, c := range name {
		if c == '.' && i > 0 && i < len(name)-1 {
			pages = append(pages, strings.TrimSuffix(path, name[i:]))
		}
	}
	return pages // of at most two dots, as the paths here have
}

// namesLast reports whether a rule has a name at the place of a path's last one.
func namesLast(rule *Rule, path string) bool {
	if rule == nil {
		return false
	}
	template, at := strings.Split(strings.Trim(rule.Path, "/"), "/"), strings.Count(strings.Trim(path, "/"), "/")
	return at < len(template) && template[at] != "" && template[at][0] != '{'
}

func (c *matchCase) firstReason(path, method string, fold, common bool) (*Rule, Reason) {
	for i, rule := range c.rules {
		named := slices.Contains(rule.Methods, method)
		if !named && (!common || len(rule.Methods) > 0) || !isPrefix(rule.Path, path, fold) {
			continue
		}
		switch anonymous := c.reader.UserID == ""; {
		case rule.Allow.Operator == "any":
			return &c.rules[i], ReasonPublic
		case anonymous:
			return &c.rules[i], ReasonLoginRequired
		case rule.Allow.Operator == "authenticated":
			return &c.rules[i], ReasonAuthenticated
		default:
			return &c.rules[i], ReasonNotEntitled
		}
	}
	if !common {
		return nil, ReasonBadMethod
	}
	return nil, ReasonNoRule
}

func isPrefix(template, path string, fold bool) bool {
	names, have := strings.Split(strings.Trim(template, "/"), "/"), strings.Split(strings.Trim(path, "/"), "/")
	if names[0] == "" {
		return true
	}
	if len(names) > len(have) || have[0] == "" {
		return false
	}
	for i, name := range names {
		other := have[i]
		if fold {
			name, other = strings.ToLower(name), strings.ToLower(strings.TrimRight(other, "."))
		}
		if !strings.HasPrefix(name, "{") && name != other {
			return false
		}
	}
	return true
}

// FuzzMatch compares decisions with a naive reference of which rule applies.
func FuzzMatch(f *testing.F) {
	for _, seed := range []string{"", "\x02\x01\x00\x00\x01\x01\x05\x00\x00", "012345678901234567890123456789", "zyxwvutsrqponmlkjihgfedcba", "\x05\x03\x01\x02\x03\x04\x05\x06\x07\x08\x09"} {
		f.Add([]byte(seed))
	}
	env := newTestEnv(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		c := readMatchCase(data)
		rules, err := CompileRules(c.rules, StandardOperators())
		if err != nil {
			return // such as a capture of a name twice
		}
		decision := env.policy.Decide(context.Background(), &Request{
			Site: NewSite("acme", "news", rules, c.paths, env.keys), Method: c.method, Target: c.received, EscapedPath: c.received,
			CurrentPath: c.current, Host: "news.example", Reader: c.reader, Now: env.now(),
		})
		if want := c.reason(); decision.Reason != want {
			t.Errorf("%+v: decided %s, want %s", c, decision.Reason, want)
		}
	})
}

// FuzzReadings checks what every reading of an admitted path must be, whatever the site
// admits.
func FuzzReadings(f *testing.F) {
	for _, seed := range []string{"/", "/a//b", "//h/a", "/a%2f..%2fb", "/a;x/b", "/a.php/b;c%2Fd//e", "/%2e%2e/x", "/a%3b/..", "/..;/a", "/a%00", "/a%5c..", "/. /x", "/%c0%af"} {
		for options := range byte(16) {
			f.Add(seed, options)
		}
	}
	f.Fuzz(func(t *testing.T, escaped string, bits byte) {
		allow := PathOptions{EmptySegments: bits&1 != 0, EncodedSlash: bits&2 != 0, Parameters: bits&4 != 0, PathInfo: bits&8 != 0}
		var path Path
		if path.Read(escaped, allow) != nil {
			require.Empty(t, path.Readings())
			return
		}
		require.NotEmpty(t, path.Readings())
		require.LessOrEqual(t, len(path.Readings()), maxReadings)
		for _, segments := range path.Readings() {
			require.LessOrEqual(t, len(segments), maxSegments)
			for _, segment := range segments {
				require.False(t, segment != "" && strings.ContainsAny(segment[:1], ". ") && strings.Trim(segment, ". ") == "", "a dot segment in %q", segments)
				require.True(t, segment != "" || allow.EmptySegments, "an empty segment in %q", segments)
				require.False(t, strings.ContainsFunc(segment, func(c rune) bool { return c < ' ' || c == 0x7f || c == '\\' }), "%q", segments)
				require.True(t, allow.EncodedSlash || !strings.Contains(segment, "/"), "a slash in %q", segments)
				require.True(t, allow.Parameters || !strings.Contains(segment, ";"), "a parameter in %q", segments)
				require.Equal(t, segment, strings.ToValidUTF8(segment, "?"))
			}
		}
		// Admitting more never takes a reading away.
		var stricter Path
		if stricter.Read(escaped, PathOptions{}) == nil {
			require.Contains(t, path.Readings(), stricter.Readings()[0])
		}
	})
}

// FuzzStepsKey checks that rules whose compiled steps are shared do not differ in them.
func FuzzStepsKey(f *testing.F) {
	f.Add(`{"sku":["a"]}`, "x", `{"sku":["a"]}`, "x")
	f.Add(`{"sku":"a"}`, "ab\x00c", `{"sku":"a"}`, "ab\x00\x00c")
	f.Add(`{"a":1,"b":2}`, "", `{"b":2,"a":1}`, "")
	f.Fuzz(func(t *testing.T, leftArguments, left, rightArguments, right string) {
		a, aCaptures, ok := ruleOfTexts(leftArguments, left)
		b, bCaptures, also := ruleOfTexts(rightArguments, right)
		if !ok || !also {
			return
		}
		same := reflect.DeepEqual(a, b) && slices.Equal(aCaptures, bCaptures)
		if equal := string(a.appendStepsKey(nil, aCaptures)) == string(b.appendStepsKey(nil, bCaptures)); equal != same {
			t.Errorf("%+v %q and %+v %q: the keys are equal %v", a, aCaptures, b, bCaptures, equal)
		}
	})
}

// ruleOfTexts returns a rule with these arguments. The text has the operators of its
// steps, and then the captures, each after a NUL.
func ruleOfTexts(arguments, text string) (rule Rule, captures []string, ok bool) {
	parts := strings.Split(text, "\x00")
	if json.Unmarshal([]byte(arguments), &rule.Allow.Arguments) != nil || rule.Allow.Arguments == nil {
		return rule, nil, false
	}
	rule.Allow.Operator, captures = parts[0], parts[len(parts)/2:]
	for _, operator := range parts[:len(parts)/2] {
		rule.Then = append(rule.Then, Allow{Operator: operator, Arguments: rule.Allow.Arguments})
	}
	return rule, captures, true
}
