package caddymodule

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"time"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/gatefold/gatefold/policy"
)

func init() {
	caddy.RegisterModule(&Handler{})
}

// Handler decides for every request whether this reader may have this page. What
// it allows goes to the next handler; what it denies it answers itself, or hands
// to the site's error routes.
//
// The path is judged as it was received, whatever a rewrite before the handler made
// of it.
//
// These placeholders are available to the handlers after it, and to error
// routes:
//
// Placeholder | Description
// ------------|-------------
// `{http.gatefold.decision}` | `allow` or `deny`
// `{http.gatefold.reason}` | Why, one of a closed list: `public`, `entitled`, `not_entitled`, …
// `{http.gatefold.rule}` | The path of the rule that decided, as it is written
// `{http.gatefold.user.id}` | The reader, empty if nobody is identified
// `{http.gatefold.link.id}` | The signed link that let the reader in, or failed to
// `{http.gatefold.entry_point}` | The URL of the site's origin, if it was set at the management API
// `{http.gatefold.param.<name>}` | What the rule captured from the path, or states, under a name
//
// An identified reader is also `{http.auth.user.id}`, unless an earlier handler
// set it.
type Handler struct {
	// Vendor is the publishing house whose records decide. Default: `default`.
	Vendor string `json:"vendor,omitempty"`

	// Site names what this handler protects, among the sites of the vendor.
	// Default: the vendor's name.
	Site string `json:"site,omitempty"`

	// Identify lists the credentials by which readers are known. Of several
	// sources the first for which a request carries a credential decides.
	Identify []*Identity `json:"identify,omitempty"`

	// Rules are the site's rules in the order in which they are tried. A site
	// without rules here takes those in the store; one that has none there
	// either denies everything.
	Rules []RuleConfig `json:"rules,omitempty"`

	// LinkParam is the query parameter that carries a signed link's token.
	// Default: `token`.
	LinkParam string `json:"link_param,omitempty"`

	// ShareParam is the query parameter that carries what publishers sign: share
	// tokens, and links in our own format. Default: `share`.
	ShareParam string `json:"share_param,omitempty"`

	// ShareDomains are trusted publisher domains whose links may open pages of
	// this site, besides the domain of the host that is asked for.
	ShareDomains []string `json:"share_domains,omitempty"`

	// LinkCookieTTL is the lifetime of the cookie that a redeemed link sets, at
	// most until the link ends. Default: 24 hours.
	LinkCookieTTL caddy.Duration `json:"link_cookie_ttl,omitempty"`

	// SessionTTL is the former name of `link_cookie_ttl`, and is refused.
	SessionTTL any `json:"session_ttl,omitempty"`

	// Deny says how a denied request is answered.
	Deny *DenyConfig `json:"deny,omitempty"`

	// Paths admits traits of paths that are refused by default, because two
	// servers could read such a path differently.
	Paths *PathConfig `json:"paths,omitempty"`

	// Local are the routes that answer allowed requests whose rule is not
	// forwarded. What none of them answers is 404. Default: no routes.
	Local *caddyhttp.Subroute `json:"local,omitempty"`

	app     *App
	logger  *zap.Logger
	rules   *policy.Ruleset
	login   *url.URL
	runtime lazy[*siteRuntime]
	metrics *siteMetrics
	keySets watchedKeySets

	localSegment *caddyfile.Dispenser // of `local`, until it is read
}

// DenyConfig says how a denied request is answered.
type DenyConfig struct {
	// Login is the URL of a login page. A browser that must log in is
	// redirected there, with the page it asked for as the parameter `next`.
	Login string `json:"login,omitempty"`
	// Errors hands denied requests to the site's error routes.
	Errors bool `json:"errors,omitempty"`
}

// PathConfig admits traits of paths. Such a path is allowed only if it is
// allowed under every reading of it.
type PathConfig struct {
	// EmptySegments admits `//`.
	EmptySegments bool `json:"empty_segments,omitempty"`
	// EncodedSlash admits `%2F`.
	EncodedSlash bool `json:"encoded_slash,omitempty"`
	// Parameters admits `;` and `%3B`.
	Parameters bool `json:"parameters,omitempty"`
}

func (c *PathConfig) options() policy.PathOptions {
	return policy.PathOptions{EmptySegments: c.EmptySegments, EncodedSlash: c.EncodedSlash, Parameters: c.Parameters}
}

const (
	defaultVendor        = "default"
	defaultLinkParam     = "token"
	defaultShareParam    = "share"
	defaultLinkCookieTTL = 24 * time.Hour
)

// CaddyModule returns the Caddy module information.
func (*Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.gatefold", New: func() caddy.Module { return new(Handler) }}
}

