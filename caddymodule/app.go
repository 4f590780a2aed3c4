package caddymodule

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/gatefold/gatefold/admin"
	"github.com/gatefold/gatefold/caddymodule/entrypoint"
	"github.com/gatefold/gatefold/caddymodule/keysets"
	"github.com/gatefold/gatefold/caddymodule/metrics"
	"github.com/gatefold/gatefold/caddymodule/openstore"
	"github.com/gatefold/gatefold/caddymodule/setting"
	"github.com/gatefold/gatefold/caddymodule/siteaudit"
	"github.com/gatefold/gatefold/caddymodule/webhookconfig"
	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store"
	"github.com/gatefold/gatefold/policy/store/boltengine"
	"github.com/gatefold/gatefold/policy/webhook"
)

func init() {
	caddy.RegisterModule(&App{})
}

// now is the clock of all decisions, and since the time elapsed by that clock, at half
// the cost of now. Tests replace both.
var (
	now   = time.Now
	since = time.Since
)

// App holds what the gates of a Caddy server share: the store, the secret that
// seals private keys, and the caches. It needs no configuration.
//
// The store and the caches survive configuration reloads, also those that fail.
type App struct {
	// Store configures the store of records. Default: an embedded database in
	// Caddy's data directory.
	Store *openstore.Config `json:"store,omitempty"`

	// Secret seals private keys, at least 16 bytes. It must be a placeholder,
	// `{env.NAME}` or `{file./path}`: the configuration does not hold the secret.
	// Default: a file beside the database, created with mode 0600 at first use.
	Secret string `json:"secret,omitempty" placeholders:"-"`

	// CacheSize bounds the memory of the caches, in bytes. Default: 64 MiB.
	CacheSize setting.Size `json:"cache_size,omitzero"`

	// JWKS configures how the keys of publishers and issuers are fetched.
	JWKS *keysets.Config `json:"jwks,omitempty"`

	// Webhooks configures where events may be sent.
	Webhooks *webhookconfig.Config `json:"webhooks,omitempty"`

	// StaleFor is how long a node decides from memory while its store is
	// unreachable, at most 24 hours; after that it responds 503. Only for the
	// engine `redis`. Default: 30 seconds.
	StaleFor setting.Duration `json:"stale_for,omitzero"`

	// Backup configures backups that the server makes. Only for the engine `bolt`. Default:
	// none.
	Backup *openstore.BackupConfig `json:"backup,omitempty"`

	// StreamGrace is how long tunnels, event streams and downloads may go on when the
	// process ends, before they are cut: 1 second to 5 minutes. Default: 10 seconds.
	StreamGrace setting.Duration `json:"stream_grace,omitzero"`

	// Places are the places of the options in the Caddyfile, for errors.
	Places setting.Places `json:"places,omitempty" placeholders:"-"`

	ctx      caddy.Context
	logger   *zap.Logger
	acquired bool // whether Cleanup must release the store
	isNew    bool // whether the store was not in the pool
	shared   *openstore.Shared
	keySets  keys.Settings
	webhooks webhook.Settings
	secret   []byte // nil when it is in the file beside the database
	runtime  lazy[*openstore.Opened]
	api      lazy[http.Handler]

	gates registry[*Handler]
	apis  registry[*API]

	caches registry[*CacheHandler]

	entryPoints entrypoint.Guards

	cachesPages atomic.Bool // whether caches has any
}

const defaultCacheSize = 64 << 20

// streamsOpen is the number of open streams.
var streamsOpen = prometheus.NewGaugeFunc(prometheus.GaugeOpts{
	Namespace: metrics.Namespace, Name: "streams_open",
	Help: "Open tunnels, event streams and downloads, which are cut when access is revoked.",
}, func() float64 { return float64(openStreams.count()) })

// registerMetrics registers the metrics with a configuration's registry. It may be
// called several times for a registry.
func registerMetrics(registry prometheus.Registerer) error {
	return metrics.Register(registry, append(openstore.Collectors(addPages), streamsOpen)...)
}

