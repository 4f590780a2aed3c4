package policy

const (
	plainByte = iota
	slashByte
	dotByte
	foldByte // part of segments that may differ from their fold
	otherByte
)

// byteClasses are the classes of bytes in a path. Plain are visible ASCII and the
// space, except for the percent sign, the backslash and the semicolon.
var byteClasses = func() (classes [256]byte) {
	for c := range classes {
		switch {
		case c < ' ' || c > '~' || c == '%' || c == '\\' || c == ';':
			classes[c] = otherByte
		case 'A' <= c && c <= 'Z' || c == ':' || c == ' ':
			classes[c] = foldByte
		}
	}
	classes['/'], classes['.'] = slashByte, dotByte
	return classes
}()

// splitPlain splits a plain path, as nearly all are, into its segments: one of plain
// bytes, without a segment that is empty, begins with a dot or a space or ends with a
// dot, without path info, and with at most pathSpace segments. In unfolded a bit is set
// for each segment that may differ from its fold; extension reports whether the last one
// has a dot. It returns false for any other path, which it does not judge. The path must
// begin with a slash.
func splitPlain(segments *[pathSpace]string, path string) (n int, unfolded uint16, extension, ok bool) {
	begin, dotted, last := 1, false, false
	for i := 1; i < len(path); i++ {
		switch byteClasses[path[i]] {
		case slashByte:
			if dotted && isScript(path[begin:i]) {
				return 0, 0, false, false
			}
			if n, ok = appendPlain(segments, n, path[begin:i]); !ok {
				return 0, 0, false, false
			}
			begin, last, dotted = i+1, dotted, false
		case dotByte:
			dotted = true
		case foldByte:
			unfolded |= 1 << n
		case otherByte:
			return 0, 0, false, false
		}
	}
	if begin == len(path) { // a trailing slash makes no difference
		return n, unfolded, last, true
	}
	n, ok = appendPlain(segments, n, path[begin:])
	return n, unfolded, dotted, ok
}

func appendPlain(segments *[pathSpace]string, n int, segment string) (int, bool) {
	if n == len(segments) || segment == "" || segment[0] == '.' || segment[0] == ' ' || segment[len(segment)-1] == '.' {
		return 0, false
	}
	segments[n] = segment
	return n + 1, true
}
