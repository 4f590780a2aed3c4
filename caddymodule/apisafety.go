package caddymodule

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/gatefold/gatefold/keys"
)

// fixedKeySet is a set of keys that no question makes newer.
type fixedKeySet struct{ set keys.KeySet }

// Try implements admin.AccessIssuer.
func (f fixedKeySet) Try(_ context.Context, verify func(keys.KeySet) error) error {
	return verify(f.set)
}

func answerUnsafe(w http.ResponseWriter) error {
	return answerAPIProblem(w, http.StatusForbidden, "https_required",
		"The management API is served over https alone: what came over this connection could be read on the way. Take the secret or token that you sent for known to others.")
}

func answerAPIProblem(w http.ResponseWriter, status int, code, detail string) error {
	header := w.Header()
	header.Set("Cache-Control", "no-store")
	header.Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	return json.NewEncoder(w).Encode(map[string]any{
		"type": "about:blank", "title": http.StatusText(status), "status": status, "code": code, "detail": detail,
	})
}

// addAPI notes an API that uses this app.
func (a *App) addAPI(h *API) {
	a.gatesMu.Lock()
	defer a.gatesMu.Unlock()
	a.apis = append(a.apis, h)
}

// checkAPIs refuses a configuration that would serve the API to other machines
// without TLS, unless it says so, or names proxies before it that may speak TLS.
func (a *App) checkAPIs() error {
	a.gatesMu.Lock()
	defer a.gatesMu.Unlock()
	if len(a.apis) == 0 {
		return nil
	}
	app, err := a.ctx.AppIfConfigured("http")
	if err != nil {
		return nil //nolint:nilerr // an API that no server has is served to nobody
	}
	for _, server := range app.(*caddyhttp.App).Servers {
		for _, api := range a.apis {
			if !api.PlainHTTP && servesAPI(server.Routes, api) {
				if err := checkListeners(server); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func checkListeners(server *caddyhttp.Server) error {
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
		return fmt.Errorf("gatefold_api on %s: secrets and access tokens would travel without TLS: serve it over https, or `bind 127.0.0.1`; `plain_http` says that something else protects them", listen)
	}
	return nil
}

// servesAPI says whether an API stands among routes.
func servesAPI(routes caddyhttp.RouteList, api *API) bool {
	for _, route := range routes {
		for _, handler := range route.Handlers {
			switch handler := handler.(type) {
			case *API:
				if handler == api {
					return true
				}
			case *caddyhttp.Subroute:
				if servesAPI(handler.Routes, api) {
					return true
				}
			}
		}
	}
	return false
}
