package caddymodule

import (
	"slices"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/gatefold/gatefold/keys"
)

func init() {
	gateOptions.register(func(h *Handler) []option {
		return []option{
			matchOption("share_param", &h.ShareParam, paramPattern, "letters, digits, - and _"),
			{name: "share_domain", parse: h.parseShareDomains, repeatable: true},
		}
	})
}

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
