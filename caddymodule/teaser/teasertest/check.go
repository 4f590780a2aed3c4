package teasertest

import (
	"fmt"
	"slices"
	"strings"
)

// Wall is the text in the place of the first region.
const Wall = "[wall]"

// Named returns the document with numbered comments in the place of its markers: "open"
// and the number, as long as the marker was.
func (m Document) Named() string {
	text := []byte(m.Text)
	for i, at := range m.marks {
		length := len(markText)
		if m.ends[i] {
			length = len(endMarkText)
		}
		copy(text[at:at+length], "<!--"+fmt.Sprintf("%-*s", length-7, fmt.Sprintf("mark%dX", i))+"-->")
	}
	return string(text)
}

// Reopened are the elements that parsers open a second time, with their attributes,
// where one of them was not closed.
var Reopened = []string{"a", "b", "big", "code", "em", "font", "i", "nobr", "s", "small", "strike", "strong", "tt", "u"}

// gated returns the spans between the markers that are comments for a browser: those that
// are among the texts of comments.
func (m Document) gated(comments []string) (spans [][2]int) {
	depth, from := 0, 0
	for i, at := range m.marks {
		name := fmt.Sprintf("mark%dX", i)
		if !slices.ContainsFunc(comments, func(text string) bool { return strings.TrimSpace(text) == name }) {
			continue
		}
		switch {
		case !m.ends[i]:
			if depth++; depth == 1 {
				from = at
			}
		case depth > 0:
			if depth--; depth == 0 {
				spans = append(spans, [2]int{from, at + len(endMarkText)})
			}
		}
	}
	if depth > 0 {
		spans = append(spans, [2]int{from, len(m.Text)})
	}
	return spans
}

// outside returns the document without spans, and the wall in the place of the first.
func (m Document) outside(spans [][2]int) string {
	var b strings.Builder
	at := 0
	for i, span := range spans {
		b.WriteString(m.Text[at:span[0]])
		if i == 0 {
			b.WriteString(Wall)
		}
		at = span[1]
	}
	return b.String() + m.Text[at:]
}

// CheckComments returns what is wrong with what was sent of a document that is cut between
// markers, in a browser that finds comments with these texts in the document that Named
// returns. Complete says that every region had its end.
//
// In noscript, markers are comments for a browser without scripts only. One with scripts
// gets less than it could, which is not wrong.
func (m Document) CheckComments(sent string, cut, complete bool, comments []string, scripting bool) error {
	if strings.Contains(strings.ToLower(m.Text), "<frameset") {
		// A frameset removes the body from the tree, with its comments.
		return nil
	}
	spans := m.gated(comments)
	for secret, at := range m.secrets {
		if strings.Contains(sent, secret) && slices.ContainsFunc(spans, func(s [2]int) bool { return s[0] <= at && at < s[1] }) {
			return fmt.Errorf("%s leaked", secret)
		}
	}
	if scripting {
		return nil
	}
	if expected := m.outside(spans); cut && !strings.HasPrefix(expected, sent) {
		return fmt.Errorf("the bytes outside changed: %q became %q", expected, sent)
	} else if rest := strings.TrimPrefix(expected, sent); cut && complete && rest != "" && !strings.HasPrefix(rest, "<") {
		// The tokenizer drops a tag that the end of the document cuts off, as browsers do.
		return fmt.Errorf("bytes at the end are missing: %q of %q", rest, expected)
	}
	return nil
}

// CheckElements returns what is wrong with what was sent of a document whose elements of
// the class paywall are gated, in a browser that finds these texts, comments and
// attributes in them. Attributes of Reopened elements do not count: they can be those of
// an element before.
func (m Document) CheckElements(sent, elements string) error {
	for secret := range m.secrets {
		if strings.Contains(elements, secret) && strings.Contains(sent, secret) {
			return fmt.Errorf("%s leaked", secret)
		}
	}
	return nil
}
