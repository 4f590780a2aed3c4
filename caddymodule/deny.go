package caddymodule

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/gatefold/gatefold/caddymodule/denial"
	"github.com/gatefold/gatefold/caddymodule/linkpath"
	"github.com/gatefold/gatefold/caddymodule/reasons"
	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/paywall"
)

func init() {
	caddy.RegisterModule(neutralize{})
}

// statusClientLeft is the status in the access log of a request whose client left while the
// store was asked, as of Caddy's reverse_proxy.
const statusClientLeft = 499

// deny responds to a denied request.
func (h *Handler) deny(w http.ResponseWriter, g *gateRequest, decision *policy.Decision, next caddyhttp.Handler) error {
	if decision.Reason == policy.ReasonStoreUnavailable && g.r.Context().Err() != nil && errors.Is(decision.Err, context.Canceled) {
		w.WriteHeader(statusClientLeft) // no error of the server, also in the access log
		return nil
	}
	reason := reasons.Texts[decision.Reason]
	if reason.Status == 0 {
		reason = reasons.Texts[policy.ReasonStoreUnavailable] // fail closed
	}
	if vars, ok := g.r.Context().Value(caddyhttp.VarsCtxKey).(map[string]any); ok {
		endOffer(vars) // of a gate before this one: no handler after a denial has its permission
	}
	g.outcome.last.hold(w, g.r, wordNoStore)
	if done, err := h.tease(w, g, decision, next); done || err != nil {
		return err
	}
	header := w.Header()
	html := denial.AcceptsHTML(g.r)
	switch reason.Status {
	case http.StatusUnauthorized:
		if decision.Link.Login && g.request.Link.Navigation {
			g.setLinkCookie(header, &decision.Link) // for the return from the login, without the token
		}
		header.Set("WWW-Authenticate", challenge(h.Site, decision))
		if !html && asksForPassword(g.r, decision) {
			header.Add("WWW-Authenticate", `Basic realm="`+h.Site+`", charset="UTF-8"`)
		}
	case http.StatusServiceUnavailable:
		header.Set("Retry-After", denial.RetryAfter)
	case http.StatusTooManyRequests:
		header.Set("Retry-After", keyLimitSeconds)
	case http.StatusMethodNotAllowed:
		header.Set("Allow", g.request.AllowedMethods())
	}
	step := h.stepOf(g, decision)
	var wall *paywallEntry
	if html && !h.Deny.Errors {
		wall = h.paywallOf(g, decision)
	}
	if wall == nil && step.URL != "" && g.r.Method == http.MethodGet && html && !decision.Link.Ignored && h.mayRedirect(g, decision, step) {
		header.Set("Cache-Control", "no-store")
		header.Set("Location", step.URL)
		w.WriteHeader(http.StatusSeeOther)
		return nil
	}
	refusal := refusal{
		Denial: reason.Denial, code: decision.Reason.String(), uri: h.deniedURI(g.original), next: step, id: g.outcome.requestID(), support: g.outcome.supportCode(),
		wall: wall, user: g.request.Reader.UserID,
	}
	if decision.Reason == policy.ReasonBadPath {
		refusal.uri = linkpath.Redact(refusal.uri)
	}
	refusal.login = h.loginURL(g, &decision.Demand)
	if decision.Reason == policy.ReasonMeterUsedUp {
		refusal.meter = decision.Meter
	}
	if wall != nil {
		refusal.checkout = h.checkoutOf(g)
	}
	if h.Deny.Forward != "" && html && wall == nil {
		return h.forwardDenied(w, g, refusal, next)
	}
	return h.refuse(w, g.r, refusal)
}

// stepOf returns what the reader can do about a denial. The page that it names has values
// of the decision, of the reader and of the request's own host only.
func (h *Handler) stepOf(g *gateRequest, decision *policy.Decision) denial.Step {
	next, demand := reasons.NextSteps[decision.Reason], &decision.Demand
	step, page := denial.Step{Action: next.Action}, next.Page
	if page == "subscribe" && demand.Plan == "" && h.targets[pricing] != nil {
		page = pricing
	}
	if page == "login" {
		if step.URL = h.loginURL(g, demand); step.URL != "" {
			step.Label = next.Label
		}
		return step
	}
	if target := h.targets[page]; target != nil {
		step.Label = next.Label
		step.URL = target.URL(denial.Values{
			"profile": demand.Profile, "plan": demand.Plan, "agreement": demand.Agreement,
			"user": g.request.Reader.UserID, "next": siteURL(g) + cleanURI(g),
		})
	}
	return step
}

