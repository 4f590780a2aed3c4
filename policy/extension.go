package policy

import (
	"slices"
	"strings"
)

// matchPages finds the rules of the page of which the path names a representation.
// `/account.json` or `/account.html` is the page `/account` to origins that serve formats
// by extension (Rails, `try_files {path}.html`, Apache's MultiViews). The match is that of
// the path as it is written; a rule that names the last segment with its extension is
// meant for it alone.
func (r *Request) matchPages(rules *Ruleset, of match) {
	last := len(of.segments) - 1
	if rules == nil || last < 0 || last >= rules.named || of.rule.names(last) {
		return
	}
	name := of.segments[last]
	first, end := strings.IndexByte(name, '.'), strings.LastIndexByte(name, '.')
	r.matchPage(rules, of, first)
	if end != first {
		r.matchPage(rules, of, end)
	}
}

// matchPage finds the rule of a path without what its last segment has from a dot on.
func (r *Request) matchPage(rules *Ruleset, of match, dot int) {
	last := len(of.segments) - 1
	if dot <= 0 || dot == len(of.segments[last])-1 {
		return
	}
	var space [pathSpace]string
	page := append(space[:0], of.segments...)
	page[last] = page[last][:dot]
	rule := rules.match(r.method, page)
	if of.folded {
		rule = rules.matchFolded(r.method, page, rule)
	}
	if rule != of.rule && rule.names(last) {
		of.rule, of.segments = rule, slices.Clone(page)
		r.matches = append(r.matches, of)
	}
}

// names reports whether a rule has a literal at a place of its path.
func (r *compiledRule) names(at int) bool {
	return r != nil && at < len(r.segments) && r.segments[at].capture == ""
}
