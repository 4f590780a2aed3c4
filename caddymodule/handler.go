package caddymodule

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/net/http/httpguts"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/gatefold/gatefold/caddymodule/clientaddress"
	"github.com/gatefold/gatefold/caddymodule/crawler"
	"github.com/gatefold/gatefold/caddymodule/denial"
	"github.com/gatefold/gatefold/caddymodule/keysets"
	"github.com/gatefold/gatefold/caddymodule/linkreport"
	"github.com/gatefold/gatefold/caddymodule/login"
	"github.com/gatefold/gatefold/caddymodule/metrics"
	"github.com/gatefold/gatefold/caddymodule/ruleconfig"
	"github.com/gatefold/gatefold/caddymodule/setting"
	"github.com/gatefold/gatefold/caddymodule/sitehosts"
	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/linkwatch"
)

func init() {
	caddy.RegisterModule(&Handler{})
}

// Handler decides for every request whether the reader may have the page. Allowed
// requests go to the next handler. Denied requests are answered by the gate itself or
// by the site's error routes.
//
// The path is judged as received. If a handler before this one has rewritten it, the
// rewritten path is judged as well, and the stricter decision counts.
//
// The handler sets these placeholders for the handlers after it and for error routes:
//
// Placeholder | Description
// ------------|-------------
// `{http.gatefold.decision}` | `allow` or `deny`
// `{http.gatefold.reason}` | The reason, from a closed list: `public`, `entitled`, `not_entitled`, …
// `{http.gatefold.rule}` | The path template of the rule that decided
// `{http.gatefold.user.id}` | The reader's user id; empty for an anonymous reader
// `{http.gatefold.demand.profile}`, `.role`, `.plan`, `.agreement` | The records that decided, or of which one is missing; empty if the reason is about none
// `{http.gatefold.link.id}` | The id of the signed link that the decision used
// `{http.gatefold.crawler}` | The name of the crawler that the rule let in; empty for all others
// `{http.gatefold.meter.name}`, `.limit`, `.used`, `.left`, `.resets` | The meter that decided, its number of pages, how many are used and left with this one, and when there are more (RFC 3339)
// `{http.gatefold.cache}` | What became of the request at `gatefold_cache`: `hit`, `miss`, …; empty if its page is not kept
// `{http.gatefold.request_id}` | The id of the request in logs and denials: that of a trusted proxy's `X-Request-Id`, or `{http.request.uuid}`
// `{http.gatefold.support_code}` | The support code of a denial, which `gatefold explain --code` explains
// `{http.gatefold.entry_point}` | The URL of the site's origin, if the management API sets it
// `{http.gatefold.param.<name>}` | A capture or an argument of the rule, by name
// `{http.gatefold.denied_uri}` | In error routes: the path and query of the denied page, without link tokens, safe in HTML
// `{http.gatefold.denied_uri_escaped}` | The same as a value in a query
//
// `{http.auth.user.id}` is the reader's user id as well, unless an earlier handler set
// it.
type Handler struct {
	// Vendor is the publishing house whose records decide. Default: `default`.
	Vendor string `json:"vendor,omitempty"`

	// Site is the name of the protected site, unique within the vendor. Default: the
	// vendor's name.
	Site string `json:"site,omitempty"`

	// Identify lists the credential sources. The first source for which the request
	// carries a credential identifies the reader.
	Identify []*Identity `json:"identify,omitempty"`

	// Rules are the site's rules in the order in which they are tried. Default: the
	// site's rules in the store. A site without any rule denies every request.
	Rules []ruleconfig.Rule `json:"rules,omitempty" placeholders:"captures" caddyfile:"rule"`

	// LinkParam is the query parameter that carries a signed link's token.
	// Default: `token`.
	LinkParam string `json:"link_param,omitempty"`

	// ShareParam is the query parameter that carries tokens signed by publisher
	// domains. Default: `share`.
	ShareParam string `json:"share_param,omitempty"`

	// ShareDomains are the trusted publisher domains, besides the request's own host,
	// whose links may open pages of this site.
	ShareDomains []string `json:"share_domains,omitempty" caddyfile:"share_domain"`

	// Hosts are the hosts of the site, besides those that its address names; a wildcard
	// counts for one label, as in an address. On a site that is reached under any host,
	// links with a url open pages only of these.
	Hosts []string `json:"hosts,omitempty"`

	// LinkCookieTTL is the lifetime of the cookie of a link whose uses are not counted; that
	// of a counted link lasts as long as the link. The cookie never
	// outlives the link. Default: 24 hours.
	LinkCookieTTL setting.Duration `json:"link_cookie_ttl,omitzero"`

	// LinkDeviceWindow is how long the requests of a program that keeps no cookies, such
	// as a podcast app, are one use of a counted link: those with the same address and
	// agent. Default: 30 minutes.
	LinkDeviceWindow setting.Duration `json:"link_device_window,omitzero"`

	// LinkCountryHeader is the request header in which the CDN names the country of the
	// client, such as `CF-IPCountry`, for the history of links. Only trusted proxies are
	// believed. Default: none, and no country is recorded.
	LinkCountryHeader string `json:"link_country_header,omitempty"`

	// KeyRate is how often one API key of a reader can be used in a minute, on each node.
	// Default: 600.
	KeyRate setting.Count `json:"key_rate,omitzero"`

	// TimeZone is the time zone of the periods of meters, such as `Europe/Stockholm`. Default: UTC.
	TimeZone string `json:"time_zone,omitempty"`

	// MeterConsent is the cookie without which an anonymous reader gets no cookie of a meter, and
	// so no page by one. Default: none is needed.
	MeterConsent *MeterConsent `json:"meter_consent,omitempty"`

	// Crawlers are the crawlers that rules may let in, by name: each is recognized by its
	// addresses and its agent together.
	Crawlers map[string]*crawler.Config `json:"crawlers,omitempty" caddyfile:"crawler"`

	// LinkNetworks reports or quarantines a link that is opened from many networks within
	// an hour. Default: no link is.
	LinkNetworks *linkreport.Networks `json:"link_networks,omitempty"`

	FormerTTL any `json:"session_ttl,omitempty"` // refused: it is now link_cookie_ttl

	// Deny configures the responses to denied requests.
	Deny *DenyConfig `json:"deny,omitempty"`

	// Preflight answers CORS preflights at the gate. By default they go to the origin,
	// and its answer passes as headers alone.
	Preflight *PreflightConfig `json:"preflight,omitempty"`

	// Paths configures how paths are judged.
	Paths *PathConfig `json:"paths,omitempty"`

	// Local are the routes for allowed requests whose rule is `local`. A request that
	// no route answers gets a 404. Default: no routes.
	Local *caddyhttp.Subroute `json:"local,omitempty" placeholders:"-"`

	// OnStoreLoss is for rules without an on_store_loss of their own. Default: a node
	// decides from memory for the global stale_for, and then denies.
	OnStoreLoss *StoreLossConfig `json:"on_store_loss,omitempty"`

	// Places are the places of the options in the Caddyfile, for errors.
	Places setting.Places `json:"places,omitempty" placeholders:"-"`

	app     *App
	logger  *zap.Logger
	rules   *policy.Ruleset
	targets map[string]*denial.Target // to which denials lead
	page    *denial.Page              // nil is the built-in one
	// storeLoss is the option of OnStoreLoss, or nil.
	storeLoss *policy.StoreLoss
	zone      *time.Location // of TimeZone
	// addressReaders are the readers whom the address of the client identifies.
	addressReaders clientaddress.Readers
	addressNames   int
	// openedCrawlers are those of the runtime, until Cleanup.
	openedCrawlers atomic.Pointer[crawler.Crawlers]
	walls          paywalls
	runtime        lazy[*siteRuntime]
	metrics        *metrics.Site
	keySets        keysets.Watched
	// leaked reports a link that leaked; nil without LinkNetworks.
	leaked func(linkwatch.Leak)
	// logins are the identities by which readers log in at the gate.
	logins []*Identity
	// rewritten reports whether a request had a path that was rewritten before the gate.
	rewritten atomic.Bool

	// server is the server whose routes lead to the gate; nil without a server.
	server *caddyhttp.Server
	hosts  lazy[*sitehosts.Hosts]

	// accounts reports whether local routes serve the operations of readers.
	accounts     bool
	localSegment *caddyfile.Dispenser // the unparsed block of `local`
}

