package caddymodule

import (
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/gatefold/gatefold/caddymodule/pagecache"
	"github.com/gatefold/gatefold/policy"
)

// pageVar is the variable of a request by which the gate gives an allowed request to
// gatefold_cache. No other handler can make its value.
const pageVar = "gatefold.page"

// cachedPage is an allowed request whose rule lets its page be kept.
type cachedPage struct {
	g    *gateRequest
	rule *policy.CacheRule
	// denied is set if the decision changed while the page was fetched.
	denied bool

	// The handler sets what follows.
	handler *CacheHandler
	r       *http.Request
	next    caddyhttp.Handler
	asked   pagecache.Request
}

// Fetcher implements pagecache.Caller. What it returns keeps nothing of the request.
func (p *cachedPage) Fetcher() pagecache.Fetcher {
	fetch := anonymousFetch{server: serverOf(p.r.Context()), forwarding: p.g.outcome.forwarding, next: p.next}
	return fetch.serve
}

// Pass implements pagecache.Caller.
func (p *cachedPage) Pass(w http.ResponseWriter) error { return p.next.ServeHTTP(w, p.r) }

// Purge implements pagecache.Caller.
func (p *cachedPage) Purge(purge *policy.PagePurge) {
	p.handler.app.shared.Purge(p.g.gate.Vendor, purge)
}

// offerPage gives an allowed request to gatefold_cache, if a rule with the option cache
// decided. Of others it takes back what another gate offered.
func (g *gateRequest) offerPage(decision *policy.Decision) {
	if !g.gate.app.cachesPages.Load() {
		return
	}
	rule, cached := decision.Option(policy.OptionCache).(*policy.CacheRule)
	vars, ok := g.r.Context().Value(caddyhttp.VarsCtxKey).(map[string]any)
	if !ok {
		return
	}
	if !cached || !decision.Rule.Forward || decision.Reason == policy.ReasonPreflight {
		delete(vars, pageVar)
		return
	}
	g.outcome.page = &cachedPage{g: g, rule: rule}
	vars[pageVar] = g.outcome.page
}

// Again implements pagecache.Caller. It decides the request once more, after its page was
// fetched: as for a stream, the reader's records are read again. It spends nothing: the use of
// a counted link is checked when the first byte is written.
func (p *cachedPage) Again() bool {
	g := p.g
	if g.outcome.origin != nil {
		return true // its header decides, whether it comes from memory or from the origin
	}
	if g.outcome.decision.Public() && g.gate.rules != nil {
		return true // by the configuration alone
	}
	decision := newStream(g, nil).decide(g.r.Context(), now())
	if decision.Allow() {
		return true
	}
	p.denied = true
	decision.Keep(g.outcome.buf[:])
	g.outcome.decision = decision
	return false
}

// purgesFollowed reports whether this node hears of purges on others: the vendor's records
// were read, so that their change feed is followed, and it is not behind for too long.
func (p *cachedPage) purgesFollowed() bool {
	g := p.g
	return g.outcome.forwarding != nil && g.site.policy.Fresh(g.gate.Vendor, g.request.Now) == nil
}

// denyLate answers a request whose decision changed while its page was fetched. Nothing
// was written.
func (h *Handler) denyLate(w http.ResponseWriter, g *gateRequest, next caddyhttp.Handler) error {
	h.metrics.Decided(g.outcome.decision.Reason, since(g.request.Now))
	h.report(g)
	return h.deny(w, g, &g.outcome.decision, next)
}

// Interface guard
var _ pagecache.Caller = (*cachedPage)(nil)
