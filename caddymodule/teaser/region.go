package teaser

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/net/html"
)

// The comments around a region, without the delimiters. Case and the spaces around them
// are ignored.
const (
	openMarker  = "gatefold:premium"
	closeMarker = "/gatefold:premium"
	// markerScheme begins every marker, also misspelt ones.
	markerScheme = "gatefold:"
)

// Region says which elements of a document are gated, beside the regions between
// comments. The zero Region is none.
type Region struct {
	element   string // the element's name, or empty for any
	class     string
	attribute string
	value     string // of the attribute
}

// regionElements are the elements whose end browsers do not imply: no start tag and no
// end tag of another element ends them before their own, except that of an ancestor.
var regionElements = []string{"article", "aside", "div", "main", "section", "span"}

// ErrRegion is wrapped by the errors of ParseRegion.
var ErrRegion = errors.New("the gated element cannot be found by this")

// ParseRegion reads a selector: `.class`, `element.class`, `[attribute]`,
// `[attribute=value]`, or one of the latter two behind an element's name. The element is
// div, section, article, aside, main or span.
func ParseRegion(selector string) (Region, error) {
	at := strings.IndexAny(selector, ".[")
	if at < 0 {
		return Region{}, fmt.Errorf("%w: %q: write .class or [attribute=value], for example .paywall", ErrRegion, selector)
	}
	r := Region{element: strings.ToLower(selector[:at])}
	if r.element != "" && !slices.Contains(regionElements, r.element) {
		return Region{}, fmt.Errorf("%w: %q: browsers end <%s> where its end tag does not say: use %s",
			ErrRegion, selector, r.element, strings.Join(regionElements, ", "))
	}
	rest := selector[at:]
	if class, ok := strings.CutPrefix(rest, "."); ok {
		if class == "" || strings.ContainsAny(class, " \t\r\n\f.[]#>+~:,*\"'=") {
			return Region{}, fmt.Errorf("%w: %q: name one class", ErrRegion, selector)
		}
		r.class = class
		return r, nil
	}
	inner, ok := strings.CutSuffix(strings.TrimPrefix(rest, "["), "]")
	if !ok {
		return Region{}, fmt.Errorf("%w: %q: the ] is missing", ErrRegion, selector)
	}
	name, value, _ := strings.Cut(inner, "=")
	value = strings.Trim(value, `"'`)
	if name == "" || strings.ContainsAny(name, " \t\r\n\f\"'<>/=~|^$*[]") || strings.ContainsAny(value, "[]") {
		return Region{}, fmt.Errorf("%w: %q: name one attribute, and its value behind =", ErrRegion, selector)
	}
	r.attribute, r.value = strings.ToLower(name), value
	return r, nil
}

// matches reports whether the tag that the tokenizer is at, with these bytes, begins an
// element of the region. Of several attributes of one name the first counts, as in
// browsers.
func (r Region) matches(name string, raw []byte, z *html.Tokenizer) bool {
	if r.class == "" && r.attribute == "" || r.element != "" && name != r.element {
		return false
	}
	wanted := r.attribute
	if r.class != "" {
		wanted = "class"
		if !bytes.Contains(raw, []byte(r.class)) && bytes.IndexByte(raw, '&') < 0 {
			return false
		}
	}
	for {
		key, value, more := z.TagAttr()
		if string(key) == wanted {
			if r.class != "" {
				return slices.ContainsFunc(bytes.FieldsFunc(value, isSpace), func(class []byte) bool { return string(class) == r.class })
			}
			return r.value == "" || string(value) == r.value
		}
		if !more {
			return false
		}
	}
}

// isSpace is ASCII whitespace of HTML. Other spaces are part of a class.
func isSpace(c rune) bool {
	return c == ' ' || c == '\t' || c == '\n' || c == '\f' || c == '\r'
}
