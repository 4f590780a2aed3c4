package upstreamtest

import (
	"testing"
)

// origin is a server behind the gate.
type origin struct {
	name string
	// handler are the directives of Caddy that reach it.
	handler string
	// fpm: php_fastcgi reaches it, and tells it the path that was received.
	fpm bool
	// plusIsBlank: the origin reads a + in a path as a blank. No article's name has one.
	plusIsBlank bool
	// static origins serve files: they have no page that reads a query.
	static bool
	// least is how many requests of the corpus open a protected page on it without a
	// gate. A corpus that opens little shows little.
	least int
}

// starters start one origin each. All are needed: a missing one fails the tests.
var starters = []func(*testing.T) []origin{
	startGo, startNginx, startApache, startFiles,
	startPHP, startFPM,
	startNode, startPython, startTomcat,
}

// startOrigins starts all origins.
func startOrigins(t *testing.T) []origin {
	t.Helper()
	var all []origin
	for _, start := range starters {
		all = append(all, start(t)...)
	}
	if len(all) < 8 {
		t.Fatalf("there are only %d origins", len(all))
	}
	return all
}

// proxied is an origin that reverse_proxy reaches.
func proxied(name, port string, least int) origin {
	return origin{name: name, handler: "reverse_proxy 127.0.0.1:" + port, least: least}
}

// Pages that files contain. The dynamic origins write the same.
const (
	frontPage   = "PUBLIC-PAGE\n"
	accountPage = "SECRET-ACCOUNT;\n"
	articlePage = "SECRET-ARTICLE:%s;\n"
)
