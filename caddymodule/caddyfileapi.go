package caddymodule

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/gatefold/gatefold/admin"
	"github.com/gatefold/gatefold/caddymodule/block"
	"github.com/gatefold/gatefold/caddymodule/setting"
)

const (
	apiDirective      = "gatefold_api"
	accountsDirective = "gatefold_accounts"
)

func init() {
	httpcaddyfile.RegisterDirective(apiDirective, parseAPIDirective)
	// After the gate, if a site has both, and before the handlers that respond.
	httpcaddyfile.RegisterDirectiveOrder(apiDirective, httpcaddyfile.Before, "respond")
	httpcaddyfile.RegisterHandlerDirective(accountsDirective, parseAccounts)
	httpcaddyfile.RegisterDirectiveOrder(accountsDirective, httpcaddyfile.Before, "respond")
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
// It takes no matcher: write `handle_path /api/* { gatefold_api }` to serve it below a
// path.
func (h *API) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	h.Places = setting.PlacesOf(d)
	d.Next() // consume the directive's name
	if d.NextArg() {
		return d.Errf("%q: gatefold_api takes no matcher and no argument; to put it below a path, write `handle_path /api/* { gatefold_api }`", d.Val())
	}
	return block.Parse(d, "",
		block.Option{Name: "issuer", Parse: h.parseIssuer, Repeatable: true},
		block.List("cors", &h.Origins, admin.CheckOrigin),
		block.Flag("plain_http", &h.PlainHTTP),
	)
}

func (h *API) parseIssuer(d *caddyfile.Dispenser) error {
	issuer := new(APIIssuer)
	if !d.AllArgs(&issuer.Issuer) {
		return d.ArgErr()
	}
	if err := block.Parse(d, "issuer "+issuer.Issuer, block.Text("audience", &issuer.Audience), block.Text("jwks", &issuer.JWKS)); err != nil {
		return err
	}
	if issuer.Issuer != issuerSelf && issuer.Audience == "" {
		return d.Errf("issuer %s: %w", issuer.Issuer, errNoAudience)
	}
	h.Issuers = append(h.Issuers, issuer)
	return nil
}

// parseAccounts sets up the operations of readers. Syntax:
//
//	gatefold_accounts
//
// It is for the block `local` of the gate.
func parseAccounts(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	handler := &Accounts{Places: setting.PlacesOf(h.Dispenser)}
	h.Next() // consume the directive's name
	return handler, block.Parse(h.Dispenser, accountsDirective)
}
