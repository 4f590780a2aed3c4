// Package sitehosts finds the hosts that a Caddy configuration names for a handler.
//
// On a site without a host, `Host` is what the client says. A decision that depends on the
// host, such as which page a link opens, must not rest on it.
//
//	sitehosts.go  hosts of a handler, and whether a request is for one of them
package sitehosts

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/net/idna"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// Hosts are the hosts that a configuration names. It is safe for concurrent use.
type Hosts struct {
	names []string
	// open reports whether a way to the handler names no host.
	open bool
}

// Names returns the hosts in the order of the configuration, with wildcards.
func (h *Hosts) Names() []string { return h.names }

// Serves reports whether a request for a host may reach the handler. It errs to true for a
// handler that is not found in the routes.
func (h *Hosts) Serves(host string) bool { return h.open || len(h.names) == 0 || h.Named(host) }

// maxDepth bounds the nesting of routes: a named route may invoke itself.
const maxDepth = 32

// Of returns the hosts that the routes of a server name on the ways to a handler, and
// the listed ones. The server must be provisioned. A handler is found in routes,
// subroutes and named routes, not within other handlers.
func Of(server *caddyhttp.Server, handler caddyhttp.MiddlewareHandler, listed []string) (*Hosts, error) {
	hosts := new(Hosts)
	if err := hosts.add(listed); err != nil {
		return nil, fmt.Errorf("hosts: %w", err)
	}
	walk := walk{hosts: hosts, server: server, handler: handler}
	walk.routes(server.Routes, nil, 0)
	return hosts, walk.err
}

// add adds names. Their placeholders are those of the process: a placeholder of the
// request would be what the client says.
func (h *Hosts) add(names []string) error {
	for _, name := range names {
		name, err := idna.ToASCII(caddy.NewReplacer().ReplaceAll(name, ""))
		if err != nil {
			return fmt.Errorf("%q: %w", name, err)
		}
		h.names = append(h.names, name)
	}
	return nil
}

// Named reports whether the configuration names the host of a request, by the rules of
// Caddy's host matcher: without regard to case and port, and with `*` for one label. It
// does not allocate.
func (h *Hosts) Named(host string) bool {
	if i := strings.LastIndexByte(host, ':'); i >= 0 && !strings.HasSuffix(host, "]") {
		host = host[:i]
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	for _, name := range h.names {
		if strings.EqualFold(name, host) || matchesLabels(name, host) {
			return true
		}
	}
	return false
}

// matchesLabels reports whether a name with wildcards matches a host.
func matchesLabels(name, host string) bool {
	if !strings.Contains(name, "*") || strings.Count(name, ".") != strings.Count(host, ".") {
		return false
	}
	for more := true; more; {
		var want, label string
		want, name, more = strings.Cut(name, ".")
		label, host, _ = strings.Cut(host, ".")
		if want != "*" && !strings.EqualFold(want, label) {
			return false
		}
	}
	return true
}

type walk struct {
	hosts   *Hosts
	server  *caddyhttp.Server
	handler caddyhttp.MiddlewareHandler
	err     error
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
		w.handlers(route, append(slices.Clip(on), hostsOf(set)...), depth)
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
				w.hosts.open = w.hosts.open || len(on) == 0
				for _, hosts := range on {
					w.err = cmp.Or(w.err, w.hosts.add(hosts))
				}
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
