package policy

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
)

// Ruleset is the rules of one site, compiled. It is immutable and safe for
// concurrent use.
//
// The templates form a trie by segment. A lookup walks only the branches that
// the path itself takes, and leaves a branch as soon as no rule below it can
// have a better rank than the best found so far; so its cost depends on the
// path and on how templates overlap, not on how many rules there are.
type Ruleset struct {
	rules []compiledRule
	trie  trie
}

// compiledRule is a rule with everything about it that a request does not
// change. What each request asks for stands first, in one line of the
// processor's memory.
type compiledRule struct {
	test Test
	// fixed holds the stored arguments that are strings: what overrides a
	// capture of the same name.
	fixed    map[string]string
	segments []segment
	// capturing: a request's path gives the rule parameters; entitlements: its
	// operator asks what the reader was granted.
	capturing, entitlements bool
	operator                *Operator
	Rule
	_ [8]byte // three lines each, in a list of them
}

// RuleError says which rule of a set cannot be compiled, and why.
type RuleError struct {
	Rule Rule
	Err  error
}

func (e *RuleError) Error() string {
	return fmt.Sprintf("rule %d (%s %s): %v", e.Rule.Rank, e.Rule.Path, e.Rule.Allow.Operator, e.Err)
}

func (e *RuleError) Unwrap() error { return e.Err }

// CompileRules compiles the rules of a site. It returns a *RuleError for the
// first rule that cannot be: an unknown operator, arguments that the operator
// refuses, a path that cannot match, a rank that is taken.
func CompileRules(rules []Rule, operators *Operators) (*Ruleset, error) {
	byRank := func(a, b Rule) int { return cmp.Compare(a.Rank, b.Rank) }
	ordered := rules
	if !slices.IsSortedFunc(rules, byRank) {
		ordered = slices.Clone(rules)
		slices.SortStableFunc(ordered, byRank)
	}
	set := &Ruleset{rules: make([]compiledRule, len(ordered)), trie: newTrie(len(ordered))}
	compiler := compiler{operators: operators, done: make(map[string]*compiledAllow)}
	for i := range ordered {
		rule := &ordered[i]
		if i > 0 && rule.Rank == ordered[i-1].Rank {
			return nil, &RuleError{Rule: *rule, Err: errors.New("the rank is taken by another rule")}
		}
		if err := compiler.compile(rule, &set.rules[i]); err != nil {
			return nil, &RuleError{Rule: *rule, Err: err}
		}
		set.trie.insert(&set.rules[i], int32(i))
	}
	return set, nil
}

// compiler compiles rules. Of many rules most have the same operator, arguments and
// captures as another: those are compiled once.
type compiler struct {
	operators *Operators
	done      map[string]*compiledAllow // by appendKey
	key       []byte
	captures  []string
	segments  []segment // those of the next rules
}

// compiledAllow is what does not depend on a rule's path but for the names of what
// it captures.
type compiledAllow struct {
	allow    Allow // the first of all that are equal, whose memory they share
	operator *Operator
	test     Test
	fixed    map[string]string
}

func (c *compiler) compile(rule *Rule, compiled *compiledRule) (err error) {
	if compiled.segments, err = c.template(rule.Path); err != nil {
		return err
	}
	if err := checkMethods(rule.Methods); err != nil {
		return err
	}
	c.captures = c.captures[:0]
	for i := range compiled.segments {
		if name := compiled.segments[i].capture; name != "" {
			c.captures = append(c.captures, name)
		}
	}
	compiled.capturing = len(c.captures) > 0
	allow, err := c.allow(&rule.Allow)
	if err != nil {
		return err
	}
	compiled.Rule = *rule
	compiled.Allow, compiled.operator, compiled.test, compiled.fixed = allow.allow, allow.operator, allow.test, allow.fixed
	compiled.entitlements = allow.operator.Entitlements
	return nil
}

// entitled says whether the rule is of the kind that links satisfy.
func (r *compiledRule) entitled() bool {
	_, ok := r.test.(*entitledTest)
	return ok
}

// segmentsAtOnce is for how many segments memory is taken at once.
const segmentsAtOnce = 256

// template cuts a path into segments.
func (c *compiler) template(path string) ([]segment, error) {
	if most := strings.Count(path, "/") + 1; cap(c.segments)-len(c.segments) < most {
		c.segments = make([]segment, 0, max(most, segmentsAtOnce))
	}
	begin := len(c.segments)
	segments, err := appendTemplate(c.segments, path)
	if err != nil {
		return nil, err
	}
	c.segments = segments
	return slices.Clip(segments[begin:]), nil
}

