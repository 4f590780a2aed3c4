// Package caddymodule puts Gatefold into Caddy. It is the only package that
// imports Caddy, and importing it registers every module:
//
//	gatefold                  the app (global option): store, secret, caches
//	http.handlers.gatefold    the gate (directive): handler.go is its whole way
//	http.handlers.gatefold_api    the management API for other machines (directive): api.go
//	http.handlers.gatefold_keys   the vendor's public keys (directive): keysdirective.go
//	http.reverse_proxy.upstreams.gatefold   the site's entry point: entrypoint.go
//	admin.api.gatefold        the management API on Caddy's local admin endpoint
//
// and the command `gatefold`. A request's way through the gate is one function,
// Handler.ServeHTTP; each of its steps is a file: clean.go, identify.go,
// redeem.go, session.go, forward.go, answer.go. What is open for long is watched
// in streams.go; what all gates of a store share is in shared.go.
package caddymodule
