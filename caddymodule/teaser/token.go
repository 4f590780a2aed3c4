package teaser

import (
	"bytes"
	"strings"

	"golang.org/x/net/html"
)

// token takes one token: it keeps or removes its bytes.
func (c *Cutter) token(kind html.TokenType) {
	if c.raw = c.z.Raw(); kind != html.TextToken {
		// The tokenizer folds names and decodes values in place: the bytes are copied before.
		c.copied = append(c.copied[:0], c.raw...)
		c.raw = c.copied
	}
	rawText := c.rawText
	c.rawText = false
	switch kind {
	case html.CommentToken:
		c.comment()
	case html.StartTagToken, html.SelfClosingTagToken:
		c.startTag(kind == html.SelfClosingTagToken)
	case html.EndTagToken:
		c.endTag()
	default:
		c.text(rawText)
	}
}

// text takes a text, raw text, or a document type.
func (c *Cutter) text(raw bool) {
	switch {
	case c.hidesMarker():
	case raw && c.foreign.within() && bytes.IndexByte(c.raw, '<') >= 0:
		// Browsers may read tags and comments here.
		c.give(Ambiguous)
	default:
		c.place()
	}
}

// place keeps a token outside of regions, and removes it inside.
func (c *Cutter) place() {
	if c.gated() {
		c.result.Removed += int64(len(c.raw))
		return
	}
	c.keep()
}

// hidesMarker gives the document up if a token contains a marker where it is none: in an
// attribute, a script or a text. A script that holds the page a second time, for one,
// holds its markers too, and what they enclose.
//
// Within noscript it does so for a token that contains the end of noscript, where
// browsers that run scripts read on as markup, and other clients do not.
func (c *Cutter) hidesMarker() bool {
	if bytes.Contains(c.raw, []byte(openMarker)) || c.noscript && containsFold(c.raw, "</noscript") {
		c.give(Ambiguous)
		return true
	}
	return false
}

// comment takes a comment: a marker, or another.
func (c *Cutter) comment() {
	said := strings.ToLower(strings.TrimSpace(string(c.z.Text())))
	proper := bytes.HasPrefix(c.raw, []byte("<!--"))
	switch {
	case c.noscript && containsFold(c.raw, "</noscript"), c.foreign.within() && bytes.HasPrefix(c.raw, []byte("<![CDATA[")):
		c.give(Ambiguous)
	case proper && said == openMarker:
		c.begin()
		c.depth++
	case proper && said == closeMarker && c.depth > c.noscriptDepth:
		c.depth--
		c.result.Removed += int64(len(c.raw))
	case strings.Contains(said, markerScheme):
		// A misspelt marker, one without its beginning, one within another comment, and the
		// end in noscript of a region that began before: browsers that run scripts do not see it.
		c.give(Ambiguous)
	default:
		c.place()
	}
}

// startTag takes a start tag.
func (c *Cutter) startTag(selfClosing bool) {
	if c.hidesMarker() {
		return
	}
	name := c.name()
	c.foreign.start(name, selfClosing)
	if name == "noscript" && c.foreign.within() {
		// Where it is an element of SVG, it has no text of its own even for browsers that run
		// scripts.
		c.give(Ambiguous)
		return
	}
	if name == "noscript" || selfClosing && c.foreign.inImage() {
		// Clients without scripts read markup in noscript. What a self-closing element of
		// SVG is followed by is not its content.
		c.z.NextIsNotRawText()
	} else {
		c.rawText = isRawText(name)
	}
	switch {
	case c.element != nil:
		if c.noscript && c.element.tracked(name) {
			c.element.endless = true
		}
		c.element.start(name, selfClosing)
		c.result.Removed += int64(len(c.raw))
	case c.region.matches(name, c.raw, c.z):
		c.begin()
		c.element = newExtent(name)
		c.element.endless = c.element.endless || c.foreign.within()
	case name == "frameset":
		c.give(Ambiguous)
	default:
		c.place()
	}
	if name == "noscript" && !c.noscript {
		c.noscript, c.noscriptDepth = true, c.depth
	}
}

// isRawText reports the elements whose content the tokenizer takes as one text.
func isRawText(name string) bool {
	switch name {
	case "iframe", "noembed", "noframes", "plaintext", "script", "style", "textarea", "title", "xmp":
		return true
	}
	return false
}

// endTag takes an end tag.
func (c *Cutter) endTag() {
	name := c.name()
	if name == "noscript" {
		c.noscript, c.noscriptDepth = false, 0
	} else if c.hidesMarker() {
		return
	}
	c.foreign.end(name)
	if c.element == nil {
		if name == "body" && !c.gated() && !c.noscript {
			c.label()
		}
		c.place()
		return
	}
	c.result.Removed += int64(len(c.raw))
	if c.noscript && c.element.tracked(name) {
		c.element.endless = true
	}
	if c.element.end(name) {
		c.element = nil
	}
}

// name returns the name of a tag by its bytes, without an allocation for a name that was
// there before. The tokenizer's own TagName allocates.
func (c *Cutter) name() string {
	tag := c.raw[1:]
	if len(tag) > 0 && tag[0] == '/' {
		tag = tag[1:]
	}
	for i, b := range tag {
		if endsName(b) {
			tag = tag[:i]
			break
		}
	}
	if string(tag) == c.last { // an end tag follows its start tag
		return c.last
	}
	if name, ok := c.names[string(tag)]; ok {
		c.last = name
		return name
	}
	name := strings.ToLower(string(tag))
	if len(c.names) < maxNames && len(tag) < maxName {
		c.names[string(tag)] = name
	}
	return name
}

// endsName reports whether a byte ends the name of a tag.
func endsName(b byte) bool {
	return b == '>' || b == ' ' || b == '/' || b == '\n' || b == '\t' || b == '\r' || b == '\f'
}

// maxNames and maxName bound the names that are kept of a document.
const (
	maxNames = 128
	maxName  = 32
)

// containsFold reports whether b contains a text of lower-case letters in any case.
func containsFold(b []byte, text string) bool {
	for at := 0; ; at++ {
		next := bytes.IndexByte(b[at:], text[0])
		if next < 0 || len(b)-at-next < len(text) {
			return false
		}
		at += next
		if bytes.EqualFold(b[at:at+len(text)], []byte(text)) {
			return true
		}
	}
}
