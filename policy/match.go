package policy

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/http"
	"slices"
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
	root  node
}

// compiledRule is a rule with everything about it that a request does not
// change.
type compiledRule struct {
	Rule
	operator *Operator
	test     Test
	segments []segment
	// capturing: a request's path gives the rule parameters; entitlements: its
	// operator asks what the reader was granted.
	capturing, entitlements bool
	// fixed holds the stored arguments that are strings: what overrides a
	// capture of the same name.
	fixed map[string]string
}

// node is one segment of the trie.
type node struct {
	literal map[string]*node
	capture *node
	// best[m] is the index of the first rule that ends here and takes the
	// method m; rules are numbered in rank order.
	best [methodCount]int32
	// other holds the same for methods that have no number of their own.
	other map[string]int32
	// lowest is the lowest rule index here and below.
	lowest int32
}

const noRule int32 = math.MaxInt32

func newNode() *node {
	n := &node{lowest: noRule}
	for i := range n.best {
		n.best[i] = noRule
	}
	return n
}

// The methods that have a number of their own; the last stands for any other.
const (
	methodGet = iota
	methodPost
	methodPut
	methodPatch
	methodDelete
	methodOptions
	methodOther
	methodCount
)

func methodNumber(method string) int {
	switch method {
	case http.MethodGet, http.MethodHead:
		return methodGet
	case http.MethodPost:
		return methodPost
	case http.MethodPut:
		return methodPut
	case http.MethodPatch:
		return methodPatch
	case http.MethodDelete:
		return methodDelete
	case http.MethodOptions:
		return methodOptions
	default:
		return methodOther
	}
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
	ordered := slices.Clone(rules)
	slices.SortStableFunc(ordered, func(a, b Rule) int { return cmp.Compare(a.Rank, b.Rank) })
	set := &Ruleset{rules: make([]compiledRule, 0, len(ordered)), root: *newNode()}
	compiler := compiler{operators: operators, done: make(map[string]*compiledAllow)}
	for i, rule := range ordered {
		if i > 0 && rule.Rank == ordered[i-1].Rank {
			return nil, &RuleError{Rule: rule, Err: errors.New("the rank is taken by another rule")}
		}
		compiled, err := compiler.compile(rule)
		if err != nil {
			return nil, &RuleError{Rule: rule, Err: err}
		}
		set.rules = append(set.rules, compiled)
		set.insert(int32(i))
	}
	return set, nil
}

// compiler compiles rules. Of many rules most have the same operator, arguments and
// captures as another: those are compiled once.
type compiler struct {
	operators *Operators
	done      map[string]*compiledAllow
	key       []byte
}

// compiledAllow is what does not depend on a rule's path but for the names of what
// it captures.
type compiledAllow struct {
	allow    Allow // the first of all that are equal, whose memory they share
	operator *Operator
	test     Test
	fixed    map[string]string
}

func (c *compiler) compile(rule Rule) (compiledRule, error) {
	segments, err := parseTemplate(rule.Path)
	if err != nil {
		return compiledRule{}, err
	}
	if err := checkMethods(rule.Methods); err != nil {
		return compiledRule{}, err
	}
	compiled := compiledRule{Rule: rule, segments: segments}
	captures := compiled.captures()
	compiled.capturing = len(captures) > 0
	allow, err := c.allow(&rule.Allow, captures)
	if err != nil {
		return compiledRule{}, err
	}
	compiled.Allow, compiled.operator, compiled.test, compiled.fixed = allow.allow, allow.operator, allow.test, allow.fixed
	compiled.entitlements = allow.operator.Entitlements
	return compiled, nil
}

// entitled says whether the rule is of the kind that links satisfy.
func (r *compiledRule) entitled() bool {
	_, ok := r.test.(*entitledTest)
	return ok
}

func (c *compiler) allow(allow *Allow, captures []string) (*compiledAllow, error) {
	c.key = allow.appendKey(c.key[:0], captures)
	if known := c.done[string(c.key)]; known != nil {
		return known, nil
	}
	operator, err := c.operators.Find(allow.Operator)
	if err != nil {
		return nil, err
	}
	fixed, err := allow.Arguments.strings()
	if err != nil {
		return nil, err
	}
	test, err := operator.Compile(allow.Arguments, captures)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", operator.Name, err)
	}
	done := &compiledAllow{allow: *allow, operator: operator, test: test, fixed: fixed}
	c.done[string(c.key)] = done
	return done, nil
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

