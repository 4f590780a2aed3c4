package policy

import (
	"errors"
	"math"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"
)

// ErrAmbiguousPath is the error of a path that servers may read differently. The text of
// the actual error names the trait.
var ErrAmbiguousPath = errors.New("ambiguous path")

// pathError is an ErrAmbiguousPath with its cause. The text contains nothing from the
// client.
type pathError string

func (e pathError) Error() string        { return "ambiguous path: " + string(e) }
func (e pathError) Is(target error) bool { return target == ErrAmbiguousPath }

const (
	errNotRooted      pathError = "it does not begin with a slash"
	errBackslash      pathError = "it contains a backslash"
	errControl        pathError = "it contains a control byte"
	errEscape         pathError = "it contains an invalid percent-escape"
	errEncodedSlash   pathError = "it contains an encoded slash"
	errDoubleEscape   pathError = "it contains a doubly encoded letter, digit, dot, slash, backslash, semicolon or NUL"
	errParameter      pathError = "it contains a semicolon"
	errUTF8           pathError = "it is not valid UTF-8"
	errDotSegment     pathError = "it contains a dot segment"
	errEmptySegment   pathError = "it contains an empty segment"
	errPathInfo       pathError = "it has a path behind the name of a script"
	errTooManyOfThese pathError = "it has too many segments"
	errManyReadings   pathError = "it can be read in too many ways"
)

// maxSegments bounds the segments of a path.
const maxSegments = 256

// PathOptions are a site's settings of how paths are judged. The first ones admit traits
// that are refused by default. A path with such a trait is allowed only if it is allowed
// under each of its readings, see Path.
type PathOptions struct {
	// EmptySegments admits `//`: read as an empty segment and as one slash. At the
	// beginning of the path it also introduces an authority (RFC 3986, section 3), which
	// is not part of the path.
	EmptySegments bool
	// EncodedSlash admits `%2F`: read as part of its segment, and as a slash.
	EncodedSlash bool
	// Parameters admits `;` and `%3B`: read as part of the segment, and removed with
	// the rest of the segment.
	Parameters bool
	// PathInfo admits a script name with a path behind it, such as `/index.php/a`
	// (RFC 3875, section 4.1.5): read as one path, as the path info `/a`, and as the path
	// info below the script's directory.
	PathInfo bool

	// CaseSensitive compares names with those of the rules exactly only. By default they
	// are compared without regard to case as well, see fold, and the stricter decision
	// counts.
	CaseSensitive bool
	// Judge selects the form of a path that was rewritten before the gate.
	Judge PathForm
}

// PathForm is a form of a path that a handler before the gate rewrites.
type PathForm uint8

// The forms of a path that can be judged.
const (
	// BothForms judges the path as received and as rewritten. The stricter decision
	// counts.
	BothForms PathForm = iota
	// ReceivedForm judges the path as received.
	ReceivedForm
	// CurrentForm judges the path as it is when the request reaches the gate.
	CurrentForm
)

// Path is a request path in every reading that a server behind the gate could give it,
// which is nearly always one. A reading is a list of decoded segments. A trailing slash
// makes no difference.
//
// The zero value is ready for Read, which can be called again.
type Path struct {
	readings [][]string
	one      [1][]string
	segments [pathSpace]string
	// unfolded has a bit for each segment of a plain path that may differ from its fold;
	// all bits for any other path.
	unfolded uint16
	// extension reports whether the last segment of a plain path has a dot; true for any
	// other path.
	extension bool
}

// pathSpace is the number of segments for which a Path needs no allocation.
const pathSpace = 16

// Readings returns the readings of the path, at least one after a successful
// Read. They are valid until the next Read.
func (p *Path) Readings() [][]string { return p.readings }

// Read parses a path as received: with its percent-escapes and without the query. It
// returns an ErrAmbiguousPath if servers may read the path differently, because the
// gate could then judge another page than the origin serves.
func (p *Path) Read(escaped string, allow PathOptions) error {
	p.readings, p.unfolded, p.extension = nil, math.MaxUint16, true
	if escaped == "" || escaped[0] != '/' {
		return errNotRooted
	}
	if n, unfolded, dotted, ok := splitPlain(&p.segments, escaped); ok {
		p.one[0], p.unfolded, p.extension = p.segments[:n], unfolded, dotted
		p.readings = p.one[:]
		return nil
	}
	return p.readAny(escaped, allow)
}

