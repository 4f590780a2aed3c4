package caddymodule

import (
	"fmt"
	"maps"
	"net/http"
	"slices"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/gatefold/gatefold/caddymodule/siteaudit"
)

// placeOf returns what distinguishes the pages of a handler from those of the other handlers
// gatefold_cache of its site: which of how many it is in the server's route. It is empty for
// the only one, and the same after a reload that does not change their number.
func placeOf(server *caddyhttp.Server, handler *CacheHandler) string {
	if server == nil {
		return ""
	}
	for _, list := range []caddyhttp.RouteList{server.Routes, errorRoutes(server)} {
		for _, route := range list {
			if place, ok := placeIn(route, handler); ok {
				return place
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(server.NamedRoutes)) {
		if place, ok := placeIn(*server.NamedRoutes[name], handler); ok {
			return name + " " + place
		}
	}
	return "elsewhere"
}

// placeOn returns the place of a handler that has a request.
func (c *CacheHandler) placeOn(r *http.Request) string {
	if place := c.place.Load(); place != nil {
		return *place
	}
	place := placeOf(serverOf(r.Context()), c)
	c.place.Store(&place)
	return place
}

func errorRoutes(server *caddyhttp.Server) caddyhttp.RouteList {
	if server.Errors == nil {
		return nil
	}
	return server.Errors.Routes
}

func placeIn(route caddyhttp.Route, handler *CacheHandler) (string, bool) {
	all := cachesIn(nil, route)
	at := slices.Index(all, handler)
	if at < 0 {
		return "", false
	}
	if len(all) == 1 {
		return "", true
	}
	return fmt.Sprintf("%d of %d", at+1, len(all)), true
}

// cachesIn appends the handlers gatefold_cache of a route, in their order.
func cachesIn(to []*CacheHandler, route caddyhttp.Route) []*CacheHandler {
	for _, one := range route.Handlers {
		switch h := one.(type) {
		case *CacheHandler:
			to = append(to, h)
		case *caddyhttp.Subroute:
			to = cachesInAll(to, h.Routes)
			if h.Errors != nil {
				to = cachesInAll(to, h.Errors.Routes)
			}
		case siteaudit.LocalRoutes:
			if local := h.LocalRoutes(); local != nil {
				to = cachesInAll(to, local.Routes)
			}
		}
	}
	return to
}

func cachesInAll(to []*CacheHandler, routes caddyhttp.RouteList) []*CacheHandler {
	for _, route := range routes {
		to = cachesIn(to, route)
	}
	return to
}
