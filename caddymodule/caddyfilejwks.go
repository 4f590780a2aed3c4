package caddymodule

import (
	"time"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// parseKeySets reads the block `jwks` of the global option.
func (a *App) parseKeySets(d *caddyfile.Dispenser) error {
	a.JWKS = new(KeySetConfig)
	return parseBlock(d, "jwks",
		listOption("allow", &a.JWKS.Allow, func(text string) error {
			_, err := parsePrefix(text)
			return err
		}),
		textOption("ca", &a.JWKS.CA),
		durationOption("stale_if_error", &a.JWKS.StaleIfError, time.Second, maxStaleIfError),
		durationOption("cooldown", &a.JWKS.Cooldown, time.Second, time.Hour),
	)
}
