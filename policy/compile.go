package policy

import (
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
)

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
	compiled := make([]compiledRule, len(ordered))
	compiler := compiler{operators: operators, compiled: make(map[string]*compiledSteps)}
	for i := range ordered {
		rule := &ordered[i]
		if i > 0 && rule.Rank == ordered[i-1].Rank {
			return nil, &RuleError{Rule: *rule, Err: errors.New("another rule has the same rank")}
		}
		if err := compiler.compile(rule, &compiled[i]); err != nil {
			return nil, &RuleError{Rule: *rule, Err: err}
		}
	}
	set := newRuleset(compiled)
	set.nameUncommon()
	return set, nil
}

// newRuleset returns a set of compiled rules, which are in the order of their ranks.
func newRuleset(rules []compiledRule) *Ruleset {
	set := &Ruleset{rules: rules, trie: newTrie(len(rules))}
	for i := range rules {
		set.trie.insert(&rules[i], int32(i)) //nolint:gosec // memory ends before that
	}
	set.foldNames()
	return set
}

// compiler compiles rules. Equal steps with equal captures, which most rules of a
// large set have, are compiled once.
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
	if compiled.compiledSteps = c.compiled[string(c.key)]; compiled.compiledSteps == nil {
		if compiled.compiledSteps, err = c.steps(rule, captures); err != nil {
			return err
		}
		c.compiled[string(c.key)] = compiled.compiledSteps
	}
	return compiled.checkLinkMethods()
}

// maxSteps bounds the steps of one rule.
const maxSteps = 16

func (c *compiler) steps(rule *Rule, captures []string) (_ *compiledSteps, err error) {
	if len(rule.Then) >= maxSteps {
		return nil, fmt.Errorf("the rule has more than %d steps", maxSteps)
	}
	compiled := new(compiledSteps)
	if compiled.options, err = c.operators.compileOptions(rule.Options); err != nil {
		return nil, err
	}
	if captures, err = compiled.options.captures(captures); err != nil {
		return nil, err
	}
	for _, allow := range rule.Steps() {
		if err := c.step(&allow, captures, compiled); err != nil {
			return nil, err
		}
	}
	if err := compiled.finishMeters(); err != nil {
		return nil, err
	}
	compiled.level = levelOf(compiled.steps)
	if err := compiled.originStandsAlone(); err != nil {
		return nil, err
	}
	return compiled, compiled.checkOptions(rule)
}

// step compiles one step of a rule, and appends it.
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
	if to.addMeter(test) {
		return nil
	}
	to.steps = append(to.steps, test)
	to.records = to.records || operator.Records
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
