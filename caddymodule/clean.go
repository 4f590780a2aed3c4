package caddymodule

import (
	"io"
	"net/http"
	"net/textproto"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// The gate's header namespace: every name that begins with one of these prefixes once
// it is folded. Only the gate sets such headers. The client's never reach the origin,
// whatever the route and the decision.
const (
	namespace        = "gatefold"
	namespaceX       = "xgatefold"
	foldedNameMaxLen = len(namespaceX)
)

// reserved reports whether an origin could take a header's name for one of the gate's.
// CGI, WSGI and PHP fold case and punctuation, so that X_Gatefold_User and
// X.Gatefold.User become X-Gatefold-User there (CVE-2025-64484): only letters and
// digits are compared, regardless of case.
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
	prefix := string(folded[:n])
	return prefix == namespaceX || strings.HasPrefix(prefix, namespace)
}

// gateHeaders are the headers that the gate reads. cleanHeaders collects them as it
// iterates over all headers: to look each of them up would cost as much again.
type gateHeaders struct {
	authorization, cookie, forwardedProto []string
	// badTrailer reports whether a trailer is announced whose name is no token.
	badTrailer bool
}

// cleanHeaders removes reserved headers and trailers from a request, and reserved
// names from Connection, which would make a proxy drop the header that the gate sets
// (GHSA-w9mr-28mw-j8hg).
func cleanHeaders(r *http.Request) gateHeaders {
	var headers gateHeaders
	var connection, trailer bool
	for name, values := range r.Header {
		switch name {
		case "Authorization":
			headers.authorization = values
		case "Cookie":
			headers.cookie = values
		case "X-Forwarded-Proto":
			headers.forwardedProto = values
		case "Connection":
			connection = true
		case "Trailer":
			trailer = true
		default:
			if reserved(name) {
				delete(r.Header, name)
			}
		}
	}
	if connection {
		cleanTokens(r.Header, "Connection", reserved)
	}
	if trailer {
		cleanTokens(r.Header, "Trailer", reserved)
	}
	if r.Trailer != nil {
		for name := range r.Trailer {
			headers.badTrailer = headers.badTrailer || !httpguts.ValidHeaderFieldName(name)
		}
		cleanTrailer(r.Trailer)
		r.Body = &trailerCleaner{ReadCloser: r.Body, trailer: r.Trailer}
	}
	return headers
}

// cleanTrailer removes reserved names and credentials from trailers.
func cleanTrailer(trailer http.Header) {
	for name := range trailer {
		if reserved(name) || carriesShared(name) {
			delete(trailer, name)
		}
	}
}

// trailerCleaner is the body of a request that announced trailers. net/http adds the
// trailers, announced or not, when the body has been read.
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

// cleanTokens removes the unwanted names from a header that lists header names.
func cleanTokens(header http.Header, name string, unwanted func(string) bool) {
	var buf [4]string
	kept, changed := buf[:0], false
	for _, value := range header[name] {
		for token := range strings.SplitSeq(value, ",") {
			if token = textproto.TrimString(token); unwanted(token) {
				changed = true
			} else if token != "" {
				kept = append(kept, token)
			}
		}
	}
	switch {
	case changed && len(kept) == 0:
		delete(header, name)
	case changed:
		header[name] = []string{strings.Join(kept, ", ")}
	}
}

// On https, securePrefix precedes linkCookiePrefix in the name of a link cookie.
const (
	linkCookiePrefix = "gatefold-"
	securePrefix     = "__Host-"
)

// linkCookie is a link cookie as received.
type linkCookie struct {
	name, value string
	duplicate   bool // another cookie has the same name
}

const (
	// maxCookieBytes bounds the size of a request's Cookie headers. Larger ones count
	// as without link cookies.
	maxCookieBytes = 32 << 10
	// maxTakenCookies bounds how many link cookies are compared with one another. A
	// browser keeps at most maxLinkCookies.
	maxTakenCookies = 8 * maxLinkCookies
)

// takeLinkCookies removes all link cookies from a request, and appends to taken, which
// must be empty, those that count. On https only names with the __Host- prefix count,
// which no sibling domain can set. Of several cookies with one name none counts
// (cookie tossing). The argument lines holds the request's Cookie headers.
func takeLinkCookies(header http.Header, lines []string, secure bool, taken []linkCookie) []linkCookie {
	size := 0
	for _, line := range lines {
		size += len(line)
	}
	dropCookies(header, lines, linkCookiePrefix, func(cookie string) bool {
		name, value, _ := strings.Cut(cookie, "=")
		if !isLinkCookie(name) {
			return false
		}
		taken = append(taken, linkCookie{name: strings.Trim(name, " \t"), value: strings.Trim(value, " \t")})
		return true
	})
	if size > maxCookieBytes || len(taken) > maxTakenCookies {
		return taken[:0]
	}
	return countable(taken, secure)
}

// isLinkCookie reports whether a cookie's name is that of a link cookie, or could be
// for a server that trims more or ignores case.
func isLinkCookie(name string) bool {
	name = strings.TrimSpace(name)
	if hasPrefixFold(name, securePrefix) {
		name = name[len(securePrefix):]
	}
	return hasPrefixFold(name, linkCookiePrefix)
}

// namePrefix returns the beginning of the names of link cookies.
func namePrefix(secure bool) string {
	if secure {
		return securePrefix + linkCookiePrefix
	}
	return linkCookiePrefix
}

// countable filters cookies in place: it keeps those that the gate may have set.
func countable(cookies []linkCookie, secure bool) []linkCookie {
	for i := range cookies {
		for j := range cookies[:i] {
			if cookies[i].name == cookies[j].name {
				cookies[i].duplicate, cookies[j].duplicate = true, true
			}
		}
	}
	prefix, kept := namePrefix(secure), cookies[:0]
	for _, cookie := range cookies {
		if !cookie.duplicate && strings.HasPrefix(cookie.name, prefix) {
			kept = append(kept, cookie)
		}
	}
	return kept
}
