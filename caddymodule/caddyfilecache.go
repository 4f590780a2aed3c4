package caddymodule

import (
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/gatefold/gatefold/caddymodule/block"
	"github.com/gatefold/gatefold/caddymodule/pagecache"
	"github.com/gatefold/gatefold/caddymodule/setting"
)

const cacheDirective = "gatefold_cache"

func init() {
	httpcaddyfile.RegisterHandlerDirective(cacheDirective, parseCacheDirective)
	// Directly after the gate: what compresses or rewrites a response is behind it, so that
	// this is done once for a stored page.
	httpcaddyfile.RegisterDirectiveOrder(cacheDirective, httpcaddyfile.Before, "request_header")
}

func parseCacheDirective(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	handler := new(CacheHandler)
	return handler, handler.UnmarshalCaddyfile(h.Dispenser)
}

// UnmarshalCaddyfile sets up the handler. Syntax:
//
//	gatefold_cache {
//		memory         <size>
//		max_size       <size>
//		stale_if_error <duration>
//		ignore_query   <name>…
//		headers        <name>…
//		cache_status
//	}
func (c *CacheHandler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	c.Places = setting.PlacesOf(d)
	d.Next() // consume the directive's name
	return block.Parse(d, cacheDirective,
		sizeOption("memory", &c.Memory, pagecache.MinMemory, "256MiB"),
		sizeOption("max_size", &c.MaxSize, 1, "4MiB"),
		block.Duration("stale_if_error", &c.StaleIfError, time.Second, maxPageStale),
		block.List("ignore_query", &c.IgnoreQuery, nil),
		block.List("headers", &c.Headers, func(name string) error { return checkKeyHeader(http.CanonicalHeaderKey(name)) }),
		block.Flag("cache_status", &c.CacheStatus),
	)
}

// sizeOption is an option with one argument, a size with its unit.
func sizeOption(name string, to *setting.Size, least int64, example string) block.Option {
	return block.Value(name, func(text string) error {
		if strings.Trim(text, "0123456789") == "" {
			return errors.New("has no unit: write " + text + "MiB, or " + text + "B for bytes")
		}
		if err := to.Set(text); err != nil || !to.Deferred() && to.V < least {
			return errors.New("must be a size, such as " + example)
		}
		return nil
	})
}
