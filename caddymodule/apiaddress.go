package caddymodule

import (
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// apiBase returns the URL of the API as the client of a request names it.
func apiBase(r *http.Request) string {
	scheme := "http"
	if isSecure(r, r.Header["X-Forwarded-Proto"]) {
		scheme = "https"
	}
	return scheme + "://" + plainHost(r.Host) + apiPrefix(r)
}

// linkBase returns what a link to a page of the API begins with: the URL of the API if the
// configuration names its host, and its path alone otherwise: a Host that only the client
// names would lead those who open the link to a host of the client's choice.
func (h *API) linkBase(r *http.Request) string {
	if h.server != nil {
		if hosts, err := h.hosts.get(); err == nil && hosts.Named(r.Host) {
			return apiBase(r)
		}
	}
	return apiPrefix(r)
}

// apiPrefix returns the path below which the API is, which an earlier handler stripped.
func apiPrefix(r *http.Request) string {
	if original, ok := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request); ok {
		if prefix, ok := strings.CutSuffix(original.URL.Path, r.URL.Path); ok {
			// Caddy takes several slashes for one; browsers take two for the beginning of a host.
			return strings.TrimRight("/"+strings.TrimLeft(prefix, "/"), "/")
		}
	}
	return ""
}