// refusal is a denial of one request.
type refusal struct {
	denial.Denial
	code  string
	uri   string // of the denied page, see denial.URI
	login string // URL of the login page, if there is one
	next  denial.Step
	id    string // of the request
	// support is the support code; empty without a decision.
	support string
	// wall is the paywall of the denial, or nil; checkout returns where its offers are
	// bought. User is the reader's id; empty for an anonymous one.
	wall     *paywallEntry
	checkout func(paywall.Item) string
	user     string
	// meter is the state of the meter that refused, or nil.
	meter *policy.MeterUse
}

// notFound responds to a request that no local route answers.
func (h *Handler) notFound(w http.ResponseWriter, r *http.Request) error {
	missing := denial.Denial{Status: http.StatusNotFound, Title: "There is no such page", Detail: "The site has no page at this address."}
	var id string
	if repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok {
		id, _ = repl.GetString(placeholders + "request_id")
	}
	return h.refuse(w, r, refusal{Denial: missing, code: "not_found", uri: h.deniedURI(originalURL(r)), id: id})
}

// refuse passes a denial to the site's error routes if Deny.Errors is set. Otherwise
// it writes a page for clients that ask for HTML, and a problem for all others.
func (h *Handler) refuse(w http.ResponseWriter, r *http.Request, d refusal) error {
	header := w.Header()
	header.Set("Cache-Control", "no-store")
	if h.Deny.Errors {
		return h.toErrorRoutes(r, d)
	}
	header.Set("X-Content-Type-Options", "nosniff")
	header.Add("Vary", "Accept")
	if !denial.AcceptsHTML(r) {
		return denial.WriteProblem(w, d.Denial, d.code, d.login, d.next, d.id, d.support)
	}
	if h.page == nil || d.wall != nil {
		if err := h.writePage(w, r, &d); err == nil {
			return nil
		}
	}
	err := h.page.Write(w, denial.Fields{
		Status: d.Status, Title: d.Title, Detail: d.Detail, Reason: d.code, Site: h.Site, URL: d.uri, LoginURL: d.login, RequestID: d.id, Code: d.support,
		NextAction: d.next.Action, NextURL: d.next.URL, NextLabel: d.next.Label,
	})
	if err != nil {
		h.logger.Error("the page of a denial failed", zap.String("request_id", d.id), zap.Error(err))
	}
	return nil
}

// The headers of the request for the page of a denial. Their names are reserved: a
// client's never reach the origin.
const (
	deniedHeader     = "Gatefold-Denied"
	deniedURLHeader  = "Gatefold-Denied-Url"
	deniedCodeHeader = "Gatefold-Denied-Code"
)

// forwardDenied answers by the page at Deny.Forward. If there is none, the gate answers.
func (h *Handler) forwardDenied(w http.ResponseWriter, g *gateRequest, d refusal, next caddyhttp.Handler) error {
	address := siteURL(g) + d.uri
	r := replaceRequest(g.r, h.Deny.Forward)
	r.Header.Set(deniedHeader, d.code)
	r.Header.Set(deniedURLHeader, address)
	if d.support != "" {
		r.Header.Set(deniedCodeHeader, d.support)
	}
	if d.id != "" {
		r.Header[requestIDHeader] = []string{d.id}
	}
	w.Header().Add("Vary", "Accept")
	page := denial.NewWriter(w, d.Status)
	err := next.ServeHTTP(page, r)
	if page.Passed() {
		return err
	}
	h.logger.Error("the page that denials are forwarded to failed", zap.String("forward", h.Deny.Forward), zap.String("request_id", d.id), zap.Error(err))
	return h.refuse(w, r, d)
}

// deniedVar marks a request, by a variable of its context, as one whose error is a
// denial. Its value points to whether it is.
const deniedVar = "gatefold.denied"

// expectDenial prepares for a denial after the request was passed on, when no variable can be
// set any more, see pageOffer.
func (g *gateRequest) expectDenial() {
	if g.gate.Deny.Errors {
		caddyhttp.SetVar(g.r.Context(), deniedVar, &g.outcome.refused)
	}
}

// markDenied marks a request as one whose error is a denial.
func markDenied(ctx context.Context) {
	if mark, ok := caddyhttp.GetVar(ctx, deniedVar).(*bool); ok {
		*mark = true
		return
	}
	denied := true
	caddyhttp.SetVar(ctx, deniedVar, &denied)
}

// toErrorRoutes returns a denial as an error, which leads to the site's error routes,
// and replaces the denied request for them.
func (h *Handler) toErrorRoutes(r *http.Request, d refusal) error {
	if repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok {
		repl.Set(placeholders+"denied_uri", d.uri)
		repl.Set(placeholders+"denied_uri_escaped", url.QueryEscape(d.uri))
	}
	markDenied(r.Context())
	replaceRequest(r, denial.NeutralPath)
	return caddyhttp.Error(d.Status, errors.New(d.code))
}

