package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/gatefold/gatefold/policy/store/engine"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"

	"github.com/gatefold/gatefold/admin"
	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store"
	"github.com/gatefold/gatefold/policy/store/boltengine"
	"github.com/gatefold/gatefold/policy/store/redisengine"
)

func init() {
	caddy.RegisterModule(&App{})
}

// App is what all gates of a Caddy server share: the store, the secret that
// seals private keys, and the caches. It needs no configuration.
//
// The store and what is in memory survive configuration reloads. A reload that
// fails leaves them as they are.
type App struct {
	// Store is where records are kept. Default: an embedded database in
	// Caddy's data directory.
	Store *StoreConfig `json:"store,omitempty"`

	// Secret seals private keys. It must be a placeholder, `{env.NAME}` or
	// `{file./path}`, so that no secret stands in a configuration; at least 16
	// bytes. Default: a file beside the database that only its owner may
	// read, made at first use.
	Secret string `json:"secret,omitempty"`

	// CacheSize bounds the memory of the caches, in bytes. Default: 64 MiB.
	CacheSize int64 `json:"cache_size,omitempty"`

	// JWKS says how other people's keys are fetched.
	JWKS *KeySetConfig `json:"jwks,omitempty"`

	// StaleFor is for how long a node whose store is away answers from what it has
	// in memory; after that it answers 503. It is for the engine `redis`. Default:
	// 30 seconds.
	StaleFor caddy.Duration `json:"stale_for,omitempty"`

	ctx      caddy.Context
	logger   *zap.Logger
	acquired string // the pool key that Cleanup must release
	shared   *sharedStore
	keySets  keys.Settings
	secret   []byte // nil when it is in the file beside the database
	runtime  lazy[*runtime]
	api      lazy[http.Handler]

	gatesMu sync.Mutex
	gates   []*Handler // that use this app
	apis    []*API     // the same
	entries addressGuards
}

const (
	defaultCacheSize = 64 << 20
	defaultStaleFor  = 30 * time.Second
	sweepInterval    = 10 * time.Minute
)

// runtime is an app at work: what a request needs.
type runtime struct {
	policy   *policy.Policy
	store    *store.Store
	keyring  *store.Keyring
	sealer   *keys.Sealer
	sessions *store.Sessions
	recorder *store.Recorder
}

// CaddyModule returns the Caddy module information.
func (*App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "gatefold", New: func() caddy.Module { return new(App) }}
}

// Provision prepares the app.
func (a *App) Provision(ctx caddy.Context) error {
	a.ctx, a.logger = ctx, ctx.Logger()
	if a.CacheSize == 0 {
		a.CacheSize = defaultCacheSize
	}
	if a.CacheSize < policy.MinCacheBytes {
		return errors.New("cache_size: must be at least 1MiB")
	}
	if err := a.resolveSecret(); err != nil {
		return err
	}
	var err error
	if a.keySets, err = a.JWKS.settings(); err != nil {
		return err
	}
	if err := registerMetrics(ctx.GetMetricsRegistry()); err != nil {
		return fmt.Errorf("metrics: %w", err)
	}
	if err := a.acquireStore(); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	a.runtime.make, a.api.make = a.openRuntime, a.newAPI
	return a.openEarly()
}

// acquireStore takes the store from the pool, or puts it there. It does not open it.
func (a *App) acquireStore() error {
	if a.Store == nil {
		a.Store = &StoreConfig{Engine: engineBolt}
	}
	var identity, file string
	var open func(*sharedStore) (engine.Engine, error)
	switch a.Store.Engine {
	case engineBolt:
		if a.StaleFor != 0 {
			return errors.New("stale_for is for the engine redis: an embedded database is never away")
		}
		var err error
		if file, err = a.Store.databaseFile(); err != nil {
			return err
		}
		identity, open = file, openBolt
	case engineRedis:
		options, err := a.redisOptions()
		if err != nil {
			return err
		}
		staleFor := time.Duration(a.StaleFor)
		identity = a.Store.identity(staleFor, options)
		open = func(s *sharedStore) (engine.Engine, error) { return openRedis(s, options, staleFor) }
	default:
		return fmt.Errorf("unknown engine %q; known are %s and %s", a.Store.Engine, engineBolt, engineRedis)
	}
	pooled, _, err := pool.LoadOrNew(identity, func() (caddy.Destructor, error) { return newShared(file, a.CacheSize, open) })
	if err != nil {
		return err
	}
	a.acquired, a.shared = identity, pooled.(*sharedStore)
	return nil
}

// redisOptions checks what the engine redis needs.
func (a *App) redisOptions() (redisengine.Options, error) {
	if a.secret == nil {
		return redisengine.Options{}, errors.New("with the engine redis a secret is required, the same on all nodes: there is no file beside a database; add `secret {env.NAME}`")
	}
	if a.StaleFor == 0 {
		a.StaleFor = caddy.Duration(defaultStaleFor)
	}
	if a.StaleFor < 0 || a.StaleFor > caddy.Duration(24*time.Hour) {
		return redisengine.Options{}, errors.New("stale_for must be more than zero and at most 24h")
	}
	options, err := a.Store.redis()
	if err != nil {
		return options, err
	}
	return options, options.Check()
}

// openEarly opens a store that is there. Caddy starts apps in no fixed order,
// so what does not fit fails the load here, before the servers of the new
// configuration answer anybody.
//
// A database that another process has open is left to Start: a configuration can
// be validated beside a running server. So is a Redis that is away.
func (a *App) openEarly() error {
	if a.shared.file != "" {
		if _, err := os.Stat(a.shared.file); errors.Is(err, fs.ErrNotExist) {
			return nil // validating makes no database
		}
	}
	_, err := a.runtime.get()
	if errors.Is(err, boltengine.ErrInUse) || errors.Is(err, store.ErrAway) {
		return nil
	}
	return err
}

