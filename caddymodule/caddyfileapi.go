package caddymodule

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"

	"github.com/gatefold/gatefold/admin"
)

const apiDirective = "gatefold_api"

func init() {
	httpcaddyfile.RegisterDirective(apiDirective, parseAPIDirective)
	// Behind the gate, where a site has both, and before what answers.
	httpcaddyfile.RegisterDirectiveOrder(apiDirective, httpcaddyfile.Before, "respond")
}

func parseAPIDirective(h httpcaddyfile.Helper) ([]httpcaddyfile.ConfigValue, error) {
	handler := new(API)
	if err := handler.UnmarshalCaddyfile(h.Dispenser); err != nil {
		return nil, err
	}
	return h.NewRoute(nil, handler), nil
}

// UnmarshalCaddyfile sets up the API. Syntax:
//
//	gatefold_api {
//		issuer self
//		issuer <iss> {
//			audience <aud>
//			jwks     <file> | <url>
//		}
//		cors <origin>…
//		plain_http
//	}
//
// It takes no matcher: `handle_path /api/* { gatefold_api }` puts it below a
// path.
func (h *API) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume the directive's name
	if d.NextArg() {
		return d.Errf("%q: gatefold_api takes no matcher and no argument; to put it below a path, write `handle_path /api/* { gatefold_api }`", d.Val())
	}
	seen := seenOptions{}
	for d.NextBlock(0) {
		option := d.Val()
		if option != "issuer" {
			if err := seen.check(d, option); err != nil {
				return err
			}
		}
		if err := h.parseOption(d, option); err != nil {
			return err
		}
	}
	return nil
}

func (h *API) parseOption(d *caddyfile.Dispenser, option string) error {
	switch option {
	case "issuer":
		return h.parseIssuer(d)
	case "cors":
		if h.Origins = d.RemainingArgs(); len(h.Origins) == 0 {
			return d.ArgErr()
		}
		for _, origin := range h.Origins {
			if err := admin.CheckOrigin(origin); err != nil {
				return d.Errf("cors: %q %v", origin, err)
			}
		}
		return nil
	case "plain_http":
		if d.NextArg() {
			return d.ArgErr()
		}
		h.PlainHTTP = true
		return nil
	default:
		return d.Errf("unknown subdirective %q; known are issuer, cors, plain_http", option)
	}
}

func (h *API) parseIssuer(d *caddyfile.Dispenser) error {
	issuer := new(APIIssuer)
	if !d.AllArgs(&issuer.Issuer) {
		return d.ArgErr()
	}
	seen := seenOptions{}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		option := d.Val()
		if err := seen.check(d, option); err != nil {
			return err
		}
		to := map[string]*string{"audience": &issuer.Audience, "jwks": &issuer.JWKS}[option]
		if to == nil {
			return d.Errf("issuer: unknown option %q; known are audience, jwks", option)
		}
		if !d.AllArgs(to) {
			return d.ArgErr()
		}
	}
	if issuer.Issuer != issuerSelf && issuer.Audience == "" {
		return d.Errf("issuer %s: audience is missing: without it any token of the issuer, made for whatever service, would open the API", issuer.Issuer)
	}
	h.Issuers = append(h.Issuers, issuer)
	return nil
}

// Interface guard
var _ caddyfile.Unmarshaler = (*API)(nil)
