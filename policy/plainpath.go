package policy

const (
	plainByte = iota
	slashByte
	otherByte
)

// byteClasses are the classes of bytes in a path. Plain are visible ASCII and the
// space, except for the percent sign, the backslash and the semicolon.
var byteClasses = func() (classes [256]byte) {
	for c := range classes {
		if c < ' ' || c > '~' || c == '%' || c == '\\' || c == ';' {
			classes[c] = otherByte
		}
	}
	classes['/'] = slashByte
	return classes
}()

// splitPlain splits a plain path, as nearly all are, into its segments: one of plain
// bytes, without a segment that is empty or begins with a dot or a space, and with at
// most pathSpace segments. It returns false for any other path, which it does not
// judge. The path must begin with a slash.
func splitPlain(segments *[pathSpace]string, path string) (n int, ok bool) {
	begin := 1
	for i := 1; i < len(path); i++ {
		switch byteClasses[path[i]] {
		case slashByte:
			if n, ok = appendPlain(segments, n, path[begin:i]); !ok {
				return 0, false
			}
			begin = i + 1
		case otherByte:
			return 0, false
		}
	}
	if begin == len(path) { // a trailing slash makes no difference
		return n, true
	}
	return appendPlain(segments, n, path[begin:])
}

func appendPlain(segments *[pathSpace]string, n int, segment string) (int, bool) {
	if n == len(segments) || segment == "" || segment[0] == '.' || segment[0] == ' ' {
		return 0, false
	}
	segments[n] = segment
	return n + 1, true
}
