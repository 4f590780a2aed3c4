package caddymodule

import (
	"regexp"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"

	"github.com/gatefold/gatefold/policy"
)

const directive = "gatefold"

func init() {
	httpcaddyfile.RegisterGlobalOption(directive, parseGlobal)
	httpcaddyfile.RegisterDirective(directive, parseDirective)
	// After forward_auth, so that whom an earlier handler authenticated is
	// known, and before everything that answers.
	httpcaddyfile.RegisterDirectiveOrder(directive, httpcaddyfile.After, "forward_auth")
}

func parseGlobal(d *caddyfile.Dispenser, existing any) (any, error) {
	if existing != nil {
		d.Next() // so that the error has its line
		return nil, d.Err("the global option gatefold is given twice")
	}
	app := new(App)
	if err := app.UnmarshalCaddyfile(d); err != nil {
		return nil, err
	}
	return httpcaddyfile.App{Name: directive, Value: caddyconfig.JSON(app, nil)}, nil
}

func parseDirective(h httpcaddyfile.Helper) ([]httpcaddyfile.ConfigValue, error) {
	handler := new(Handler)
	if err := handler.UnmarshalCaddyfile(h.Dispenser); err != nil {
		return nil, err
	}
	if err := handler.finishLocal(h); err != nil {
		return nil, err
	}
	return h.NewRoute(nil, handler), nil
}

// UnmarshalCaddyfile sets up the app from the global option. Syntax:
//
//	gatefold {
//		store bolt [<file>] | redis <url>… { <settings> }
//		secret {env.NAME} | {file./path}
//		cache_size <size>
//		jwks {
//			allow          <address or network>…
//			ca             <file>
//			stale_if_error <duration>
//			cooldown       <duration>
//		}
//		stale_for <duration>
//	}
func (a *App) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume the option's name
	if d.NextArg() {
		return d.ArgErr()
	}
	seen := seenOptions{}
	for d.NextBlock(0) {
		option := d.Val()
		if err := seen.check(d, option); err != nil {
			return err
		}
		switch option {
		case "store":
			if err := a.parseStore(d); err != nil {
				return err
			}
		case "secret":
			if err := parseSecret(d, &a.Secret); err != nil {
				return err
			}
		case "stale_for":
			if err := parseTime(d, &a.StaleFor); err != nil {
				return err
			}
		case "cache_size":
			var size string
			if !d.AllArgs(&size) {
				return d.ArgErr()
			}
			bytes, err := humanize.ParseBytes(size)
			if err != nil || bytes < policy.MinCacheBytes || bytes > 1<<40 {
				return d.Errf("cache_size: %q must be a size of at least 1MiB, such as 64MiB", size)
			}
			a.CacheSize = int64(bytes)
		case "jwks":
			if err := a.parseKeySets(d); err != nil {
				return err
			}
		default:
			return d.Errf("unknown option %q; known are store, secret, cache_size, jwks, stale_for", option)
		}
	}
	return nil
}

// UnmarshalCaddyfile sets up the handler. Syntax:
//
//	gatefold {
//		vendor <name>
//		site   <name>
//		identify jwt {
//			issuer   self | <iss>
//			jwks     <file> | <url>
//			audience <aud>
//			cookie   <name>
//			claim    <field> <claim>
//		}
//		identify http_auth
//		rule <path> [<METHOD,…>] <operator> [<arguments>…] {
//			local
//			engage <tags>…
//		}
//		local {
//			<directives>
//		}
//		link_param  <name>
//		share_param <name>
//		share_domain <domain>…
//		session_ttl <duration>
//		deny {
//			login <url>
//			errors
//		}
//		paths {
//			allow empty_segments | encoded_slash | parameters
//		}
//	}
//
// It takes no matcher: the rules say what is gated, and what no rule matches is
// denied.
func (h *Handler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume the directive's name
	if d.NextArg() {
		return d.Errf("%q: gatefold takes no matcher and no argument: its rules say what is gated", d.Val())
	}
	seen := seenOptions{}
	for d.NextBlock(0) {
		option := d.Val()
		if option != "identify" && option != "rule" && option != "share_domain" {
			if err := seen.check(d, option); err != nil {
				return err
			}
		}
		if err := h.parseOption(d, option); err != nil {
			return err
		}
	}
	return nil
}

