package caddymodule

import (
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/gatefold/gatefold/caddymodule/pagecache"
	"github.com/gatefold/gatefold/policy"
)

// pageVar is the variable of a request by which the gate gives an allowed request to
// gatefold_cache: a *pageOffer. No other handler can make its value.
const pageVar = "gatefold.page"

// pageOffer offers a page to gatefold_cache. It outlives the request: a dial of a reverse proxy
// may read the request's variables after its end, so that the gate writes to the offer in them
// and not to the variables themselves once the request is passed on.
type pageOffer struct {
	page   *cachedPage // nil once a handler took it, or the offer has ended
	result pagecache.Result
}

// endOffer ends the offer of a page in the variables of a request.
func endOffer(vars map[string]any) {
	if offer, ok := vars[pageVar].(*pageOffer); ok {
		offer.page = nil
	}
}

// cachedPage is an allowed request whose rule lets its page be kept. It is used while the
// request is in the gate.
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
		endOffer(vars)
		return
	}
	g.page.g, g.page.rule = g, rule
	g.outcome.offer = &pageOffer{page: &g.page}
	vars[pageVar] = g.outcome.offer
	g.expectDenial()
}

// Again implements pagecache.Caller. It decides the request once more, after its page was
// fetched: as for a stream, the reader's records are read again. It spends nothing: the use of
// a counted link is checked when the first byte is written.
func (p *cachedPage) Again() bool {
	g := p.g
	if g.outcome.origin != nil {
		return true // its header decides, whether it comes from memory or from the origin
	}
	if g.decision.Public() && g.gate.rules != nil {
		return true // by the configuration alone
	}
	decision := newStream(g, nil).decide(g.r.Context(), now())
	if decision.Allow() {
		return true
	}
	p.denied = true
	g.redecide(decision)
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
	h.metrics.Decided(g.decision.Reason, since(g.request.Now))
	h.report(g)
	return h.deny(w, g, &g.decision, next)
}

// Interface guard
var _ pagecache.Caller = (*cachedPage)(nil)
