package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/gatefold/gatefold/admin"
	"github.com/gatefold/gatefold/caddymodule/accounts"
	"github.com/gatefold/gatefold/caddymodule/apimount"
	"github.com/gatefold/gatefold/caddymodule/keysets"
	"github.com/gatefold/gatefold/caddymodule/login"
	"github.com/gatefold/gatefold/caddymodule/setting"
	"github.com/gatefold/gatefold/caddymodule/sitehosts"
	"github.com/gatefold/gatefold/keys"
)

func init() {
	caddy.RegisterModule(&API{})
	caddy.RegisterModule(&Accounts{})
}

// API serves the management API to other machines. Requests carry an OAuth 2.0
// access token, issued at `/oauth/token` for a client id and secret or by another
// OpenID issuer.
//
// `/docs` serves the API's documentation, `/openapi.json` its OpenAPI document.
type API struct {
	// Issuers are the issuers of accepted access tokens. Default: `self`, which
	// issues tokens to the clients made with `gatefold client create`.
	Issuers []*APIIssuer `json:"issuers,omitempty" caddyfile:"issuer"`

	// Origins are the web origins that may call the API from a browser (CORS).
	// Default: none.
	Origins []string `json:"origins,omitempty" caddyfile:"cors"`

	// PlainHTTP accepts requests from other machines without TLS, which exposes
	// secrets and tokens: use it only in networks protected in another way.
	PlainHTTP bool `json:"plain_http,omitempty"`

	// Places are the places of the options in the Caddyfile, for errors.
	Places setting.Places `json:"places,omitempty" placeholders:"-"`

	app     *App
	logger  *zap.Logger
	handler lazy[http.Handler]
	server  *caddyhttp.Server // nil outside of a server
	hosts   lazy[*sitehosts.Hosts]
	keySets keysets.Watched
}

// APIIssuer is an issuer of access tokens for the API.
type APIIssuer struct {
	// Issuer is `self`, or the value of the tokens' `iss` claim.
	Issuer string `json:"issuer"`
	// Audience is a value that the tokens' `aud` claim must contain. Required
	// unless the issuer is `self`.
	Audience string `json:"audience,omitempty"`
	// JWKS is the issuer's JWK Set (RFC 7517): a file or an https URL. Default
	// for an issuer that is an https URL: the one of its OpenID configuration.
	JWKS string `json:"jwks,omitempty"`

	access admin.AccessIssuer
	remote keys.KeySetLocation // of fetched keys; zero for keys from a file
}

// CaddyModule returns the Caddy module information.
func (*API) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.gatefold_api", New: func() caddy.Module { return new(API) }}
}

// Provision prepares the handler.
func (h *API) Provision(ctx caddy.Context) error { return h.Places.At(h.provision(ctx)) }

func (h *API) provision(ctx caddy.Context) error {
	h.logger = ctx.Logger()
	if err := setting.Replace(h); err != nil {
		return err
	}
	if len(h.Issuers) == 0 {
		h.Issuers = []*APIIssuer{{Issuer: issuerSelf}}
	}
	seen := make(map[string]bool)
	for i, issuer := range h.Issuers {
		path := setting.Item("issuer", i)
		if seen[issuer.Issuer] {
			return setting.In(path, fmt.Errorf("issuer: %s is given twice", issuer.Issuer))
		}
		seen[issuer.Issuer] = true
		if err := issuer.provision(); err != nil {
			return setting.In(path, fmt.Errorf("issuer: %w", err))
		}
	}
	for _, origin := range h.Origins {
		if err := admin.CheckOrigin(origin); err != nil {
			return setting.In("cors", fmt.Errorf("cors: %q %w", origin, err))
		}
	}
	h.server, _ = ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if h.server != nil && !h.PlainHTTP {
		if err := apimount.CheckServer(h.server); err != nil {
			return err
		}
	}
	h.hosts.make = func() (*sitehosts.Hosts, error) { return sitehosts.Of(h.server, h, nil) }
	app, err := ctx.App("gatefold")
	if err != nil {
		return err
	}
	h.app = app.(*App)
	h.keySets.Sets, h.handler.make = h.app.shared.KeySets, h.open
	h.app.apis.add(h)
	return nil
}

var errNoAudience = errors.New("audience is missing: without it, a token that the issuer made for any other service would open the API")

func (i *APIIssuer) provision() error {
	if i.Issuer == issuerSelf {
		if i.Audience != "" || i.JWKS != "" {
			return errors.New("self has its own keys and audience: leave jwks and audience out")
		}
		return nil
	}
	switch {
	case i.Issuer == "":
		return errors.New("is empty: write self or the value of the tokens' iss claim")
	case strings.HasPrefix(i.Issuer, keys.VendorIssuer("")):
		return fmt.Errorf("%q is a name of Gatefold's own tokens: write self", i.Issuer)
	case i.Audience == "":
		return errNoAudience
	}
	i.access.AccessVerifier = keys.AccessVerifier{Issuer: i.Issuer, Audience: i.Audience}
	location, set, err := issuerKeys(i.Issuer, i.JWKS)
	if i.remote = location; location == (keys.KeySetLocation{}) {
		i.access.Keys = staticKeys{set}
	}
	return err
}

// Try implements admin.AccessIssuer: the keys cannot be refreshed.
func (s staticKeys) Try(_ context.Context, verify func(keys.KeySet) error) error {
	return verify(s.set)
}

