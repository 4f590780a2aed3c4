package policy

import "slices"

// coveredBy returns the first rule at a node or below it that covers the given one, of
// those with a lower index than before, or noRule.
func (s *Ruleset) coveredBy(at int32, rule *compiledRule, rest []segment, before int32) int32 {
	n := &s.trie.nodes[at]
	if n.lowest >= before {
		return noRule
	}
	found := s.coveredAt(n.any, rule, before)
	if n.methods != 0 {
		for _, index := range s.trie.methods[n.methods-1] {
			found = min(found, s.coveredAt(index, rule, before))
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

// coveredAt returns the index if it is lower than before and its rule covers the given one,
// else noRule.
func (s *Ruleset) coveredAt(index int32, rule *compiledRule, before int32) int32 {
	if index >= before {
		return noRule
	}
	earlier := &s.rules[index]
	if !covers(earlier.segments, rule.segments) || !coversMethods(earlier.Methods, rule.Methods) {
		return noRule
	}
	return index
}

// covers reports whether the template a matches every path that b matches.
func covers(a, b []segment) bool {
	if len(a) > len(b) {
		return false
	}
	for i, s := range a {
		if s.capture == "" && (b[i].capture != "" || b[i].literal != s.literal) {
			return false
		}
	}
	return true
}

// coversMethods reports whether a has every method of b. An empty list has the common
// ones.
func coversMethods(a, b []string) bool {
	if len(a) == 0 && len(b) == 0 {
		return true
	}
	if len(b) == 0 {
		b = judgedMethods[:]
	}
	for _, method := range b {
		if !slices.Contains(a, method) && (len(a) > 0 || !isCommon(method)) {
			return false
		}
	}
	return true
}