// PathConfig configures how paths are judged. Its first options admit paths that are
// refused by default because two servers could interpret them differently. Such a path is
// allowed only if every interpretation of it is allowed.
type PathConfig struct {
	// EmptySegments admits `//`.
	EmptySegments bool `json:"empty_segments,omitempty"`
	// EncodedSlash admits `%2F`.
	EncodedSlash bool `json:"encoded_slash,omitempty"`
	// Parameters admits `;` and `%3B`.
	Parameters bool `json:"parameters,omitempty"`
	// PathInfo admits a path behind the name of a script, such as `/index.php/page`.
	PathInfo bool `json:"path_info,omitempty"`

	// CaseSensitive compares paths with rules exactly only, for an origin that
	// distinguishes `/Page` from `/page`. Default: they are compared without regard to
	// case as well, and the stricter decision counts.
	CaseSensitive bool `json:"case_sensitive,omitempty"`
	// Judge is the form of the path that is judged if a handler before the gate rewrites
	// it: `received` or `current`. Default: both, and the stricter decision counts.
	Judge string `json:"judge,omitempty"`
}

// pathForms are the values of PathConfig.Judge.
var pathForms = map[string]policy.PathForm{"": policy.BothForms, "received": policy.ReceivedForm, "current": policy.CurrentForm}

