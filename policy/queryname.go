package policy

import (
	"slices"
	"strings"
	"unicode"
)

// queryName holds the readings of a parameter's name by frameworks. They fold names:
// PHP drops leading spaces, ends a name at NUL, and turns a space, a dot and an
// unmatched `[` into `_`; ASP.NET ignores case; Rack drops leading brackets; PHP, Rack
// and qs read `a[b]`, and some `a.b` or `a:b`, as a member of `a`; others convert
// `a_b` to `aB`.
type queryName struct {
	// whole are the folded names of the parameter itself; all has those of its
	// ancestors too.
	whole [2]string
	all   []string
}

// readQueryName returns the readings of a decoded name. It is the union of what
// frameworks do, which is stricter than any of them.
func readQueryName(name string) queryName {
	read := queryName{}
	read.whole[0] = foldName(name)
	name, _, _ = strings.Cut(strings.TrimLeftFunc(name, isNamePunctuation), "\x00")
	var path strings.Builder
	for segment := range strings.FieldsFuncSeq(firstMembers(name), isNamePunctuation) {
		path.WriteString(foldName(segment))
		read.all = append(read.all, path.String())
	}
	read.whole[1] = path.String()
	read.all = append(read.all, read.whole[:]...)
	return read
}

// firstMembers returns a name up to its first empty member: `a[]` and `a[][b]` set
// members of `a` whose names the server chooses.
func firstMembers(name string) string {
	for i := 1; i < len(name); i++ {
		if (name[i] == ']' || name[i] == '.') && (name[i-1] == '[' || name[i-1] == '.') {
			return name[:i]
		}
	}
	return name
}

// isNamePunctuation reports whether a framework may take a character of a name for a
// separator.
func isNamePunctuation(c rune) bool {
	return c < unicode.MaxASCII && c != '_' && c != '-' && c != ' ' && c != '+' && !unicode.IsLetter(c) && !unicode.IsDigit(c)
}

// foldName returns the letters and digits of a name without regard to case.
func foldName(name string) string {
	return strings.Map(func(c rune) rune {
		if !unicode.IsLetter(c) && !unicode.IsDigit(c) || c == unicode.ReplacementChar {
			return -1
		}
		// The smallest rune of the orbit is the same for all of its runes.
		least := c
		for next := unicode.SimpleFold(c); next != c; next = unicode.SimpleFold(next) {
			least = min(least, next)
		}
		return least
	}, name)
}

// conflicts reports whether a framework may take one of two names for the other, or
// for the array or object that holds it.
func (n *queryName) conflicts(other *queryName) bool {
	return slices.ContainsFunc(other.all, func(name string) bool { return slices.Contains(n.whole[:], name) }) ||
		slices.ContainsFunc(n.all, func(name string) bool { return slices.Contains(other.whole[:], name) })
}
