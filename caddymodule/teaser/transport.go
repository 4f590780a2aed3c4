package teaser

import (
	"mime"
	"net/http"
	"strings"

	"golang.org/x/net/html/charset"
)

// PrepareRequest makes a request one whose response can be cut: a GET for the whole page,
// as a new one, unencoded or in gzip.
func PrepareRequest(r *http.Request) {
	r.Method = http.MethodGet
	for _, name := range []string{
		"Range", "If-Range", "If-None-Match", "If-Modified-Since", "If-Match", "If-Unmodified-Since",
		"Te", "Want-Digest", "Want-Content-Digest", "Want-Repr-Digest", "Available-Dictionary", "Dictionary-Id",
	} {
		r.Header.Del(name)
	}
	r.Header.Set("Accept-Encoding", "gzip")
}

// prepareHeader takes out of a response's header what is wrong for a part of the page,
// and names the charset in which it was cut.
func prepareHeader(header http.Header, name string) {
	for _, gone := range []string{
		"Accept-Ranges", "Content-Digest", "Content-Encoding", "Content-Length", "Content-Md5", "Content-Range",
		"Digest", "Repr-Digest", "Trailer", "Use-As-Dictionary",
	} {
		header.Del(gone)
	}
	if tag := header.Get("ETag"); tag != "" {
		// Another representation than the page's own (RFC 9110, section 8.8.3).
		opaque := strings.TrimPrefix(tag, "W/")
		header.Set("ETag", `W/"t-`+strings.Trim(opaque, `"`)+`"`)
	}
	header.Set("Content-Type", "text/html; charset="+name)
}

// isRedirect reports the statuses that lead to another page by Location.
func isRedirect(status int) bool {
	switch status {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return true
	}
	return false
}

// isHTML reports whether a response is HTML and nothing else.
func isHTML(header http.Header) bool {
	values := header.Values("Content-Type")
	if len(values) != 1 {
		return false
	}
	kind, _, err := mime.ParseMediaType(values[0])
	return err == nil && kind == "text/html"
}

// encoding returns the content coding of a response: gzip, or none. Ok is false for all
// others.
func encoding(header http.Header) (gzip, ok bool) {
	switch coding := strings.ToLower(strings.Join(header.Values("Content-Encoding"), ",")); coding {
	case "", "identity":
		return false, true
	case "gzip", "x-gzip":
		return true, true
	}
	return false, false
}

// sniffed is how many bytes browsers look at for a charset (HTML, section 13.2.3.2).
const sniffed = 1024

// charsetOf returns the charset of a document by its byte order mark, header or meta
// element, in this order. Ok is false if none of them says it, or if its bytes below 0x80
// are not those of ASCII: then browsers could find tags where none are seen here. The
// header of the response that is cut names the charset, so that no later element of the
// document changes it.
func charsetOf(contentType string, start []byte) (name string, ok bool) {
	start = start[:min(len(start), sniffed)]
	_, name, certain := charset.DetermineEncoding(start, contentType)
	if !certain && !containsFold(start, "charset") {
		return "", false
	}
	switch {
	case name == "utf-8", name == "koi8-r", name == "koi8-u", name == "macintosh",
		strings.HasPrefix(name, "windows-125"), strings.HasPrefix(name, "iso-8859-"):
		return name, true
	}
	return "", false
}
