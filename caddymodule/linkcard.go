package caddymodule

import (
	"bytes"
	"context"
	"net/http"
	"net/url"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/gatefold/gatefold/caddymodule/teaser"
	"github.com/gatefold/gatefold/policy"
)

// showsCard reports whether a denied request gets the card of its page: a service that
// previews links opened a valid one, which it must not spend. The card is what the page
// declares for that purpose, so a client that only claims to be such a service gains
// nothing by it: its link opens the page itself.
func (g *gateRequest) showsCard(decision *policy.Decision) bool {
	link := &decision.Link
	return (link.Ignored && link.Previews || link.Login) && isPreviewAgent(g.r.UserAgent()) && !isPrefetch(g.r) &&
		(g.r.Method == http.MethodGet || g.r.Method == http.MethodHead) && g.r.Header.Get("Upgrade") == ""
}

// showCard answers with the card of a page. It reports false, and has written nothing, if
// there is none: the denial is the answer then.
func (h *Handler) showCard(w http.ResponseWriter, g *gateRequest, decision *policy.Decision, next caddyhttp.Handler) bool {
	if !g.showsCard(decision) {
		return false
	}
	ctx, cancel := context.WithCancel(g.r.Context())
	defer cancel()
	if !decision.Rule.Forward {
		next = caddyhttp.HandlerFunc(h.serveLocal)
	}
	head := teaser.NewHead(cancel)
	// An origin that fails declares nothing.
	_, _ = serveAborting(next, head, g.wholePage(ctx), func() {})
	page, err := url.Parse(siteURL(g) + cleanURI(g))
	if err != nil {
		return false
	}
	card, found := head.Card(page)
	var body bytes.Buffer
	if !found || card.Write(&body) != nil {
		return false
	}
	header := w.Header()
	header.Set("Cache-Control", "no-store")
	header.Set("Content-Type", "text/html; charset=utf-8")
	header.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("X-Robots-Tag", "noindex")
	w.WriteHeader(http.StatusOK)
	if g.r.Method != http.MethodHead {
		_, _ = w.Write(body.Bytes()) // fails only if the client is gone
	}
	return true
}
