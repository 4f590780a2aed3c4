package caddymodule

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store"
)

func init() {
	caddy.RegisterModule(&Handler{})
}

// Handler decides for every request whether this reader may have this page. What
// it allows goes to the next handler; what it denies it answers itself, or hands
// to the site's error routes.
//
// The path is judged as it was received, whatever a rewrite before the handler
// made of it.
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

// RuleConfig is one rule.
type RuleConfig struct {
	// Path is a template: it matches every path that begins with its
	// segments, of which `{name}` and `:name` match any and capture it.
	Path string `json:"path"`
	// Methods limits the rule to these HTTP methods. Default: all.
	Methods []string `json:"methods,omitempty"`
	// Operator is the test: `any`, `authenticated` or `entitled`.
	Operator string `json:"operator"`
	// Arguments are the operator's: for `entitled` the list `sku`, any of
	// which will do, and `publisherContentId`.
	Arguments policy.Arguments `json:"arguments,omitempty"`
	// Local lets the site's local routes answer what is allowed, instead of
	// the next handler.
	Local bool `json:"local,omitempty"`
	// Engaged are the tags that a reader's visit records.
	Engaged []string `json:"engaged,omitempty"`
	// Origin says where the rule was written, as file:line; for messages.
	Origin string `json:"origin,omitempty"`
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

// siteRuntime is a handler at work.
type siteRuntime struct {
	policy  *policy.Policy
	site    *policy.Site
	sources []credentialSource
	cookies *cookieSealer
	// sessions tell the origin who asks; visits notes that she was there.
	sessions *store.Sessions
	recorder *store.Recorder
}

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

// compileRules compiles the handler's own rules, and warns of those that never
// decide.
func (h *Handler) compileRules() error {
	if len(h.Rules) == 0 {
		return nil
	}
	compiled, err := policy.CompileRules(h.fixedRules(), policy.StandardOperators())
	if err != nil {
		return err
	}
	for _, hidden := range compiled.Hidden() {
		h.logger.Warn("a rule never decides, because an earlier one matches all that it matches",
			zap.String("rule", hidden.Rule.Path), zap.String("at", hidden.Rule.Origin),
			zap.String("hidden_by", hidden.By.Path), zap.String("hidden_by_at", hidden.By.Origin))
	}
	h.rules = compiled
	return nil
}

// fixedRules returns the rules that the configuration says, by rank.
func (h *Handler) fixedRules() []policy.Rule {
	rules := make([]policy.Rule, len(h.Rules))
	for i, rule := range h.Rules {
		rules[i] = rule.rule(i + 1)
	}
	return rules
}

func (c *RuleConfig) rule(rank int) policy.Rule {
	return policy.Rule{
		Rank: rank, Path: c.Path, Methods: c.Methods, Forward: !c.Local, Engaged: c.Engaged, Origin: c.Origin,
		Allow: policy.Allow{Operator: c.Operator, Arguments: c.Arguments},
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

// openRuntime prepares what a request needs and only the open store can give.
func (h *Handler) openRuntime() (*siteRuntime, error) {
	rt, err := h.app.runtime.get()
	if err != nil {
		return nil, err
	}
	key, err := rt.sealer.Derive(keys.PurposeLinkCookie)
	if err != nil {
		return nil, err
	}
	own := rt.keyring.Source(h.Vendor)
	site := &siteRuntime{
		policy:   rt.policy,
		site:     policy.NewSite(h.Vendor, h.Site, h.rules, h.Paths.options(), own),
		cookies:  newCookieSealer(key, h.Vendor, h.Site),
		sessions: rt.sessions,
		recorder: rt.recorder,
	}
	site.site.ShareDomains = h.ShareDomains
	for _, identity := range h.Identify {
		source, err := identity.credentialSource(own, &h.keySets)
		if err != nil {
			return nil, err
		}
		site.sources = append(site.sources, source)
	}
	return site, nil
}

// Cleanup ends the watching of readers' issuers. What a request that is still on
// its way needs of them stays in memory.
func (h *Handler) Cleanup() error {
	h.keySets.release()
	return nil
}

// ServeHTTP is the way of a request: clean, identify, match, link, decide, hand
// over; then allow or deny.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	visit := h.enter(r)
	err := h.serve(w, visit, next)
	visit.leave()
	return err
}

func (h *Handler) serve(w http.ResponseWriter, g *gateRequest, next caddyhttp.Handler) error {
	decision := &g.outcome.decision
	*decision = h.decide(g)
	h.prepareUpstream(g, decision)
	h.metrics.decided(decision.Reason, since(g.request.Now))
	h.report(g)
	if !decision.Allow() {
		return h.deny(w, g, decision)
	}
	h.recordVisit(g, decision)
	return h.allow(w, g, decision, next)
}

// errFragment: no client sends a fragment, and servers differ on where the path
// of one that does ends (CVE-2026-41059, CVE-2023-47106).
var errFragment = errors.New("the request holds a fragment")

// noteVisit notes that a reader was here. It waits for nothing.
func (h *Handler) recordVisit(g *gateRequest, decision *policy.Decision) {
	if g.request.Reader.Anonymous() || decision.Rule == nil {
		return
	}
	if site, err := h.runtime.get(); err == nil {
		site.recorder.Visit(h.Vendor, h.Site, g.request.Reader.UserID, decision.Rule.Engaged, g.request.Now)
	}
}

// decide takes a request through the steps that only take values and give
// values. Failure closes the gate.
func (h *Handler) decide(g *gateRequest) policy.Decision {
	request := &g.request
	request.Now = now()
	site, err := h.runtime.get()
	if err != nil {
		return h.decideWithoutStore(g, err)
	}
	method, ok := policy.JudgedMethod(g.r.Method, isExtendedWebSocket(g.r))
	if !ok {
		return policy.Decision{Reason: policy.ReasonBadMethod}
	}
	request.Site, request.Method = site.site, method
	request.Host, request.Query = g.r.Host, g.original.RawQuery
	if strings.IndexByte(g.r.RequestURI, '#') >= 0 {
		return policy.Decision{Reason: policy.ReasonBadPath, Err: errFragment}
	}
	if err := request.Path.Read(g.original.EscapedPath(), site.site.Paths); err != nil {
		return policy.Decision{Reason: policy.ReasonBadPath, Err: err}
	}
	if isPreflight(g.r) {
		return policy.Decision{Reason: policy.ReasonPreflight}
	}
	request.Reader = identify(g, site)
	if err := site.policy.Match(g.r.Context(), request); err != nil {
		return policy.Decision{Reason: policy.ReasonStoreUnavailable, Err: err}
	}
	if request.LinkMayOpen() {
		request.Link = h.linkEvidence(g, site)
	}
	decision := site.policy.Decide(g.r.Context(), request)
	if !h.mayDecide(&decision, request.Now) {
		return policy.Decision{Reason: policy.ReasonStoreUnavailable, Err: errStale}
	}
	if spend := decision.Link.Spend; spend || decision.Link.First {
		if g.upstream, err = h.identifyUpstream(g, site, &decision); err != nil {
			return policy.Decision{Reason: policy.ReasonStoreUnavailable, Err: err}
		}
		g.redemption = newRedemptionID()
		decision = site.policy.Redeem(g.r.Context(), request, decision, g.redemption)
		if spend {
			h.metrics.redeemed(decision.Reason)
		}
	}
	return decision
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddy.Validator             = (*Handler)(nil)
	_ caddy.CleanerUpper          = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
)