// replaceRequest makes another request of a denied one, see denial.Replace, in each form
// in which a later handler could read the denied one: the request, the original one in
// its context, from which php_fastcgi takes REQUEST_URI, and the placeholders. The access
// log has a copy that was made before.
func replaceRequest(r *http.Request, path string) *http.Request {
	denial.Replace(r, path)
	ctx := r.Context()
	if original, ok := ctx.Value(caddyhttp.OriginalRequestCtxKey).(http.Request); ok {
		*original.URL = url.URL{Path: path}
		original.Method, original.RequestURI = http.MethodGet, path
		ctx = context.WithValue(ctx, caddyhttp.OriginalRequestCtxKey, original)
	}
	if repl, ok := ctx.Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok {
		for name, value := range map[string]string{
			"method": http.MethodGet, "orig_method": http.MethodGet, "orig_uri": path, "body": "", "body_base64": "",
		} {
			repl.Set("http.request."+name, value)
		}
	}
	return r.WithContext(ctx)
}

// neutralize is the first of a server's error routes, where the gate puts it: Caddy
// restores the received method and URI before them, so a denied request is replaced
// again. It is no module for a configuration.
type neutralize struct{}

// CaddyModule returns the Caddy module information.
func (neutralize) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.gatefold_neutralize", New: func() caddy.Module { return new(neutralize) }}
}

// ServeHTTP implements caddyhttp.MiddlewareHandler.
func (neutralize) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	if denied, _ := caddyhttp.GetVar(r.Context(), deniedVar).(*bool); denied != nil && *denied {
		r = replaceRequest(r, denial.NeutralPath)
	}
	return next.ServeHTTP(w, r)
}

// neutralizeErrors puts neutralize before a server's error routes, once. Caddy sets them
// up after the server's routes and before its named routes.
func neutralizeErrors(server *caddyhttp.Server) error {
	if server.Errors == nil || len(server.Errors.Routes) == 0 {
		return nil
	}
	first := server.Errors.Routes[0]
	handler := json.RawMessage(`{"handler":"gatefold_neutralize"}`)
	if len(first.Handlers) > 0 {
		if _, ours := first.Handlers[0].(*neutralize); !ours {
			return errors.New("deny: errors: the gate is in a named route, which Caddy sets up after the error routes: use deny { page } or deny { forward }")
		}
		return nil
	}
	if len(first.HandlersRaw) > 0 && bytes.Equal(first.HandlersRaw[0], handler) {
		return nil
	}
	route := caddyhttp.Route{HandlersRaw: []json.RawMessage{handler}}
	server.Errors.Routes = append(caddyhttp.RouteList{route}, server.Errors.Routes...)
	return nil
}

// challenge returns the WWW-Authenticate header of a denial (RFC 6750, section 3).
func challenge(site string, decision *policy.Decision) string {
	text := `Bearer realm="` + site + `"`
	if decision.Reason == policy.ReasonBadCredential {
		text += `, error="invalid_token"`
	}
	if decision.Reason == policy.ReasonStepUpRequired { // RFC 9470, section 3
		text += `, error="insufficient_user_authentication", error_description="The page asks for a stronger or a more recent login"`
		if acr := decision.Demand.ACR; acr != "" {
			text += `, acr_values="` + acr + `"`
		}
		if age := decision.Demand.MaxAge; age != 0 {
			text += `, max_age="` + strconv.FormatInt(age, 10) + `"`
		}
	}
	return text
}

// siteURL returns the scheme and the host of a request, for URLs that are read elsewhere.
func siteURL(g *gateRequest) string { return scheme(g) + "://" + plainHost(g.r.Host) }

// plainHost returns the host of a request, for URLs that are read elsewhere. Caddy selects
// the site by the host without its port, and accepts any text as a port: one that is no
// number is left out, because others could read "news.example:80@other.example" or
// "news.example:80.other.example" as another host.
func plainHost(host string) string {
	if _, port, err := net.SplitHostPort(host); err == nil {
		if _, err := strconv.ParseUint(port, 10, 16); err != nil {
			host = strings.TrimSuffix(host, ":"+port)
		}
	}
	return host
}

func scheme(g *gateRequest) string {
	if g.secure {
		return "https"
	}
	return "http"
}

// deniedURI returns the URI of a denied page, without link tokens.
func (h *Handler) deniedURI(received *url.URL) string {
	query, _, _ := h.takeTokens(received.RawQuery)
	return denial.URI(received.EscapedPath(), query)
}

// originalURL returns the URL of a request as received.
func originalURL(r *http.Request) *url.URL {
	if original, ok := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request); ok {
		return original.URL
	}
	return r.URL
}
