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
	// folded is the trie of the rules with folded names; nil if none differs from its
	// fold. Named is the number of leading segments at which a rule has a name.
	folded *trie
	named  int
	// uncommon are the rules that name an uncommon method, by method.
	uncommon map[string]*Ruleset
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
	// records reports whether a step needs the records of the reader.
	records bool
	origin  bool // the step is origin, which is the only one
	level   level
	// fixed holds the stored arguments that are strings, which override a capture of
	// the same name. The first step that has one counts.
	fixed   map[string]string
	options *compiledOptions // nil without options
}

// compiledOptions are the options of a rule.
type compiledOptions struct {
	values map[string]any // by name
	// The options of links, see contentspace.go.
	space     string
	contentID *ContentID
	methods   []string
	loss      *StoreLoss // nil without the option
	// meters are the steps `metered`, which are asked last.
	meters []*meterTest
}

// match is the rule that applies to a request under one interpretation of its path.
type match struct {
	rule     *compiledRule // nil if no rule matches
	segments []string
	// rewritten reports whether the path is that of CurrentPath. Folded reports whether
	// names were compared without regard to case.
	rewritten, folded bool
}

// match returns the matching rule of the lowest rank, or nil.
func (s *Ruleset) match(method string, segments []string) *compiledRule {
	if s == nil {
		return nil
	}
	return s.matchIn(&s.trie, method, segments)
}

func (s *Ruleset) matchIn(t *trie, method string, segments []string) *compiledRule {
	if method == http.MethodHead {
		method = http.MethodGet
	}
	index, _ := t.walk(0, segments, method, noRule, 0)
	if index == noRule {
		return nil
	}
	return &s.rules[index]
}

// param returns a parameter of the rule for a path that it matched: the stored
// argument, the content id by the option content_id, or the captured segment.
func (r *compiledRule) param(name string, segments []string) (string, bool) {
	if value, ok := r.fixed[name]; ok {
		return value, true
	}
	if name == contentParam {
		if source := r.contentID(); source != nil {
			return source.ofPath(r, segments)
		}
	}
	return r.captured(name, segments)
}

// captured returns the captured segment of a name, the last one if two have the same.
func (r *compiledRule) captured(name string, segments []string) (string, bool) {
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
