package caddymodule

import (
	"net/http"
	"net/textproto"
	"slices"
	"strings"
)

// The gate's own header namespace: every name that begins with one of these
// once folded. Only the gate may set such a header; what a client sends under
// such a name never reaches the origin, on no route and with no decision.
const (
	namespace        = "gatefold"
	namespaceX       = "xgatefold"
	foldedNameMaxLen = len(namespaceX)
)

// reserved says whether an origin could take a header's name for one of the
// gate's. CGI, WSGI and PHP fold case and punctuation, so that X_Gatefold_User
// and X.Gatefold.User arrive there as X-Gatefold-User (CVE-2025-64484 and its
// family): only letters and digits are compared, without their case.
func reserved(name string) bool {
	var folded [foldedNameMaxLen]byte
	n := 0
	for i := 0; i < len(name) && n < len(folded); i++ {
		c := name[i]
		switch {
		case 'A' <= c && c <= 'Z':
			c += 'a' - 'A'
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9':
		default:
			continue
		}
		if n == 0 && c != namespace[0] && c != namespaceX[0] {
			return false
		}
		folded[n] = c
		n++
	}
	known := string(folded[:n])
	return known == namespaceX || strings.HasPrefix(known, namespace)
}

// cleanHeaders removes from a request whatever only the gate may set: as
// header, as trailer, and by name from Connection, which would make a proxy
// drop what the gate itself sets (GHSA-w9mr-28mw-j8hg).
func cleanHeaders(r *http.Request) {
	for name := range r.Header {
		if reserved(name) {
			delete(r.Header, name)
		}
	}
	for name := range r.Trailer {
		if reserved(name) {
			delete(r.Trailer, name)
		}
	}
	cleanTokens(r.Header, "Connection")
	cleanTokens(r.Header, "Trailer")
}

// cleanTokens removes reserved names from a header that lists header names.
func cleanTokens(header http.Header, name string) {
	values := header[name]
	for i, value := range values {
		if !namesReserved(value) {
			continue
		}
		var kept []string
		for token := range strings.SplitSeq(value, ",") {
			if token = textproto.TrimString(token); token != "" && !reserved(token) {
				kept = append(kept, token)
			}
		}
		values[i] = strings.Join(kept, ", ")
	}
	if len(values) > 0 && strings.Join(values, "") == "" {
		delete(header, name)
	}
}

func namesReserved(list string) bool {
	for token := range strings.SplitSeq(list, ",") {
		if reserved(textproto.TrimString(token)) {
			return true
		}
	}
	return false
}

// linkCookiePrefix begins the names of link cookies; on https, securePrefix
// stands before it.
const (
	linkCookiePrefix = "gatefold-"
	securePrefix     = "__Host-"
)

// linkCookie is a link cookie as a request carries it.
type linkCookie struct{ name, value string }

// maxCookieBytes bounds how much of a request's cookies is looked at for link
// cookies. A request whose cookies are larger carries none.
const maxCookieBytes = 32 << 10

// takeLinkCookies removes the gate's cookies from a request, and returns those
// that count: on https only the ones with the __Host- prefix, which no sibling
// domain can set, and of a name that comes twice none (cookie tossing).
// All other cookies stay as they are, byte for byte.
func takeLinkCookies(header http.Header, secure bool, taken []linkCookie) []linkCookie {
	lines := header["Cookie"]
	total := 0
	for i, line := range lines {
		total += len(line)
		if !mayHoldLinkCookie(line) {
			continue
		}
		var kept []string
		for part := range strings.SplitSeq(line, ";") {
			name, value, _ := strings.Cut(part, "=")
			if !isLinkCookie(name) {
				kept = append(kept, strings.TrimLeft(part, " \t"))
				continue
			}
			taken = append(taken, linkCookie{strings.Trim(name, " \t"), strings.Trim(value, " \t")})
		}
		lines[i] = strings.Join(kept, "; ")
	}
	if lines = slices.DeleteFunc(lines, func(line string) bool { return line == "" }); len(lines) == 0 {
		delete(header, "Cookie")
	} else {
		header["Cookie"] = lines
	}
	if total > maxCookieBytes {
		return taken[:0]
	}
	return countable(taken, secure)
}

// mayHoldLinkCookie is a quick look, so that most requests pay no more.
func mayHoldLinkCookie(line string) bool {
	return containsFold(line, linkCookiePrefix)
}

// containsFold is strings.Contains without regard to ASCII case.
func containsFold(s, lower string) bool {
	for i := 0; i+len(lower) <= len(s); i++ {
		if (s[i]|0x20) == lower[0] && strings.EqualFold(s[i:i+len(lower)], lower) {
			return true
		}
	}
	return false
}

// isLinkCookie says whether a cookie's name is one of ours, or becomes one of
// ours where a server trims more than we do: what looks like ours to anybody
// does not go on to the origin.
func isLinkCookie(name string) bool {
	trimmed := strings.TrimSpace(name)
	if len(trimmed) >= len(securePrefix) && strings.EqualFold(trimmed[:len(securePrefix)], securePrefix) {
		trimmed = trimmed[len(securePrefix):]
	}
	return len(trimmed) >= len(linkCookiePrefix) && strings.EqualFold(trimmed[:len(linkCookiePrefix)], linkCookiePrefix)
}

// countable keeps, of the cookies that look like ours, those that we may have
// set.
func countable(cookies []linkCookie, secure bool) []linkCookie {
	prefix := linkCookiePrefix
	if secure {
		prefix = securePrefix + linkCookiePrefix
	}
	kept := cookies[:0:0]
	for i, cookie := range cookies {
		if !strings.HasPrefix(cookie.name, prefix) {
			continue
		}
		twice := false
		for j, other := range cookies {
			twice = twice || i != j && other.name == cookie.name
		}
		if !twice {
			kept = append(kept, cookie)
		}
	}
	return kept
}
