package caddymodule

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/gatefold/gatefold/caddymodule/block"
	"github.com/gatefold/gatefold/caddymodule/denial"
	"github.com/gatefold/gatefold/caddymodule/ruleconfig"
	"github.com/gatefold/gatefold/caddymodule/setting"
	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/paywall"
	"github.com/gatefold/gatefold/policy/store"
)

func init() {
	ruleconfig.Options.Register(func(c *ruleconfig.Rule) []block.Option {
		return []block.Option{{Name: "paywall", Repeatable: true, Parse: func(d *caddyfile.Dispenser) error { return parseRulePaywall(c, d) }}}
	})
}

// parseRulePaywall parses `paywall <id> [<readers>…]` in a rule's block.
func parseRulePaywall(c *ruleconfig.Rule, d *caddyfile.Dispenser) error {
	var choices policy.PaywallChoices
	if stored := c.Options["paywall"]; stored != nil {
		if err := json.Unmarshal(stored, &choices); err != nil {
			return d.WrapErr(err)
		}
	}
	if err := parsePaywallChoice(d, &choices); err != nil {
		return err
	}
	return c.SetOption("paywall", choices)
}

// parsePaywall parses `paywall <id> [<readers>…]` in deny.
func (c *DenyConfig) parsePaywall(d *caddyfile.Dispenser) error {
	return parsePaywallChoice(d, &c.Paywalls)
}

func parsePaywallChoice(d *caddyfile.Dispenser, to *policy.PaywallChoices) error {
	args := d.RemainingArgs()
	if len(args) == 0 {
		return d.ArgErr()
	}
	*to = append(*to, policy.PaywallChoice{ID: args[0], For: args[1:]})
	if err := to.Check(); err != nil {
		return d.Errf("paywall: %v", err)
	}
	return nil
}

// paywalls are the pages of a gate's denials for browsers, without a file of the site's own.
type paywalls struct {
	texts *paywall.Texts

	mu      sync.Mutex
	entries map[string]*paywallEntry // by id
}

// paywallEntry is a compiled paywall. Its page is nil if there is no active paywall.
type paywallEntry struct {
	page      *paywall.Page
	vendor    string // its name for readers
	checkedAt time.Time
	// stamp is that of the record, which changes with it on every node.
	stamp   uint64
	loading bool
}

const (
	// paywallFresh is how long a gate shows a paywall whose record did not change before it
	// reads the record and that of the vendor again.
	paywallFresh = 5 * time.Second
	// paywallTimeout bounds how long a denial waits for the record.
	paywallTimeout = time.Second
	// maxPaywallEntries bounds the compiled paywalls of a gate.
	maxPaywallEntries = 256
)

// blankPage is the page of a site without a paywall.
var blankPage = sync.OnceValue(func() *paywall.Page { return paywall.Compile(nil, "") })

// provisionPaywalls reads the texts of the pages, and checks what deny says of them.
func (h *Handler) provisionPaywalls() error {
	d := h.Deny
	if err := d.Paywalls.Check(); err != nil {
		return setting.In("paywall", fmt.Errorf("deny: paywall: %w", err))
	}
	h.walls.texts = paywall.BuiltIn()
	if d.Home != "" {
		if home, err := url.Parse(d.Home); err != nil || home.Scheme != "" && home.Scheme != "https" && home.Scheme != "http" || home.Host == "" && (len(d.Home) == 0 || d.Home[0] != '/') {
			return setting.In("home", fmt.Errorf("deny: home: %q must be an http or https URL, or a path of this site", d.Home))
		}
	}
	if d.Texts == "" {
		return nil
	}
	file, err := os.Open(d.Texts)
	if err != nil {
		return setting.In("texts", fmt.Errorf("deny: texts: %w", err))
	}
	defer file.Close() //nolint:errcheck // read only
	text, err := io.ReadAll(io.LimitReader(file, paywall.MaxTextsFile+1))
	if err == nil {
		h.walls.texts, err = h.walls.texts.With(text)
	}
	if err != nil {
		return setting.In("texts", fmt.Errorf("deny: texts: %s: %w", d.Texts, err))
	}
	return nil
}

// readersOf are the readers whom a denial is about, for the choice of a paywall; none for a
// reason that no offer helps with.
func readersOf(reason policy.Reason, anonymous bool) []string {
	switch {
	case reason == policy.ReasonLoginRequired, reason == policy.ReasonBadCredential:
		return []string{policy.PaywallAnonymous}
	case reason == policy.ReasonMeterUsedUp && anonymous:
		return []string{policy.PaywallAnonymous}
	case reason == policy.ReasonMeterUsedUp, reason == policy.ReasonNotEntitled, reason == policy.ReasonNotSubscribed:
		return []string{policy.PaywallNotEntitled}
	case reason == policy.ReasonLinkInvalid, reason.OfLink() && reason != policy.ReasonLinkCookieMissing:
		readers := []string{policy.PaywallLinks, policy.PaywallNotEntitled}
		if anonymous {
			readers[1] = policy.PaywallAnonymous
		}
		return readers
	}
	return nil
}

// paywallOf returns the paywall of a denial, or nil: that of the rule, otherwise that of the
// site. One that is missing or canceled is none.
func (h *Handler) paywallOf(g *gateRequest, decision *policy.Decision) *paywallEntry {
	readers := readersOf(decision.Reason, g.request.Reader.Anonymous())
	if len(readers) == 0 {
		return nil
	}
	id := decision.Paywall(readers...)
	if id == "" {
		id = h.Deny.Paywalls.Of(readers...)
	}
	if id == "" {
		return nil
	}
	entry := h.walls.get(g.r.Context(), h, id, g.request.Now)
	if entry == nil || entry.page == nil {
		return nil
	}
	return entry
}

