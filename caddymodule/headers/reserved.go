package headers

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

// Reserved reports whether an origin could take a header's name for one of the gate's.
// CGI, WSGI and PHP fold case and punctuation, so that X_Gatefold_User and
// X.Gatefold.User become X-Gatefold-User there (CVE-2025-64484): only letters and
// digits are compared, regardless of case.
func Reserved(name string) bool {
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

// Received are the headers that the gate reads. Clean collects them as it iterates over
// all headers: to look each of them up would cost as much again.
type Received struct {
	Authorization, Cookie, ForwardedProto []string
	// BadTrailer reports whether a trailer is announced whose name is no token.
	BadTrailer bool
}

// Clean removes reserved headers and trailers from a request, and reserved names from
// Connection, which would make a proxy drop the header that the gate sets
// (GHSA-w9mr-28mw-j8hg).
func Clean(r *http.Request) Received {
	var received Received
	var connection, trailer bool
	for name, values := range r.Header {
		switch name {
		case "Authorization":
			received.Authorization = values
		case "Cookie":
			received.Cookie = values
		case "X-Forwarded-Proto":
			received.ForwardedProto = values
		case "Connection":
			connection = true
		case "Trailer":
			trailer = true
		default:
			if Reserved(name) {
				delete(r.Header, name)
			}
		}
	}
	if connection {
		CleanTokens(r.Header, "Connection", Reserved)
	}
	if trailer {
		CleanTokens(r.Header, "Trailer", Reserved)
	}
	if r.Trailer != nil {
		for name := range r.Trailer {
			received.BadTrailer = received.BadTrailer || !httpguts.ValidHeaderFieldName(name)
		}
		cleanTrailer(r.Trailer)
		r.Body = &trailerCleaner{ReadCloser: r.Body, trailer: r.Trailer}
	}
	return received
}

// cleanTrailer removes reserved names and credentials from trailers.
func cleanTrailer(trailer http.Header) {
	for name := range trailer {
		if Reserved(name) || Credential(name) {
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

// CleanTokens removes the unwanted names from a header that lists header names.
func CleanTokens(header http.Header, name string, unwanted func(string) bool) {
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

// Credential reports whether a request header carries a credential that origins read.
func Credential(name string) bool {
	return strings.EqualFold(name, "Authorization") || strings.EqualFold(name, "Cookie")
}
