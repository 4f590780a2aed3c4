package caddymodule

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/gatefold/gatefold/caddymodule/block"
	"github.com/gatefold/gatefold/caddymodule/denial"
	"github.com/gatefold/gatefold/caddymodule/metrics"
	"github.com/gatefold/gatefold/caddymodule/reasons"
	"github.com/gatefold/gatefold/caddymodule/ruleconfig"
	"github.com/gatefold/gatefold/caddymodule/teaser"
	"github.com/gatefold/gatefold/policy"
)

// optionTeaser is the rule option for what a reader sees who may not have a page.
const optionTeaser = "teaser"

// viewHeader asks an origin for the part of a page that every reader may have, and its
// response for having done so. The name is reserved: a client's never reaches the origin.
const (
	viewHeader = "Gatefold-View"
	viewTeaser = "teaser"
)

// teaserOption is the stored form of the rule option teaser.
type teaserOption struct {
	// By is who cuts the page: `gate` or `origin`.
	By string `json:"by"`
	// Element selects gated elements, if the gate cuts; see teaser.ParseRegion. The
	// regions between comments are gated in any case.
	Element string `json:"element,omitempty"`
	// StructuredData says whether the gate tells search engines that the page is not free, by
	// JSON-LD of schema.org.
	StructuredData bool `json:"structuredData,omitempty"`

	region teaser.Region
}

const (
	byGate   = "gate"
	byOrigin = "origin"
)

func init() {
	policy.RegisterRuleOption(policy.RuleOption{Name: optionTeaser, Compile: compileTeaser})
	ruleconfig.Options.Register(func(c *ruleconfig.Rule) []block.Option {
		return []block.Option{{Name: optionTeaser, Parse: func(d *caddyfile.Dispenser) error { return parseTeaser(c, d) }}}
	})
}

func compileTeaser(value json.RawMessage) (any, error) {
	var o teaserOption
	decoder := json.NewDecoder(bytes.NewReader(value))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&o); err != nil {
		return nil, errors.New(`it must be an object with by, "gate" or "origin", and for the gate an element, such as ".paywall"`)
	}
	switch {
	case o.By == byOrigin && o.Element != "":
		return nil, errors.New("element is for a page that the gate cuts: with by origin, the origin finds what is gated")
	case o.By == byOrigin && o.StructuredData:
		return nil, errors.New("structuredData is for a page that the gate cuts: an origin that cuts writes its own")
	case o.By != byGate && o.By != byOrigin:
		return nil, errors.New(`by is neither "gate" nor "origin"`)
	case o.Element != "":
		var err error
		if o.region, err = teaser.ParseRegion(o.Element); err != nil {
			return nil, err
		}
	}
	return &o, nil
}

// parseTeaser parses `teaser origin` and
//
//	teaser cut [<element>] {
//		structured_data
//	}
func parseTeaser(c *ruleconfig.Rule, d *caddyfile.Dispenser) error {
	var o teaserOption
	switch args := d.RemainingArgs(); {
	case len(args) == 1 && args[0] == byOrigin:
		o.By = byOrigin
	case (len(args) == 1 || len(args) == 2) && args[0] == "cut":
		o.By = byGate
		if len(args) == 2 {
			o.Element = args[1]
		}
	default:
		return d.Err("teaser: write `teaser cut [<element>]`, such as `teaser cut .paywall`, or `teaser origin`")
	}
	flag := block.Option{Name: "structured_data", Parse: func(d *caddyfile.Dispenser) error {
		if d.NextArg() {
			return d.ArgErr()
		}
		if o.StructuredData = true; o.By == byOrigin {
			return d.Err("teaser origin: structured_data is for a page that the gate cuts: an origin that cuts writes its own")
		}
		return nil
	}}
	if err := block.Parse(d, "teaser", flag); err != nil {
		return err
	}
	return c.SetOption(optionTeaser, o)
}