// captures lists the names of the parameters that the path captures.
func (r *compiledRule) captures() []string {
	var names []string
	for _, s := range r.segments {
		if s.capture != "" {
			names = append(names, s.capture)
		}
	}
	return names
}

func (s *Ruleset) insert(index int32) {
	rule := &s.rules[index]
	n := &s.root
	n.lowest = min(n.lowest, index)
	for _, part := range rule.segments {
		n = n.child(part)
		n.lowest = min(n.lowest, index)
	}
	if len(rule.Methods) == 0 {
		for m := range n.best {
			n.best[m] = min(n.best[m], index)
		}
		return
	}
	for _, method := range rule.Methods {
		if m := methodNumber(method); m != methodOther {
			n.best[m] = min(n.best[m], index)
			continue
		}
		if n.other == nil {
			n.other = make(map[string]int32)
		}
		if _, taken := n.other[method]; !taken {
			n.other[method] = index
		}
	}
}

// child returns the node below n for a segment, and makes it where it is not
// there yet.
func (n *node) child(part segment) *node {
	if part.capture != "" {
		if n.capture == nil {
			n.capture = newNode()
		}
		return n.capture
	}
	next := n.literal[part.literal]
	if next == nil {
		if n.literal == nil {
			n.literal = make(map[string]*node)
		}
		next = newNode()
		n.literal[part.literal] = next
	}
	return next
}

// match returns the first rule by rank that matches, or nil.
func (s *Ruleset) match(method string, segments []string) *compiledRule {
	if s == nil {
		return nil
	}
	found := s.lookup(method, segments)
	if found.best == noRule {
		return nil
	}
	return &s.rules[found.best]
}

func (s *Ruleset) lookup(method string, segments []string) lookup {
	found := lookup{method: method, number: methodNumber(method), best: noRule}
	found.walk(&s.root, segments)
	return found
}

type lookup struct {
	method string
	number int
	best   int32
	nodes  int // that were looked at: what a lookup costs, on whatever machine
}

func (l *lookup) walk(n *node, segments []string) {
	for {
		l.nodes++
		l.best = min(l.best, n.best[l.number])
		if l.number == methodOther && n.other != nil {
			if index, ok := n.other[l.method]; ok {
				l.best = min(l.best, index)
			}
		}
		if len(segments) == 0 {
			return
		}
		literal := n.literal[segments[0]]
		segments = segments[1:]
		switch {
		case n.capture == nil || n.capture.lowest >= l.best:
			n = literal
		case literal == nil:
			n = n.capture
		default:
			// Both branches: the one that may hold the better rank first, so
			// that the other is more often left out.
			first, second := literal, n.capture
			if second.lowest < first.lowest {
				first, second = second, first
			}
			l.walk(first, segments)
			n = second
		}
		if n == nil || n.lowest >= l.best {
			return
		}
	}
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
		if by := s.coveredBy(&s.root, &s.rules[i], s.rules[i].segments, int32(i)); by != noRule {
			hidden = append(hidden, Hidden{Rule: s.rules[i].Rule, By: s.rules[by].Rule})
		}
	}
	return hidden
}

// coveredBy returns the lowest rule before the given one that covers it.
func (s *Ruleset) coveredBy(n *node, rule *compiledRule, rest []segment, before int32) int32 {
	if n == nil || n.lowest >= before {
		return noRule
	}
	found := noRule
	for _, index := range n.candidates() {
		earlier := &s.rules[min(index, before)]
		if index < before && covers(earlier.segments, rule.segments) && coversMethods(earlier.Methods, rule.Methods) {
			found = min(found, index)
		}
	}
	if len(rest) == 0 {
		return found
	}
	if rest[0].capture == "" {
		found = min(found, s.coveredBy(n.literal[rest[0].literal], rule, rest[1:], before))
	}
	return min(found, s.coveredBy(n.capture, rule, rest[1:], before))
}

// candidates lists the rules that decide at a node for some method.
func (n *node) candidates() []int32 {
	list := slices.Collect(func(yield func(int32) bool) {
		for _, index := range n.best {
			if index != noRule && !yield(index) {
				return
			}
		}
		for _, index := range n.other {
			if !yield(index) {
				return
			}
		}
	})
	slices.Sort(list)
	return slices.Compact(list)
}

// Len returns how many rules the set holds.
func (s *Ruleset) Len() int {
	if s == nil {
		return 0
	}
	return len(s.rules)
}
