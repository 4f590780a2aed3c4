package caddymodule

import (
	"errors"
	"fmt"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/gatefold/gatefold/caddymodule/block"
	"github.com/gatefold/gatefold/caddymodule/denial"
	"github.com/gatefold/gatefold/caddymodule/setting"
	"github.com/gatefold/gatefold/policy"
)

// DenyConfig configures the responses to denied requests. Without it they are problems
// (RFC 9457), and a small page for clients that accept HTML.
type DenyConfig struct {
	// Login is the URL of a login page. A browser whose reader must log in is
	// redirected there, with the requested page as the parameter `next`.
	//
	// This URL and those of the other pages may have placeholders, as whole segments of the
	// path and whole values of the query. `{next}` is the requested page, and replaces the
	// parameter; the others are named with each page. A segment or parameter whose value is
	// empty is left out. `{acr_values}` and `{max_age}`, in seconds, are what the rule asks of
	// the login.
	Login string `json:"login,omitempty" placeholders:"captures"`

	// Register sends a reader who must log in, and logs in at the gate, to make an account at
	// the provider first (`prompt=create`), where it can do that. Readers who have one log in
	// from there.
	Register bool `json:"register,omitempty"`

	// Verify is the URL of a page on which a reader verifies their account
	// (`verify_required`). `{user}` is the reader.
	Verify string `json:"verify,omitempty" placeholders:"captures"`

	// Agreement is the URL of a page on which a reader signs an agreement
	// (`agreement_required`). Placeholders: `{agreement}`, `{user}`.
	Agreement string `json:"agreement,omitempty" placeholders:"captures"`

	// Subscribe is the URL of a page on which a reader subscribes to a plan
	// (`not_subscribed`). Placeholders: `{profile}`, `{plan}`, `{user}`.
	Subscribe string `json:"subscribe,omitempty" placeholders:"captures"`

	// Pricing is the page for a reader who may select the plan: if the rule accepts several
	// or any, or the plan has no price. Default: Subscribe. Placeholders: `{profile}`,
	// `{user}`.
	Pricing string `json:"pricing,omitempty" placeholders:"captures" caddyfile:"subscribe"`

	// Balance is the URL of a page on which a reader pays what a profile owes
	// (`balance_due`). Placeholders: `{profile}`, `{plan}`, `{user}`.
	Balance string `json:"balance,omitempty" placeholders:"captures"`

	// Role is the URL of a page on which a reader asks for a role or accepts an invitation
	// (`role_required`, `role_pending`). Placeholders: `{profile}`, `{user}`.
	Role string `json:"role,omitempty" placeholders:"captures"`

	// Page is a file of HTML, the page of denials for clients that accept HTML. It is a
	// template of Go's html/template with the fields `.Status`, `.Title`, `.Detail`,
	// `.Reason`, `.Site`, `.URL` (the denied page), `.LoginURL`, `.NextAction`, `.NextURL` and
	// `.NextLabel` (the page that gives the reader what they lack) and `.RequestID`. It is
	// read when the configuration is loaded, and has at most 256 KiB.
	Page string `json:"page,omitempty"`

	// Paywalls are the paywalls of the vendor that refused readers get, for clients that
	// accept HTML. A rule may name others. Default: a small page without offers.
	Paywalls policy.PaywallChoices `json:"paywalls,omitempty" caddyfile:"paywall"`

	// Checkout is the URL where the offers of a paywall are bought. Placeholders: `{kind}`
	// (`subscription`, `single`, `gift`, `company`), `{sku}`, `{po}` (the purchase option),
	// `{discount}`, `{paywall}`, `{version}` (of the paywall), `{user}`, `{next}`.
	Checkout string `json:"checkout,omitempty" placeholders:"captures"`

	// Name is the name of the site on its pages. Default: that of the vendor for a paywall,
	// or the host.
	Name string `json:"name,omitempty"`

	// Home is the URL of the front page. Default: `/`.
	Home string `json:"home,omitempty"`

	// Texts is a file of JSON with texts of the pages: it changes those of a language or adds
	// a language. It is read when the configuration is loaded.
	Texts string `json:"texts,omitempty"`

	// Forward is a path of the site. The handlers after the gate make the page of
	// denials there, for clients that accept HTML: as a GET of this path, without the
	// query, the body and the credentials of the denied request, and with the headers
	// `Gatefold-Denied` (the reason) and `Gatefold-Denied-Url`. The response gets the
	// status of the denial. If it is no page, the gate answers as without Forward.
	Forward string `json:"forward,omitempty"`

	// Errors passes denials to the site's error routes (`handle_errors`). They see a GET
	// of `/.gatefold/denied` in the place of the denied request, so that a proxy among
	// them cannot be served the denied page; `{http.gatefold.denied_uri}` is the URI of
	// that.
	Errors bool `json:"errors,omitempty"`
}