// resolver resolves the host names of entry points and webhooks; tests replace it.
var resolver = new(net.Resolver)

// storeOptions are the options of every store; tests change them.
var storeOptions = openstore.Options{StalePages: stalePages, CrawlerLists: crawlerListStates}

// CaddyModule returns the Caddy module information.
func (*App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "gatefold", New: func() caddy.Module { return new(App) }}
}

// Provision prepares the app. It opens a store that exists, see openEarly.
func (a *App) Provision(ctx caddy.Context) error { return a.Places.At(a.provision(ctx)) }

func (a *App) provision(ctx caddy.Context) error {
	a.ctx, a.logger = ctx, ctx.Logger()
	a.entryPoints.Resolver = resolver
	if err := setting.Replace(a); err != nil {
		return err
	}
	a.CacheSize.V = cmp.Or(a.CacheSize.V, defaultCacheSize)
	if a.CacheSize.V < policy.MinCacheBytes {
		return setting.In("cache_size", errors.New("cache_size: must be at least 1MiB"))
	}
	a.StreamGrace.V = cmp.Or(a.StreamGrace.V, defaultStreamGrace)
	if a.StreamGrace.V < minStreamGrace || a.StreamGrace.V > maxStreamGrace {
		return setting.In("stream_grace", errors.New("stream_grace: must be from 1s to 5m"))
	}
	if err := a.resolveSecret(); err != nil {
		return setting.In("secret", err)
	}
	var err error
	if a.keySets, err = a.JWKS.Settings(); err != nil {
		return setting.In("jwks", err)
	}
	if a.webhooks, err = a.Webhooks.Settings(); err != nil {
		return setting.In("webhooks", err)
	}
	if err := registerMetrics(ctx.GetMetricsRegistry()); err != nil {
		return fmt.Errorf("metrics: %w", err)
	}
	if err := a.acquireStore(); err != nil {
		return setting.In("store", fmt.Errorf("store: %w", err))
	}
	if a.Backup != nil {
		if err := a.Backup.Provision(a.Store.Engine); err != nil {
			return setting.In("backup", err)
		}
	}
	a.runtime.make, a.api.make = a.openRuntime, a.newAPI
	return a.openEarly()
}

// acquireStore takes the store from the pool, or adds it unopened.
func (a *App) acquireStore() (err error) {
	if a.Store == nil {
		a.Store = &openstore.Config{Engine: openstore.Bolt}
	}
	options := storeOptions
	options.Now, options.Secret, options.StaleFor, options.CacheBytes = now, a.secret, a.StaleFor.V, a.CacheSize.V
	a.shared, a.isNew, err = a.Store.Acquire(options)
	a.acquired = err == nil
	return err
}

// openEarly opens a store that exists. Caddy starts apps in no fixed order, so a
// store that cannot be used must fail the load here, before the servers of the new
// configuration respond.
//
// It leaves a database that another process has open to Start, so that `caddy
// validate` works beside a running server, and an unreachable Redis too.
func (a *App) openEarly() error {
	if a.shared.Absent() {
		return nil // `caddy validate` must not create the database
	}
	_, err := a.runtime.get()
	if errors.Is(err, boltengine.ErrInUse) && a.secret == nil {
		return setting.In("store", a.shared.CheckSecretFile())
	}
	if a.shared.Awaited(err) {
		return setting.In("store", a.neverReached(err))
	}
	if errors.Is(err, boltengine.ErrInUse) {
		return nil
	}
	return setting.In("store", err)
}

// neverReached returns the error of a configuration with a new store that does not answer,
// while another configuration is running: a mistake in an address would make a working site
// answer 503. Without another one the gate starts, and recovers by itself.
func (a *App) neverReached(cause error) error {
	if !a.isNew || a.Store.ColdStart || caddy.ActiveContext().Context == nil {
		return nil
	}
	return fmt.Errorf("the Redis was never reached, and the running configuration is kept (%w): correct the address, or write `cold_start` in `store redis` to load it nevertheless", cause)
}