// get returns a compiled paywall. One that was read lately is returned as it is unless it was
// changed, and so is an older one while another request reads it or while the store fails.
func (p *paywalls) get(ctx context.Context, h *Handler, id string, at time.Time) *paywallEntry {
	stamp := h.app.shared.Versions.Paywall(h.Vendor, id) // before the record is read
	p.mu.Lock()
	defer p.mu.Unlock()
	entry := p.entries[id]
	if entry != nil && (entry.loading || entry.stamp == stamp && at.Sub(entry.checkedAt) < paywallFresh) {
		return entry
	}
	if entry != nil {
		// The others go on with the version that they have.
		entry.loading = true
		p.mu.Unlock()
		read, err := loadPaywall(ctx, h, id, at)
		p.mu.Lock()
		entry.loading, entry.checkedAt, entry.stamp = false, at, stamp
		if err != nil {
			h.logger.Warn("a paywall cannot be read: readers get the version that this node has", zap.String("paywall", id), zap.Error(err))
			return entry
		}
		read.stamp = stamp
		p.entries[id] = read
		return read
	}
	read, err := loadPaywall(ctx, h, id, at)
	if err != nil {
		h.logger.Warn("a paywall cannot be read: readers get the built-in page", zap.String("paywall", id), zap.Error(err))
		read = &paywallEntry{checkedAt: at}
	} else if read.page == nil {
		h.logger.Warn("there is no active paywall with this id: readers get the built-in page", zap.String("paywall", id), zap.String("vendor", h.Vendor),
			zap.String("remedy", "create it with `gatefold paywall add`, or name another one in deny or the rule"))
	}
	if p.entries == nil || len(p.entries) >= maxPaywallEntries {
		p.entries = map[string]*paywallEntry{}
	}
	read.stamp = stamp
	p.entries[id] = read
	return read
}

// loadPaywall reads and compiles a paywall.
func loadPaywall(ctx context.Context, h *Handler, id string, at time.Time) (*paywallEntry, error) {
	records := h.app.shared.Store
	if records == nil {
		return nil, errors.New("the store is not open")
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), paywallTimeout)
	defer cancel()
	entry := &paywallEntry{checkedAt: at}
	wall, err := records.Paywall(ctx, h.Vendor, id)
	switch {
	case errors.Is(err, store.ErrNotFound), err == nil && wall.Status != paywall.StatusActive:
		return entry, nil
	case err != nil:
		return nil, err
	}
	vendor, err := records.Vendor(ctx, h.Vendor)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, err
	}
	entry.page, entry.vendor = paywall.Compile(&wall, vendor.Logo), vendor.Name
	return entry, nil
}

// view returns what the page of a denial says.
func (h *Handler) view(r *http.Request, d *refusal) *paywall.View {
	v := &paywall.View{
		Language: h.walls.texts.For(r.Header["Accept-Language"]), Reason: d.code, Site: h.Deny.Name, Home: h.Deny.Home, Login: d.login,
		Action: d.next.Action, ActionURL: d.next.URL, RequestID: d.id, Code: d.support,
	}
	if d.wall != nil && v.Site == "" {
		v.Site = d.wall.vendor
	}
	if v.Site == "" {
		if v.Site = r.Host; h.Site != defaultVendor && h.Site != h.Vendor {
			v.Site = h.Site
		} else if host, _, err := net.SplitHostPort(r.Host); err == nil {
			v.Site = host
		}
	}
	if v.Home == "" && d.uri != "/" {
		v.Home = "/"
	}
	if use := d.meter; use != nil {
		v.Meter = &paywall.Meter{Used: use.Used(), Limit: use.Limit, Resets: use.Resets.In(h.zone)}
	}
	v.Checkout, v.Identified = d.checkout, d.user != ""
	v.HintOnly = h.targets["login"] == nil // the gate's own
	return v
}

// checkoutOf returns the URLs at which items are bought, or nil without a checkout.
func (h *Handler) checkoutOf(g *gateRequest) func(paywall.Item) string {
	target := h.targets["checkout"]
	if target == nil {
		return nil
	}
	values := denial.Values{"user": g.request.Reader.UserID, "next": siteURL(g) + cleanURI(g)}
	return func(item paywall.Item) string {
		values["kind"], values["sku"], values["po"], values["discount"] = item.Kind, item.SKU, item.POID, item.Discount
		values["paywall"], values["version"] = item.Paywall, strconv.Itoa(item.Version)
		return target.URL(values)
	}
}

// writePage writes the page of a denial: the paywall, or the built-in one.
func (h *Handler) writePage(w http.ResponseWriter, r *http.Request, d *refusal) error {
	page := blankPage()
	if d.wall != nil {
		page = d.wall.page
	}
	view := h.view(r, d)
	var body bytes.Buffer
	body.Grow(16 << 10)
	if err := page.Render(&body, view); err != nil {
		return err
	}
	header := w.Header()
	header.Add("Vary", "Accept-Language")
	header.Set("Content-Type", "text/html; charset=utf-8")
	header.Set("Content-Security-Policy", page.Policy(view))
	header.Set("Referrer-Policy", "no-referrer")
	w.WriteHeader(d.Status)
	_, _ = w.Write(body.Bytes()) // fails only if the client is gone
	return nil
}
