package policy

import (
	"slices"
	"strings"
)

// maxReadings bounds the readings of a path.
const maxReadings = 32

// reading is one way to read a path.
type reading struct {
	segments []string
	// slash reports whether the path ends with a slash.
	slash bool
}

// readAll sets the readings of a path with traits, the literal one first. It refuses the
// path if one of them is refused.
func (p *Path) readAll(escaped string, found traits, allow PathOptions) error {
	var all []reading
	for choice := range 4 {
		cut, strip := choice&1 != 0, choice&2 != 0
		if strip && !found.parameter || cut && !found.encodedSlash {
			continue
		}
		literal, err := readAs(escaped, cut, strip, allow.EmptySegments)
		if err != nil {
			return err
		}
		all = appendReading(all, literal)
	}
	// What a reading leads to can lead further: an authority before a script before an
	// empty segment. Each step makes the path shorter.
	for i := 0; i < len(all); i++ {
		if segments := all[i].segments; len(segments) > 0 && isReservedName(segments[0]) {
			return ErrReservedPath
		}
		if !allow.PathInfo && hasPathInfo(all[i].segments, all[i].slash) {
			return errPathInfo
		}
		all = appendDerived(all, all[i])
		if len(all) > maxReadings {
			return errManyReadings
		}
	}
	p.readings = make([][]string, len(all))
	for i := range all {
		p.readings[i] = all[i].segments
	}
	return nil
}

// readAs returns one reading of a path: with or without a cut at encoded slashes, and
// with or without parameters.
func readAs(escaped string, cut, strip, allowEmpty bool) (reading, error) {
	var as reading
	raw := strings.Split(escaped[1:], "/")
	for i, part := range raw {
		decoded := unescape(part)
		if err := checkDecoded(decoded); err != nil {
			return reading{}, err
		}
		pieces := []string{decoded}
		if cut {
			pieces = strings.Split(decoded, "/")
		}
		for j, segment := range pieces {
			if strip {
				segment, _, _ = strings.Cut(segment, ";")
			}
			if isDots(segment) {
				return reading{}, errDotSegment
			}
			if segment == "" {
				if as.slash = i == len(raw)-1 && j == len(pieces)-1; as.slash {
					continue
				}
				if !allowEmpty {
					return reading{}, errEmptySegment
				}
			}
			if len(as.segments) == maxSegments {
				return reading{}, errTooManyOfThese
			}
			as.segments = append(as.segments, segment)
		}
	}
	return as, nil
}

// appendDerived appends the readings of servers that take a part of the given one as
// something else than path.
func appendDerived(all []reading, from reading) []reading {
	segments := from.segments
	if slices.Contains(segments, "") {
		merged := slices.DeleteFunc(slices.Clone(segments), func(s string) bool { return s == "" })
		all = appendReading(all, reading{merged, from.slash})
		if authority := slices.IndexFunc(segments, func(s string) bool { return s != "" }); authority > 0 {
			all = appendReading(all, reading{segments[authority+1:], from.slash})
		}
	}
	for i := range segments {
		if len(all) > maxReadings {
			break
		}
		if runsScript(segments, i, from.slash) {
			info := segments[i+1:]
			all = appendReading(all, reading{info, from.slash})
			all = appendReading(all, reading{slices.Concat(segments[:i], info), from.slash})
		}
	}
	return all
}

// appendReading appends a reading unless there is one with the same segments.
func appendReading(all []reading, added reading) []reading {
	if slices.ContainsFunc(all, func(r reading) bool {
		return r.slash == added.slash && slices.Equal(r.segments, added.segments)
	}) {
		return all
	}
	return append(all, added)
}

// hasPathInfo reports whether a segment is the name of a script with something behind
// it, which servers pass to the script as path info.
func hasPathInfo(segments []string, slash bool) bool {
	for i := range segments {
		if runsScript(segments, i, slash) {
			return true
		}
	}
	return false
}

func runsScript(segments []string, i int, slash bool) bool {
	return (slash || i < len(segments)-1) && isScript(segments[i])
}

// maxExtension bounds the extension of a script's name, in bytes.
const maxExtension = 5

// isScript reports whether a segment has the extension of a program that a server runs
// with the rest of the path as its path info.
func isScript(segment string) bool {
	if strings.IndexByte(segment, '.') < 0 && isASCII(segment) {
		return false
	}
	name := fold(segment)
	dot := strings.LastIndexByte(name, '.')
	if dot < 0 || len(name)-dot-1 > maxExtension {
		return false
	}
	switch name[dot+1:] {
	case "php", "php3", "php4", "php5", "php6", "php7", "php8", "phtml", "pht", "phar", "phps", "hh",
		"cgi", "fcgi", "fpl", "pl", "py", "rb", "lua", "tcl",
		"asp", "aspx", "ashx", "asmx", "axd", "svc", "dll", "exe",
		"jsp", "jspx", "jspf", "cfm", "cfml", "cfc":
		return true
	default:
		return false
	}
}