// resolveSecret reads the secret from where the placeholder says.
func (a *App) resolveSecret() error {
	if a.Secret == "" {
		return nil
	}
	secret, err := readSecret("secret", a.Secret)
	if err != nil {
		return err
	}
	if len(secret) < keys.MinSecretSize {
		return fmt.Errorf("secret: %s holds less than %d bytes; make one with `openssl rand -base64 32`", a.Secret, keys.MinSecretSize)
	}
	a.secret = []byte(secret)
	return nil
}

// defaultDatabase is the database where none is configured.
func defaultDatabase() string { return filepath.Join(caddy.AppDataDir(), "gatefold", "gatefold.db") }

// openRuntime opens what a request needs, at the first request or at Start,
// whichever comes first: Caddy starts apps in no fixed order.
func (a *App) openRuntime() (*runtime, error) {
	if err := a.shared.engine.open(); err != nil {
		return nil, err
	}
	secret := a.secret
	if secret == nil {
		var err error
		if secret, err = secretBeside(a.shared.file); err != nil {
			return nil, err
		}
	}
	sealer, err := keys.NewSealer(secret)
	if err != nil {
		return nil, fmt.Errorf("secret: %w", err)
	}
	keyring := store.NewKeyring(a.shared.store, sealer)
	rt := &runtime{
		policy: a.shared.policy, store: a.shared.store, keyring: keyring, sealer: sealer,
		sessions: store.NewSessions(keyring), recorder: a.shared.recorder,
	}
	if err := rt.keyring.Check(a.ctx); err != nil {
		return nil, err
	}
	return rt, nil
}

// apiOptions are those of every mount of the management API.
func (a *App) apiOptions() (admin.Options, error) {
	rt, err := a.runtime.get()
	if err != nil {
		return admin.Options{}, err
	}
	return admin.Options{
		Store: rt.store, Keyring: rt.keyring, Policy: rt.policy, KeySets: a.shared.keySets, Now: now, FixedRules: a.fixedRules, CheckEntryPoint: a.checkEntryPoint,
		Failed: func(err error) { a.logger.Error("the management API failed", zap.Error(err)) },
	}, nil
}

// newAPI makes the management API as the local operator sees it.
func (a *App) newAPI() (http.Handler, error) {
	options, err := a.apiOptions()
	if err != nil {
		return nil, err
	}
	options.Authorize, options.Operator, options.Explain = authorizeLocal, true, a.explain
	if follower := a.shared.engine.follower(); follower != nil {
		options.StoreState = follower.State
	}
	return admin.New(options)
}

// Start opens the store, so that a database or a secret that does not fit fails
// the load, and begins to remove what has ended.
func (a *App) Start() error {
	if _, err := a.runtime.get(); errors.Is(err, store.ErrAway) {
		// The node answers 503 and goes on when the store is there.
		a.logger.Error("the store is away", zap.Error(err))
	} else if err != nil {
		return err
	}
	if err := a.checkAPIs(); err != nil {
		return err
	}
	a.shared.policy.Resize(a.CacheSize)
	a.shared.keySets.Configure(a.keySets)
	go a.warm(a.ctx, a.watchIssuers())
	go a.sweep(a.ctx)
	return nil
}

// watchIssuers begins to fetch the keys of readers' issuers, before the
// configuration that this one replaces lets go of them, and returns the vendors
// of all gates.
func (a *App) watchIssuers() (vendors []string) {
	a.gatesMu.Lock()
	gates, apis := slices.Clone(a.gates), slices.Clone(a.apis)
	a.gatesMu.Unlock()
	for _, api := range apis {
		if _, err := api.handler.get(); err != nil {
			a.logger.Warn("the management API is not open yet", zap.Error(err))
		}
	}
	for _, gate := range gates {
		if _, err := gate.runtime.get(); err != nil {
			a.logger.Warn("a gate is not ready yet", zap.String("vendor", gate.Vendor), zap.String("site", gate.Site), zap.Error(err))
		}
		if !slices.Contains(vendors, gate.Vendor) {
			vendors = append(vendors, gate.Vendor)
		}
	}
	return vendors
}

// warm begins to fetch the keys of publishers, so that the first reader finds
// them. What cannot be read now is read when it is needed.
func (a *App) warm(ctx context.Context, vendors []string) {
	for _, vendor := range vendors {
		if err := a.shared.policy.RefreshDomains(ctx, vendor); err != nil && ctx.Err() == nil {
			a.logger.Warn("publishers' keys are not fetched yet", zap.String("vendor", vendor), zap.Error(err))
		}
	}
}

// Stop does nothing: requests may still be on their way, see Cleanup.
func (a *App) Stop() error { return nil }

// Cleanup releases the store. It may be called after a Provision that failed,
// and then releases only what was acquired.
func (a *App) Cleanup() error {
	if a.acquired == "" {
		return nil
	}
	file := a.acquired
	a.acquired = ""
	_, err := pool.Delete(file)
	return err
}

// sweep removes what ended long ago, until the configuration is unloaded.
func (a *App) sweep(ctx context.Context) {
	ticker := time.NewTicker(sweepInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		switch removed, err := a.shared.store.Sweep(ctx); {
		case errors.Is(err, context.Canceled), errors.Is(err, engine.ErrClosed):
			return
		case err != nil:
			a.logger.Error("removing ended records failed", zap.Error(err))
		case removed > 0:
			a.logger.Debug("removed ended records", zap.Int("count", removed))
		}
	}
}

// Interface guards
var (
	_ caddy.App          = (*App)(nil)
	_ caddy.Provisioner  = (*App)(nil)
	_ caddy.CleanerUpper = (*App)(nil)
)
