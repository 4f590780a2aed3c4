// Package keystest provides the fixtures that the tests of several packages
// share: a clock that tests move, a log sink, a recording HTTP server, and a TLS
// host that serves a key set.
//
// It imports neither keys nor any other package of this module, so that the
// in-package tests of keys can use it too. A key set is passed as a value that
// marshals to a JWK Set, such as a keys.KeySet or a jose.JSONWebKeySet.
//
// Everything in this package is safe for concurrent use.
//
// Files:
//
//	clock.go   Clock, a time source that tests move
//	log.go     Log, a sink for log output
//	port.go    FreePort, ports for the servers of tests
//	server.go  Server, an HTTP server that records requests; NewOrigin
//	host.go    KeyHost, a TLS server of a key set and an OpenID configuration
package keystest
