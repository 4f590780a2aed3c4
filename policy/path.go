package policy

import (
	"errors"
	"strings"
	"unicode/utf8"
)

// ErrAmbiguousPath is returned by ReadPath for a path that two servers could
// read differently. What it wraps says which trait of the path it was.
var ErrAmbiguousPath = errors.New("ambiguous path")

// pathError is an ErrAmbiguousPath with its cause. The text holds nothing that
// the client sent.
type pathError string

func (e pathError) Error() string        { return "ambiguous path: " + string(e) }
func (e pathError) Is(target error) bool { return target == ErrAmbiguousPath }

const (
	errNotRooted      pathError = "it does not begin with a slash"
	errBackslash      pathError = "it holds a backslash"
	errControl        pathError = "it holds a control byte"
	errEscape         pathError = "it holds an invalid percent-escape"
	errEncodedSlash   pathError = "it holds an encoded slash"
	errDoubleEscape   pathError = "it holds a doubly encoded letter, digit, dot, slash, backslash, semicolon or NUL"
	errParameter      pathError = "it holds a semicolon"
	errUTF8           pathError = "it is not valid UTF-8"
	errDotSegment     pathError = "it holds a dot segment"
	errEmptySegment   pathError = "it holds an empty segment"
	errTooManyOfThese pathError = "it has too many segments"
)

// maxSegments bounds the work that one path can ask for.
const maxSegments = 256

// PathOptions admits traits of a path that are refused by default. A path that
// has one is judged under every reading of it, and allowed only if it is
// allowed under each (see Path).
type PathOptions struct {
	// EmptySegments admits `//`: read as it stands, and merged to one slash.
	EmptySegments bool
	// EncodedSlash admits `%2F`: read as part of its segment, and as a slash.
	EncodedSlash bool
	// Parameters admits `;` and `%3B`: read as part of the segment, and cut
	// off together with what follows in the segment.
	Parameters bool
}

// Path is a request path that may be judged, in every reading that a server
// behind the gate could give it; nearly always there is one. A reading is the
// list of its decoded segments; a trailing slash makes no difference.
//
// The zero value is ready for Read, and can be used again: it keeps its memory.
type Path struct {
	readings [][]string
	one      [1][]string
	segments [pathRoom]string
}

// pathRoom is how many segments of a path take no memory of their own.
const pathRoom = 16

// Readings returns the readings of the path, at least one after a successful
// Read. They are valid until the next Read.
func (p *Path) Readings() [][]string { return p.readings }

// Read takes a path as it was received, percent-escapes and all, without the
// query. It returns an error that is ErrAmbiguousPath when the path is one
// that two servers could read differently:
// what the gate judges and what the origin serves would not be the same page.
func (p *Path) Read(escaped string, allow PathOptions) error {
	p.readings = nil
	if escaped == "" || escaped[0] != '/' {
		return errNotRooted
	}
	if n, ok := splitPlain(&p.segments, escaped); ok {
		p.one[0] = p.segments[:n]
		p.readings = p.one[:]
		return nil
	}
	return p.readAny(escaped, allow)
}

// readAny reads a path of any kind. It judges what Read says.
func (p *Path) readAny(escaped string, allow PathOptions) error {
	traits, err := inspect(escaped, allow)
	if err != nil {
		return err
	}
	if traits.odd() {
		return p.readOdd(escaped, traits, allow)
	}
	decoded := escaped
	if traits.escapes {
		decoded = unescape(escaped)
	}
	if err := checkDecoded(decoded); err != nil {
		return err
	}
	segments, err := split(p.segments[:0], decoded)
	if err != nil {
		return err
	}
	p.one[0] = segments
	p.readings = p.one[:]
	return nil
}

// traits are what inspect found in a path.
type traits struct {
	escapes      bool // a percent-escape
	empty        bool // an empty segment
	encodedSlash bool // %2F
	parameter    bool // ; or %3B
}

func (t traits) odd() bool { return t.empty || t.encodedSlash || t.parameter }

// inspect refuses what is refused by its bytes alone, encoded or not, and
// reports the traits that the options admit.
func inspect(escaped string, allow PathOptions) (traits, error) {
	var found traits
	for i := 0; i < len(escaped); i++ {
		c := escaped[i]
		switch {
		case c == '%':
			if i+2 >= len(escaped) || !isHex(escaped[i+1]) || !isHex(escaped[i+2]) {
				return found, errEscape
			}
			found.escapes = true
			c = unhex(escaped[i+1])<<4 | unhex(escaped[i+2])
			i += 2
			if c == '/' {
				if !allow.EncodedSlash {
					return found, errEncodedSlash
				}
				found.encodedSlash = true
				continue
			}
		case c == '/' && i+1 < len(escaped) && escaped[i+1] == '/':
			if !allow.EmptySegments {
				return found, errEmptySegment
			}
			found.empty = true
			continue
		}
		switch {
		case c == '\\':
			return found, errBackslash
		case c == ';':
			if !allow.Parameters {
				return found, errParameter
			}
			found.parameter = true
		case c < 0x20 || c == 0x7f:
			return found, errControl
		}
	}
	return found, nil
}

