package caddymodule

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/gatefold/gatefold/caddymodule/block"
	"github.com/gatefold/gatefold/caddymodule/linkreport"
	"github.com/gatefold/gatefold/caddymodule/ruleconfig"
	"github.com/gatefold/gatefold/caddymodule/setting"
	"github.com/gatefold/gatefold/keys"
)

const directive = "gatefold"

// gateOptions are the subdirectives of the site directive.
var gateOptions block.Set[Handler]

func init() {
	httpcaddyfile.RegisterDirective(directive, parseDirective)
	// After forward_auth, so that the reader whom an earlier handler authenticated
	// is known, and before every handler that responds.
	httpcaddyfile.RegisterDirectiveOrder(directive, httpcaddyfile.After, "forward_auth")
	gateOptions.Register(func(h *Handler) []block.Option {
		return []block.Option{
			block.Match("vendor", &h.Vendor, slugPattern, "lower-case letters, digits and hyphens"),
			block.Match("site", &h.Site, slugPattern, "lower-case letters, digits and hyphens"),
			block.Match("link_param", &h.LinkParam, paramPattern, "letters, digits, - and _"),
			block.Duration("link_cookie_ttl", &h.LinkCookieTTL, time.Second, 0),
			block.Duration("link_device_window", &h.LinkDeviceWindow, time.Second, 0),
			block.Text("link_country_header", &h.LinkCountryHeader),
			{Name: "link_networks", Parse: h.parseLinkNetworks},
			block.Renamed("session_ttl", "link_cookie_ttl"),
			{Name: "deny", Parse: h.parseDeny},
			{Name: "paths", Parse: h.parsePaths},
			{Name: "identify", Parse: h.parseIdentify, Repeatable: true},
			{Name: "local", Parse: h.parseLocal},
			{Name: "rule", Parse: h.parseRule, Repeatable: true},
			block.Match("share_param", &h.ShareParam, paramPattern, "letters, digits, - and _"),
			block.Values("share_domain", h.addShareDomain).Repeated(),
			block.List("hosts", &h.Hosts, checkHost),
		}
	})
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
//		identify address <name> <range>…
//		rule <path> [<METHOD,…>] <operator> [<arguments>…] {
//			local
//			engage <tags>…
//			content_space <name>
//			content_id {<capture>} [without <suffix>…] | query <name> | <id>
//			link_methods <METHOD,…>
//			cache [<ttl>]
//			on_store_loss <duration> [deny | teaser | public]
//		}
//		on_store_loss <duration> [deny | teaser]
//		local {
//			<directives>
//		}
//		link_param      <name>
//		link_cookie_ttl <duration>
//		link_device_window <duration>
//		link_country_header <name>
//		key_rate        <number>
//		time_zone       <name>
//		meter_consent   <cookie> [<part of its value>]
//		link_networks <number> [report | quarantine]
//		share_param     <name>
//		share_domain    <domain>…
//		hosts           <host>…
//		deny {
//			login     <url>
//			register
//			verify    <url>
//			agreement <url>
//			subscribe <url> [<pricing url>]
//			balance   <url>
//			role      <url>
//			page      <file>
//			forward   <path>
//			errors
//		}
//		preflight {
//			origins <origin>…
//			methods <METHOD>…
//			headers <name>…
//			max_age <duration>
//			credentials
//		}
//		paths {
//			allow empty_segments | encoded_slash | parameters | path_info
//			case_sensitive
//			judge received | current
//		}
//	}
//
// It takes no matcher: the rules select the requests, and a request that no rule
// matches is denied.
func (h *Handler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	h.Places = setting.PlacesOf(d)
	d.Next() // consume the directive's name
	if d.NextArg() {
		return d.Errf("%q: gatefold takes no matcher and no argument: its rules select the requests", d.Val())
	}
	return block.Parse(d, "", gateOptions.Of(h)...)
}

func (h *Handler) parseLinkNetworks(d *caddyfile.Dispenser) error {
	h.LinkNetworks = new(linkreport.Networks)
	arguments := d.RemainingArgs()
	if len(arguments) < 1 || len(arguments) > 2 {
		return d.ArgErr()
	}
	if len(arguments) == 2 {
		h.LinkNetworks.Action = arguments[1]
	}
	if err := h.LinkNetworks.Limit.Set(arguments[0]); err != nil {
		return d.Errf("link_networks: %q %v", arguments[0], err)
	}
	if setting.Has(strings.Join(arguments, " ")) {
		return nil
	}
	if err := h.LinkNetworks.Validate(); err != nil {
		return d.Errf("link_networks: %v", err)
	}
	return nil
}

func (h *Handler) parsePaths(d *caddyfile.Dispenser) error {
	h.Paths = new(PathConfig)
	return block.Parse(d, "paths",
		block.Values("allow", h.Paths.allow).Repeated(),
		block.Flag("case_sensitive", &h.Paths.CaseSensitive),
		block.Value("judge", func(form string) error {
			if _, known := pathForms[form]; !known || form == "" {
				return unknown(pathForms)
			}
			h.Paths.Judge = form
			return nil
		}))
}

// traits returns the options of `allow` by name.
func (c *PathConfig) traits() map[string]*bool {
	return map[string]*bool{
		"empty_segments": &c.EmptySegments, "encoded_slash": &c.EncodedSlash, "parameters": &c.Parameters, "path_info": &c.PathInfo,
	}
}

func (c *PathConfig) allow(trait string) error {
	admitted := c.traits()[trait]
	if admitted == nil {
		return unknown(c.traits())
	}
	*admitted = true
	return nil
}

// unknown is the error of a value that is not a key of a map.
func unknown[T any](known map[string]T) error {
	names := slices.Sorted(maps.Keys(known))
	names = slices.DeleteFunc(names, func(name string) bool { return name == "" })
	return errors.New("is unknown; known are " + strings.Join(names, ", "))
}

// parseLocal sets the block of `local` aside for finishLocal.
func (h *Handler) parseLocal(d *caddyfile.Dispenser) error {
	h.localSegment = d.NewFromNextSegment()
	return nil
}

// finishLocal parses the directives of `local`, which needs the state of the
// whole Caddyfile.
func (h *Handler) finishLocal(helper httpcaddyfile.Helper) error {
	if h.localSegment == nil {
		return nil
	}
	handler, err := httpcaddyfile.ParseSegmentAsSubroute(helper.WithDispenser(h.localSegment))
	if err != nil {
		return err
	}
	h.localSegment = nil
	routes, ok := handler.(*caddyhttp.Subroute)
	if !ok {
		return fmt.Errorf("local: its directives give a %T", handler)
	}
	h.Local = routes
	return nil
}

func (h *Handler) parseRule(d *caddyfile.Dispenser) error {
	rule, err := ruleconfig.Parse(d)
	h.Rules = append(h.Rules, rule)
	return err
}

// hostPattern matches a name as in a site's address, with wildcards, or an IPv6 address. A
// name of another script is written as such.
var hostPattern = regexp.MustCompile(`^(\*|[^\s/:,*@?#\[\]]+)(\.(\*|[^\s/:,*@?#\[\].]+))*$`)

// checkHost refuses what is no host: it would match no request.
func checkHost(text string) error {
	if hostPattern.MatchString(text) || net.ParseIP(strings.Trim(text, "[]")) != nil {
		return nil
	}
	return errors.New("must be a host name, such as news.example.com or *.example.com, without scheme, port and path")
}

func (h *Handler) addShareDomain(text string) error {
	domain, err := text, error(nil)
	if !setting.Has(text) {
		domain, err = keys.NormalDomain(text)
	}
	if err != nil {
		return err
	}
	if slices.Contains(h.ShareDomains, domain) {
		return errors.New("is given twice")
	}
	h.ShareDomains = append(h.ShareDomains, domain)
	return nil
}
