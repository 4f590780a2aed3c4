package linkreport

import (
	"fmt"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"

	"github.com/gatefold/gatefold/policy/linkwatch"
)

// EventLeaked is the name of the event of Caddy's `events` app when a link leaked.
const EventLeaked = "gatefold_link_leaked"

// Reporter returns a function that reports a leak to the log and to the handlers of the
// event EventLeaked. It returns an error when Caddy's app of events cannot be loaded.
func Reporter(ctx caddy.Context, site string) (func(linkwatch.Leak), error) {
	app, err := ctx.App("events")
	if err != nil {
		return nil, fmt.Errorf("loading Caddy's events: %w", err)
	}
	events, ok := app.(*caddyevents.App)
	if !ok {
		return nil, fmt.Errorf("the app of events is a %T", app)
	}
	logger := ctx.Logger()
	return func(leak linkwatch.Leak) {
		action := ActionReport
		if leak.Quarantined {
			action = ActionQuarantine
		}
		logger.Warn("a link leaked: it was opened from more networks than its limit within an hour",
			zap.String("vendor", leak.Vendor), zap.String("site", site), zap.String("issuer", leak.Issuer), zap.String("link", leak.ID),
			zap.Int("networks", leak.Networks), zap.Int("limit", leak.Limit), zap.String("action", action))
		events.Emit(ctx, EventLeaked, map[string]any{
			"vendor": leak.Vendor, "site": site, "issuer": leak.Issuer, "link": leak.ID,
			"networks": leak.Networks, "limit": leak.Limit, "action": action,
		})
	}, nil
}