// Results of a teaser beside the reasons of package teaser.
const (
	teaserSent    teaser.Reason = "sent"
	teaserNotSaid teaser.Reason = "not_echoed" // the origin did not say that it cut
	teaserFailed  teaser.Reason = "failed"     // the handler returned an error
	// teaserElsewhere is a redirect to another host.
	teaserElsewhere teaser.Reason = "redirect_elsewhere"
)

// leadsBack reports whether the target of a redirect is on the host of the request, where
// the gate decides again.
func leadsBack(location, host string) bool {
	target, err := url.Parse(location)
	if err != nil || target.Opaque != "" || target.User != nil {
		return false
	}
	if target.Scheme == "" && target.Host == "" {
		return strings.HasPrefix(target.Path, "/") && !strings.HasPrefix(location, "//") && !strings.Contains(location, "\\")
	}
	return (target.Scheme == "http" || target.Scheme == "https") && strings.EqualFold(target.Host, host)
}

// teases reports whether a denial is one for which a reader gets the teaser of the page:
// another reader may have the page, and this one asked for nothing more than to see it.
func (g *gateRequest) teases(decision *policy.Decision) *teaserOption {
	option, _ := decision.Option(optionTeaser).(*teaserOption)
	if option == nil || g.r.Method != http.MethodGet && g.r.Method != http.MethodHead || g.r.Header.Get("Upgrade") != "" || g.pathToken != "" {
		return nil
	}
	if origin := g.outcome.origin; origin != nil && !origin.teases {
		return nil
	}
	status := reasons.Texts[decision.Reason].Status
	lost := decision.Loss != nil && decision.Loss.Then == policy.LossTeaser
	switch {
	case lost && (option.By == byOrigin || denial.AcceptsHTML(g.r)):
		return option
	case status != http.StatusUnauthorized && status != http.StatusForbidden:
		return nil // no fault of the reader, or a request that no page answers
	case decision.Reason == policy.ReasonNoRule, decision.Reason == policy.ReasonLinkCookieMissing:
		return nil
	case decision.Link.Login && g.request.Link.Navigation:
		return nil // a link that opens after a login: its cookie is set with the redirect
	case option.By == byGate && !denial.AcceptsHTML(g.r):
		return nil
	}
	return option
}

// tease answers a denied request with the part of its page that every reader may have. It
// reports false, and has written nothing, if there is no such part: the denial is the
// answer then.
func (h *Handler) tease(w http.ResponseWriter, g *gateRequest, decision *policy.Decision, next caddyhttp.Handler) (done bool, err error) {
	if h.showCard(w, g, decision, next) {
		return true, nil
	}
	option := g.teases(decision)
	if option == nil {
		return false, nil
	}
	ctx, cancel := context.WithCancel(g.r.Context())
	defer cancel()
	r := g.wholePage(ctx)
	if !decision.Rule.Forward {
		next = caddyhttp.HandlerFunc(h.serveLocal)
	}
	var result teaser.Result
	if option.By == byOrigin {
		r.Header[viewHeader] = []string{viewTeaser}
		result, err = teaseByOrigin(w, g.r.Method, r, next)
	} else {
		wall := h.teaserWall(g, decision)
		if option.StructuredData {
			wall.StructuredData = structuredData
		}
		cutting := teaser.NewResponse(w, g.r.Method, option.region, wall, cancel)
		result, err = teaseByGate(cutting, r, next)
	}
	said := result.Reason
	if said == teaser.Redirected && !leadsBack(result.Location, g.r.Host) {
		// A signed URL of a store of files, for one, is the page itself.
		said, result.Reason = teaserElsewhere, teaserElsewhere
	}
	switch {
	case result.Cut && said == teaser.Complete:
		said = teaserSent
	case result.Reason == teaser.Redirected:
		w.Header().Set("Location", result.Location)
		w.WriteHeader(result.Status)
	case !result.Cut:
		h.logger.Warn("no teaser can be made of a page: readers who may not have it get the page of the denial",
			zap.String("reason", string(said)), zap.String("rule", decision.Rule.Path), zap.String("request_id", g.outcome.requestID()), zap.Error(err))
		err = nil
	}
	metrics.Teasers.WithLabelValues(h.Vendor, h.Site, string(said)).Inc()
	return result.Cut || result.Reason == teaser.Redirected, err
}

