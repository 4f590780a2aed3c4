package caddymodule

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/gatefold/gatefold/admin"
	"github.com/gatefold/gatefold/keys"
)

func init() {
	caddy.RegisterModule(&API{})
}

// API serves the management API to other machines: back offices, scripts,
// products. Whoever calls has an access token (OAuth 2.0), which it got at
// `/oauth/token` for its client id and secret, or from another OpenID issuer.
// Nothing is served where it is not written.
//
// `/docs` is its documentation, `/openapi.json` the same for machines.
type API struct {
	// Issuers are those whose access tokens open the API. Default: `self`,
	// which gives tokens to the clients that `gatefold client create` made.
	Issuers []*APIIssuer `json:"issuers,omitempty"`

	// Origins are the web origins from whose pages scripts may call. Default:
	// none.
	Origins []string `json:"origins,omitempty"`

	// PlainHTTP serves the API over a connection without TLS that does not end
	// on this machine. Secrets and tokens can then be read on the way: it is
	// for networks where something else protects them.
	PlainHTTP bool `json:"plain_http,omitempty"`

	app     *App
	logger  *zap.Logger
	handler lazy[http.Handler]
	keySets watchedKeySets
}

// APIIssuer is somebody whose access tokens open the API.
type APIIssuer struct {
	// Issuer is `self`, or what the tokens' `iss` claim says.
	Issuer string `json:"issuer"`
	// Audience is what the tokens' `aud` claim must name. Required of others.
	Audience string `json:"audience,omitempty"`
	// JWKS is where the issuer's public keys are (RFC 7517): a file, or an https
	// URL. Default for an issuer that is an https URL: where its OpenID
	// configuration says.
	JWKS string `json:"jwks,omitempty"`

	access admin.AccessIssuer
	remote keys.KeySetLocation // where the keys are fetched; zero when they are not
}

// CaddyModule returns the Caddy module information.
func (*API) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.gatefold_api", New: func() caddy.Module { return new(API) }}
}

// Provision prepares the handler.
func (h *API) Provision(ctx caddy.Context) error {
	h.logger = ctx.Logger()
	if len(h.Issuers) == 0 {
		h.Issuers = []*APIIssuer{{Issuer: issuerSelf}}
	}
	seen := make(map[string]bool)
	for _, issuer := range h.Issuers {
		if seen[issuer.Issuer] {
			return fmt.Errorf("issuer: %s is given twice", issuer.Issuer)
		}
		seen[issuer.Issuer] = true
		if err := issuer.provision(); err != nil {
			return fmt.Errorf("issuer: %w", err)
		}
	}
	for _, origin := range h.Origins {
		if err := admin.CheckOrigin(origin); err != nil {
			return fmt.Errorf("cors: %q %w", origin, err)
		}
	}
	app, err := ctx.App("gatefold")
	if err != nil {
		return err
	}
	h.app = app.(*App)
	h.keySets.sets, h.handler.make = h.app.shared.keySets, h.open
	h.app.addAPI(h)
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
		return errors.New("is empty: write self, or what the tokens' iss claim says")
	case strings.HasPrefix(i.Issuer, keys.VendorIssuer("")):
		return fmt.Errorf("%q is a name of Gatefold's own tokens: write self", i.Issuer)
	case i.Audience == "":
		return errNoAudience
	}
	i.access.AccessVerifier = keys.AccessVerifier{Issuer: i.Issuer, Audience: i.Audience}
	known := Identity{Issuer: i.Issuer, JWKS: i.JWKS}
	fetched, err := known.fetched()
	if err != nil || fetched {
		i.remote = known.remote
		return err
	}
	set, err := readKeySet(i.JWKS)
	if err != nil {
		return fmt.Errorf("jwks: %w", err)
	}
	i.access.Keys = fixedKeySet{set}
	return nil
}

// readKeySet reads a file with a JWK Set that has a key at least.
func readKeySet(file string) (keys.KeySet, error) {
	data, err := os.ReadFile(file) //nolint:gosec // the operator's own configuration names it
	if err != nil {
		return keys.KeySet{}, err
	}
	set, dropped, err := keys.ParseJWKS(data)
	if err != nil {
		return keys.KeySet{}, fmt.Errorf("%s: %w", file, err)
	}
	if set.Len() == 0 {
		return keys.KeySet{}, fmt.Errorf("%s: holds no key that can be used: %w", file, errors.Join(dropped...))
	}
	return set, nil
}

// open makes the API, once the store is open.
func (h *API) open() (http.Handler, error) {
	options, err := h.app.apiOptions()
	if err != nil {
		return nil, err
	}
	authority := admin.AuthorityOptions{
		Store: options.Store, Keyring: options.Keyring, Now: now, Failed: options.Failed,
		BaseURL: apiBase, Source: clientAddress,
	}
	for _, issuer := range h.Issuers {
		if issuer.Issuer == issuerSelf {
			authority.Own = true
			continue
		}
		access := issuer.access
		if access.Keys == nil {
			if access.Keys, err = h.keySets.watch(issuer.remote); err != nil {
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

// Cleanup gives up what the handler watched.
func (h *API) Cleanup() error {
	h.keySets.release()
	return nil
}

// ServeHTTP answers every request: nothing behind it is reached.
func (h *API) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	if !h.PlainHTTP && !isSecure(r, r.Header["X-Forwarded-Proto"]) && !isLocal(r) {
		// Whatever came over it was readable on the way, so it is not looked at.
		return answerUnsafe(w)
	}
	api, err := h.handler.get()
	if err != nil {
		h.logger.Error("the management API cannot be opened", zap.Error(err))
		w.Header().Set("Retry-After", retryAfterSeconds)
		return answerAPIProblem(w, http.StatusServiceUnavailable, "store_unavailable", "The server could not do it; its log says why.")
	}
	api.ServeHTTP(w, r)
	return nil
}

// isLocal says whether a connection ends on an address of this machine alone.
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

// apiBase is the URL under which a client reaches the API: what an earlier
// handler took away from the path is part of it.
func apiBase(r *http.Request) string {
	scheme := "http"
	if isSecure(r, r.Header["X-Forwarded-Proto"]) {
		scheme = "https"
	}
	base := scheme + "://" + r.Host
	if original, ok := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request); ok {
		if prefix, ok := strings.CutSuffix(original.URL.Path, r.URL.Path); ok {
			base += prefix
		}
	}
	return base
}

// clientAddress is the address of who calls, as Caddy tells it behind proxies that
// the operator trusts.
func clientAddress(r *http.Request) string {
	if address, ok := caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string); ok {
		return address
	}
	return r.RemoteAddr
}

// Interface guards
var (
	_ caddy.Provisioner           = (*API)(nil)
	_ caddy.CleanerUpper          = (*API)(nil)
	_ caddyhttp.MiddlewareHandler = (*API)(nil)
)
