// Package apimount has what a mount of the management API knows of its server and of how a
// request reached it.
package apimount

import (
	"fmt"
	"net"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/gatefold/gatefold/caddymodule/denial"
)

// CheckServer refuses a server that would accept API requests from other machines
// without TLS. A server with trusted proxies passes: they may terminate TLS.
// ServeHTTP checks each request all the same.
func CheckServer(server *caddyhttp.Server) error {
	if len(server.TLSConnPolicies) > 0 || server.TrustedProxiesRaw != nil {
		return nil
	}
	for _, listen := range server.Listen {
		address, err := caddy.ParseNetworkAddress(listen)
		if err != nil {
			return err
		}
		if ip := net.ParseIP(address.Host); address.IsUnixNetwork() || address.Host == "localhost" || ip != nil && ip.IsLoopback() {
			continue
		}
		return fmt.Errorf("gatefold_api on %s: secrets and access tokens would travel without TLS: serve it over https, or `bind 127.0.0.1`; add `plain_http` if the network is protected in another way", listen)
	}
	return nil
}

// IsLocal reports whether the connection ends at a loopback address or a Unix
// socket of this machine.
func IsLocal(r *http.Request) bool {
	switch address := r.Context().Value(http.LocalAddrContextKey).(type) {
	case *net.TCPAddr:
		return address.IP.IsLoopback()
	case *net.UDPAddr:
		return address.IP.IsLoopback()
	case *net.UnixAddr:
		return true
	default:
		return false
	}
}

// WriteProblem responds with problem details (RFC 9457) while the API itself
// does not handle the request.
func WriteProblem(w http.ResponseWriter, status int, code, detail string) error {
	w.Header().Set("Cache-Control", "no-store")
	return denial.WriteProblem(w, denial.Denial{Status: status, Title: http.StatusText(status), Detail: detail}, code, "", denial.Step{}, "", "")
}

// Prefix returns the path below which the API is, which an earlier handler stripped.
func Prefix(r *http.Request) string {
	if original, ok := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request); ok {
		if prefix, ok := strings.CutSuffix(original.URL.Path, r.URL.Path); ok {
			// Caddy takes several slashes for one; browsers take two for the beginning of a host.
			return strings.TrimRight("/"+strings.TrimLeft(prefix, "/"), "/")
		}
	}
	return ""
}
