package caddymodule

import (
	"errors"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/gatefold/gatefold/admin"
	"github.com/gatefold/gatefold/caddymodule/command"
	"github.com/gatefold/gatefold/policy/store"
)

func init() {
	caddy.RegisterModule(&adminEndpoint{})
}

// localMount serves the management API on Caddy's local admin endpoint, under
// /gatefold/, to the operator of the machine; the commands use it. The query
// parameter `vendor` says whose records are meant.
//
// It holds nothing: Caddy replaces its admin endpoint before a new configuration
// is proven good, and does not put the old one back when it is not, so the
// running app is found anew for each request.
type adminEndpoint struct{}

// CaddyModule returns the Caddy module information.
func (*adminEndpoint) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "admin.api.gatefold", New: func() caddy.Module { return new(adminEndpoint) }}
}

// Provision makes our metrics known to the registry of this configuration, before
// anything of it can fail: the endpoint's /metrics reads that registry from now
// on, even where the configuration is refused.
func (*adminEndpoint) Provision(ctx caddy.Context) error {
	return registerMetrics(ctx.GetMetricsRegistry())
}

// Routes implements caddy.AdminRouter.
func (m *adminEndpoint) Routes() []caddy.AdminRoute {
	return []caddy.AdminRoute{{Pattern: command.AdminPrefix + "/", Handler: caddy.AdminHandlerFunc(m.serve)}}
}

func (m *adminEndpoint) serve(w http.ResponseWriter, r *http.Request) error {
	app, err := m.app(r)
	if err != nil {
		return err
	}
	if r.URL.Path == command.AdminPrefix+command.BackupPath {
		return app.serveBackup(w, r)
	}
	api, err := app.api.get()
	if err != nil {
		return caddy.APIError{HTTPStatus: http.StatusServiceUnavailable, Err: err}
	}
	http.StripPrefix(command.AdminPrefix, api).ServeHTTP(w, r)
	return nil
}

// app returns the running app.
func (*adminEndpoint) app(r *http.Request) (*App, error) {
	// Caddy's remote admin endpoint, which is the one with TLS, serves other
	// machines: what only the operator of this one may do is not there.
	if r.TLS != nil {
		return nil, caddy.APIError{HTTPStatus: http.StatusNotFound, Err: errors.New("not found")}
	}
	active, err := caddy.ActiveContext().AppIfConfigured("gatefold")
	if err != nil {
		return nil, caddy.APIError{HTTPStatus: http.StatusServiceUnavailable, Err: errors.New("the running configuration has no gatefold directive: add one and reload")}
	}
	return active.(*App), nil
}

// authorizeLocal admits the local operator, to the vendor that is named.
func authorizeLocal(r *http.Request) (admin.Caller, error) {
	vendor := r.URL.Query().Get("vendor")
	if vendor == "" {
		vendor = defaultVendor
	}
	// The keys that sign access tokens belong to no vendor; nothing else of the
	// system's own records is reached so.
	if vendor == store.SystemPartition && (r.URL.Path == command.KeysPath || strings.HasPrefix(r.URL.Path, command.KeysPath+"/")) {
		return admin.Caller{Vendor: vendor, Name: "local operator", Unlimited: true}, nil
	}
	if !slugPattern.MatchString(vendor) {
		return admin.Caller{}, &admin.RefusedError{
			Status: http.StatusBadRequest, Detail: "The query parameter vendor must be lower-case letters, digits and hyphens, at most 63.",
		}
	}
	return admin.Caller{Vendor: vendor, Name: "local operator", Unlimited: true}, nil
}

// Interface guards
var (
	_ caddy.AdminRouter = (*adminEndpoint)(nil)
	_ caddy.Provisioner = (*adminEndpoint)(nil)
)
