package clientaddress

import (
	"net"
	"net/http"
	"net/netip"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// shared are the addresses between a carrier and its customers (RFC 6598).
var shared = netip.MustParsePrefix("100.64.0.0/10")

// Of returns the address of the client of a request, without a zone and not mapped to IPv6,
// or the zero value if it is unknown:
//
//   - Behind a trusted proxy without trusted_proxies_strict, Caddy takes the first of the
//     addresses that the headers state. A proxy that appends to them leaves there what the
//     client stated. So there must be no other.
//   - A trusted proxy that states no client is not the client itself.
//   - A private address counts only if the connection is the client's: if an untrusted peer
//     forwards for others, it is a proxy that trusted_proxies does not list, and all readers
//     would share its address.
func Of(r *http.Request) netip.Addr {
	ctx := r.Context()
	text, _ := caddyhttp.GetVar(ctx, caddyhttp.ClientIPVarKey).(string)
	address, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Addr{}
	}
	address = address.Unmap().WithZone("")
	trusted, _ := caddyhttp.GetVar(ctx, caddyhttp.TrustedProxyVarKey).(bool)
	server, _ := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	switch {
	case trusted && (server == nil || server.TrustedProxiesStrict <= 0 && stated(r, server.ClientIPHeaders) > 1):
		return netip.Addr{}
	case trusted && address == peer(r):
		return netip.Addr{}
	case !trusted && (address.IsPrivate() || shared.Contains(address)) && forwards(r):
		return netip.Addr{}
	}
	return address
}

// stated returns how many values the headers state for the client's address.
func stated(r *http.Request, names []string) (n int) {
	for _, name := range names {
		for _, value := range r.Header.Values(name) {
			n += 1 + strings.Count(value, ",")
		}
	}
	return n
}

// forwards reports whether the peer says that it forwards for another client.
func forwards(r *http.Request) bool {
	return len(r.Header["X-Forwarded-For"])+len(r.Header["Forwarded"])+len(r.Header["X-Real-Ip"]) > 0
}

// peer returns the address of the connection, or the zero value if it has none.
func peer(r *http.Request) netip.Addr {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	address, err := netip.ParseAddr(host)
	if err != nil {
		return netip.Addr{}
	}
	return address.Unmap().WithZone("")
}
