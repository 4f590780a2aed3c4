package caddymodule

import (
	"cmp"
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/gatefold/gatefold/admin"
	"github.com/gatefold/gatefold/caddymodule/command"
	"github.com/gatefold/gatefold/caddymodule/siteaudit"
	"github.com/gatefold/gatefold/policy/store"
)

func init() {
	caddy.RegisterModule(&adminEndpoint{})
}

// adminEndpoint serves the management API under /gatefold/ on Caddy's local admin
// endpoint, for the operator of the machine and the commands. The query parameter
// `vendor` selects the vendor.
//
// Caddy replaces its admin endpoint before it knows that a new configuration works, and
// does not restore the old one when it fails. Each request looks up the running app.
type adminEndpoint struct {
	// ctx is the context of the configuration that the endpoint was made for.
	ctx caddy.Context
}

// CaddyModule returns the Caddy module information.
func (*adminEndpoint) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "admin.api.gatefold", New: func() caddy.Module { return new(adminEndpoint) }}
}

// Provision registers the metrics with this configuration's registry: the admin
// endpoint's /metrics uses it from now on, even if the configuration fails to load.
func (m *adminEndpoint) Provision(ctx caddy.Context) error {
	m.ctx = ctx
	return registerMetrics(ctx.GetMetricsRegistry())
}

// Routes implements caddy.AdminRouter.
func (m *adminEndpoint) Routes() []caddy.AdminRoute {
	return []caddy.AdminRoute{{Pattern: command.AdminPrefix + "/", Handler: caddy.AdminHandlerFunc(m.serve)}}
}

func (m *adminEndpoint) serve(w http.ResponseWriter, r *http.Request) error {
	app, err := m.app(r)
	if errors.Is(err, errLoading) {
		w.Header().Set("Retry-After", "1")
		w.Header().Set(command.LoadingHeader, "true")
		return caddy.APIError{HTTPStatus: http.StatusServiceUnavailable, Err: err}
	}
	if err != nil {
		return err
	}
	if r.URL.Path == command.AdminPrefix+command.BackupPath {
		return app.serveBackup(w, r)
	}
	if r.URL.Path == command.AdminPrefix+command.CompactPath {
		return app.serveCompact(w, r)
	}
	if r.URL.Path == command.AdminPrefix+command.SitesPath {
		return app.serveSites(w)
	}
	api, err := app.api.get()
	if err != nil && r.URL.Path == command.AdminPrefix+command.HealthPath {
		return app.serveFailing(w, err)
	}
	if err != nil {
		w.Header().Set("Retry-After", retryAfterSeconds)
		return caddy.APIError{HTTPStatus: http.StatusServiceUnavailable, Err: err}
	}
	http.StripPrefix(command.AdminPrefix, api).ServeHTTP(w, r)
	return nil
}

// serveFailing responds with the health of a node whose store cannot be used, as when its
// Redis was away from the start.
func (a *App) serveFailing(w http.ResponseWriter, cause error) error {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Retry-After", retryAfterSeconds)
	w.WriteHeader(http.StatusServiceUnavailable)
	return json.NewEncoder(w).Encode(admin.FailingHealth(cause, a.shared.Node.Look()))
}

// serveSites responds with the ways through the routes of the configuration.
func (a *App) serveSites(w http.ResponseWriter) error {
	report, err := a.audit()
	switch {
	case err != nil:
		return caddy.APIError{HTTPStatus: http.StatusInternalServerError, Err: err}
	case report == nil:
		report = &siteaudit.Report{Sites: []*siteaudit.Site{}}
	}
	w.Header().Set("Content-Type", "application/json")
	return json.NewEncoder(w).Encode(report)
}

// app returns the running app.
func (m *adminEndpoint) app(r *http.Request) (*App, error) {
	// Only Caddy's remote admin endpoint has TLS, and only the operator of this
	// machine may use the API without an access token.
	if r.TLS != nil {
		return nil, caddy.APIError{HTTPStatus: http.StatusNotFound, Err: errors.New("not found")}
	}
	running := caddy.ActiveContext()
	active, err := running.AppIfConfigured("gatefold")
	if err != nil && m.loading(running) {
		return nil, errLoading
	}
	if err != nil {
		return nil, caddy.APIError{HTTPStatus: http.StatusServiceUnavailable, Err: errors.New("the running configuration has no gatefold directive: add one and reload")}
	}
	return active.(*App), nil
}

var errLoading = errors.New("a configuration is being made active: try again in a second")

// loading reports whether the endpoint's own configuration is being made active: the
// endpoint answers from before its apps are provisioned until long after they started.
func (m *adminEndpoint) loading(running caddy.Context) bool {
	return m.ctx.Context != nil && m.ctx.Err() == nil && m.ctx.Context != running.Context
}

// authorizeLocal authorizes the local operator for the vendor of the query.
func authorizeLocal(r *http.Request) (admin.Caller, error) {
	vendor := cmp.Or(r.URL.Query().Get("vendor"), defaultVendor)
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
