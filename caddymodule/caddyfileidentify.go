package caddymodule

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/gatefold/gatefold/caddymodule/setting"
)

func init() {
	gateOptions.register(func(h *Handler) []option {
		return []option{{name: "identify", parse: h.parseIdentify, repeatable: true}}
	})
}

// parseIdentify reads `identify <source>` and the source's block.
func (h *Handler) parseIdentify(d *caddyfile.Dispenser) error {
	identity := new(Identity)
	if !d.AllArgs(&identity.Source) {
		return d.ArgErr()
	}
	h.Identify = append(h.Identify, identity)
	switch identity.Source {
	case sourceJWT:
		return identity.parseJWT(d)
	case sourceHTTPAuth:
		return parseBlock(d, "identify http_auth")
	default:
		return d.Errf("identify: unknown source %q; known are %s and %s", identity.Source, sourceJWT, sourceHTTPAuth)
	}
}

func (i *Identity) parseJWT(d *caddyfile.Dispenser) error {
	err := parseBlock(d, "identify jwt",
		textOption("issuer", &i.Issuer),
		textOption("jwks", &i.JWKS),
		textOption("audience", &i.Audience),
		textOption("cookie", &i.Cookie),
		option{name: "claim", parse: i.parseClaim, repeatable: true},
		flagOption("integer_ids", &i.IntegerIDs),
	)
	if err == nil && i.Issuer == "" {
		return d.Err("identify jwt: issuer is missing: write `issuer self` for tokens of Gatefold's own keys, or the tokens' iss claim")
	}
	return err
}

func (i *Identity) parseClaim(d *caddyfile.Dispenser) error {
	var field, claim string
	if !d.AllArgs(&field, &claim) {
		return d.ArgErr()
	}
	if i.Claims == nil {
		i.Claims = make(map[string]string)
	}
	if _, twice := i.Claims[field]; twice {
		return d.Errf("identify jwt: claim %s is given twice", field)
	}
	i.Claims[field] = claim
	if _, err := i.claimNames(); err != nil && !setting.Has(field) {
		return d.WrapErr(err)
	}
	return nil
}
