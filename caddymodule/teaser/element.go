package teaser

import "slices"

// extent finds the end of an element's region.
//
// An end tag of the element's name ends it only if no element of this name is open
// inside, and none of those that browsers take as a boundary: inside of a table cell, for
// one, </div> does not close a div around the table. A count that does not know this
// ends the region early and leaks the rest.
//
// The elements that are followed are at least those that are open in a browser, which
// closes many by implication: so the region ends there at the latest, and here at the
// same place or later. Where that is not certain it goes on to the end of the document.
type extent struct {
	name    string
	open    []string // open elements of this name, and open boundaries
	endless bool
}

// maxOpen is how many elements are followed inside of a region.
const maxOpen = 256

// newExtent begins a region at the start tag of an element.
func newExtent(name string) *extent {
	return &extent{name: name, endless: !slices.Contains(regionElements, name)}
}

// start takes a start tag inside of the region.
func (e *extent) start(name string, void bool) {
	switch {
	case e.endless:
	case e.foreign():
		if !void {
			e.push(name)
		}
		e.endless = e.endless || leavesForeign(name)
	case name == "svg" || name == "math":
		if !void {
			e.push(name)
		}
	case name == "frameset":
		e.endless = true
	case name == "td" || name == "th" || name == "caption":
		// Browsers ignore these outside of a table. The end of an earlier one is implied.
		if top := e.top(); top == "td" || top == "th" || top == "caption" {
			e.open = e.open[:len(e.open)-1]
		}
		if e.endless = e.top() != "table"; !e.endless {
			e.push(name)
		}
	case name == e.name || isBoundary(name):
		e.push(name)
	case e.name == "span" && !isPhrasing(name):
		// </span> is ignored while another element than these is open.
		e.endless = true
	}
}

// end takes an end tag inside of the region and reports whether it ends the region.
func (e *extent) end(name string) (ended bool) {
	top := e.top()
	switch {
	case e.endless:
	case e.foreign():
		if e.endless = top != name; !e.endless {
			e.pop()
		}
	case name == e.name:
		switch top {
		case "":
			return true
		case name:
			e.pop()
		}
	case name == "table" && (top == "td" || top == "th" || top == "caption"):
		// Implied: the cell ends with the table.
		e.pop()
		if e.endless = e.top() != name; !e.endless {
			e.pop()
		}
	case isBoundary(name):
		if e.endless = top != name; !e.endless {
			e.pop()
		}
	}
	return false
}

// foreign reports whether the innermost open element belongs to SVG or MathML.
func (e *extent) foreign() bool {
	return slices.ContainsFunc(e.open, func(name string) bool { return name == "svg" || name == "math" })
}

func (e *extent) top() string {
	if len(e.open) == 0 {
		return ""
	}
	return e.open[len(e.open)-1]
}

func (e *extent) push(name string) {
	if len(e.open) == maxOpen {
		e.endless = true
		return
	}
	e.open = append(e.open, name)
}

func (e *extent) pop() { e.open = e.open[:len(e.open)-1] }

// isBoundary reports the elements that bound the scope of an end tag (HTML, section
// 13.2.4.2: "has an element in scope").
func isBoundary(name string) bool {
	switch name {
	case "applet", "caption", "marquee", "object", "select", "table", "td", "template", "th":
		return true
	}
	return false
}

// tracked reports whether a tag can change where the region ends.
func (e *extent) tracked(name string) bool {
	return name == e.name || isBoundary(name) || name == "svg" || name == "math" || e.name == "span" && !isPhrasing(name)
}

// isPhrasing reports elements across which browsers look for the span of an end tag.
func isPhrasing(name string) bool {
	switch name {
	case "a", "abbr", "b", "bdi", "bdo", "br", "cite", "code", "data", "del", "dfn", "em", "i", "img", "ins", "kbd", "label", "mark",
		"q", "s", "samp", "small", "span", "strong", "sub", "sup", "time", "u", "var", "wbr":
		return true
	}
	return false
}