// resolveSecret replaces the placeholder.
func (a *App) resolveSecret() error {
	if a.Secret == "" {
		return nil
	}
	secret, err := setting.Secret("secret", a.Secret)
	if err != nil {
		return err
	}
	if len(secret) < keys.MinSecretSize {
		return fmt.Errorf("secret: %s is shorter than %d bytes: create one with `openssl rand -base64 32`", a.Secret, keys.MinSecretSize)
	}
	a.secret = []byte(secret)
	return nil
}

// openRuntime opens the store, at the first request or at Start, whichever comes
// first: Caddy starts apps in no fixed order.
func (a *App) openRuntime() (*openstore.Opened, error) { return a.shared.Open(a.ctx, a.secret) }

// apiOptions returns the options that the API directive and the admin endpoint have
// in common.
func (a *App) apiOptions() (admin.Options, error) {
	rt, err := a.runtime.get()
	if err != nil {
		return admin.Options{}, err
	}
	return admin.Options{
		Store: rt.Store, Keyring: rt.Keyring, Policy: rt.Policy, KeySets: a.shared.KeySets, Now: now,
		Explain: a.explain, FixedRules: a.fixedRules, ReaderIssuers: a.readerIssuers, CheckEntryPoint: a.entryPoints.Check,
		CheckWebhook: func(ctx context.Context, address *url.URL) error {
			return webhookconfig.Check(ctx, &a.webhooks, resolver, address)
		}, TestWebhook: a.shared.Webhooks.Test,
		Failed: a.apiFailed, HookReceived: a.hookReceived, Conditions: a.shared.Node.Look, StoreFile: a.shared.FileState, Pages: pageStates{a},
	}, nil
}

// hookReceived counts and logs what became of an event of a billing system. What strangers
// send to unknown paths is counted, and logged for debugging only.
func (a *App) hookReceived(r admin.HookReport) {
	metrics.HookEvents.WithLabelValues(r.Vendor, r.Hook, r.Result).Inc()
	level := zap.InfoLevel
	switch {
	case r.Hook == "":
		level = zap.DebugLevel
	case r.Failed():
		level = zap.WarnLevel
	}
	a.logger.Log(level, "event of a billing system", zap.String("vendor", r.Vendor), zap.String("hook", r.Hook), zap.String("result", r.Result),
		zap.String("event", r.Event), zap.String("type", r.Type), zap.String("action", r.Do), zap.String("contract", r.Contract))
}

// apiFailed logs why a call of the management API failed. A client that disconnects is
// no fault of the server.
func (a *App) apiFailed(err error) {
	level := zap.ErrorLevel
	if errors.Is(err, context.Canceled) {
		level = zap.DebugLevel
	}
	a.logger.Log(level, "the management API failed", zap.Error(err))
}

// newAPI returns the management API of the admin endpoint.
func (a *App) newAPI() (http.Handler, error) {
	options, err := a.apiOptions()
	if err != nil {
		return nil, err
	}
	options.Authorize, options.Operator = authorizeLocal, true
	if follower := a.shared.Engine.Follower(); follower != nil {
		options.StoreState, options.AcceptLoss = follower.State, follower.AcceptLoss
	}
	return admin.New(options)
}

// EntryPoints implements entrypoint.App.
func (a *App) EntryPoints() *entrypoint.Guards { return &a.entryPoints }

// Start opens the store and starts the background jobs. A database or a secret that
// cannot be used fails the load.
func (a *App) Start() error {
	rt, err := a.runtime.get()
	if a.shared.Awaited(err) {
		a.logger.Error("the store is unreachable", zap.Error(err))
	} else if err != nil {
		return a.Places.At(setting.In("store", err))
	}
	a.shared.Policy.Resize(a.CacheSize.V)
	a.shared.KeySets.Configure(a.keySets)
	if !a.configureWebhooks() {
		go a.awaitWebhooks()
	}
	go a.warm(a.ctx, a.openModules())
	go a.shared.Sweep(a.ctx, a.logger)
	if rt != nil {
		rt.MakeBackups(a.ctx, a.Backup)
	}
	a.warnOfSites()
	return nil
}

