package caddymodule

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/net/http/httpguts"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/gatefold/gatefold/caddymodule/openstore"
	"github.com/gatefold/gatefold/caddymodule/pagecache"
	"github.com/gatefold/gatefold/caddymodule/setting"
	"github.com/gatefold/gatefold/policy"
)

func init() {
	caddy.RegisterModule(&CacheHandler{})
}

// pageCaches holds the caches of pages, which survive reloads, by store and settings.
var pageCaches = caddy.NewUsagePool()

// CacheHandler keeps pages in memory, behind the decision of the gate: one stored page
// for all readers who may have it. Only pages of rules with the option `cache` are kept. A
// page is fetched without the reader: without cookies, credentials, the client's address
// and every header that is not in the page's key.
//
// A request that no gate allowed passes through.
type CacheHandler struct {
	// Memory bounds the memory of the stored pages, in bytes. Sites with the same settings
	// share it. Default: 256 MiB.
	Memory setting.Size `json:"memory,omitzero"`

	// MaxSize is the largest body that is stored, in bytes. Default: 4 MiB.
	MaxSize setting.Size `json:"max_size,omitzero"`

	// StaleIfError is how long an expired page is used while the origin fails, unless the
	// origin says otherwise. Default: 1 hour.
	StaleIfError setting.Duration `json:"stale_if_error,omitzero"`

	// IgnoreQuery lists parameters of the query that are not sent to the origin, and by which
	// pages are not distinguished. A `*` at the end of a name matches all that begin with the
	// rest. Default: none.
	IgnoreQuery []string `json:"ignore_query,omitempty"`

	// Headers lists request headers that are sent to the origin, and by which pages are
	// distinguished, such as `Accept-Language`. Default: none.
	Headers []string `json:"headers,omitempty"`

	// CacheStatus adds `Cache-Status` to responses (RFC 9211).
	CacheStatus bool `json:"cache_status,omitempty"`

	// Places are the places of the options in the Caddyfile, for errors.
	Places setting.Places `json:"places,omitempty" placeholders:"-"`

	app    *App
	logger *zap.Logger
	key    string
	cache  *pagecache.Cache
	warned atomic.Bool // that no gate is before the handler

	place atomic.Pointer[string] // see placeOf; nil until the first request
}

const (
	defaultPageMemory   = 256 << 20
	defaultPageSize     = 4 << 20
	defaultStaleIfError = time.Hour
	// maxPageStale bounds the setting stale_if_error.
	maxPageStale = 7 * 24 * time.Hour
	// maxKeyHeaders bounds the headers and the query parameters that the handler names.
	maxKeyHeaders = 16
)

// CaddyModule returns the Caddy module information.
func (*CacheHandler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.gatefold_cache", New: func() caddy.Module { return new(CacheHandler) }}
}

// Provision implements caddy.Provisioner.
func (c *CacheHandler) Provision(ctx caddy.Context) error { return c.Places.At(c.provision(ctx)) }

func (c *CacheHandler) provision(ctx caddy.Context) error {
	c.logger = ctx.Logger()
	if err := setting.Replace(c); err != nil {
		return err
	}
	c.Memory.V = cmp.Or(c.Memory.V, defaultPageMemory)
	c.MaxSize.V = cmp.Or(c.MaxSize.V, defaultPageSize)
	c.StaleIfError.V = cmp.Or(c.StaleIfError.V, defaultStaleIfError)
	for i, name := range c.Headers {
		c.Headers[i] = http.CanonicalHeaderKey(name)
	}
	if err := c.check(); err != nil {
		return err
	}
	app, err := ctx.App("gatefold")
	if err != nil {
		return err
	}
	c.app = app.(*App)
	named, err := json.Marshal(&CacheHandler{
		Memory: c.Memory, MaxSize: c.MaxSize, StaleIfError: c.StaleIfError, IgnoreQuery: c.IgnoreQuery, Headers: c.Headers,
	})
	if err != nil {
		return err
	}
	shared := c.app.shared
	c.key = fmt.Sprintf("%p %s", shared, named)
	pooled, _, err := pageCaches.LoadOrNew(c.key, func() (caddy.Destructor, error) {
		cache, err := pagecache.New(pagecache.Options{
			Memory: c.Memory.V, MaxSize: c.MaxSize.V, StaleIfError: c.StaleIfError.V,
			Headers: c.Headers, IgnoreQuery: c.IgnoreQuery, Now: func() time.Time { return now() }, Purges: shared.Versions,
		})
		return &pooledCache{cache: cache, shared: shared}, err
	})
	if err != nil {
		c.key = ""
		return setting.In("memory", err)
	}
	c.cache = pooled.(*pooledCache).cache
	c.app.caches.add(c)
	c.app.cachesPages.Store(true)
	return nil
}

// pooledCache is a cache in the pool.
type pooledCache struct {
	cache  *pagecache.Cache
	shared *openstore.Shared
}

// Destruct implements caddy.Destructor.
func (p *pooledCache) Destruct() error {
	p.cache.Close()
	return nil
}

// check returns an error for a setting that must not be.
func (c *CacheHandler) check() error {
	switch {
	case c.Memory.V < pagecache.MinMemory:
		return setting.In("memory", errors.New("memory: must be at least 8MiB"))
	case c.MaxSize.V > c.Memory.V/8:
		return setting.In("max_size", errors.New("max_size: must be at most an eighth of memory"))
	case c.StaleIfError.V > maxPageStale:
		return setting.In("stale_if_error", errors.New("stale_if_error: must be at most 168h"))
	case len(c.Headers) > maxKeyHeaders:
		return setting.In("headers", fmt.Errorf("headers: are more than %d", maxKeyHeaders))
	}
	for _, name := range c.Headers {
		if err := checkKeyHeader(name); err != nil {
			return setting.In("headers", fmt.Errorf("headers: %s %w", name, err))
		}
	}
	return nil
}

