// Package sitehosts finds the hosts that a Caddy configuration names for a handler.
//
// On a site without a host, `Host` is what the client says. A decision that depends on the
// host, such as which page a link opens, must not rest on it.
//
//	sitehosts.go  hosts of a handler, and whether a request is for one of them
package sitehosts

import (
	"context"
	"fmt"
	"net/http"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// Hosts are the hosts that a configuration names. It is safe for concurrent use.
type Hosts struct {
	matchers []caddyhttp.MatchHost
	// open reports whether a way to the handler has no host.
	open bool
}

// maxDepth bounds the nesting of routes: a named route may invoke itself.
const maxDepth = 32

// Of returns the hosts that the routes of a server name on the ways to a handler, and
// the listed ones. The server must be provisioned. A handler is found in routes,
// subroutes and named routes, not within other handlers.
func Of(server *caddyhttp.Server, handler caddyhttp.MiddlewareHandler, listed []string) (*Hosts, error) {
	hosts := new(Hosts)
	if len(listed) > 0 {
		matcher := caddyhttp.MatchHost(append([]string(nil), listed...))
		if err := matcher.Provision(caddy.Context{}); err != nil {
			return nil, fmt.Errorf("hosts: %w", err)
		}
		hosts.matchers = append(hosts.matchers, matcher)
	}
	walk := walk{hosts: hosts, server: server, handler: handler}
	walk.routes(server.Routes, nil, 0)
	return hosts, nil
}

// Named reports whether the configuration names the host of a request. Ports do not
// count. Placeholders in the names are those of the process, never of the request.
func (h *Hosts) Named(host string) bool {
	ctx := context.WithValue(context.Background(), caddy.ReplacerCtxKey, caddy.NewReplacer())
	r := (&http.Request{Host: host}).WithContext(ctx)
	for _, matcher := range h.matchers {
		if matcher.Match(r) {
			return true
		}
	}
	return false
}

// Open reports whether a request reaches the handler whatever its host is.
func (h *Hosts) Open() bool { return h.open }

// None reports whether no host is named.
func (h *Hosts) None() bool { return len(h.matchers) == 0 }

type walk struct {
	hosts   *Hosts
	server  *caddyhttp.Server
	handler caddyhttp.MiddlewareHandler
}

// routes follows routes, to which the given matchers lead.
func (w *walk) routes(routes caddyhttp.RouteList, on []caddyhttp.MatchHost, depth int) {
	if depth > maxDepth {
		return
	}
	for i := range routes {
		w.route(&routes[i], on, depth)
	}
}

func (w *walk) route(route *caddyhttp.Route, on []caddyhttp.MatchHost, depth int) {
	sets := route.MatcherSets
	if len(sets) == 0 {
		sets = caddyhttp.MatcherSets{nil}
	}
	for _, set := range sets {
		w.handlers(route, append(on[:len(on):len(on)], hostsOf(set)...), depth)
	}
}

func (w *walk) handlers(route *caddyhttp.Route, on []caddyhttp.MatchHost, depth int) {
	for _, handler := range route.Handlers {
		switch handler := handler.(type) {
		case *caddyhttp.Subroute:
			w.routes(handler.Routes, on, depth+1)
		case *caddyhttp.Invoke:
			if named := w.server.NamedRoutes[handler.Name]; named != nil && depth < maxDepth {
				w.route(named, on, depth+1)
			}
		default:
			if handler == w.handler {
				w.hosts.matchers = append(w.hosts.matchers, on...)
				w.hosts.open = w.hosts.open || len(on) == 0
			}
		}
	}
}

// hostsOf returns the host matchers of a set. The server has provisioned them.
func hostsOf(set caddyhttp.MatcherSet) (hosts []caddyhttp.MatchHost) {
	for _, matcher := range set {
		switch matcher := matcher.(type) {
		case caddyhttp.MatchHost:
			hosts = append(hosts, matcher)
		case *caddyhttp.MatchHost:
			hosts = append(hosts, *matcher)
		}
	}
	return hosts
}