// audit returns the ways through the routes of the configuration. It returns nil
// without an http app.
func (a *App) audit() (*siteaudit.Report, error) {
	app, err := a.ctx.AppIfConfigured("http")
	if err != nil {
		return nil, nil //nolint:nilerr,nilnil // nothing is served
	}
	report, err := siteaudit.Live(app.(*caddyhttp.App))
	if err != nil {
		return nil, err
	}
	report.FindPages(func(gate *siteaudit.Gate, option, address string) string {
		if reason, known := judgeConfigured(a.ctx, gate, option, address); known {
			return reason
		}
		request := visitOfPage(option, address)
		request.Site = gate.Site
		explanation, err := a.explain(a.ctx, gate.Vendor, request)
		return denialReason(option, explanation, err)
	})
	return report, nil
}

// warnOfSites logs the mistakes in the routes of the configuration, once for each load.
func (a *App) warnOfSites() {
	report, err := a.audit()
	if err != nil {
		a.logger.Warn("the routes of the configuration cannot be checked", zap.Error(err))
	}
	if report == nil {
		return
	}
	for _, finding := range report.Findings {
		a.logger.Warn("a mistake in the routes of a site", zap.String("site", finding.Site), zap.String("path", finding.Path),
			zap.String("problem", finding.Problem), zap.String("remedy", finding.Remedy))
	}
}

// openModules opens the APIs and the gates, so that they fetch their issuers' keys
// before the replaced configuration releases them. It returns the gates' vendors.
func (a *App) openModules() (vendors []string) {
	for _, api := range a.apis.list() {
		if _, err := api.handler.get(); err != nil {
			a.logger.Warn("the management API is not open yet", zap.Error(err))
		}
	}
	for _, gate := range a.gates.list() {
		if _, err := gate.runtime.get(); err != nil {
			a.logger.Warn("a gate is not ready yet", zap.String("vendor", gate.Vendor), zap.String("site", gate.Site), zap.Error(err))
		}
		if !slices.Contains(vendors, gate.Vendor) {
			vendors = append(vendors, gate.Vendor)
		}
	}
	return vendors
}

// warm fetches the keys of publishers ahead of the first request. After an error
// they are fetched on demand.
func (a *App) warm(ctx context.Context, vendors []string) {
	for _, vendor := range vendors {
		if err := a.shared.Policy.RefreshDomains(ctx, vendor); err != nil && ctx.Err() == nil {
			a.logger.Warn("publishers' keys are not fetched yet", zap.String("vendor", vendor), zap.Error(err))
		}
	}
}

// Stop does nothing: requests may still be in flight. See Cleanup.
func (a *App) Stop() error { return nil }

// Cleanup releases the store. After a Provision that failed it releases only what
// was acquired.
func (a *App) Cleanup() error {
	if !a.acquired {
		return nil
	}
	a.acquired = false
	return a.shared.Release()
}

// configureWebhooks delivers events by the settings of this configuration from now on. It
// returns false while the store does not answer.
func (a *App) configureWebhooks() bool {
	rt, err := a.runtime.get()
	if err != nil {
		return false
	}
	settings := a.webhooks
	settings.Webhooks = store.NewWebhooks(rt.Keyring)
	a.shared.Webhooks.Configure(settings)
	return true
}

// awaitWebhooks calls configureWebhooks until the store answers.
func (a *App) awaitWebhooks() {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-a.ctx.Done():
			return
		case <-ticker.C:
		}
		if a.configureWebhooks() {
			return
		}
	}
}

// Interface guards
var (
	_ caddy.App          = (*App)(nil)
	_ caddy.Provisioner  = (*App)(nil)
	_ caddy.CleanerUpper = (*App)(nil)
)
