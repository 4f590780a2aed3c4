package caddymodule

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

const keysDirective = "gatefold_keys"

func init() {
	caddy.RegisterModule(&KeysHandler{})
	httpcaddyfile.RegisterHandlerDirective(keysDirective, parseKeysDirective)
	// Before everything that asks who is there: keys are public.
	httpcaddyfile.RegisterDirectiveOrder(keysDirective, httpcaddyfile.Before, "basic_auth")
}

// KeysHandler serves the public keys that verify what a vendor's own keys sign,
// as a JWK Set (RFC 7517) at `/.well-known/jwks.json`. Every other request goes
// to the next handler.
type KeysHandler struct {
	// Vendor is whose keys are served. Default: `default`.
	Vendor string `json:"vendor,omitempty"`

	app *App
}

const jwksPath = "/.well-known/jwks.json"

// jwksMaxAge is how long the set may be kept, in seconds: after a rotation the
// new key signs at once, so it is short.
const jwksMaxAge = 300

// CaddyModule returns the Caddy module information.
func (*KeysHandler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.gatefold_keys", New: func() caddy.Module { return new(KeysHandler) }}
}

// Provision prepares the handler.
func (h *KeysHandler) Provision(ctx caddy.Context) error {
	if h.Vendor == "" {
		h.Vendor = defaultVendor
	}
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
		return fmt.Errorf("vendor: %q must be lower-case letters, digits and hyphens, at most 63", h.Vendor)
	}
	return nil
}

// ServeHTTP serves the key set.
func (h *KeysHandler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	if r.URL.Path != jwksPath || r.Method != http.MethodGet && r.Method != http.MethodHead {
		return next.ServeHTTP(w, r)
	}
	rt, err := h.app.runtime.get()
	if err != nil {
		return caddyhttp.Error(http.StatusServiceUnavailable, err)
	}
	set, err := rt.keyring.Source(h.Vendor).KeySet(r.Context())
	if err != nil {
		return caddyhttp.Error(http.StatusServiceUnavailable, err)
	}
	document, err := set.MarshalJSON()
	if err != nil {
		return caddyhttp.Error(http.StatusInternalServerError, err)
	}
	sum := sha256.Sum256(document)
	etag := `"` + base64.RawURLEncoding.EncodeToString(sum[:15]) + `"`
	header := w.Header()
	header.Set("Cache-Control", fmt.Sprintf("public, max-age=%d", jwksMaxAge))
	header.Set("ETag", etag)
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Access-Control-Allow-Origin", "*")
	if matchesETag(r.Header.Values("If-None-Match"), etag) {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	header.Set("Content-Type", "application/jwk-set+json")
	header.Set("Content-Length", fmt.Sprint(len(document)))
	w.WriteHeader(http.StatusOK)
	if r.Method == http.MethodHead {
		return nil
	}
	_, err = w.Write(document)
	return err
}

// matchesETag compares weakly, as If-None-Match does (RFC 9110, section 13.1.2).
func matchesETag(values []string, etag string) bool {
	for _, value := range values {
		for tag := range strings.SplitSeq(value, ",") {
			if tag = strings.TrimPrefix(strings.TrimSpace(tag), "W/"); tag == etag || tag == "*" {
				return true
			}
		}
	}
	return false
}

// UnmarshalCaddyfile sets up the handler. Syntax:
//
//	gatefold_keys [<vendor>]
func (h *KeysHandler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume the directive's name
	args := d.RemainingArgs()
	if len(args) > 1 || d.NextBlock(0) {
		return d.Err("gatefold_keys: write `gatefold_keys [<vendor>]`")
	}
	if len(args) == 1 {
		if h.Vendor = args[0]; !slugPattern.MatchString(h.Vendor) {
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
	_ caddyfile.Unmarshaler       = (*KeysHandler)(nil)
)
