// Package caddymodule puts Gatefold into Caddy. It is the only package that
// imports Caddy, and importing it registers every module:
//
//	gatefold                  the app (global option): store, secret, caches
//	http.handlers.gatefold    the gate (directive): handler.go is its whole way
//	admin.api.gatefold        the management API on Caddy's local admin endpoint
//
// and the command `gatefold`. A request's way through the gate is one function,
// Handler.ServeHTTP; each of its steps is a file: clean.go, identify.go,
// redeem.go, forward.go, answer.go.
package caddymodule
