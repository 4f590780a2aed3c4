package caddymodule

import (
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/gatefold/gatefold/keys"
)

// parseShareDomains reads `share_domain <domain>…`.
func (h *Handler) parseShareDomains(d *caddyfile.Dispenser) error {
	domains := d.RemainingArgs()
	if len(domains) == 0 {
		return d.ArgErr()
	}
	for _, text := range domains {
		domain, err := keys.NormalDomain(text)
		if err != nil {
			return d.Errf("share_domain: %q %v", text, err)
		}
		if slices.Contains(h.ShareDomains, domain) {
			return d.Errf("share_domain: %s is given twice", domain)
		}
		h.ShareDomains = append(h.ShareDomains, domain)
	}
	return nil
}

// parseKeySets reads the block `jwks` of the global option.
func (a *App) parseKeySets(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.ArgErr()
	}
	a.JWKS = new(KeySetConfig)
	seen := seenOptions{}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		option := d.Val()
		if err := seen.check(d, option); err != nil {
			return err
		}
		switch option {
		case "allow":
			a.JWKS.Allow = d.RemainingArgs()
			if len(a.JWKS.Allow) == 0 {
				return d.ArgErr()
			}
			for _, text := range a.JWKS.Allow {
				if _, err := parsePrefix(text); err != nil {
					return d.Errf("jwks: allow: %q is neither an address nor a network such as 10.0.0.0/8", text)
				}
			}
		case "ca":
			if !d.AllArgs(&a.JWKS.CA) {
				return d.ArgErr()
			}
		case "stale_if_error":
			if err := parseDuration(d, &a.JWKS.StaleIfError, time.Second, maxStaleIfError); err != nil {
				return err
			}
		case "cooldown":
			if err := parseDuration(d, &a.JWKS.Cooldown, time.Second, time.Hour); err != nil {
				return err
			}
		default:
			return d.Errf("jwks: unknown option %q; known are allow, ca, stale_if_error, cooldown", option)
		}
	}
	return nil
}

// parseDuration reads a duration within bounds.
func parseDuration(d *caddyfile.Dispenser, to *caddy.Duration, least, most time.Duration) error {
	name := d.Val()
	var text string
	if !d.AllArgs(&text) {
		return d.ArgErr()
	}
	duration, err := caddy.ParseDuration(text)
	if err != nil || duration < least || duration > most {
		return d.Errf("%s: %q must be a duration from %v to %v, such as 1h", name, text, least, most)
	}
	*to = caddy.Duration(duration)
	return nil
}
