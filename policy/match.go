package policy

import (
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
)

// Ruleset is the compiled rules of one site. It is immutable and safe for
// concurrent use.
//
// The templates form a trie by segment. A lookup walks only the branches that the
// path takes, and leaves a branch as soon as no rule below it can have a better rank
// than the best found so far: its cost depends on the path and on how templates
// overlap, not on the number of rules.
type Ruleset struct {
	rules []compiledRule
	trie  trie
}

// compiledRule is a rule with everything about it that a request does not change.
// What each request reads comes first.
type compiledRule struct {
	*compiledSteps
	segments []segment
	// capturing reports whether the rule's path has parameters.
	capturing bool
	Rule
}

// compiledSteps is the part of a compiled rule that depends on its path only by the
// names of the captures. Rules that are equal in it share it.
type compiledSteps struct {
	// steps are tried in order; the first that lets the reader in decides.
	steps []Test
	// linkTest is the first step that signed links satisfy, or nil.
	linkTest linkTest
	// entitlements reports whether a step asks what the reader was granted.
	entitlements bool
	// fixed holds the stored arguments that are strings: they override a capture of
	// the same name. Of several steps the first counts.
	fixed   map[string]string
	options map[string]any
}

// RuleError is the error of a rule that cannot be compiled.
type RuleError struct {
	Rule Rule
	Err  error
}

func (e *RuleError) Error() string {
	return fmt.Sprintf("rule %d (%s %s): %v", e.Rule.Rank, e.Rule.Path, e.Rule.Allow.Operator, e.Err)
}

func (e *RuleError) Unwrap() error { return e.Err }

// CompileRules compiles the rules of a site. It returns a *RuleError for the first
// rule that has an unknown operator or option, arguments that the operator refuses,
// a path that cannot match, or a rank that another rule has.
func CompileRules(rules []Rule, operators *Operators) (*Ruleset, error) {
	byRank := func(a, b Rule) int { return cmp.Compare(a.Rank, b.Rank) }
	ordered := rules
	if !slices.IsSortedFunc(rules, byRank) {
		ordered = slices.Clone(rules)
		slices.SortStableFunc(ordered, byRank)
	}
	set := &Ruleset{rules: make([]compiledRule, len(ordered)), trie: newTrie(len(ordered))}
	compiler := compiler{operators: operators, compiled: make(map[string]*compiledSteps)}
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

// compiler compiles rules. Of many rules most have the same steps and captures as
// another: those are compiled once.
type compiler struct {
	operators *Operators
	compiled  map[string]*compiledSteps // by Rule.stepsKey
	key       []byte
}

func (c *compiler) compile(rule *Rule, compiled *compiledRule) (err error) {
	if compiled.segments, err = parseTemplatePath(rule.Path); err != nil {
		return err
	}
	if err := checkMethods(rule.Methods); err != nil {
		return err
	}
	var captures []string
	for i := range compiled.segments {
		if name := compiled.segments[i].capture; name != "" {
			captures = append(captures, name)
		}
	}
	compiled.capturing = len(captures) > 0
	compiled.Rule = *rule
	c.key = rule.appendStepsKey(c.key[:0], captures)
	if compiled.compiledSteps = c.compiled[string(c.key)]; compiled.compiledSteps != nil {
		return nil
	}
	if compiled.compiledSteps, err = c.steps(rule, captures); err != nil {
		return err
	}
	c.compiled[string(c.key)] = compiled.compiledSteps
	return nil
}

// maxSteps bounds the steps of one rule.
const maxSteps = 16

func (c *compiler) steps(rule *Rule, captures []string) (_ *compiledSteps, err error) {
	if len(rule.Then) >= maxSteps {
		return nil, fmt.Errorf("it has more than %d steps", maxSteps)
	}
	compiled := new(compiledSteps)
	if compiled.options, err = c.operators.compileOptions(rule.Options); err != nil {
		return nil, err
	}
	for _, allow := range rule.Steps() {
		if err := c.step(&allow, captures, compiled); err != nil {
			return nil, err
		}
	}
	return compiled, nil
}

// step compiles one step of a rule, and adds it to the others.
func (c *compiler) step(allow *Allow, captures []string, to *compiledSteps) error {
	operator, err := c.operators.Find(allow.Operator)
	if err != nil {
		return err
	}
	fixed, err := allow.Arguments.strings()
	if err != nil {
		return err
	}
	test, err := operator.Compile(allow.Arguments, captures)
	if err != nil {
		return fmt.Errorf("%s: %w", operator.Name, err)
	}
	if to.fixed == nil {
		to.fixed = fixed
	} else {
		for name, value := range fixed {
			if _, taken := to.fixed[name]; !taken {
				to.fixed[name] = value
			}
		}
	}
	to.steps = append(to.steps, test)
	to.entitlements = to.entitlements || operator.Entitlements
	if link, ok := test.(linkTest); ok && to.linkTest == nil {
		to.linkTest = link
	}
	return nil
}

// appendStepsKey appends everything that decides how the rule's steps and options
// are compiled; no two rules that differ in it give the same key.
func (r *Rule) appendStepsKey(key []byte, captures []string) []byte {
	key = binary.AppendUvarint(key, uint64(len(r.Then)))
	key = r.Allow.appendKey(key)
	for i := range r.Then {
		key = r.Then[i].appendKey(key)
	}
	key = appendValues(key, r.Options)
	for _, name := range captures {
		key = appendKeyText(key, name)
	}
	return key
}

func (a *Allow) appendKey(key []byte) []byte {
	return appendValues(appendKeyText(key, a.Operator), a.Arguments)
}

func appendKeyText(key []byte, text string) []byte {
	return append(binary.AppendUvarint(key, uint64(len(text))), text...)
}

// appendValues appends named values in the order of their names.
func appendValues(key []byte, values map[string]json.RawMessage) []byte {
	key = binary.AppendUvarint(key, uint64(len(values)))
	var space [8]string // so that few names take no memory
	names := space[:0]
	for name := range values {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		key = appendKeyText(key, name)
		key = append(binary.AppendUvarint(key, uint64(len(values[name]))), values[name]...)
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