func (c *PathConfig) options() policy.PathOptions {
	return policy.PathOptions{
		EmptySegments: c.EmptySegments, EncodedSlash: c.EncodedSlash, Parameters: c.Parameters, PathInfo: c.PathInfo,
		CaseSensitive: c.CaseSensitive, Judge: pathForms[c.Judge],
	}
}

const (
	defaultVendor        = setting.DefaultVendor
	defaultLinkParam     = "token"
	defaultShareParam    = "share"
	defaultLinkCookieTTL = 24 * time.Hour
	defaultDeviceWindow  = 30 * time.Minute
)

// CaddyModule returns the Caddy module information.
func (*Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.gatefold", New: func() caddy.Module { return new(Handler) }}
}

// Provision implements caddy.Provisioner. It does not open the store.
func (h *Handler) Provision(ctx caddy.Context) error { return h.Places.At(h.provision(ctx)) }

func (h *Handler) provision(ctx caddy.Context) error {
	h.logger = ctx.Logger()
	if err := setting.Replace(h); err != nil {
		return err
	}
	h.setDefaults()
	if err := h.provisionZone(); err != nil {
		return err
	}
	if err := h.MeterConsent.check(); err != nil {
		return setting.In("meter_consent", err)
	}
	var err error
	if h.rules, err = ruleconfig.Compile(h.Rules, h.Paths.options(), h.logger, h.Vendor, h.Site); err != nil {
		return err
	}
	if err := h.provisionCrawlers(); err != nil {
		return err
	}
	for i, identity := range h.Identify {
		if err := identity.provision(h.Vendor, h.Site); err != nil {
			return setting.In(setting.Item("identify", i), fmt.Errorf("identify: %w", err))
		}
		if err := h.provisionAddress(identity); err != nil {
			return setting.In(setting.Item("identify", i), fmt.Errorf("identify: %w", err))
		}
		if err := h.addLogin(identity); err != nil {
			return setting.In(setting.Item("identify", i), err)
		}
	}
	if err := h.provisionDeny(ctx); err != nil {
		return setting.In("deny", err)
	}
	if h.Local != nil {
		if err := h.Local.Provision(ctx.WithValue(gateKey{}, h)); err != nil {
			return setting.In("local", fmt.Errorf("local: %w", err))
		}
	}
	app, err := ctx.App("gatefold")
	if err != nil {
		return err
	}
	h.app = app.(*App)
	if err := h.provisionStoreLoss(); err != nil {
		return err
	}
	if h.LinkNetworks != nil {
		if h.leaked, err = linkreport.Reporter(ctx, h.Site); err != nil {
			return err
		}
	}
	h.runtime.make = h.openRuntime
	h.server, _ = ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	h.hosts.make = h.findHosts
	h.keySets = keysets.Watched{Sets: h.app.shared.KeySets}
	h.app.gates.add(h)
	h.metrics = metrics.NewSite(h.Vendor, h.Site)
	return nil
}