func (h *Handler) parseOption(d *caddyfile.Dispenser, option string) error {
	switch option {
	case "vendor":
		return parseMatching(d, &h.Vendor, slugPattern, "lower-case letters, digits and hyphens")
	case "site":
		return parseMatching(d, &h.Site, slugPattern, "lower-case letters, digits and hyphens")
	case "link_param":
		return parseMatching(d, &h.LinkParam, paramPattern, "letters, digits, - and _")
	case "share_param":
		return parseMatching(d, &h.ShareParam, paramPattern, "letters, digits, - and _")
	case "share_domain":
		return h.parseShareDomains(d)
	case "identify":
		return h.parseIdentify(d)
	case "rule":
		return h.parseRule(d)
	case "session_ttl":
		var text string
		if !d.AllArgs(&text) {
			return d.ArgErr()
		}
		ttl, err := caddy.ParseDuration(text)
		if err != nil || ttl < time.Second {
			return d.Errf("session_ttl: %q must be a duration of at least 1s, such as 24h", text)
		}
		h.LinkCookieTTL = caddy.Duration(ttl)
		return nil
	case "deny":
		return h.parseDeny(d)
	case "paths":
		return h.parsePaths(d)
	case "local":
		h.localSegment = d.NewFromNextSegment()
		return nil
	default:
		return d.Errf("unknown subdirective %q; known are vendor, site, identify, rule, local, link_param, session_ttl, deny, paths", option)
	}
}

func parseMatching(d *caddyfile.Dispenser, to *string, pattern *regexp.Regexp, want string) error {
	name := d.Val()
	if !d.AllArgs(to) {
		return d.ArgErr()
	}
	if !pattern.MatchString(*to) {
		return d.Errf("%s: %q must be %s", name, *to, want)
	}
	return nil
}

func (h *Handler) parseIdentify(d *caddyfile.Dispenser) error {
	identity := new(Identity)
	if !d.AllArgs(&identity.Source) {
		return d.ArgErr()
	}
	if identity.Source != sourceJWT && identity.Source != sourceHTTPAuth {
		return d.Errf("identify: unknown source %q; known are %s and %s", identity.Source, sourceJWT, sourceHTTPAuth)
	}
	seen := seenOptions{}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		option := d.Val()
		if identity.Source == sourceHTTPAuth {
			return d.Errf("identify http_auth: unknown option %q; it takes none", option)
		}
		if option == "claim" {
			if err := identity.parseClaim(d); err != nil {
				return err
			}
			continue
		}
		if err := seen.check(d, option); err != nil {
			return err
		}
		to := map[string]*string{
			"issuer": &identity.Issuer, "jwks": &identity.JWKS, "audience": &identity.Audience, "cookie": &identity.Cookie,
		}[option]
		if to == nil {
			return d.Errf("identify jwt: unknown option %q; known are issuer, jwks, audience, cookie, claim", option)
		}
		if !d.AllArgs(to) {
			return d.ArgErr()
		}
	}
	if identity.Source == sourceJWT && identity.Issuer == "" {
		return d.Err("identify jwt: issuer is missing: `issuer self` for tokens of Gatefold's own keys, or what the tokens' iss claim says")
	}
	h.Identify = append(h.Identify, identity)
	return nil
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
		return d.Errf("claim %s is given twice", field)
	}
	i.Claims[field] = claim
	if _, err := i.claimNames(); err != nil {
		return d.Err(err.Error())
	}
	return nil
}

func (h *Handler) parseDeny(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.ArgErr()
	}
	h.Deny = new(DenyConfig)
	seen := seenOptions{}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		option := d.Val()
		if err := seen.check(d, option); err != nil {
			return err
		}
		switch option {
		case "login":
			if !d.AllArgs(&h.Deny.Login) {
				return d.ArgErr()
			}
		case "errors":
			if d.NextArg() {
				return d.ArgErr()
			}
			h.Deny.Errors = true
		default:
			return d.Errf("deny: unknown option %q; known are login, errors", option)
		}
	}
	return nil
}

func (h *Handler) parsePaths(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.ArgErr()
	}
	h.Paths = new(PathConfig)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if d.Val() != "allow" {
			return d.Errf("paths: unknown option %q; known is allow", d.Val())
		}
		traits := d.RemainingArgs()
		if len(traits) == 0 {
			return d.ArgErr()
		}
		for _, trait := range traits {
			switch trait {
			case "empty_segments":
				h.Paths.EmptySegments = true
			case "encoded_slash":
				h.Paths.EncodedSlash = true
			case "parameters":
				h.Paths.Parameters = true
			default:
				return d.Errf("paths: unknown trait %q; known are empty_segments, encoded_slash, parameters", trait)
			}
		}
	}
	return nil
}

// once refuses an option that is given a second time.
type seenOptions map[string]bool

func (o seenOptions) check(d *caddyfile.Dispenser, option string) error {
	if o[option] {
		return d.Errf("%s is given twice", option)
	}
	o[option] = true
	return nil
}

// Interface guards
var (
	_ caddyfile.Unmarshaler = (*App)(nil)
	_ caddyfile.Unmarshaler = (*Handler)(nil)
)
