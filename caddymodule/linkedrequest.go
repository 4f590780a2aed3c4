package caddymodule

import (
	"net/http"
	"strings"

	"github.com/gatefold/gatefold/caddymodule/headers"
	"github.com/gatefold/gatefold/policy"
)

// keepToQuery removes from a request that a link opens what an origin could read in the
// place of the query by which the link was judged: the body of a GET, from which Rack and
// WordPress take parameters, and cookies of a parameter's name, which PHP without a php.ini
// has in $_REQUEST.
func (g *gateRequest) keepToQuery(decision *policy.Decision) {
	r := g.r
	if (r.Method == http.MethodGet || r.Method == http.MethodHead) && r.ContentLength != 0 {
		r.Body, r.ContentLength, r.TransferEncoding, r.Trailer = http.NoBody, 0, nil, nil
		for _, name := range []string{"Content-Length", "Content-Type", "Content-Encoding", "Transfer-Encoding", "Trailer", "Expect"} {
			delete(r.Header, name)
		}
	}
	if !decision.BindsQuery() {
		return
	}
	headers.DropCookies(r.Header, r.Header["Cookie"], "=", func(cookie string) bool {
		name, _, _ := strings.Cut(cookie, "=")
		return decision.Binds(unescape(strings.TrimSpace(name)))
	})
}
