// Package forwarded identifies readers by the response of an authentication service, such
// as Authelia or authentik, that Caddy's forward_auth asks before the gate.
//
// forward_auth copies headers of that response into the request, where they look like
// headers of the client. So this package does not read the request's headers: it reads the
// response itself, which Caddy's reverse proxy keeps in placeholders that no client can set.
// Of the request's headers it removes what the service did not say, so that the origin
// cannot be misled either.
package forwarded

import (
	"errors"
	"fmt"
	"net/http"
	"net/textproto"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/caddyserver/caddy/v2"

	"github.com/gatefold/gatefold/caddymodule/headers"
	"github.com/gatefold/gatefold/policy"
)

// Fields are the fields of a reader that a header can give. The first is required.
var Fields = []string{"user_id", "email", "publisher_user_id"}

// Maximum lengths of a reader's fields and of an address, in bytes: those of a token's
// claims.
const (
	maxField   = 255
	maxAddress = 254
)

// Placeholders of Caddy's reverse proxy: the response of the last upstream.
const (
	statusKey    = "http.reverse_proxy.status_code"
	headerPrefix = "http.reverse_proxy.header."
)

// Headers are the headers of an authentication service's response. They are immutable and
// safe for concurrent use.
type Headers struct {
	names [3]string // by Fields; canonical, empty if not configured
	// guarded are the folded names of all headers that the service alone sets.
	guarded []string
}

// New returns the headers that give a reader's fields, and others that forward_auth copies
// and the client must not set.
func New(fields map[string]string, copied []string) (*Headers, error) {
	h := new(Headers)
	for field, name := range fields {
		i := slices.Index(Fields, field)
		if i < 0 {
			return nil, fmt.Errorf("header %s: unknown; known are %s", field, strings.Join(Fields, ", "))
		}
		if err := h.guard(name); err != nil {
			return nil, fmt.Errorf("header %s: %q %w", field, name, err)
		}
		h.names[i] = textproto.CanonicalMIMEHeaderKey(name)
	}
	for _, name := range copied {
		if err := h.guard(name); err != nil {
			return nil, fmt.Errorf("copied: %q %w", name, err)
		}
	}
	if h.names[0] == "" {
		return nil, errors.New("header user_id is missing: name the header of the service that has the user, such as Remote-User")
	}
	return h, nil
}

// needed are names, folded, of headers that a request or the connection needs as they are.
var needed = []string{
	"authorization", "connection", "contentlength", "contenttype", "cookie", "forwarded", "host", "te", "trailer", "transferencoding", "upgrade",
	"xforwardedfor", "xforwardedhost", "xforwardedproto", "xrequestid",
}

// guard adds a name to those that the service alone sets.
func (h *Headers) guard(name string) error {
	folded := headers.Fold(name)
	switch {
	case !httpguts.ValidHeaderFieldName(name):
		return errors.New("is not the name of a header")
	case headers.Reserved(name) || slices.Contains(needed, folded):
		return errors.New("cannot be used: requests need this header as it is")
	case slices.Contains(h.guarded, folded):
		return errors.New("is given twice")
	}
	h.guarded = append(h.guarded, folded)
	return nil
}

// guards reports whether an origin could take the name for one that the service alone sets.
func (h *Headers) guards(name string) bool {
	return slices.ContainsFunc(h.guarded, func(folded string) bool { return headers.FoldsTo(name, folded) })
}

// Clean removes from a request the headers that the service alone sets, unless one has the
// value that the service gave it: forward_auth does not remove those of a request that it
// does not match, nor other spellings, such as Remote_User, that origins read as the same.
func (h *Headers) Clean(r *http.Request) {
	from, answered := response(r)
	connection := false
	for name, values := range r.Header {
		if name == "Connection" {
			connection = true
		}
		if !h.guards(name) {
			continue
		}
		if want := from(name); !answered || want == "" || len(values) != 1 || values[0] != want {
			delete(r.Header, name)
		}
	}
	if connection { // a proxy would drop what it names
		headers.CleanTokens(r.Header, "Connection", h.guards)
	}
}

// Reader returns the reader whom the service authenticated. It returns false if the service
// was not asked, or named none. What cannot be a reader is a failed credential.
func (h *Headers) Reader(r *http.Request) (policy.Reader, bool) {
	from, answered := response(r)
	if !answered {
		return policy.Reader{}, false
	}
	var values [3]string
	for i, name := range h.names {
		if name == "" {
			continue
		}
		values[i] = from(name)
		if err := check(values[i], Fields[i]); err != nil {
			return policy.Reader{Rejected: true, Failure: fmt.Errorf("header %s of the authentication service %w", name, err)}, true
		}
	}
	if values[0] == "" {
		return policy.Reader{}, false
	}
	return policy.Reader{UserID: values[0], Email: policy.LowerEmail(values[1]), PublisherUserID: values[2]}, true
}

// check returns an error for a value that names no reader. Caddy joins the values of
// several headers by commas: of two users it would be unknown which is meant.
func check(value, field string) error {
	most := maxField
	if field == "email" {
		most = maxAddress
	}
	switch {
	case len(value) > most:
		return fmt.Errorf("is longer than %d bytes", most)
	case strings.ContainsRune(value, ','):
		return errors.New("has a comma, as several headers of one name have")
	case strings.ContainsFunc(value, func(c rune) bool { return c < ' ' || c == 0x7f }):
		return errors.New("has a control character")
	case field == "email" && value != "" && strings.Count(value, "@") != 1:
		return errors.New("is not an e-mail address")
	}
	return nil
}

// response returns the headers of the last response that a reverse proxy got for this
// request. It reports whether that was successful: forward_auth goes on with no other.
func response(r *http.Request) (header func(name string) string, ok bool) {
	repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	if !ok {
		return func(string) string { return "" }, false
	}
	status, _ := repl.Get(statusKey)
	code, _ := status.(int)
	return func(name string) string {
		value, _ := repl.GetString(headerPrefix + name)
		return value
	}, code >= http.StatusOK && code < http.StatusMultipleChoices
}
