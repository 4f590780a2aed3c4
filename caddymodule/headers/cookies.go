package headers

import (
	"net/http"
	"slices"
	"strings"
)

// DropCookies removes from the Cookie headers of a request, which are lines, the
// cookies that drop reports. All other cookies stay byte for byte. It reads only the
// lines that contain mention, in lower case or any other.
func DropCookies(header http.Header, lines []string, mention string, drop func(cookie string) bool) {
	empty := false
	for i, line := range lines {
		if indexFold(line, mention) >= 0 {
			lines[i] = filterCookies(line, drop)
		}
		empty = empty || lines[i] == ""
	}
	if !empty {
		return
	}
	lines = slices.DeleteFunc(lines, func(line string) bool { return line == "" })
	if len(lines) == 0 {
		delete(header, "Cookie")
	} else {
		header["Cookie"] = lines
	}
}

// filterCookies returns a line without the cookies that drop reports. Adjacent cookies
// are kept as one substring, which allocates nothing.
func filterCookies(line string, drop func(cookie string) bool) string {
	kept, from := "", 0 // from is the start of the present run of kept cookies
	for start := 0; start <= len(line); {
		cookie, _, _ := strings.Cut(line[start:], ";")
		next := start + len(cookie) + 1
		if drop(cookie) {
			kept = joinCookies(kept, line[from:max(from, start-1)])
			from = next
		}
		start = next
	}
	return joinCookies(kept, line[min(from, len(line)):])
}

func joinCookies(a, b string) string {
	b = strings.TrimLeft(b, " \t;")
	if a == "" || b == "" {
		return a + b
	}
	return a + "; " + b
}

// CookieValue returns the value of a cookie. It returns "" if cookies of the name differ:
// a sibling domain may have set one of them.
func CookieValue(header http.Header, name string) string {
	found, value := false, ""
	for _, line := range header["Cookie"] {
		for cookie := range strings.SplitSeq(line, ";") {
			n, v, _ := strings.Cut(cookie, "=")
			if strings.Trim(n, " \t") != name {
				continue
			}
			v = strings.Trim(v, " \t")
			if found && v != value {
				return ""
			}
			found, value = true, v
		}
	}
	return value
}

// MentionsCookie reports whether a piece of a Cookie header contains a name, regardless
// of case, that is not a part of a longer one.
func MentionsCookie(piece, name string) bool {
	for start := 0; ; start++ {
		i := indexFold(piece[start:], name)
		if i < 0 {
			return false
		}
		start += i
		end := start + len(name)
		if (start == 0 || !isNameByte(piece[start-1])) && (end == len(piece) || !isNameByte(piece[end])) {
			return true
		}
	}
}

// isNameByte reports whether a byte may be in a cookie's name (RFC 6265, section
// 4.1.1), as far as servers agree.
func isNameByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_' || c == '.'
}

// indexFold is strings.Index regardless of ASCII case. The argument lower begins with a
// lower-case letter.
func indexFold(s, lower string) int {
	for i := 0; i+len(lower) <= len(s); i++ {
		if s[i]|0x20 == lower[0] && strings.EqualFold(s[i:i+len(lower)], lower) {
			return i
		}
	}
	return -1
}

// HasPrefixFold is strings.HasPrefix regardless of case.
func HasPrefixFold(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}