// Provision prepares the handler.
func (h *Handler) Provision(ctx caddy.Context) error {
	h.logger = ctx.Logger()
	h.setDefaults()
	if err := h.compileRules(); err != nil {
		return err
	}
	for _, identity := range h.Identify {
		if err := identity.provision(h.Vendor, h.Site); err != nil {
			return fmt.Errorf("identify: %w", err)
		}
	}
	if h.Deny != nil && h.Deny.Login != "" {
		login, err := url.Parse(h.Deny.Login)
		if err != nil {
			return fmt.Errorf("deny: login: %w", err)
		}
		h.login = login
	}
	if h.Local != nil {
		if err := h.Local.Provision(ctx); err != nil {
			return fmt.Errorf("local: %w", err)
		}
	}
	app, err := ctx.App("gatefold")
	if err != nil {
		return err
	}
	h.app = app.(*App)
	h.runtime.make = h.openRuntime
	h.keySets = watchedKeySets{sets: h.app.shared.keySets}
	h.app.gates.add(h)
	h.metrics = newSiteMetrics(h.Vendor, h.Site)
	return nil
}

func (h *Handler) setDefaults() {
	if h.Vendor == "" {
		h.Vendor = defaultVendor
	}
	if h.Site == "" {
		h.Site = h.Vendor
	}
	if h.LinkParam == "" {
		h.LinkParam = defaultLinkParam
	}
	if h.ShareParam == "" {
		h.ShareParam = defaultShareParam
	}
	if h.LinkCookieTTL == 0 {
		h.LinkCookieTTL = caddy.Duration(defaultLinkCookieTTL)
	}
	if h.Paths == nil {
		h.Paths = new(PathConfig)
	}
}

var (
	slugPattern  = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)
	paramPattern = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)
)

// Validate checks the handler's configuration.
func (h *Handler) Validate() error {
	for name, slug := range map[string]string{"vendor": h.Vendor, "site": h.Site} {
		if !slugPattern.MatchString(slug) {
			return fmt.Errorf("%s: %q must be lower-case letters, digits and hyphens, at most 63", name, slug)
		}
	}
	if !paramPattern.MatchString(h.LinkParam) {
		return fmt.Errorf("link_param: %q must be letters, digits, - and _", h.LinkParam)
	}
	if err := h.validateShare(); err != nil {
		return err
	}
	if h.SessionTTL != nil {
		return errors.New("session_ttl is now link_cookie_ttl")
	}
	if h.LinkCookieTTL < caddy.Duration(time.Second) {
		return errors.New("link_cookie_ttl: must be at least 1s")
	}
	for _, rule := range h.Rules {
		if rule.Local && h.Local == nil {
			return fmt.Errorf("rule %s: it is local, and the site has no local routes: add `local { … }`", rule.Path)
		}
	}
	if h.Deny == nil {
		return nil
	}
	if h.Deny.Errors && h.Deny.Login != "" {
		return errors.New("deny: errors and login exclude one another: redirect in handle_errors instead")
	}
	if h.login != nil && (h.login.Host == "" || h.login.Scheme != "https" && h.login.Scheme != "http") && (h.login.Host != "" || h.login.Scheme != "" || len(h.login.Path) == 0 || h.login.Path[0] != '/') {
		return fmt.Errorf("deny: login: %q must be an http or https URL, or a path of this site", h.Deny.Login)
	}
	return nil
}

// Cleanup ends the watching of readers' issuers. What a request that is still on
// its way needs of them stays in memory.
func (h *Handler) Cleanup() error {
	h.keySets.release()
	return nil
}

// ServeHTTP takes a request through the gate: clean, identify, decide, prepare the
// upstream, then allow or deny.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	g := h.clean(r)
	err := h.serve(w, g, next)
	g.release()
	return err
}

func (h *Handler) serve(w http.ResponseWriter, g *gateRequest, next caddyhttp.Handler) error {
	g.site = h.site()
	g.request.Site, g.request.Reader = g.site.site, g.identify()
	decision := &g.outcome.decision
	*decision = g.site.policy.Decide(g.r.Context(), &g.request)
	identity, err := h.upstreamIdentity(g, decision)
	if err != nil && decision.Allow() && !decision.Public() {
		// An origin that cannot be told who asks must not answer for that reader.
		decision.Reason, decision.Err = policy.ReasonStoreUnavailable, err
	}
	if decision.Allow() && decision.Pending() {
		*decision = h.redeem(g, *decision)
	}
	g.prepareUpstream(identity, decision.Allow())
	h.metrics.decided(decision.Reason, since(g.request.Now))
	h.report(g)
	if !decision.Allow() {
		return h.deny(w, g, decision)
	}
	g.recordVisit()
	return h.allow(w, g, decision, next)
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddy.Validator             = (*Handler)(nil)
	_ caddy.CleanerUpper          = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
)