// wholePage returns a request for the whole of a page of which a part is shown.
func (g *gateRequest) wholePage(ctx context.Context) *http.Request {
	r := g.r.Clone(ctx)
	r.Body, r.ContentLength, r.TransferEncoding = http.NoBody, 0, nil
	teaser.PrepareRequest(r)
	return r
}

// teaseByGate lets the next handler answer, and cuts what it writes.
func teaseByGate(cutting *teaser.Response, r *http.Request, next caddyhttp.Handler) (result teaser.Result, err error) {
	aborted, err := serveAborting(next, cutting, r, func() { _, _ = cutting.Close(true) })
	result, writeErr := cutting.Close(err != nil)
	switch {
	case result.Cut && (result.Reason == teaser.Broken || aborted && writeErr != nil):
		panic(http.ErrAbortHandler) // the reader sees that the page is not whole
	case result.Cut && result.Reason != teaser.Complete:
		return result, writeErr
	case result.Cut:
		return result, errors.Join(err, writeErr)
	case err != nil && result.Reason == teaser.Broken:
		result.Reason = teaserFailed
	}
	return result, err
}

// serveAborting lets a handler answer, and returns http.ErrAbortHandler in place of a panic
// with it: a proxy panics if the origin breaks off, and if the rest of the page is not
// wanted. Release is called before another panic goes on.
func serveAborting(next caddyhttp.Handler, w http.ResponseWriter, r *http.Request, release func()) (aborted bool, err error) {
	defer func() {
		reason := recover()
		if cause, ok := reason.(error); ok && errors.Is(cause, http.ErrAbortHandler) {
			aborted, err = true, http.ErrAbortHandler
		} else if reason != nil {
			release()
			panic(reason)
		}
	}()
	return false, next.ServeHTTP(w, r)
}

// teaseByOrigin lets the next handler answer, and passes its response if it says that it
// is a teaser.
func teaseByOrigin(w http.ResponseWriter, method string, r *http.Request, next caddyhttp.Handler) (teaser.Result, error) {
	echoed := teaser.NewEcho(w, method, viewHeader, viewTeaser)
	err := next.ServeHTTP(echoed, r)
	result := echoed.Result()
	switch {
	case result.Cut:
		return result, err
	case err != nil && result.Reason == teaser.Broken:
		result.Reason = teaserFailed
	case result.Reason == teaser.NoRegion:
		result.Reason = teaserNotSaid
	}
	return result, err
}

// structuredData says that the page is not free, and which element of it is in the place of
// what is not (Google Search Central, "Subscription and paywalled content").
const structuredData = `<script type="application/ld+json">{"@context":"https://schema.org","@type":"WebPage","isAccessibleForFree":false,` +
	`"hasPart":{"@type":"WebPageElement","isAccessibleForFree":false,"cssSelector":".gatefold-wall"}}</script>`

// teaserWall is what is in the place of the gated part: the paywall of the denial, or the
// reason alone.
func (h *Handler) teaserWall(g *gateRequest, decision *policy.Decision) teaser.Wall {
	d := refusal{
		Denial: reasons.Texts[decision.Reason].Denial, code: decision.Reason.String(), uri: h.deniedURI(g.original), next: h.stepOf(g, decision), id: g.outcome.requestID(),
		support: g.outcome.supportCode(), login: h.loginURL(g, &decision.Demand), wall: h.paywallOf(g, decision), user: g.request.Reader.UserID,
	}
	if decision.Reason == policy.ReasonMeterUsedUp {
		d.meter = decision.Meter
	}
	page := blankPage()
	if d.wall != nil {
		page, d.checkout = d.wall.page, h.checkoutOf(g)
	}
	section := func(w io.Writer) error {
		var body bytes.Buffer
		if err := page.RenderSection(&body, h.view(g.r, &d)); err != nil {
			return err
		}
		_, err := w.Write(body.Bytes())
		return err
	}
	return teaser.Wall{Section: section, Style: page.SectionStyle()}
}
