package teaser

// foreign follows SVG, MathML and select elements, as far as they are well nested.
//
// HTML's tokenizer takes the content of style, script, title and the like as raw text.
// Browsers do so only where these are HTML elements: inside of SVG and MathML, and in
// some browsers inside of select, they read tags and comments there. Which of the two
// applies depends on the tree, which is not built here. Where it could be the other,
// raw text that reads as something else is ambiguous.
type foreign struct {
	open      []string // the open elements from the outermost svg, math or select on
	irregular bool     // the nesting was not followed: it stays unknown
}

// maxForeign is how deep elements are followed.
const maxForeign = 64

// within reports whether raw text may be markup at this place.
func (f *foreign) within() bool { return f.irregular || len(f.open) > 0 }

// inImage reports whether this place is certainly in SVG or MathML.
func (f *foreign) inImage() bool { return !f.irregular && len(f.open) > 0 && f.open[0] != "select" }

// start takes a start tag. Void reports a self-closing one.
func (f *foreign) start(name string, void bool) {
	if f.irregular {
		return
	}
	if len(f.open) == 0 {
		if name == "svg" || name == "math" || name == "select" {
			if !void || name == "select" {
				f.open = append(f.open, name)
			}
		}
		return
	}
	switch {
	case f.open[0] == "select":
		// Only options: browsers differ about everything else.
		if name != "option" && name != "optgroup" && name != "hr" {
			f.irregular = true
		}
	case leavesForeign(name), name == "noscript", len(f.open) == maxForeign:
		f.irregular = true
	case void:
	default:
		f.open = append(f.open, name)
	}
}

// end takes an end tag.
func (f *foreign) end(name string) {
	switch {
	case f.irregular || len(f.open) == 0:
	case f.open[0] == "select":
		if name == "select" {
			f.open = f.open[:0]
		} else if name != "option" && name != "optgroup" {
			f.irregular = true
		}
	case f.open[len(f.open)-1] == name:
		f.open = f.open[:len(f.open)-1]
	default:
		f.irregular = true
	}
}

// leavesForeign reports the start tags that end foreign content, or begin HTML content
// within it (HTML, section 13.2.6.5).
func leavesForeign(name string) bool {
	switch name {
	case "foreignobject", "annotation-xml", "mi", "mo", "mn", "ms", "mtext", "desc",
		"b", "big", "blockquote", "body", "br", "center", "code", "dd", "div", "dl", "dt", "em", "embed",
		"h1", "h2", "h3", "h4", "h5", "h6", "head", "hr", "i", "img", "li", "listing", "menu", "meta",
		"nobr", "ol", "p", "pre", "ruby", "s", "small", "span", "strong", "strike", "sub", "sup", "table",
		"tt", "u", "ul", "var", "font":
		return true
	}
	return false
}
