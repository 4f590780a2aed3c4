package siteaudit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// condition is the matchers of a route: any of its sets, all matchers of the set.
type condition struct {
	sets []matcherSet
	// epoch counts what may have changed the request before the matchers.
	epoch int
}

// matcherSet holds matchers by their names; the values are their JSON in one spelling.
type matcherSet map[string]matcher

type matcher struct {
	list []string // of a list of strings, such as host and path
	text string   // the JSON
}

func newCondition(match []map[string]json.RawMessage, epoch int) *condition {
	c := &condition{epoch: epoch}
	for _, raw := range match {
		set := make(matcherSet, len(raw))
		for name, value := range raw {
			set[name] = newMatcher(name, value)
		}
		c.sets = append(c.sets, set)
	}
	return c
}

func newMatcher(name string, raw json.RawMessage) matcher {
	var m matcher
	if json.Unmarshal(raw, &m.list) != nil {
		m.list = nil
	}
	if name == "host" || name == "path" {
		for i := range m.list {
			m.list[i] = strings.ToLower(m.list[i]) // as Caddy compares them
		}
		slices.Sort(m.list)
	}
	m.text = canonical(raw)
	if m.list != nil {
		m.text = strings.Join(m.list, " ")
	}
	return m
}

// canonical returns JSON in one spelling, with sorted names.
func canonical(raw json.RawMessage) string {
	var value any
	if json.Unmarshal(raw, &value) != nil {
		return string(raw)
	}
	if text, ok := value.(string); ok {
		return text
	}
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if encoder.Encode(value) != nil {
		return string(raw)
	}
	return strings.TrimSpace(out.String())
}

// implies reports whether every request that c matches is one that d matches. It
// errs to false.
func (c *condition) implies(d *condition) bool {
	if c == d {
		return true // one evaluation on the way to both
	}
	for _, set := range c.sets {
		if !slices.ContainsFunc(d.sets, func(wider matcherSet) bool { return set.implies(wider, c.epoch == d.epoch) }) {
			return false
		}
	}
	return len(c.sets) > 0
}

func (s matcherSet) implies(wider matcherSet, unchanged bool) bool {
	for name, want := range wider {
		have, ok := s[name]
		switch {
		case !ok:
			return false
		case name == "host":
			if !covered(have.list, want.list, hostCovers) {
				return false
			}
		case !unchanged:
			return false
		case name == "path":
			if !covered(have.list, want.list, pathCovers) {
				return false
			}
		case have.text != want.text:
			return false
		}
	}
	return true
}

// covered reports whether each pattern is covered by one of the wider patterns.
func covered(patterns, wider []string, covers func(wide, narrow string) bool) bool {
	for _, narrow := range patterns {
		if !slices.ContainsFunc(wider, func(wide string) bool { return covers(wide, narrow) }) {
			return false
		}
	}
	return len(patterns) > 0
}

func hostCovers(wide, narrow string) bool {
	if wide == narrow {
		return true
	}
	rest, wild := strings.CutPrefix(wide, "*.")
	label, parent, ok := strings.Cut(narrow, ".")
	return wild && ok && label != "*" && parent == rest
}

// pathCovers compares path patterns. Those with escapes or a * elsewhere than at the
// end cover only themselves.
func pathCovers(wide, narrow string) bool {
	if wide == narrow || wide == "*" || wide == "/*" {
		return true
	}
	prefix, wild := strings.CutSuffix(wide, "*")
	return wild && !strings.ContainsAny(prefix, "*%{") && !strings.ContainsAny(narrow, "%{") && strings.HasPrefix(narrow, prefix)
}

// list returns the patterns of a matcher by name if every set has it, else nil.
func (c *condition) list(name string) (all []string) {
	for _, set := range c.sets {
		m, ok := set[name]
		if !ok || m.list == nil {
			return nil
		}
		all = append(all, m.list...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// text returns the matchers without those of the given names.
func (c *condition) text(without ...string) string {
	var sets []string
	for _, set := range c.sets {
		var parts []string
		for name, m := range set {
			if !slices.Contains(without, name) {
				parts = append(parts, describe(name, m))
			}
		}
		slices.Sort(parts)
		sets = append(sets, strings.Join(parts, " and "))
	}
	slices.Sort(sets)
	sets = slices.Compact(sets)
	return strings.Join(sets, ", or ")
}

// maxConditionText bounds the text of a matcher, in bytes.
const maxConditionText = 160

func describe(name string, m matcher) string {
	text := name + " " + m.text
	if name == "not" {
		text = describeNot(m.text)
	}
	if len(text) > maxConditionText {
		text = strings.ToValidUTF8(text[:maxConditionText], "") + "…"
	}
	return text
}

func describeNot(text string) string {
	var sets []map[string]json.RawMessage
	if json.Unmarshal([]byte(text), &sets) != nil || len(sets) == 0 {
		return "not " + text
	}
	inner := newCondition(sets, 0).text()
	if len(sets) > 1 || len(sets[0]) > 1 {
		return fmt.Sprintf("not (%s)", inner)
	}
	return "not " + inner
}

// matchesPath reports whether a path matches one of the patterns; none match all.
func matchesPath(patterns []string, path string) bool {
	if len(patterns) == 0 {
		return true
	}
	path = strings.ToLower(path)
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		switch {
		case pattern == "*" || pattern == path:
			return true
		case len(pattern) > 1 && strings.HasPrefix(pattern, "*") && strings.HasSuffix(pattern, "*"):
			return strings.Contains(path, pattern[1:len(pattern)-1])
		case strings.HasPrefix(pattern, "*"):
			return strings.HasSuffix(path, pattern[1:])
		case strings.HasSuffix(pattern, "*"):
			return strings.HasPrefix(path, pattern[:len(pattern)-1])
		default:
			return false
		}
	})
}