// checkDecoded refuses what shows only after decoding: bytes that are not
// UTF-8, and escapes that a second decoding would turn into structure, or into
// the letters of another rule's path: `/%2570remium` is /premium to a server
// that decodes twice. Doubly encoded blanks and the like, which careless links
// have, are no harm.
func checkDecoded(decoded string) error {
	if !utf8.ValidString(decoded) {
		return errUTF8
	}
	for rest := decoded; ; {
		i := strings.IndexByte(rest, '%')
		if i < 0 || i+2 >= len(rest) {
			return nil
		}
		if isHex(rest[i+1]) && isHex(rest[i+2]) {
			switch c := unhex(rest[i+1])<<4 | unhex(rest[i+2]); {
			case c == '.', c == '/', c == '\\', c == ';', c == 0, c == '-', c == '_', c == '~',
				'0' <= c && c <= '9', 'A' <= c && c <= 'Z', 'a' <= c && c <= 'z':
				return errDoubleEscape
			}
		}
		rest = rest[i+1:]
	}
}

// split cuts a decoded path into its segments, without the empty one that a
// trailing slash leaves.
func split(segments []string, decoded string) ([]string, error) {
	for rest := decoded[1:]; rest != ""; {
		segment := rest
		if i := strings.IndexByte(rest, '/'); i >= 0 {
			segment, rest = rest[:i], rest[i+1:]
		} else {
			rest = ""
		}
		if isDots(segment) {
			return nil, errDotSegment
		}
		if len(segments) == maxSegments {
			return nil, errTooManyOfThese
		}
		segments = append(segments, segment)
	}
	return segments, nil
}

// readOdd makes every combination of the readings that the path's traits
// allow, and refuses the path when one of them is refused.
func (p *Path) readOdd(escaped string, found traits, allow PathOptions) error {
	for choice := range 8 {
		merge, cut, strip := choice&1 != 0, choice&2 != 0, choice&4 != 0
		if strip && !found.parameter || cut && !found.encodedSlash {
			continue
		}
		segments, err := readAs(escaped, reading{merge: merge, cut: cut, strip: strip, empty: allow.EmptySegments})
		if err != nil {
			p.readings = nil
			return err
		}
		p.readings = append(p.readings, segments)
	}
	return nil
}

// reading is one way to read a path.
type reading struct {
	merge bool // empty segments are left out
	cut   bool // encoded slashes cut
	strip bool // parameters are cut off
	empty bool // empty segments are admitted at all
}

// readAs gives one reading of a path.
func readAs(escaped string, as reading) ([]string, error) {
	var segments []string
	raw := strings.Split(escaped[1:], "/")
	for i, part := range raw {
		decoded := unescape(part)
		if err := checkDecoded(decoded); err != nil {
			return nil, err
		}
		pieces := []string{decoded}
		if as.cut {
			pieces = strings.Split(decoded, "/")
		}
		for j, segment := range pieces {
			if as.strip {
				segment, _, _ = strings.Cut(segment, ";")
			}
			if isDots(segment) {
				return nil, errDotSegment
			}
			last := i == len(raw)-1 && j == len(pieces)-1
			if segment == "" && !last && !as.empty {
				return nil, errEmptySegment
			}
			if segment == "" && (last || as.merge) {
				continue
			}
			if len(segments) == maxSegments {
				return nil, errTooManyOfThese
			}
			segments = append(segments, segment)
		}
	}
	return segments, nil
}

// isDots says whether a segment is a dot segment, or one to a server that
// drops trailing dots and spaces from names (as Windows does).
func isDots(segment string) bool {
	if segment == "" || segment[0] != '.' && segment[0] != ' ' {
		return false
	}
	return strings.Trim(segment, ". ") == ""
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

func unhex(c byte) byte {
	switch {
	case c >= 'a':
		return c - 'a' + 10
	case c >= 'A':
		return c - 'A' + 10
	default:
		return c - '0'
	}
}

// unescape decodes percent-escapes that inspect found to be valid.
func unescape(s string) string {
	if strings.IndexByte(s, '%') < 0 {
		return s
	}
	var b strings.Builder
	b.Grow(len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '%' {
			b.WriteByte(unhex(s[i+1])<<4 | unhex(s[i+2]))
			i += 2
			continue
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
