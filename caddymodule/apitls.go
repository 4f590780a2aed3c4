package caddymodule

import (
	"fmt"
	"net"
	"net/http"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/gatefold/gatefold/caddymodule/denial"
)

// checkServer refuses a server that would accept API requests from other machines
// without TLS. A server with trusted proxies passes: they may terminate TLS.
// ServeHTTP checks each request all the same.
func checkServer(server *caddyhttp.Server) error {
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

// isLocal reports whether the connection ends at a loopback address or a Unix
// socket of this machine.
func isLocal(r *http.Request) bool {
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

// writeAPIProblem responds with problem details (RFC 9457) while the API itself
// does not handle the request.
func writeAPIProblem(w http.ResponseWriter, status int, code, detail string) error {
	w.Header().Set("Cache-Control", "no-store")
	return denial.WriteProblem(w, denial.Denial{Status: status, Title: http.StatusText(status), Detail: detail}, code, "", denial.Step{}, "", "")
}
