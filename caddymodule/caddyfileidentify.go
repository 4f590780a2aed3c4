package caddymodule

import (
	"maps"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/gatefold/gatefold/caddymodule/block"
	"github.com/gatefold/gatefold/caddymodule/setting"
)

// parseIdentify reads `identify <source>` and the source's block.
func (h *Handler) parseIdentify(d *caddyfile.Dispenser) error {
	identity := new(Identity)
	if !d.NextArg() {
		return d.ArgErr()
	}
	identity.Source = d.Val()
	h.Identify = append(h.Identify, identity)
	switch identity.Source {
	case sourceJWT:
		return identity.parseJWT(d)
	case sourceOIDC:
		return identity.parseLogin(d)
	case sourceHTTPAuth:
		return identity.parseHTTPAuth(d)
	case sourceAddress:
		return identity.parseAddress(d)
	default:
		return d.Errf("identify: unknown source %q; known are %s, %s, %s and %s", identity.Source, sourceJWT, sourceOIDC, sourceHTTPAuth, sourceAddress)
	}
}

func (i *Identity) parseJWT(d *caddyfile.Dispenser) error {
	err := block.Parse(d, "identify jwt",
		block.Text("issuer", &i.Issuer),
		block.Text("jwks", &i.JWKS),
		block.Text("audience", &i.Audience),
		block.Text("cookie", &i.Cookie),
		block.Option{Name: "claim", Parse: i.parseClaim, Repeatable: true},
		block.Flag("integer_ids", &i.IntegerIDs),
	)
	if err == nil && i.Issuer == "" {
		return d.Err("identify jwt: issuer is missing: write `issuer self` for tokens of Gatefold's own keys, or the tokens' iss claim")
	}
	return err
}

func (i *Identity) parseHTTPAuth(d *caddyfile.Dispenser) error {
	err := block.Parse(d, "identify http_auth",
		block.Option{Name: "header", Parse: func(d *caddyfile.Dispenser) error { return parseField(d, "http_auth: header", &i.Headers) }, Repeatable: true},
		block.List("copied", &i.Copied, nil),
	)
	if err != nil || setting.Has(strings.Join(append(slices.Collect(maps.Values(i.Headers)), i.Copied...), " ")) {
		return err
	}
	if err := i.provisionForwarded(); err != nil {
		return d.WrapErr(err)
	}
	return nil
}

// parseField reads the name of a reader's field and what it is called elsewhere.
func parseField(d *caddyfile.Dispenser, option string, fields *map[string]string) error {
	var field, name string
	if !d.AllArgs(&field, &name) {
		return d.ArgErr()
	}
	if *fields == nil {
		*fields = make(map[string]string)
	}
	if _, twice := (*fields)[field]; twice {
		return d.Errf("identify %s %s is given twice", option, field)
	}
	(*fields)[field] = name
	return nil
}

func (i *Identity) parseClaim(d *caddyfile.Dispenser) error {
	if err := parseField(d, "jwt: claim", &i.Claims); err != nil {
		return err
	}
	if _, err := i.claimNames(); err != nil && !setting.Has(strings.Join(slices.Collect(maps.Keys(i.Claims)), " ")) {
		return d.WrapErr(err)
	}
	return nil
}