// reservedName is the directory of the gate itself. The path-borne form of links is in it,
// which the gate removes from the path before it is read.
const reservedName = ".gatefold"

// ErrReservedPath is the error of a path below reservedName. No rule matches one, so that
// no origin gets the token of a link whose path is misspelt.
var ErrReservedPath = errors.New("the path is below /.gatefold/, which is the gate's own: a link in the path has the form /.gatefold/l/<token>/<path>, spelt exactly")

// isReserved reports whether a path as received is below reservedName, also in another
// spelling. It judges paths as well that Read refuses.
func isReserved(escaped string) bool {
	const seldom = `/\ `
	begin := strings.TrimLeft(lenient(escaped), seldom)
	name, _, _ := strings.Cut(begin, "/")
	return isReservedName(name)
}

// lenient decodes the escapes of a path, and keeps those that cannot be decoded.
func lenient(escaped string) string {
	if decoded, err := url.PathUnescape(escaped); err == nil {
		return decoded
	}
	return escaped
}

func isReservedName(name string) bool {
	name, _, _ = strings.Cut(name, ";")
	name, _, _ = strings.Cut(name, `\`)
	return len(name) >= len(reservedName) && fold(name) == reservedName
}

// readAny is Read for any path.
func (p *Path) readAny(escaped string, allow PathOptions) error {
	if isReserved(escaped) {
		return ErrReservedPath
	}
	traits, err := inspect(escaped, allow)
	if err != nil {
		return err
	}
	if traits.ambiguous() {
		return p.readAll(escaped, traits, allow)
	}
	decoded := unescape(escaped)
	if err := checkDecoded(decoded); err != nil {
		return err
	}
	segments, err := split(p.segments[:0], decoded)
	if err != nil {
		return err
	}
	if hasPathInfo(segments, len(decoded) > 1 && decoded[len(decoded)-1] == '/') {
		return p.readAll(escaped, traits, allow)
	}
	p.one[0] = segments
	p.readings = p.one[:]
	return nil
}

// traits are those that inspect found in a path.
type traits struct {
	empty        bool // an empty segment
	encodedSlash bool // %2F
	parameter    bool // ; or %3B
}

func (t traits) ambiguous() bool { return t.empty || t.encodedSlash || t.parameter }

// inspect refuses bytes that are never valid, encoded or not, and returns the traits
// that the options admit.
func inspect(escaped string, allow PathOptions) (traits, error) {
	var found traits
	for i := 0; i < len(escaped); i++ {
		c := escaped[i]
		switch {
		case c == '%':
			var ok bool
			if c, ok = escapedByte(escaped, i); !ok {
				return found, errEscape
			}
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

// checkDecoded refuses invalid UTF-8, and escapes that a second decoding would turn
// into structure or into the letters of another rule's path: a server that decodes
// twice reads `/%2570remium` as /premium. Other doubly encoded bytes, such as spaces
// in badly made links, are harmless.
func checkDecoded(decoded string) error {
	if !utf8.ValidString(decoded) {
		return errUTF8
	}
	for rest := decoded; ; {
		i := strings.IndexByte(rest, '%')
		if i < 0 {
			return nil
		}
		if c, ok := escapedByte(rest, i); ok && (c == 0 || strings.IndexByte(`./\;-_~`, c) >= 0 ||
			'0' <= c && c <= '9' || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z') {
			return errDoubleEscape
		}
		rest = rest[i+1:]
	}
}

// split splits a decoded path into its segments, without the empty one after a trailing
// slash.
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

// isDots reports whether a segment is a dot segment, also for a server that drops
// trailing dots and spaces from names, as Windows does.
func isDots(segment string) bool {
	if segment == "" || segment[0] != '.' && segment[0] != ' ' {
		return false
	}
	return strings.Trim(segment, ". ") == ""
}

// escapedByte returns the byte of the percent-escape at an index, and whether there is
// a valid one.
func escapedByte(s string, at int) (c byte, ok bool) {
	if at+2 >= len(s) {
		return 0, false
	}
	n, err := strconv.ParseUint(s[at+1:at+3], 16, 8)
	return byte(n), err == nil
}

// unescape decodes percent-escapes, which inspect has checked.
func unescape(s string) string {
	decoded, _ := url.PathUnescape(s)
	return decoded
}
