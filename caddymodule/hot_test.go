package caddymodule

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/gatefold/gatefold/caddymodule/login"
	"github.com/gatefold/gatefold/caddymodule/ruleconfig"
	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store"
)

// BenchmarkHandler measures the gate on allowed requests that are cached, without the
// next handler and the server. The case "nothing" is the overhead of the benchmark.
func BenchmarkHandler(b *testing.B) {
	for _, visit := range hotRequests(b) {
		b.Run(visit.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				visit.serve()
			}
		})
	}
}

// hotRequest is an allowed request whose decision is cached.
type hotRequest struct {
	name  string
	serve func()
}

// hotRequests returns requests of each kind.
func hotRequests(tb testing.TB) []hotRequest {
	tb.Helper()
	s := newTestSite(tb, standardRules)
	_, bearer := s.subscriber()
	link, _ := s.link(keys.LinkClaims{})
	cookie := s.get(link).page().linkCookie()

	handler := &Handler{Rules: []ruleconfig.Rule{
		{Path: "/articles/{publisherContentId}", Operator: "entitled", Arguments: policy.Arguments{"sku": []byte(`["premium"]`)}},
		{Path: "/", Operator: "any"},
	}, Identify: []*Identity{{Source: sourceJWT, Issuer: issuerSelf, Cookie: "reader"}}}
	ctx, cancel := caddy.NewContext(caddy.ActiveContext())
	tb.Cleanup(cancel)
	if err := handler.Provision(ctx); err != nil {
		tb.Fatal(err)
	}
	nothing := caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error { return nil })
	gate := func(w http.ResponseWriter, r *http.Request) error { return handler.ServeHTTP(w, r, nothing) }
	session := hotSession(tb, s, ctx)
	visits := []hotRequest{
		{"nothing", hotRequestTo(tb, s.site+"/", nil, nothing)},
		{"public", hotRequestTo(tb, s.site+"/", nil, gate)},
		{"reader", hotRequestTo(tb, s.site+"/articles/hello", []string{"Authorization", bearer}, gate)},
		{"session", hotRequestTo(tb, strings.Replace(s.site, "http:", "https:", 1)+"/articles/hello", []string{"Cookie", session.cookie}, session.gate)},
		{"cookie", hotRequestTo(tb, s.site+"/articles/hello", []string{"Cookie", "theme=dark; " + cookie}, gate)},
	}
	for _, visit := range visits {
		for range 100 { // until it is remembered
			visit.serve()
		}
	}
	return visits
}

// hotRequestTo returns a function that calls a handler with a request as Caddy's server
// prepares it. Each call restores the request.
func hotRequestTo(tb testing.TB, address string, headers []string, handler caddyhttp.HandlerFunc) func() {
	tb.Helper()
	r := httptest.NewRequestWithContext(context.Background(), http.MethodGet, address, nil)
	r.Header.Set("User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0")
	r.Header.Set("Accept", "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8")
	r.Header.Set("Accept-Language", "sv-SE,sv;q=0.8,en;q=0.5")
	r.Header.Set("Accept-Encoding", "gzip, deflate, br")
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	cookie := r.Header.Get("Cookie")
	w := httptest.NewRecorder()
	repl := caddy.NewReplacer()
	prepared := caddyhttp.PrepareRequest(r, repl, w, &caddyhttp.Server{})
	fresh, cookies := *repl, []string{cookie}
	return func() {
		*repl = fresh // what a request adds would pile up
		if cookie != "" {
			cookies[0] = cookie
			prepared.Header["Cookie"] = cookies
		}
		if err := handler(w, prepared); err != nil {
			tb.Fatal(err)
		}
	}
}

// hotSession is a gate with a login, and the cookie of the subscriber's session.
func hotSession(tb testing.TB, s *testSite, ctx caddy.Context) (made struct {
	gate   caddyhttp.HandlerFunc
	cookie string
},
) {
	tb.Helper()
	tb.Setenv("OIDC_SECRET", "secret")
	handler := &Handler{Rules: []ruleconfig.Rule{
		{Path: "/articles/{publisherContentId}", Operator: "entitled", Arguments: policy.Arguments{"sku": []byte(`["premium"]`)}},
		{Path: "/", Operator: "any"},
	}, Identify: []*Identity{{Source: sourceOIDC, Issuer: "https://id.example.com", Login: &LoginConfig{ClientID: "news", ClientSecret: "{env.OIDC_SECRET}"}}}}
	if err := handler.Provision(ctx); err != nil {
		tb.Fatal(err)
	}
	key, err := s.running().Sealer.Derive(keys.PurposeLoginTicket)
	if err != nil {
		tb.Fatal(err)
	}
	ticket, id := policy.NewTickets(key, defaultVendor, defaultVendor).New()
	err = s.running().Store.As(store.Actor{}).CreateLoginSession(tb.Context(), defaultVendor, store.LoginSession{
		ID: id, Site: defaultVendor, Issuer: "https://id.example.com", ClientID: "news", Subject: "subscriber", UserID: "subscriber",
		EndsAt: clock.Now().Add(defaultLifetime), IdleSeconds: int64(defaultIdle.Seconds()),
	}, "", 1)
	if err != nil {
		tb.Fatal(err)
	}
	made.cookie = login.CookieSession + "=" + ticket
	nothing := caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error { return nil })
	made.gate = func(w http.ResponseWriter, r *http.Request) error { return handler.ServeHTTP(w, r, nothing) }
	return made
}
