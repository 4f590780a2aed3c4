package policy

import (
	"fmt"
	"net/http"
	"strings"
)

// RuleWarning is something in a set of rules that is probably not meant.
type RuleWarning struct {
	Kind RuleWarningKind
	// Rule is the rule in question. Other is the one that decides instead; it is the zero
	// value for warnings of one rule.
	Rule, Other Rule
	// Methods are those for which Other decides.
	Methods []string

	cause error
}

// RuleWarningKind is the kind of a RuleWarning.
type RuleWarningKind uint8

const (
	// HiddenRule is a rule that never decides, because an earlier one matches every request
	// that it matches.
	HiddenRule RuleWarningKind = iota
	// LaxerMethods is a rule whose path is decided, for methods that it does not name, by
	// a later, laxer rule for another path.
	LaxerMethods
	// DeadRule is a rule that would match only requests that the gate refuses.
	DeadRule
	// LiteralBraces is a rule whose path has braces that capture nothing.
	LiteralBraces
	// OnlyAny is a set with other rules in which only rules `any` can ever decide.
	OnlyAny
)

// String describes the warning with the remedy.
func (w RuleWarning) String() string {
	rule := fmt.Sprintf("Rule %d (%s)", w.Rule.Rank, w.Rule.Path)
	switch w.Kind {
	case HiddenRule:
		return fmt.Sprintf("%s never decides: the earlier rule %d (%s) matches the same requests.", rule, w.Other.Rank, w.Other.Path)
	case LaxerMethods:
		return fmt.Sprintf("%s is for %s only: its pages are open to %s by the laxer rule %d (%s). Leave the methods out, or add a rule for the same path.",
			rule, strings.Join(w.Rule.Methods, ", "), strings.Join(w.Methods, ", "), w.Other.Rank, w.Other.Path)
	case DeadRule:
		return fmt.Sprintf("%s never decides unless the site has `paths { allow … }` for such paths: %v.", rule, w.cause)
	case LiteralBraces:
		return fmt.Sprintf(`%s captures nothing by its braces: a capture is a whole segment. If the braces are meant, write \{ and \}.`, rule)
	default:
		return "No rule but `any` ever decides: every page of the site is public."
	}
}

// Warnings returns what is probably not meant in the set, for a site with the given
// settings of paths.
func (s *Ruleset) Warnings(paths PathOptions) []RuleWarning {
	var warnings []RuleWarning
	written, public := false, len(s.rules) > 0 // a rule but `any` is written; none decides
	var generic []string
	for i := range s.rules {
		rule := &s.rules[i]
		written = written || rule.level > opens
		if by := s.coveredBy(0, rule, rule.segments, int32(i)); by != noRule { //nolint:gosec // memory ends before that
			warnings = append(warnings, RuleWarning{Kind: HiddenRule, Rule: rule.Rule, Other: s.rules[by].Rule})
			continue
		}
		if err := readTemplate("/"+strings.TrimPrefix(rule.Path, "/"), rule.segments, paths); err != nil {
			warnings = append(warnings, RuleWarning{Kind: DeadRule, Rule: rule.Rule, cause: err})
			continue
		}
		public = public && rule.level == opens
		if hasLiteralBraces(rule) {
			warnings = append(warnings, RuleWarning{Kind: LiteralBraces, Rule: rule.Rule})
		}
		if len(rule.Methods) > 0 && rule.level > opens {
			generic = genericPath(generic[:0], rule.segments)
			warnings = s.appendLaxer(warnings, rule, generic)
		}
	}
	if public && written {
		warnings = append(warnings, RuleWarning{Kind: OnlyAny})
	}
	return warnings
}

// level orders rules by what they require, as far as their operators alone determine it.
type level uint8

const (
	opens      level = iota // `any`
	identifies              // `authenticated`
	denies                  // anything else; no two of these are compared
)

// levelOf returns the level of a rule's steps, of which the laxest counts.
func levelOf(steps []Test) level {
	lowest := denies
	for _, step := range steps {
		switch step.(type) {
		case anyTest:
			lowest = opens
		case authenticatedTest:
			lowest = min(lowest, identifies)
		}
	}
	return lowest
}

// genericPath appends the segments of a path that a rule matches, and of the other rules
// only those that match every path that it matches.
func genericPath(segments []string, template []segment) []string {
	for _, part := range template {
		if part.capture != "" {
			segments = append(segments, "\x00") // no literal contains it
			continue
		}
		segments = append(segments, part.literal)
	}
	return segments
}

// appendLaxer appends a warning for each later rule that is laxer, is for another path and
// decides a method that the rule does not name.
func (s *Ruleset) appendLaxer(warnings []RuleWarning, rule *compiledRule, path []string) []RuleWarning {
	first := len(warnings)
	for _, method := range judgedMethods {
		if coversMethods(rule.Methods, []string{method}) {
			continue
		}
		other := s.match(method, path)
		if other == nil || other.level >= rule.level || other.Rank < rule.Rank || len(other.segments) == len(rule.segments) {
			continue
		}
		at := first
		for at < len(warnings) && warnings[at].Other.Rank != other.Rank {
			at++
		}
		if at == len(warnings) {
			warnings = append(warnings, RuleWarning{Kind: LaxerMethods, Rule: rule.Rule, Other: other.Rule})
		}
		if method == http.MethodGet {
			warnings[at].Methods = append(warnings[at].Methods, http.MethodGet, http.MethodHead)
			continue
		}
		warnings[at].Methods = append(warnings[at].Methods, method)
	}
	return warnings
}

var escapedBraces = strings.NewReplacer(`\{`, "", `\}`, "")

// hasLiteralBraces reports whether a literal of a rule has a brace that is not escaped.
func hasLiteralBraces(rule *compiledRule) bool {
	if !strings.ContainsAny(rule.Path, "{}") {
		return false
	}
	for part := range strings.SplitSeq(rule.Path, "/") {
		if _, ok := captureName(part); ok {
			continue
		}
		if strings.ContainsAny(escapedBraces.Replace(part), "{}") {
			return true
		}
	}
	return false
}
