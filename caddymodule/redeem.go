package caddymodule

import (
	"crypto/rand"
	"encoding/base64"
	"net/http"
	"time"

	"github.com/gatefold/gatefold/policy"
)

// redeem writes the use, or the publisher's link, that a decision depends on, and
// returns the decision that holds.
func (h *Handler) redeem(g *gateRequest, decision policy.Decision) policy.Decision {
	counted := decision.Link.Spend
	g.redemption = newRedemptionID()
	decision = g.site.policy.Redeem(g.r.Context(), &g.request, decision, g.redemption)
	if counted {
		h.metrics.redeemed(decision.Reason)
	}
	return decision
}

// newRedemptionID returns the id by which one use of a link is counted once,
// however often the store is asked.
func newRedemptionID() string {
	var id [12]byte
	_, _ = rand.Read(id[:]) // never fails, see crypto/rand
	return base64.RawURLEncoding.EncodeToString(id[:])
}

// keepLink gives the browser the cookie of the link that just let it in.
func (h *Handler) keepLink(header http.Header, g *gateRequest, decision *policy.Decision) {
	issuedAt := g.request.Now.Unix()
	expiresAt := min(issuedAt+int64(time.Duration(h.LinkCookieTTL)/time.Second), decision.Link.ExpiresAt)
	payload := linkCookiePayload{
		RedeemedLink: policy.RedeemedLink{Issuer: decision.Link.Issuer, ID: decision.Link.ID, ExpiresAt: expiresAt},
		Redemption:   g.redemption,
		IssuedAt:     issuedAt,
	}
	setLinkCookie(header, g.site.cookies, payload, g.redeemed, g.secure)
}
