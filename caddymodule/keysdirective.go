package caddymodule

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/gatefold/gatefold/admin"
	"github.com/gatefold/gatefold/caddymodule/setting"
)

const keysDirective = "gatefold_keys"

func init() {
	caddy.RegisterModule(&KeysHandler{})
	httpcaddyfile.RegisterHandlerDirective(keysDirective, parseKeysDirective)
	// Before authentication: the keys are public.
	httpcaddyfile.RegisterDirectiveOrder(keysDirective, httpcaddyfile.Before, "basic_auth")
}

// KeysHandler serves a vendor's public keys as a JWK Set (RFC 7517) at
// `/.well-known/jwks.json`. Every other request goes to the next handler.
type KeysHandler struct {
	// Vendor is the vendor whose keys are served. Default: `default`.
	Vendor string `json:"vendor,omitempty"`

	// Places are the places of the options in the Caddyfile, for errors.
	Places setting.Places `json:"places,omitempty" placeholders:"-"`

	app *App
}

const jwksPath = "/.well-known/jwks.json"

// jwksCacheControl is short: after a rotation the new key signs at once.
const jwksCacheControl = "public, max-age=300"

// CaddyModule returns the Caddy module information.
func (*KeysHandler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.gatefold_keys", New: func() caddy.Module { return new(KeysHandler) }}
}

// Provision prepares the handler.
func (h *KeysHandler) Provision(ctx caddy.Context) error {
	if err := setting.Replace(h); err != nil {
		return h.Places.At(err)
	}
	h.Vendor = cmp.Or(h.Vendor, defaultVendor)
	app, err := ctx.App("gatefold")
	if err != nil {
		return err
	}
	h.app = app.(*App)
	return nil
}

// Validate checks the handler's configuration.
func (h *KeysHandler) Validate() error {
	if !slugPattern.MatchString(h.Vendor) {
		return h.Places.At(fmt.Errorf("vendor: %q must be lower-case letters, digits and hyphens, at most 63", h.Vendor))
	}
	return nil
}

// ServeHTTP serves the key set. It responds 503 while the store is unavailable.
func (h *KeysHandler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	if r.URL.Path != jwksPath || r.Method != http.MethodGet && r.Method != http.MethodHead {
		return next.ServeHTTP(w, r)
	}
	admin.LimitBody(w, r, admin.BodyTimeout)
	rt, err := h.app.runtime.get()
	if err != nil {
		return keysUnavailable(w, err)
	}
	set, err := rt.Keyring.Source(h.Vendor).KeySet(r.Context())
	if err != nil {
		return keysUnavailable(w, err)
	}
	document, err := set.MarshalJSON()
	if err != nil {
		return caddyhttp.Error(http.StatusInternalServerError, err)
	}
	sum := sha256.Sum256(document)
	header := w.Header()
	header.Set("Cache-Control", jwksCacheControl)
	header.Set("ETag", `"`+base64.RawURLEncoding.EncodeToString(sum[:15])+`"`)
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Access-Control-Allow-Origin", "*")
	header.Set("Content-Type", "application/jwk-set+json")
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(document))
	return nil
}

// keysUnavailable returns the error of a key set that cannot be read now.
func keysUnavailable(w http.ResponseWriter, err error) error {
	w.Header().Set("Retry-After", retryAfterSeconds)
	return caddyhttp.Error(http.StatusServiceUnavailable, err)
}

// UnmarshalCaddyfile sets up the handler. Syntax:
//
//	gatefold_keys [<vendor>]
func (h *KeysHandler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	h.Places = setting.PlacesOf(d)
	d.Next() // consume the directive's name
	args := d.RemainingArgs()
	if len(args) > 1 || d.NextBlock(0) {
		return d.Err("gatefold_keys: write `gatefold_keys [<vendor>]`")
	}
	if len(args) == 1 {
		if h.Vendor = args[0]; !setting.Has(h.Vendor) && !slugPattern.MatchString(h.Vendor) {
			return d.Errf("gatefold_keys: %q must be lower-case letters, digits and hyphens", h.Vendor)
		}
	}
	return nil
}

func parseKeysDirective(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	handler := new(KeysHandler)
	return handler, handler.UnmarshalCaddyfile(h.Dispenser)
}

// Interface guards
var (
	_ caddy.Provisioner           = (*KeysHandler)(nil)
	_ caddy.Validator             = (*KeysHandler)(nil)
	_ caddyhttp.MiddlewareHandler = (*KeysHandler)(nil)
)
