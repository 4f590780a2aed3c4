package policy

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// fold returns the form of a name by which names are compared without regard to case.
// Names that some router or file system takes for the same one have the same fold:
//
//   - names that differ in case (the routers of Express and Koa, Windows, macOS), by full
//     Unicode case folding, with the dotted and the dotless i as i;
//   - names that differ in normalization (macOS) or compatibility characters (the best fit
//     of Windows), by NFKC (Unicode Standard Annex #15);
//   - names that differ in characters that are not displayed (HFS+);
//   - names that differ in dots and spaces at the end, or in a stream (`name::$DATA`), on
//     Windows.
//
// It may be equal for names that no server confuses: both are then judged.
func fold(name string) string {
	if stream := strings.Index(name, ":$"); stream >= 0 {
		name = strings.TrimRight(name[:stream], ":")
	}
	if !isASCII(name) {
		name = foldUnicode(name)
	}
	return strings.ToLower(strings.TrimRight(name, ". "))
}

// foldUnicode is the compatibility caseless form of a text (The Unicode Standard,
// section 3.13, D146), composed, without the characters that are not displayed.
func foldUnicode(text string) string {
	folder := cases.Fold() // it may have state
	for range 2 {
		text = strings.Map(foldRune, norm.NFKD.String(folder.String(norm.NFD.String(text))))
		text = strings.ReplaceAll(text, "i\u0307", "i") // the fold of the dotted I of Turkish
	}
	return norm.NFKC.String(text)
}

func foldRune(c rune) rune {
	switch {
	case c == '\u0131': // the dotless i of Turkish, which is an I in capitals
		return 'i'
	case unicode.In(c, unicode.Cf, unicode.Variation_Selector, unicode.Other_Default_Ignorable_Code_Point):
		return -1
	default:
		return c
	}
}

// isFolded reports whether a name is its own fold.
func isFolded(name string) bool {
	for i := range len(name) {
		if c := name[i]; c >= utf8.RuneSelf || byteClasses[c] == foldByte {
			return fold(name) == name
		}
	}
	return name == "" || name[len(name)-1] != '.'
}

func isASCII(text string) bool {
	for i := range len(text) {
		if text[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// foldNames prepares the set for matchFolded.
func (s *Ruleset) foldNames() {
	differs := false
	for i := range s.rules {
		for at, part := range s.rules[i].segments {
			if part.capture == "" {
				s.named = max(s.named, at+1)
				differs = differs || !isFolded(part.literal)
			}
		}
	}
	if !differs {
		return
	}
	folded := newTrie(len(s.rules))
	for i := range s.rules {
		rule := compiledRule{Rule: s.rules[i].Rule, segments: foldTemplate(s.rules[i].segments)}
		folded.insert(&rule, int32(i)) //nolint:gosec // memory ends before that
	}
	s.folded = &folded
}

// foldTemplate returns the segments of a template with folded names.
func foldTemplate(template []segment) []segment {
	folded := slices.Clone(template)
	for i := range folded {
		folded[i].literal = fold(folded[i].literal)
	}
	return folded
}

// ownFold reports whether names without regard to case can make no difference for the
// only reading of a path: neither its names nor those of the rules differ from their
// folds.
func (s *Ruleset) ownFold(path *Path) bool {
	return s == nil || s.folded == nil && path.unfolded&(1<<s.named-1) == 0
}

// matchFolded returns the matching rule of the lowest rank, or nil, if names are
// compared without regard to case. Exact is the result of match.
func (s *Ruleset) matchFolded(method string, segments []string, exact *compiledRule) *compiledRule {
	var space [pathSpace]string
	folded, differs := append(space[:0], segments...), s.folded != nil
	for i := range min(s.named, len(folded)) {
		if !isFolded(folded[i]) {
			folded[i], differs = fold(folded[i]), true
		}
	}
	switch {
	case !differs:
		return exact
	case s.folded != nil:
		return s.matchIn(s.folded, method, folded)
	default:
		return s.matchIn(&s.trie, method, folded)
	}
}
