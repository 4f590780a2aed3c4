package caddymodule

import (
	"crypto/rand"
	"encoding/base64"

	"github.com/gatefold/gatefold/policy"
)

// redeem redeems the link that a pending decision depends on, and returns the final
// decision.
func (h *Handler) redeem(g *gateRequest, decision policy.Decision) policy.Decision {
	counted := decision.Link.Spend
	g.redemption = newRedemptionID()
	decision = g.site.policy.Redeem(g.r.Context(), &g.request, decision, g.redemption)
	if counted {
		h.metrics.redeemed(decision.Reason)
	}
	return decision
}

// newRedemptionID returns a random id of a redemption. The store counts a use once for
// each id, so that a retry does not spend another use.
func newRedemptionID() string {
	var id [12]byte
	_, _ = rand.Read(id[:]) // never returns an error
	return base64.RawURLEncoding.EncodeToString(id[:])
}
