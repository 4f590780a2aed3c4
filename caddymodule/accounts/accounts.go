// Package accounts authorizes the readers of a gated site to call the management API for
// themselves, as to accept an invitation. It imports nothing of Caddy.
package accounts

import (
	"context"
	"net/http"
	"strings"

	"github.com/gatefold/gatefold/admin"
	"github.com/gatefold/gatefold/policy"
)

// Prefix begins the paths of all operations that readers may call.
const Prefix = "/api/"

// Redact returns a path without the key of an invitation or a request, for the log.
func Redact(path string) string {
	if before, key, found := strings.Cut(path, "/accept/"); found && key != "" && strings.HasPrefix(path, Prefix) {
		return before + "/accept/REDACTED"
	}
	return path
}

// Caller is the reader who calls, as the gate of the site identified them.
type Caller struct {
	Vendor, Site string
	Reader       policy.Reader
	// Origin is the site's own origin (RFC 6454), as the client has it.
	Origin string
	// Explicit reports whether the client wrote the credential into the request itself, as
	// a browser never does for the page of another site.
	Explicit bool
	// EndSession ends the login session by which they call, see admin.Caller.
	EndSession func(ctx context.Context) ([]string, error)
}

type callerKey struct{}

// With returns a request with its caller, who must come from the gate.
func With(r *http.Request, caller *Caller) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), callerKey{}, caller))
}

// Authorize implements admin.Options.Authorize: a reader has no scopes, but only what
// the operations themselves permit to readers.
//
// It refuses what the page of another site could have made a browser send (CSRF): a
// request that changes something, by a credential that browsers add by themselves, must
// say that it comes from a page of this site. Browsers say so by Origin or Sec-Fetch-Site.
// The API does the rest: it reads no body but JSON, which a form cannot send.
func Authorize(r *http.Request) (admin.Caller, error) {
	caller, _ := r.Context().Value(callerKey{}).(*Caller)
	if caller == nil {
		return admin.Caller{}, errNoGate
	}
	if !isRead(r.Method) && !caller.Explicit && !fromOrigin(r.Header, caller.Origin) {
		return admin.Caller{}, errOtherSite
	}
	name := "anonymous reader"
	if !caller.Reader.Anonymous() {
		name = "reader " + caller.Reader.UserID
	}
	return admin.Caller{Vendor: caller.Vendor, Name: name, Reader: &caller.Reader, Site: caller.Site, EndSession: caller.EndSession}, nil
}

var (
	errNoGate = &admin.RefusedError{
		Status: http.StatusForbidden,
		Detail: "This request passed no gate: serve gatefold_accounts in the local routes of the site's gate.",
	}
	errOtherSite = &admin.RefusedError{
		Status: http.StatusForbidden,
		Detail: "A change by a cookie must come from a page of this site: send its Origin, or the credential as Authorization: Bearer.",
	}
)

// isRead reports whether a method changes nothing (RFC 9110, section 9.2.1).
func isRead(method string) bool {
	return method == http.MethodGet || method == http.MethodHead || method == http.MethodOptions
}

// fromOrigin reports whether a request says that it is from a page of an origin.
func fromOrigin(header http.Header, own string) bool {
	origins, relations := header["Origin"], header["Sec-Fetch-Site"]
	for _, origin := range origins {
		if !strings.EqualFold(origin, own) {
			return false
		}
	}
	for _, relation := range relations {
		if relation != "same-origin" {
			return false
		}
	}
	return len(origins)+len(relations) > 0
}
