package linkreport

import (
	"net/http"
	"net/netip"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/gatefold/gatefold/caddymodule/clientaddress"
	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/visitor"
)

// Visitor returns what is recorded of the client of a request. The country is that in the
// header, of which only a trusted proxy is believed; an empty header is none.
func Visitor(r *http.Request, countryHeader string, preview bool) policy.Visitor {
	client := policy.Visitor{Agent: visitor.AgentClass(r.UserAgent())}
	if preview {
		client.Agent = visitor.Preview
	}
	if countryHeader == "" {
		return client
	}
	if trusted, _ := caddyhttp.GetVar(r.Context(), caddyhttp.TrustedProxyVarKey).(bool); trusted {
		client.Country = visitor.Country(r.Header.Values(countryHeader))
	}
	return client
}

// Network returns the network of the client of a request. It returns false when that is
// unknown: a stranger who states addresses could quarantine a link.
func Network(r *http.Request) (netip.Prefix, bool) {
	return visitor.Network(clientaddress.Of(r))
}
