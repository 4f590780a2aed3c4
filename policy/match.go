package policy

import (
	"net/http"
	"slices"
)

// Ruleset is the compiled rules of one site. It is immutable and safe for
// concurrent use.
//
// The templates form a trie by segment. A lookup walks only the branches that match
// the path, and leaves a branch when no rule below it has a lower rank than the best
// so far. So its cost depends on the path and on how templates overlap, but not on the
// number of rules.
type Ruleset struct {
	rules []compiledRule
	trie  trie
}

// compiledRule is a rule with all that can be computed before a request. The fields
// that requests read come first.
type compiledRule struct {
	*compiledSteps
	segments []segment
	// capturing reports whether the rule's path has parameters.
	capturing bool
	Rule
}

// compiledSteps is the part of a compiled rule that depends on the path only by the
// names of the captures. Rules that do not differ in it share it.
type compiledSteps struct {
	// steps are tried in order; the first that lets the reader in decides.
	steps []Test
	// linkTest is the first step that signed links can satisfy, or nil.
	linkTest linkTest
	// entitlements reports whether a step needs the reader's entitlements.
	entitlements bool
	// fixed holds the stored arguments that are strings, which override a capture of
	// the same name. The first step that has one counts.
	fixed   map[string]string
	options map[string]any
}

// match returns the matching rule of the lowest rank, or nil.
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
// argument or else the captured segment, the last one if two have the same name.
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

// Len returns the number of rules.
func (s *Ruleset) Len() int {
	if s == nil {
		return 0
	}
	return len(s.rules)
}
