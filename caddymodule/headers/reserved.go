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
	Authorization, Cookie, ForwardedProto, Agent, Referer []string
	// Prefetch reports whether a browser says that it fetches a page before its reader asks
	// for it.
	Prefetch bool
	// BadTrailer reports whether a trailer is announced whose name is no token.
	BadTrailer bool
}

// Clean removes reserved headers and trailers from a request, and reserved names from
// Connection, which would make a proxy drop the header that the gate sets
// (GHSA-w9mr-28mw-j8hg). It removes as well what would lead past the decision: upgrades to
// other protocols than WebSocket, and headers that name another page.
func Clean(r *http.Request) Received {
	var received Received
	var connection, trailer, upgrade bool
	safe := isSafe(r.Method)
	for name, values := range r.Header {
		switch name {
		case "Authorization":
			received.Authorization = values
		case "Cookie":
			received.Cookie = values
		case "X-Forwarded-Proto":
			received.ForwardedProto = values
		case "User-Agent":
			received.Agent = values
		case "Referer":
			received.Referer = values
		case "Sec-Purpose", "Purpose", "X-Moz":
			received.Prefetch = received.Prefetch || len(values) > 0 && values[0] != ""
		case "Connection":
			connection = true
		case "Trailer":
			trailer = true
		case "Upgrade":
			upgrade = true
		default:
			if Reserved(name) || claims(name, pageNames[:]) || safe && claims(name, methodNames[:]) {
				delete(r.Header, name)
			}
		}
	}
	if connection {
		CleanTokens(r.Header, "Connection", Reserved)
	}
	if upgrade {
		cleanUpgrade(r.Header)
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

// cleanUpgrade removes every upgrade of the connection but that to a WebSocket. Within a
// connection that an origin upgrades to HTTP/2 (`h2c`, RFC 7540, section 3.2) the client
// would ask for any page, and send any header, without a decision.
func cleanUpgrade(header http.Header) {
	if protocols := header["Upgrade"]; len(protocols) == 1 && strings.EqualFold(textproto.TrimString(protocols[0]), "websocket") {
		return
	}
	delete(header, "Upgrade")
	delete(header, "Http2-Settings")
	CleanTokens(header, "Connection", func(token string) bool {
		return strings.EqualFold(token, "Upgrade") || strings.EqualFold(token, "HTTP2-Settings")
	})
}

// pageNames are the names, folded, of headers from which some servers take the path of a
// request, or a part of it: X-Original-Url and X-Rewrite-Url (Zend Framework, Yii, IIS), and
// X-Script-Name and Script_Name, which are cut off its beginning (gunicorn, WSGI middleware).
var pageNames = [...]string{"xoriginalurl", "xrewriteurl", "xscriptname", "scriptname"}

// methodNames are the names, folded, of headers from which some servers take the method of a
// request. WordPress does of any request, most others of POST only.
var methodNames = [...]string{"xhttpmethodoverride", "xhttpmethod", "xmethodoverride"}

// isSafe reports whether a method only reads (RFC 9110, section 9.2.1). No client has a
// reason to override it. An extended CONNECT is a GET in HTTP/1.1.
func isSafe(method string) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodConnect:
		return true
	}
	return false
}

// claims reports whether an origin could take a header's name for one of some folded names.
func claims(name string, folded []string) bool {
	if name == "" || name[0]|0x20 != 'x' && name[0]|0x20 != 's' {
		return false
	}
	for _, want := range folded {
		if FoldsTo(name, want) {
			return true
		}
	}
	return false
}

// FoldsTo reports whether the letters and digits of a name are a folded one.
func FoldsTo(name, folded string) bool {
	n := 0
	for i := range len(name) {
		c := name[i]
		switch {
		case 'A' <= c && c <= 'Z':
			c += 'a' - 'A'
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9':
		default:
			continue
		}
		if n == len(folded) || c != folded[n] {
			return false
		}
		n++
	}
	return n == len(folded)
}

// Fold returns the letters and digits of a header's name, in lower case.
func Fold(name string) string {
	return strings.Map(func(c rune) rune {
		switch {
		case 'A' <= c && c <= 'Z':
			return c + 'a' - 'A'
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9':
			return c
		}
		return -1
	}, name)
}

// cleanTrailer removes reserved names and credentials from trailers.
func cleanTrailer(trailer http.Header) {
	for name := range trailer {
		if Reserved(name) || Credential(name) || claims(name, pageNames[:]) || claims(name, methodNames[:]) {
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
