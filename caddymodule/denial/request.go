package denial

import (
	"errors"
	"net/http"
	"net/url"
	"regexp"
	"strings"
)

// NeutralPath is the path that a site's error routes see in the place of a denied one.
// It is in the gate's own namespace, so that no site has a page there.
const NeutralPath = "/.gatefold/denied"

// Replace makes another request of a denied one, in place: GET of a path, without query,
// body and credentials. Of its headers it keeps those by which a page is negotiated and
// a client is found; all others go, because some name the page to frameworks
// (X-Original-Url), the method (X-Http-Method-Override) or a state of it (If-None-Match,
// Range).
//
// The URL is changed in place as well: a handler's placeholders and a copy of the request
// may hold the same one.
func Replace(r *http.Request, path string) {
	*r.URL = url.URL{Path: path}
	r.Method, r.RequestURI, r.Pattern = http.MethodGet, path, ""
	r.Body, r.ContentLength, r.TransferEncoding, r.Trailer = http.NoBody, 0, nil, nil
	r.Form, r.PostForm, r.MultipartForm = nil, nil, nil
	for name := range r.Header {
		if !keepsHeader(name) {
			delete(r.Header, name)
		}
	}
}

func keepsHeader(name string) bool {
	switch name {
	case "Accept", "Accept-Encoding", "Accept-Language", "User-Agent", "Save-Data", "Dnt", "Origin", "X-Requested-With", "Hx-Request",
		"X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "Via", "Traceparent", "Tracestate", "X-Request-Id":
		return true
	}
	return strings.HasPrefix(name, "Sec-Fetch-") || strings.HasPrefix(name, "Sec-Ch-")
}

// URI returns the path and query of a denied page in a form that is safe wherever an
// error page writes it: every byte that could end a text in HTML, a header or a Caddyfile
// placeholder is escaped. It never begins with two slashes, which a browser takes for a
// host.
func URI(escapedPath, query string) string {
	if strings.HasPrefix(escapedPath, "//") {
		escapedPath = "/." + escapedPath
	}
	uri := escapedPath
	if query != "" {
		uri += "?" + query
	}
	var safe strings.Builder
	for i := range len(uri) {
		if c := uri[i]; isSafe(c) {
			safe.WriteByte(c)
		} else {
			const digits = "0123456789ABCDEF"
			safe.Write([]byte{'%', digits[c>>4], digits[c&15]})
		}
	}
	return safe.String()
}

// isSafe reports whether a byte may be in a URI (RFC 3986, section 2) and ends no text.
// A percent sign is of an escape that the client made.
func isSafe(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-._~!$&()*+,;=:@/?%", c) >= 0
}

// maxRequestID bounds the id of a request that a proxy chose, in bytes.
const maxRequestID = 128

// IsRequestID reports whether an id that a proxy chose may be written into logs and pages:
// letters, digits and -._ as in UUIDs, ULIDs and the ids of common proxies.
func IsRequestID(id string) bool {
	for i := range len(id) {
		switch c := id[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '.', c == '_':
		default:
			return false
		}
	}
	return id != "" && len(id) <= maxRequestID
}

var forwardPath = regexp.MustCompile(`^(/[A-Za-z0-9._~-]*)+$`)

// CheckForward returns an error unless a path can take the place of a denied one.
func CheckForward(path string) error {
	if !forwardPath.MatchString(path) {
		return errors.New("must be a path of this site, such as /subscribe: letters, digits and -._~, without query and escapes")
	}
	for segment := range strings.SplitSeq(path[1:], "/") {
		if segment == "." || segment == ".." {
			return errors.New("must not have the segments . and .. in it")
		}
	}
	if strings.Contains(path, "//") {
		return errors.New("must have no empty segments")
	}
	return nil
}
