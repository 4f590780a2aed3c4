package caddymodule

import (
	"io"
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

// arrived are the headers of a request that the gate looks at. They are found in
// the one pass over all names that cleaning takes: looking each of them up would
// cost as much again.
type arrived struct {
	authorization, cookie, forwardedProto []string
}

// cleanHeaders removes from a request whatever only the gate may set: as
// header, as trailer, and by name from Connection, which would make a proxy
// drop what the gate itself sets (GHSA-w9mr-28mw-j8hg).
func cleanHeaders(r *http.Request) arrived {
	var found arrived
	var connection, trailer []string
	for name, values := range r.Header {
		switch name {
		case "Authorization":
			found.authorization = values
		case "Cookie":
			found.cookie = values
		case "X-Forwarded-Proto":
			found.forwardedProto = values
		case "Connection":
			connection = values
		case "Trailer":
			trailer = values
		default:
			if reserved(name) {
				delete(r.Header, name)
			}
		}
	}
	if connection != nil {
		cleanTokens(r.Header, "Connection", reserved)
	}
	if trailer != nil {
		cleanTokens(r.Header, "Trailer", reserved)
	}
	if r.Trailer != nil {
		cleanTrailer(r.Trailer)
		r.Body = &trailerCleaner{ReadCloser: r.Body, trailer: r.Trailer}
	}
	return found
}

// cleanTrailer removes from trailers what they must not add to a request: what only
// the gate may set, and what says who asks.
func cleanTrailer(trailer http.Header) {
	for name := range trailer {
		if reserved(name) || carriesShared(name) {
			delete(trailer, name)
		}
	}
}

// trailerCleaner is the body of a request that announced trailers. They come when
// the body has been read, and those that were not announced come with them.
type trailerCleaner struct {
	io.ReadCloser
	trailer http.Header
}

func (c *trailerCleaner) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	if err != nil {
		cleanTrailer(c.trailer)
	}
	return n, err
}

// cleanTokens removes names from a header that lists header names.
func cleanTokens(header http.Header, name string, unwanted func(string) bool) {
	values := header[name]
	for i, value := range values {
		if !listsAny(value, unwanted) {
			continue
		}
		var kept []string
		for token := range strings.SplitSeq(value, ",") {
			if token = textproto.TrimString(token); token != "" && !unwanted(token) {
				kept = append(kept, token)
			}
		}
		values[i] = strings.Join(kept, ", ")
	}
	if len(values) > 0 && strings.Join(values, "") == "" {
		delete(header, name)
	}
}

func listsAny(list string, unwanted func(string) bool) bool {
	for token := range strings.SplitSeq(list, ",") {
		if unwanted(textproto.TrimString(token)) {
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
type linkCookie struct {
	name, value string
	twice       bool // another one has the same name
}

// maxCookieBytes bounds how much of a request's cookies is looked at for link
// cookies. A request whose cookies are larger carries none.
const maxCookieBytes = 32 << 10

// maxTakenCookies bounds how many of them are compared with one another. No
// browser of ours has more than maxLinkCookies.
const maxTakenCookies = 8 * maxLinkCookies

// takeLinkCookies removes the gate's cookies from a request, and returns those
// that count: on https only the ones with the __Host- prefix, which no sibling
// domain can set, and of a name that comes twice none (cookie tossing).
// All other cookies stay as they are, byte for byte. Lines are the request's own
// Cookie headers. What is returned may use the memory of taken, which must be empty.
func takeLinkCookies(header http.Header, lines []string, secure bool, taken []linkCookie) []linkCookie {
	if lines == nil {
		return taken
	}
	total, emptied := 0, false
	for i, line := range lines {
		total += len(line)
		if mayHoldLinkCookie(line) {
			lines[i], taken = takeFromLine(line, taken)
		}
		emptied = emptied || lines[i] == ""
	}
	if emptied {
		if lines = slices.DeleteFunc(lines, func(line string) bool { return line == "" }); len(lines) == 0 {
			delete(header, "Cookie")
		} else {
			header["Cookie"] = lines
		}
	}
	if total > maxCookieBytes || len(taken) > maxTakenCookies {
		return taken[:0]
	}
	return countable(taken, secure)
}

// takeFromLine takes the cookies that look like ours out of one line. Those of
// others that stand together stay one piece, which costs no memory.
func takeFromLine(line string, taken []linkCookie) (string, []linkCookie) {
	kept, piece := "", -1 // piece is where the present one begins
	keep := func(to int) {
		if piece >= 0 {
			if kept != "" {
				kept += "; "
			}
			kept += line[piece:to]
		}
		piece = -1
	}
	for start := 0; start <= len(line); {
		end := len(line)
		if i := strings.IndexByte(line[start:], ';'); i >= 0 {
			end = start + i
		}
		before := start - 1
		part := line[start:end]
		start = end + 1
		name, value, _ := strings.Cut(part, "=")
		if isLinkCookie(name) {
			keep(before)
			taken = append(taken, linkCookie{name: strings.Trim(name, " \t"), value: strings.Trim(value, " \t")})
			continue
		}
		if trimmed := strings.TrimLeft(part, " \t"); piece < 0 && trimmed != "" {
			piece = end - len(trimmed)
		}
	}
	keep(len(line))
	return kept, taken
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
// set. It uses their memory.
func countable(cookies []linkCookie, secure bool) []linkCookie {
	prefix := linkCookiePrefix
	if secure {
		prefix = securePrefix + linkCookiePrefix
	}
	for i := range cookies {
		for j := range cookies[:i] {
			if cookies[i].name == cookies[j].name {
				cookies[i].twice, cookies[j].twice = true, true
			}
		}
	}
	kept := cookies[:0]
	for _, cookie := range cookies {
		if !cookie.twice && strings.HasPrefix(cookie.name, prefix) {
			kept = append(kept, cookie)
		}
	}
	return kept
}