// LocalRoutes implements siteaudit.LocalRoutes.
func (h *Handler) LocalRoutes() *caddyhttp.Subroute { return h.Local }

func (h *Handler) setDefaults() {
	h.Vendor = cmp.Or(h.Vendor, defaultVendor)
	h.Site = cmp.Or(h.Site, h.Vendor)
	h.LinkParam = cmp.Or(h.LinkParam, defaultLinkParam)
	h.ShareParam = cmp.Or(h.ShareParam, defaultShareParam)
	h.LinkCookieTTL.V = cmp.Or(h.LinkCookieTTL.V, defaultLinkCookieTTL)
	h.KeyRate.V = cmp.Or(h.KeyRate.V, defaultKeyRate)
	h.LinkDeviceWindow.V = cmp.Or(h.LinkDeviceWindow.V, defaultDeviceWindow)
	if h.Paths == nil {
		h.Paths = new(PathConfig)
	}
}

var paramPattern = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// Validate implements caddy.Validator.
func (h *Handler) Validate() error { return h.Places.At(h.validate()) }

func (h *Handler) validate() error {
	for _, option := range [][2]string{{"vendor", h.Vendor}, {"site", h.Site}} { // a site is named like its vendor by default
		name, slug := option[0], option[1]
		if !setting.Slug.MatchString(slug) {
			return setting.In(name, fmt.Errorf("%s: %q must be lower-case letters, digits and hyphens, at most 63", name, slug))
		}
	}
	if !paramPattern.MatchString(h.LinkParam) {
		return setting.In("link_param", fmt.Errorf("link_param: %q must be letters, digits, - and _", h.LinkParam))
	}
	if err := h.validateShare(); err != nil {
		return err
	}
	for _, host := range h.Hosts {
		if err := checkHost(host); err != nil {
			return setting.In("hosts", fmt.Errorf("hosts: %q %w", host, err))
		}
	}
	if _, known := pathForms[h.Paths.Judge]; !known {
		return setting.In("paths/judge", fmt.Errorf("paths: judge: %q %w", h.Paths.Judge, unknown(pathForms)))
	}
	if h.FormerTTL != nil {
		return errors.New("session_ttl is now link_cookie_ttl")
	}
	if h.LinkCookieTTL.V < time.Second {
		return setting.In("link_cookie_ttl", errors.New("link_cookie_ttl: must be at least 1s"))
	}
	if h.LinkDeviceWindow.V < time.Second {
		return setting.In("link_device_window", errors.New("link_device_window: must be at least 1s"))
	}
	if err := h.validateKeyRate(); err != nil {
		return err
	}
	if h.LinkCountryHeader != "" && !httpguts.ValidHeaderFieldName(h.LinkCountryHeader) {
		return setting.In("link_country_header", fmt.Errorf("link_country_header: %q is not the name of a header", h.LinkCountryHeader))
	}
	if h.LinkNetworks != nil {
		if err := h.LinkNetworks.Validate(); err != nil {
			return setting.In("link_networks", fmt.Errorf("link_networks: %w", err))
		}
	}
	for i, rule := range h.Rules {
		if rule.Local && h.Local == nil {
			return ruleconfig.In(i, fmt.Errorf("rule %s: the rule is local and the site has no local routes: add `local { … }`", rule.Path))
		}
	}
	if h.Preflight != nil {
		if err := h.Preflight.policy().Validate(); err != nil {
			return setting.In("preflight", fmt.Errorf("preflight: %w", err))
		}
	}
	return nil
}

