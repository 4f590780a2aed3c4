package login

import (
	"net/url"
	"strings"
)

// maxNext bounds the path and query of the page to which a reader returns, in bytes: it is
// kept in a cookie.
const maxNext = 2048

// SafeNext returns the path and query of a page of this site, from what the browser sent as
// next. Anything that a browser could take for another host, and whatever is too long for a
// cookie, is the site's first page.
//
// The bytes are kept as they came, because a page may depend on how its query is spelt; a
// path that is not in the form that a URL has is refused rather than mended.
func SafeNext(next string) string {
	const first = "/"
	if len(next) > maxNext {
		if next, _, _ = strings.Cut(next, "?"); len(next) > maxNext {
			return first
		}
	}
	if !strings.HasPrefix(next, "/") || strings.HasPrefix(next, "//") {
		return first
	}
	for i := range len(next) {
		// Browsers drop tabs and line feeds, and take a backslash for a slash.
		if c := next[i]; c <= ' ' || c >= 0x7f || c == '\\' || c == '#' {
			return first
		}
	}
	parsed, err := url.Parse(next)
	if err != nil || parsed.IsAbs() || parsed.Host != "" || parsed.User != nil || parsed.Opaque != "" {
		return first
	}
	if path := parsed.Path; strings.HasPrefix(path, "//") || strings.ContainsAny(path, "\\\r\n\t") || strings.HasPrefix(path, Prefix) {
		return first
	}
	return next
}
