package teaser

import (
	"bytes"
	"errors"
	"io"

	"golang.org/x/net/html"
)

// Bounds of what one document holds in memory: the bytes before its first region, and a
// token with the space in which it grows.
const (
	maxHeld  = 96 << 10
	maxToken = 64 << 10
)

// Reason says why a document was refused, or why its rest was removed.
type Reason string

// The reasons.
const (
	// Complete is the zero Reason: each region had its end.
	Complete Reason = ""
	// NoRegion is a document in which nothing is gated.
	NoRegion Reason = "no_region"
	// NotEarly is a document whose first region comes after 96 KiB.
	NotEarly Reason = "region_too_late"
	// TokenTooLong is a script, a style, a text or a tag of more than 64 KiB outside of a region.
	TokenTooLong Reason = "token_too_long"
	// Ambiguous is a document that browsers could read in another way.
	Ambiguous Reason = "ambiguous"
	// Unterminated is a region without an end.
	Unterminated Reason = "unterminated"
	// Broken is a document that could not be read to its end.
	Broken Reason = "broken"
)

// Result is what became of a document.
type Result struct {
	// Cut reports that a region was found and that the bytes before it were written. If
	// it is false, nothing was written.
	Cut bool
	// Reason is why nothing was written, or why the rest of the document was removed.
	Reason Reason
	// Regions is the number of removed regions.
	Regions int
	// Kept and Removed are numbers of bytes of the document.
	Kept, Removed int64
	// Location is where a redirect leads, with its Status.
	Location string
	Status   int
}

// Wall is what a document gets in the place of its regions. The zero Wall is nothing.
type Wall struct {
	// Section writes it at the first region, in ASCII. It is called at most once.
	Section func(io.Writer) error
	// Style is the content of its style element, which the page's Content-Security-Policy
	// is to admit; empty if it has none.
	Style string
	// StructuredData is what search engines read of the document, as elements in ASCII. It is
	// written at the end of the body, unless the document says itself whether it is free.
	StructuredData string
}

// Cutter removes the regions of one HTML document that is written to it, in a charset
// whose bytes below 0x80 are those of ASCII. It writes the bytes outside of regions
// unchanged to its destination, and the wall in the place of the first region. It writes
// nothing before the first region is found.
//
// A Cutter is not safe for concurrent use. Close it in any case.
type Cutter struct {
	dst    io.Writer
	wall   Wall
	region Region

	// The tokenizer asks for bytes, and the document is written: it runs as a coroutine
	// that waits in feed.Read, so that both are never at work at the same time.
	feed feed
	coroutine

	z      *html.Tokenizer
	out    []byte            // what was kept: until the first region is found, it is held
	raw    []byte            // the bytes of the token
	copied []byte            // has the bytes of tags and comments
	names  map[string]string // the names of tags, in lower case, by how they are written
	last   string            // the last of these names
	result Result
	err    error // of the destination

	labelled bool    // the document says whether it is free, or the wall's data were written
	rawText  bool    // the next token is the text of a script, a style or the like
	depth    int     // of markers around this place
	element  *extent // of the element's region around this place, or nil
	foreign  foreign
	noscript bool

	// noscriptDepth is depth where noscript began, or 0 outside of it.
	noscriptDepth int
}

// NewCutter returns a Cutter that writes to dst. Region may be the zero Region.
func NewCutter(dst io.Writer, region Region, wall Wall) *Cutter {
	c := &Cutter{dst: dst, wall: wall, region: region, labelled: wall.StructuredData == "", names: make(map[string]string, 16)}
	c.z = html.NewTokenizer(&c.feed)
	c.z.SetMaxBuf(maxToken)
	c.coroutine = begin(func(wait func() bool) {
		c.feed.wait = wait
		c.run()
	})
	return c
}

// Write takes the next bytes of the document. It returns an error of the destination.
// Bytes after the decision to remove the rest of the document are counted and dropped.
func (c *Cutter) Write(p []byte) (int, error) {
	c.feed.chunk = p
	if !c.resume() {
		c.result.Removed += int64(len(c.feed.chunk))
		c.feed.chunk = nil
	}
	c.flush(0)
	return len(p), c.err
}

// Finished reports whether what else is written has no effect.
func (c *Cutter) Finished() bool { return c.feed.done }

// Close ends the document and returns what became of it, and an error of the destination.
// The end of an incomplete document may be the end of a region: give broken, so that it
// is reported.
func (c *Cutter) Close(broken bool) (Result, error) {
	c.feed.closed = true
	c.resume()
	c.stop()
	c.flush(0)
	if broken && c.result.Reason == Complete {
		c.result.Reason = Broken
	}
	return c.result, c.err
}

// run takes the document's tokens until its end, or until the rest is removed.
func (c *Cutter) run() {
	for c.result.Reason == Complete && c.err == nil {
		kind := c.z.Next()
		if kind == html.ErrorToken {
			c.atEnd(c.z.Err())
			break
		}
		c.token(kind)
	}
	c.feed.done = true
}

// atEnd takes the end of the document, or the tokenizer's refusal of a long token.
func (c *Cutter) atEnd(err error) {
	switch {
	case errors.Is(err, html.ErrBufferExceeded):
		c.give(TokenTooLong)
	case !errors.Is(err, io.EOF):
		c.give(Broken)
	case c.gated():
		c.give(Unterminated)
		c.label()
	case !c.result.Cut:
		c.give(NoRegion)
	default:
		c.label()
	}
}

// accessProperty is what structured data call it whether a page is free (schema.org), in
// JSON-LD and in microdata.
const accessProperty = "isAccessibleForFree"

// label adds the structured data of the wall, if there are none.
func (c *Cutter) label() {
	if c.labelled || !c.result.Cut {
		return
	}
	c.labelled = true
	c.out = append(c.out, c.wall.StructuredData...)
}

// give ends the document: what follows is removed.
func (c *Cutter) give(reason Reason) {
	if c.gated() && reason != Unterminated && reason != Broken {
		reason = Unterminated
	}
	c.result.Reason = reason
}

// gated reports whether this place is in a region.
func (c *Cutter) gated() bool { return c.depth > 0 || c.element != nil }

// keep takes a token that is outside of regions.
func (c *Cutter) keep() {
	if !c.result.Cut && len(c.out)+len(c.raw) > maxHeld {
		c.give(NotEarly)
		return
	}
	c.labelled = c.labelled || bytes.Contains(c.raw, []byte(accessProperty))
	c.result.Kept += int64(len(c.raw))
	c.out = append(c.out, c.raw...)
	c.flush(maxOut)
}

// maxOut is how much is written at once.
const maxOut = 16 << 10

// flush writes what was kept, if it is more than so many bytes and a region was found.
func (c *Cutter) flush(above int) {
	if !c.result.Cut || len(c.out) <= above {
		return
	}
	if c.err == nil {
		_, c.err = c.dst.Write(c.out)
	}
	c.out = c.out[:0]
}

// begin begins a region, unless this place is in one. The first one is where the wall
// goes.
func (c *Cutter) begin() {
	c.result.Removed += int64(len(c.raw))
	if c.gated() {
		return
	}
	c.result.Regions++
	if c.result.Cut {
		return
	}
	c.result.Cut = true
	c.flush(0)
	if c.err == nil && c.wall.Section != nil {
		c.err = c.wall.Section(c.dst)
	}
}