// validateShare checks the parameter and the domains of publishers' tokens, and
// normalizes the domains.
func (h *Handler) validateShare() error {
	if !paramPattern.MatchString(h.ShareParam) {
		return setting.In("share_param", fmt.Errorf("share_param: %q must be letters, digits, - and _", h.ShareParam))
	}
	if h.ShareParam == h.LinkParam {
		return setting.In("share_param", fmt.Errorf("share_param: %q is the link_param as well: give them different names", h.ShareParam))
	}
	for i, domain := range h.ShareDomains {
		normal, err := keys.NormalDomain(domain)
		if err != nil {
			return setting.In("share_domain", fmt.Errorf("share_domain: %q %w", domain, err))
		}
		h.ShareDomains[i] = normal
	}
	return nil
}

// Cleanup implements caddy.CleanerUpper. It stops the refresh of issuers' key sets;
// requests in flight keep the sets in memory.
func (h *Handler) Cleanup() error {
	h.keySets.Release()
	if opened := h.openedCrawlers.Swap(nil); opened != nil {
		opened.Close()
	}
	return nil
}

// ServeHTTP implements caddyhttp.MiddlewareHandler: clean, identify, decide, prepare the
// use of a link and the upstream request, then allow or deny.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	g := h.clean(r)
	err := h.serve(w, g, next)
	header := w.Header() // its trailers are sent after this function returns
	delete(header, requireHeader)
	delete(header, http.TrailerPrefix+requireHeader)
	if offer := g.outcome.offer; offer != nil {
		offer.page = nil // it is memory of the gateRequest
	}
	g.release()
	return err
}

func (h *Handler) serve(w http.ResponseWriter, g *gateRequest, next caddyhttp.Handler) error {
	g.site = h.site()
	g.request.Site = g.site.site
	g.identify()
	if len(h.logins) > 0 && login.IsPath(g.original.Path) {
		return h.serveLogin(w, g)
	}
	if g.original.Path == meterPath {
		return h.confirmMeter(w, g)
	}
	decision := &g.decision
	g.site.policy.DecideTo(g.r.Context(), &g.request, decision)
	identity, err := h.upstreamIdentity(g, decision)
	if err != nil && decision.Allow() && !decision.Public() && decision.Loss == nil {
		// Without the reader assertion the origin would respond as to another reader.
		decision.Reason, decision.Err = policy.ReasonStoreUnavailable, err
	}
	if decision.Pending() && (decision.Allow() || decision.Link.Login) {
		spends := decision.Link.Spend
		*decision = g.site.policy.Prepare(g.r.Context(), &g.request, *decision)
		if spends && !decision.Allow() {
			h.metrics.Redeemed(decision.Reason)
		}
	}
	g.explainMissingCookie(decision)
	if g.asksOrigin(decision) {
		return h.serveAsOriginSays(w, g, identity, next)
	}
	g.prepareUpstream(identity, decision.Allow())
	h.metrics.Decided(decision.Reason, since(g.request.Now))
	if answer := lossAnswer(decision.Loss, decision.Allow()); answer != "" {
		h.metrics.Lost(answer)
	}
	h.report(g)
	g.recordUse()
	if !decision.Allow() {
		if h.beginMeter(w, g, decision) {
			return nil
		}
		return h.deny(w, g, decision, next)
	}
	g.recordVisit()
	g.offerPage(decision)
	err = h.allow(w, g, decision, next)
	if g.page.denied {
		return h.denyLate(w, g, next)
	}
	return err
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddy.Validator             = (*Handler)(nil)
	_ caddy.CleanerUpper          = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
)
