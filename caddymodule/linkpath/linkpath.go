// Package linkpath has the path-borne form of signed links:
//
//	/.gatefold/l/<token>/<path>
//
// It is for programs that keep no cookies and resolve relative URLs, such as players of
// HLS: the URLs of a playlist keep the token. The package imports nothing of Caddy.
package linkpath

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"github.com/gatefold/gatefold/keys"
)

// Take removes the path-borne form from both URLs of a request: the one received, and the
// one that the next handler serves, which may be the same or a rewritten one. It returns the
// token. It returns "" and changes neither URL unless both have the form, byte for byte,
// with the same token: any other path below /.gatefold/ is refused.
func Take(received, current *url.URL) (token string) {
	token = find(received)
	if token == "" || current != received && find(current) != token {
		return ""
	}
	cut(received, token)
	if current != received {
		cut(current, token)
	}
	return token
}

// find returns the token of a URL that has the form, or "".
func find(u *url.URL) string {
	if !strings.HasPrefix(u.Path, keys.LinkPath) {
		return ""
	}
	rest, found := strings.CutPrefix(u.EscapedPath(), keys.LinkPath)
	token, _, behind := strings.Cut(rest, "/")
	if !found || !behind || token == "" || token[0] == '.' {
		return ""
	}
	for i := range len(token) {
		if !isTokenByte(token[i]) {
			return ""
		}
	}
	return token
}

func isTokenByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_' || c == '.'
}

// cut removes the form from a URL that has it. The form has no escapes, so that it is as
// long in the decoded path.
func cut(u *url.URL, token string) {
	size := len(keys.LinkPath) + len(token)
	escaped := u.EscapedPath()
	u.Path = u.Path[size:]
	if u.RawPath != "" {
		u.RawPath = escaped[size:]
	}
}

// CleanReferer returns a Referer without the form.
func CleanReferer(referer string) string {
	before, rest, found := strings.Cut(referer, keys.LinkPath)
	if !found || strings.ContainsAny(before, "?#") {
		return referer
	}
	if end := strings.IndexAny(rest, "/?#"); end >= 0 {
		return before + "/" + strings.TrimPrefix(rest[end:], "/")
	}
	return before + "/"
}

// Redact returns a path that is refused without a token in it, in whatever spelling of the
// form, for logs and pages. A token begins with the base64url of `{"`, or as the key of a
// reader does.
func Redact(path string) string {
	if at := tokenBegins.FindStringIndex(path); at != nil {
		return path[:at[0]] + "REDACTED"
	}
	return path
}

// tokenBegins is how a token and a key begin, with escapes of any of their letters, and escapes
// of those.
var tokenBegins = regexp.MustCompile(`(e|%(25)*65)(y|%(25)*79)(J|%(25)*4[Aa])|(?i)(g|%(25)*67)(f|%(25)*66)([kf]|%(25)*6[b6])(_|%(25)*5f)`)

// Form is the path-borne form of one request.
type Form struct {
	Token string
	// Page is the URL of the request without the form, with scheme and host.
	Page *url.URL
}

// SetHeaders keeps the token out of every Referer, and in the redirects of a response: a
// Location on the same host gets the form, so that a player follows it with its link.
func (f *Form) SetHeaders(header http.Header, redirects bool) {
	header["Referrer-Policy"] = []string{"no-referrer"}
	locations := header["Location"]
	if !redirects || len(locations) != 1 {
		return
	}
	header["Location"] = []string{f.location(locations[0])}
}

// location returns the Location that a response of the page gets. One that leads to another
// host, from https to http, or to the gate's own paths stays as it is.
func (f *Form) location(value string) string {
	ref, err := url.Parse(value)
	if err != nil || ref.User != nil || ref.Opaque != "" || ref.Host == "" && strings.HasPrefix(value, "//") {
		return value
	}
	target := f.Page.ResolveReference(ref)
	if !strings.EqualFold(target.Host, f.Page.Host) || target.Scheme != f.Page.Scheme || strings.HasPrefix(target.Path, "/.gatefold") {
		return value
	}
	form := keys.LinkPath + f.Token + "/" + strings.TrimPrefix(target.EscapedPath(), "/")
	if target.RawQuery != "" || target.ForceQuery {
		form += "?" + target.RawQuery
	}
	if target.Fragment != "" {
		form += "#" + target.EscapedFragment()
	}
	if ref.Host != "" {
		form = target.Scheme + "://" + target.Host + form
	}
	return form
}
