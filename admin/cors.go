package admin

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// The CORS protocol (Fetch standard) for pages of admitted origins.
const (
	corsMethods = "GET, POST, PUT, PATCH, DELETE"
	corsHeaders = "Authorization, Content-Type, Idempotency-Key, If-Match, If-None-Match"
	corsExposed = "ETag, Idempotency-Replayed, Link, Location, Retry-After, WWW-Authenticate"
	corsMaxAge  = "600" // seconds
)

// CheckOrigin returns an error if an origin cannot be admitted to call the API from
// a browser. There are no wildcards: the operator names each origin.
func CheckOrigin(origin string) error {
	parsed, err := url.Parse(origin)
	switch {
	case err != nil || parsed.Host == "" || parsed.Hostname() == "" || parsed.Opaque != "" || parsed.User != nil:
		return errors.New("is not an origin such as https://backoffice.example.com")
	case parsed.Scheme != "https" && (parsed.Scheme != "http" || !isLoopback(parsed.Hostname())):
		return errors.New("must be https, or http on localhost")
	case origin != parsed.Scheme+"://"+strings.ToLower(parsed.Host):
		return errors.New("must be scheme, host and port in lower case, without a slash at the end")
	case strings.Contains(origin, "*"):
		return errors.New("must name one origin: there are no wildcards")
	}
	return nil
}

func isLoopback(host string) bool {
	return host == "localhost" || host == "127.0.0.1" || host == "::1"
}

// allowOrigin sets the CORS headers for admitted origins. It returns true if the
// request was a preflight and is answered.
func (a *api) allowOrigin(w http.ResponseWriter, r *http.Request) bool {
	if len(a.Origins) == 0 {
		return false
	}
	header := w.Header()
	header.Add("Vary", "Origin")
	origin := r.Header.Get("Origin")
	if origin == "" || !slices.Contains(a.Origins, origin) {
		return false
	}
	header.Set("Access-Control-Allow-Origin", origin)
	if r.Method != http.MethodOptions || r.Header.Get("Access-Control-Request-Method") == "" {
		header.Set("Access-Control-Expose-Headers", corsExposed)
		return false
	}
	header.Set("Access-Control-Allow-Methods", corsMethods)
	header.Set("Access-Control-Allow-Headers", corsHeaders)
	header.Set("Access-Control-Max-Age", corsMaxAge)
	w.WriteHeader(http.StatusNoContent)
	return true
}
