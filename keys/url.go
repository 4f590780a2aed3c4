package keys

import (
	"fmt"
	"strings"

	"golang.org/x/net/idna"
)

// AppendToken appends a query parameter with a token to a URL, before any
// fragment. Blanks and bytes that are not ASCII, at which mail programs end a
// link, are percent-encoded, and a host becomes its ASCII form (RFC 5890). All
// other bytes of the URL stay unchanged.
func AppendToken(rawURL, param, token string) string {
	address, fragment, hasFragment := strings.Cut(mailable(rawURL), "#")
	separator := "?"
	if strings.Contains(address, "?") {
		separator = "&"
		if strings.HasSuffix(address, "?") || strings.HasSuffix(address, "&") {
			separator = ""
		}
	}
	signed := address + separator + param + "=" + token
	if hasFragment {
		signed += "#" + fragment
	}
	return signed
}

// LinkPath begins the path-borne form of a link, in which relative URLs keep the token:
// `/.gatefold/l/<token>/<path>`.
const LinkPath = "/.gatefold/l/"

// InsertToken returns a URL in the path-borne form of a link, in printable ASCII as
// AppendToken does. It returns "" for a URL without a host.
func InsertToken(rawURL, token string) string {
	scheme, rest, found := strings.Cut(mailable(rawURL), "://")
	if !found {
		return ""
	}
	end := len(rest)
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		end = i
	}
	return scheme + "://" + rest[:end] + LinkPath + token + "/" + strings.TrimPrefix(rest[end:], "/")
}

// mailable returns a URL in printable ASCII.
func mailable(rawURL string) string {
	if isPrintable(rawURL) {
		return rawURL
	}
	scheme, rest, found := strings.Cut(rawURL, "://")
	if !found {
		return escapeText(rawURL)
	}
	end := len(rest)
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		end = i
	}
	host, port := rest[:end], ""
	if i := strings.LastIndexByte(host, ':'); i >= 0 {
		host, port = host[:i], host[i:]
	}
	if !isPrintable(host) {
		if ascii, err := idna.Lookup.ToASCII(host); err == nil {
			host = ascii
		}
	}
	return scheme + "://" + escapeText(host+port+rest[end:])
}

// escapeText percent-encodes the bytes of a text that are not printable ASCII.
func escapeText(text string) string {
	var b strings.Builder
	for i := range len(text) {
		if c := text[i]; c <= ' ' || c >= 0x7f {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}