// open returns the API. It opens the store unless it is open.
func (h *API) open() (http.Handler, error) {
	options, err := h.app.apiOptions()
	if err != nil {
		return nil, err
	}
	authority := admin.AuthorityOptions{
		Store: options.Store, Keyring: options.Keyring, Now: now, Failed: options.Failed,
		BaseURL: apiBase, LinkBase: h.linkBase, Source: clientAddress,
	}
	for _, issuer := range h.Issuers {
		if issuer.Issuer == issuerSelf {
			authority.Own = true
			continue
		}
		access := issuer.access
		if access.Keys == nil {
			if access.Keys, err = h.keySets.Watch(issuer.remote); err != nil {
				return nil, fmt.Errorf("issuer %s: %w", issuer.Issuer, err)
			}
		}
		authority.Issuers = append(authority.Issuers, access)
	}
	if options.Authority, err = admin.NewAuthority(authority); err != nil {
		return nil, err
	}
	options.Origins = h.Origins
	return admin.New(options)
}

// Cleanup stops refreshing the issuers' keys.
func (h *API) Cleanup() error {
	h.keySets.Release()
	return nil
}

// ServeHTTP handles every request; the next handler is never called.
func (h *API) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	if !h.PlainHTTP && !isSecure(r, r.Header["X-Forwarded-Proto"]) && !apimount.IsLocal(r) {
		return apimount.WriteProblem(w, http.StatusForbidden, "https_required",
			"The management API requires https. Any secret or token in this request was sent in the clear: revoke it.")
	}
	return serveAPI(w, r, &h.handler, h.logger)
}

// apiBase returns the URL of the API as the client of a request names it.
func apiBase(r *http.Request) string {
	scheme := "http"
	if isSecure(r, r.Header["X-Forwarded-Proto"]) {
		scheme = "https"
	}
	return scheme + "://" + plainHost(r.Host) + apimount.Prefix(r)
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
	return apimount.Prefix(r)
}

// serveAPI serves an API that is opened when it is first called.
func serveAPI(w http.ResponseWriter, r *http.Request, handler *lazy[http.Handler], logger *zap.Logger) error {
	api, err := handler.get()
	if err != nil {
		logger.Error("the management API cannot be opened", zap.Error(err))
		w.Header().Set("Retry-After", retryAfterSeconds)
		return apimount.WriteProblem(w, http.StatusServiceUnavailable, "store_unavailable", "The store is unavailable; see the server's log.")
	}
	api.ServeHTTP(w, r)
	return nil
}

// clientAddress returns the client's address, which Caddy takes from the headers of
// trusted proxies.
func clientAddress(r *http.Request) string {
	if address, ok := caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string); ok {
		return address
	}
	return r.RemoteAddr
}

// Accounts serves the operations of the management API that readers call for themselves,
// below `/api/`, by the credential with which they read the site. It is a handler of the
// gate's local routes, so a rule decides who comes this far. A request for another path goes
// to the next handler.
type Accounts struct {
	// Places are the places of the directive in the Caddyfile, for errors.
	Places setting.Places `json:"places,omitempty" placeholders:"-"`

	logger  *zap.Logger
	handler lazy[http.Handler]
}

// CaddyModule returns the Caddy module information.
func (*Accounts) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.gatefold_accounts", New: func() caddy.Module { return new(Accounts) }}
}

// gateKey is the key of the gate in the context in which its local routes are provisioned.
type gateKey struct{}

// Provision prepares the handler. It fails outside of a gate's local routes.
func (h *Accounts) Provision(ctx caddy.Context) error {
	gate, ok := ctx.Value(gateKey{}).(*Handler)
	if !ok {
		return h.Places.At(errors.New("gatefold_accounts must be in the local routes of a gate, which identifies the reader: gatefold { local { gatefold_accounts } }"))
	}
	gate.accounts, h.logger = true, ctx.Logger()
	h.handler.make = func() (http.Handler, error) {
		options, err := gate.app.apiOptions()
		if err != nil {
			return nil, err
		}
		options.Authorize = accounts.Authorize
		return admin.New(options)
	}
	return nil
}

// ServeHTTP serves the operations.
func (h *Accounts) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	if !strings.HasPrefix(r.URL.Path, accounts.Prefix) {
		return next.ServeHTTP(w, r)
	}
	return serveAPI(w, r, &h.handler, h.logger)
}

// accountsOf returns a request for local routes with its reader.
func (g *gateRequest) accountsOf(r *http.Request) *http.Request {
	var endSession func(context.Context) ([]string, error)
	if site := g.site.login(); site != nil {
		ticket := g.ticket
		endSession = func(ctx context.Context) ([]string, error) {
			return login.ClearedCookies(), site.EndSession(ctx, ticket)
		}
	}
	return accounts.With(r, &accounts.Caller{
		Vendor: g.gate.Vendor, Site: g.gate.Site, EndSession: endSession, Reader: g.request.Reader, Origin: siteURL(g),
		Explicit: g.keyBearer || g.token != "" && g.token == bearerToken(g.authorization),
	})
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Accounts)(nil)
	_ caddyhttp.MiddlewareHandler = (*Accounts)(nil)
	_ caddy.Provisioner           = (*API)(nil)
	_ caddy.CleanerUpper          = (*API)(nil)
	_ caddyhttp.MiddlewareHandler = (*API)(nil)
)