func (c *compiler) allow(allow *Allow) (*compiledAllow, error) {
	c.key = allow.appendKey(c.key[:0], c.captures)
	if known := c.done[string(c.key)]; known != nil {
		return known, nil
	}
	compiled, err := c.compileAllow(allow)
	if err != nil {
		return nil, err
	}
	c.done[string(c.key)] = compiled
	return compiled, nil
}

func (c *compiler) compileAllow(allow *Allow) (*compiledAllow, error) {
	operator, err := c.operators.Find(allow.Operator)
	if err != nil {
		return nil, err
	}
	fixed, err := allow.Arguments.strings()
	if err != nil {
		return nil, err
	}
	test, err := operator.Compile(allow.Arguments, slices.Clone(c.captures))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", operator.Name, err)
	}
	return &compiledAllow{allow: *allow, operator: operator, test: test, fixed: fixed}, nil
}

// appendKey appends all that decides how an operator is compiled; no two of them
// that differ give the same.
func (a *Allow) appendKey(key []byte, captures []string) []byte {
	add := func(text string) { key = append(binary.AppendUvarint(key, uint64(len(text))), text...) }
	add(a.Operator)
	key = binary.AppendUvarint(key, uint64(len(a.Arguments)))
	for _, name := range slices.Sorted(maps.Keys(a.Arguments)) {
		add(name)
		add(string(a.Arguments[name]))
	}
	for _, name := range captures {
		add(name)
	}
	return key
}

func checkMethods(methods []string) error {
	for i, method := range methods {
		switch {
		case method == "":
			return errors.New("an empty method")
		case method == http.MethodHead && !slices.Contains(methods, http.MethodGet):
			return errors.New("HEAD is judged as GET: name GET instead")
		case slices.Contains(methods[:i], method):
			return fmt.Errorf("the method %s is named twice", method)
		}
		for _, c := range []byte(method) {
			if c < 'A' || c > 'Z' {
				return fmt.Errorf("%q is not an HTTP method in capitals", method)
			}
		}
	}
	return nil
}

// match returns the first rule by rank that matches, or nil.
func (s *Ruleset) match(method string, segments []string) *compiledRule {
	if s == nil {
		return nil
	}
	if method == http.MethodHead {
		method = http.MethodGet
	}
	index, _ := s.trie.walk(0, segments, method, noRule, 0)
	if index == noRule {
		return nil
	}
	return &s.rules[index]
}

// param returns a parameter of the rule for a path that it matched: the stored
// argument, or else what the path captured; of two captures with one name the
// last counts.
func (r *compiledRule) param(name string, segments []string) (string, bool) {
	if value, ok := r.fixed[name]; ok {
		return value, true
	}
	for i, s := range slices.Backward(r.segments) {
		if s.capture == name {
			return segments[i], true
		}
	}
	return "", false
}

// Hidden is a rule that never decides, because an earlier one matches all that
// it matches.
type Hidden struct {
	Rule Rule
	// By is the earlier rule.
	By Rule
}

// Hidden lists the rules of the set that an earlier rule hides for good.
func (s *Ruleset) Hidden() []Hidden {
	var hidden []Hidden
	for i := range s.rules {
		if by := s.coveredBy(0, &s.rules[i], s.rules[i].segments, int32(i)); by != noRule {
			hidden = append(hidden, Hidden{Rule: s.rules[i].Rule, By: s.rules[by].Rule})
		}
	}
	return hidden
}

// coveredBy returns the lowest rule before the given one that covers it, of those
// at a node and below.
func (s *Ruleset) coveredBy(at int32, rule *compiledRule, rest []segment, before int32) int32 {
	n := &s.trie.nodes[at]
	if n.lowest >= before {
		return noRule
	}
	found := noRule
	for _, index := range s.trie.candidates(n) {
		earlier := &s.rules[min(index, before)]
		if index < before && covers(earlier.segments, rule.segments) && coversMethods(earlier.Methods, rule.Methods) {
			found = min(found, index)
		}
	}
	if len(rest) == 0 {
		return found
	}
	if rest[0].capture == "" {
		if next := s.trie.literal(at, rest[0].literal); next != noNode {
			found = min(found, s.coveredBy(next, rule, rest[1:], before))
		}
	}
	if n.capture != noNode {
		found = min(found, s.coveredBy(n.capture, rule, rest[1:], before))
	}
	return found
}

// Len returns how many rules the set holds.
func (s *Ruleset) Len() int {
	if s == nil {
		return 0
	}
	return len(s.rules)
}