// checkKeyHeader refuses headers that are of one reader, and those that the cache itself
// sends.
func checkKeyHeader(name string) error {
	switch name {
	case "Cookie", "Authorization", "Proxy-Authorization", "X-Forwarded-For", "X-Real-Ip", "Forwarded", sessionHeader, requestIDHeader:
		return errors.New("is of one reader: a page that depends on it cannot be kept for all")
	case "Accept", "Accept-Encoding":
		return errors.New("distinguishes pages already: leave it out")
	case "Range", "If-Range", "If-None-Match", "If-Modified-Since", "If-Match", "If-Unmodified-Since", "Host", "Connection", "Content-Length", "Transfer-Encoding", "Te", "Upgrade", "Trailer":
		return errors.New("does not select a page")
	}
	if !httpguts.ValidHeaderFieldName(name) {
		return errors.New("is not the name of a header")
	}
	return nil
}

// Cleanup implements caddy.CleanerUpper.
func (c *CacheHandler) Cleanup() error {
	if c.key == "" {
		return nil
	}
	_, err := pageCaches.Delete(c.key)
	return err
}

// ServeHTTP implements caddyhttp.MiddlewareHandler.
func (c *CacheHandler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	vars, _ := r.Context().Value(caddyhttp.VarsCtxKey).(map[string]any)
	offer, _ := vars[pageVar].(*pageOffer)
	if offer == nil || offer.page == nil {
		c.warn(r)
		return next.ServeHTTP(w, r)
	}
	page := offer.page
	offer.page = nil // of a request that a handler repeats, too
	root, _ := vars["root"].(string)
	g := page.g
	page.handler, page.r, page.next = c, r, next
	page.asked = pagecache.Request{
		Target: pagecache.Target{
			Place:  c.placeOn(r),
			Vendor: g.gate.Vendor, Site: g.gate.Site, Secure: g.secure, Host: r.Host, Path: cmp.Or(r.URL.EscapedPath(), "/"), Query: r.URL.RawQuery, Root: root,
			Received: g.original.EscapedPath(), // without the token of a link
		},
		TTL: page.rule.TTL, Caller: page, Stored: page.purgesFollowed(), StatusField: c.CacheStatus,
		Result: &offer.result,
	}
	err := c.cache.Serve(w, r, &page.asked)
	g.gate.metrics.Cached(offer.result.What)
	return err
}

// warn logs once that requests reach the handler for which no gate decided that their pages
// may be kept, and for no other reason than that no gate is before it.
func (c *CacheHandler) warn(r *http.Request) {
	if c.warned.Load() {
		return
	}
	if repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok {
		if _, decided := repl.Get(placeholders + "decision"); decided {
			return
		}
	}
	if !c.warned.Swap(true) {
		c.logger.Warn("a request reached gatefold_cache that passed no gatefold before it: such requests are neither answered from memory nor stored",
			zap.String("remedy", "put `gatefold { … }` before `gatefold_cache` in the same site"))
	}
}

func serverOf(ctx context.Context) *caddyhttp.Server {
	server, _ := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	return server
}

// anonymousFetch makes requests without a reader to the handlers after the cache.
type anonymousFetch struct {
	server     *caddyhttp.Server
	forwarding *policy.Forwarding
	next       caddyhttp.Handler
}

// fetchAddress is the address of the client of a fetch, which is no reader's: it is for
// documentation (RFC 5737).
const fetchAddress = "192.0.2.1:0"

// serve makes the request of a fetch. Its context, placeholders and variables are its own,
// so that no handler can read of them what it was made for.
func (f *anonymousFetch) serve(ctx context.Context, asked pagecache.Anonymous, w http.ResponseWriter) error {
	address, err := asked.Target.URL()
	if err != nil {
		return caddyhttp.Error(http.StatusBadRequest, err)
	}
	r := &http.Request{
		Method: http.MethodGet, URL: address, Host: asked.Target.Host, RequestURI: address.RequestURI(),
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: asked.Header, Body: http.NoBody, RemoteAddr: fetchAddress,
	}
	if asked.Target.Secure {
		r.TLS = new(tls.ConnectionState)
	}
	repl := caddy.NewReplacer()
	r = caddyhttp.PrepareRequest(r.WithContext(ctx), repl, w, f.server)
	repl.Map(func(key string) (any, bool) {
		if key == forwardingKey {
			return f.forwarding, true
		}
		return nil, false
	})
	if asked.Target.Root != "" {
		caddyhttp.SetVar(r.Context(), "root", asked.Target.Root)
	}
	err = f.next.ServeHTTP(w, r)
	var refused caddyhttp.HandlerError
	if errors.As(err, &refused) && refused.StatusCode >= 400 && refused.StatusCode < 500 {
		// It is an answer, that there is no such page, and not a failure of the origin. The
		// reader's own request goes to the site's error routes.
		clear(w.Header())
		w.WriteHeader(refused.StatusCode)
	}
	return err
}

// Interface guards
var (
	_ caddy.Provisioner           = (*CacheHandler)(nil)
	_ caddy.CleanerUpper          = (*CacheHandler)(nil)
	_ caddyhttp.MiddlewareHandler = (*CacheHandler)(nil)
)