// denyPage is a page to which a denial leads: an option of deny, and the placeholders that
// have a value for it.
type denyPage struct {
	name         string
	url          func(*DenyConfig) *string
	placeholders []string
}

const pricing = "pricing" // the second argument of subscribe

var denyPages = []denyPage{
	{"login", func(d *DenyConfig) *string { return &d.Login }, []string{"acr_values", "max_age", "next"}},
	{"verify", func(d *DenyConfig) *string { return &d.Verify }, []string{"user", "next"}},
	{"agreement", func(d *DenyConfig) *string { return &d.Agreement }, []string{"agreement", "user", "next"}},
	{"subscribe", func(d *DenyConfig) *string { return &d.Subscribe }, []string{"profile", "plan", "user", "next"}},
	{pricing, func(d *DenyConfig) *string { return &d.Pricing }, []string{"profile", "user", "next"}},
	{"balance", func(d *DenyConfig) *string { return &d.Balance }, []string{"profile", "plan", "user", "next"}},
	{"role", func(d *DenyConfig) *string { return &d.Role }, []string{"profile", "user", "next"}},
	{"checkout", func(d *DenyConfig) *string { return &d.Checkout }, []string{"kind", "sku", "po", "discount", "paywall", "version", "user", "next"}},
}

func (h *Handler) parseDeny(d *caddyfile.Dispenser) error {
	h.Deny = new(DenyConfig)
	options := []block.Option{
		block.Text("page", &h.Deny.Page), block.Text("forward", &h.Deny.Forward), block.Flag("errors", &h.Deny.Errors), block.Flag("register", &h.Deny.Register),
		{Name: "paywall", Parse: h.Deny.parsePaywall, Repeatable: true},
		block.Text("name", &h.Deny.Name), block.Text("home", &h.Deny.Home), block.Text("texts", &h.Deny.Texts),
	}
	for _, page := range denyPages {
		switch page.name {
		case pricing:
		case "subscribe":
			options = append(options, block.Option{Name: page.name, Parse: h.Deny.parseSubscribe})
		default:
			options = append(options, block.Text(page.name, page.url(h.Deny)))
		}
	}
	return block.Parse(d, "deny", options...)
}

func (c *DenyConfig) parseSubscribe(d *caddyfile.Dispenser) error {
	if !d.Args(&c.Subscribe) {
		return d.ArgErr()
	}
	if d.Args(&c.Pricing); d.NextArg() {
		return d.ArgErr()
	}
	return nil
}

// targets returns the pages to which denials lead, by name.
func (c *DenyConfig) targets() (map[string]*denial.Target, error) {
	targets := map[string]*denial.Target{}
	for _, page := range denyPages {
		text := *page.url(c)
		if text == "" {
			continue
		}
		option := page.name
		if option == pricing {
			option = "subscribe"
		}
		target, err := denial.ParseTarget(text, page.placeholders...)
		if err != nil {
			return nil, setting.In(option, fmt.Errorf("deny: %s: %w", page.name, err))
		}
		targets[page.name] = target
	}
	if targets[pricing] != nil && targets["subscribe"] == nil {
		return nil, setting.In("subscribe", errors.New("deny: pricing: is the page of readers who may select a plan: name the page for one plan too, as subscribe"))
	}
	return targets, nil
}

// provisionDeny reads what the responses to denied requests need, and validates it.
func (h *Handler) provisionDeny(ctx caddy.Context) error {
	server, _ := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if server != nil {
		if err := checkLastWord(server); err != nil {
			return err
		}
	}
	if h.Deny == nil {
		h.Deny = new(DenyConfig)
	}
	d := h.Deny
	targets, err := d.targets()
	if err != nil {
		return err
	}
	h.targets = targets
	if err := h.provisionPaywalls(); err != nil {
		return err
	}
	if d.Errors && (len(targets) > 0 || d.Page != "" || d.Forward != "" || len(d.Paywalls) > 0) {
		return setting.In("errors", errors.New("deny: errors and login, page, paywall, forward or another page exclude one another: redirect and render in handle_errors instead"))
	}
	if d.Register && (len(h.logins) == 0 || targets["login"] != nil) {
		return setting.In("register", errors.New("deny: register is for readers who log in at the gate: it needs identify oidc, and excludes login"))
	}
	if d.Page != "" {
		page, err := denial.LoadPage(d.Page)
		if err != nil {
			return setting.In("page", fmt.Errorf("deny: page: %w", err))
		}
		h.page = page
	}
	if d.Forward != "" {
		if err := denial.CheckForward(d.Forward); err != nil {
			return setting.In("forward", fmt.Errorf("deny: forward: %q %w", d.Forward, err))
		}
	}
	if d.Errors && server != nil {
		return neutralizeErrors(server)
	}
	return nil
}
