package siteaudit

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/intercept"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// LocalRoutes is implemented by a gate with local routes.
type LocalRoutes interface {
	LocalRoutes() *caddyhttp.Subroute
}

// Live reads a provisioned http app. Caddy drops the JSON of modules as it loads them,
// so this writes the parts that the audit reads from the modules.
func Live(app *caddyhttp.App) (*Report, error) {
	config := map[string]any{"http_port": app.HTTPPort, "https_port": app.HTTPSPort}
	servers := make(map[string]any, len(app.Servers))
	for name, server := range app.Servers {
		named := make(map[string]any, len(server.NamedRoutes))
		for name, route := range server.NamedRoutes {
			named[name] = liveRoute(*route)
		}
		live := map[string]any{"listen": server.Listen, "routes": liveRoutes(server.Routes), "named_routes": named}
		if server.Errors != nil {
			live["errors"] = map[string]any{"routes": liveRoutes(server.Errors.Routes)}
		}
		servers[name] = live
	}
	config["servers"] = servers
	encoded, err := json.Marshal(config)
	if err != nil {
		return nil, fmt.Errorf("writing the routes: %w", err)
	}
	return AuditHTTP(encoded)
}

func liveRoutes(list caddyhttp.RouteList) []any {
	live := make([]any, len(list))
	for i, route := range list {
		live[i] = liveRoute(route)
	}
	return live
}

func liveRoute(r caddyhttp.Route) map[string]any {
	handlers := make([]any, len(r.Handlers))
	for i, handler := range r.Handlers {
		handlers[i] = liveHandler(handler)
	}
	return map[string]any{"group": r.Group, "terminal": r.Terminal, "match": liveMatchers(r.MatcherSets), "handle": handlers}
}

func liveMatchers(sets []caddyhttp.MatcherSet) []any {
	live := make([]any, len(sets))
	for i, set := range sets {
		matchers := map[string]any{}
		for _, m := range set {
			module, ok := m.(caddy.Module)
			if !ok {
				continue
			}
			name := module.CaddyModule().ID.Name()
			if not, ok := m.(*caddyhttp.MatchNot); ok {
				matchers[name] = liveMatchers(not.MatcherSets)
				continue
			}
			matchers[name] = encoded(m)
		}
		live[i] = matchers
	}
	return live
}

// encoded returns a module's JSON, without the modules that it holds.
func encoded(module any) (text json.RawMessage) {
	unknown := func() { text, _ = json.Marshal(fmt.Sprintf("%T", module)) } // a text
	defer func() {
		if recover() != nil {
			unknown() // a plugin's module need not be one that can be written
		}
	}()
	text, err := json.Marshal(module)
	if err != nil {
		unknown()
	}
	return text
}

// written are the handlers whose own fields the audit reads. Others may hold values that
// requests change.
var written = []string{"gatefold", "invoke", "file_server", "map", "vars"}

// liveHandler returns the JSON of a handler, with the routes of those that have any.
func liveHandler(handler caddyhttp.MiddlewareHandler) map[string]any {
	live := map[string]any{}
	module, ok := handler.(caddy.Module)
	if !ok {
		return live
	}
	name := module.CaddyModule().ID.Name()
	switch h := handler.(type) {
	case *caddyhttp.Subroute:
		live["routes"] = liveRoutes(h.Routes)
		if h.Errors != nil {
			live["errors"] = map[string]any{"routes": liveRoutes(h.Errors.Routes)}
		}
	case *reverseproxy.Handler:
		live["upstreams"], live["handle_response"] = h.Upstreams, liveResponses(h.HandleResponse)
		if source, ok := h.DynamicUpstreams.(caddy.Module); ok {
			live["dynamic_upstreams"] = map[string]any{"source": source.CaddyModule().ID.Name()}
		}
	case *intercept.Intercept:
		live["handle_response"] = liveResponses(h.HandleResponse)
	default:
		if slices.Contains(written, name) {
			_ = json.Unmarshal(encoded(h), &live) // what is no object has no routes
		}
	}
	if gate, ok := handler.(LocalRoutes); ok {
		delete(live, "local")
		if local := gate.LocalRoutes(); local != nil {
			live["local"] = map[string]any{"routes": liveRoutes(local.Routes)}
		}
	}
	live["handler"] = name
	return live
}

func liveResponses(handlers []caddyhttp.ResponseHandler) []any {
	live := make([]any, len(handlers))
	for i, h := range handlers {
		response := map[string]any{"routes": liveRoutes(h.Routes)}
		if h.Match != nil {
			response["match"] = h.Match
		}
		if h.StatusCode != "" {
			response["status_code"] = h.StatusCode
		}
		live[i] = response
	}
	return live
}
