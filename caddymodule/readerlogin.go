package caddymodule

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/gatefold/gatefold/caddymodule/denial"
	"github.com/gatefold/gatefold/caddymodule/login"
	"github.com/gatefold/gatefold/caddymodule/metrics"
	"github.com/gatefold/gatefold/caddymodule/openstore"
	"github.com/gatefold/gatefold/caddymodule/reasons"
	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy"
)

func ringOf(rt *openstore.Opened, vendor string) func(context.Context) (*keys.Ring, error) {
	return func(ctx context.Context) (*keys.Ring, error) { return rt.Keyring.Ring(ctx, vendor) }
}

// takeLoginCookies takes the cookies of the login from those that were removed from the
// request: they are never those of a link, and never reach the origin.
func (g *gateRequest) takeLoginCookies() {
	if len(g.gate.logins) == 0 || len(g.cookies) == 0 {
		return
	}
	kept := g.cookies[:0]
	for _, cookie := range g.cookies {
		switch {
		case cookie.name == login.CookieSession:
			g.ticket = cookie.value
		case strings.HasPrefix(cookie.name, login.CookiePrefix):
			g.loginCookies = append(g.loginCookies, cookie)
		default:
			kept = append(kept, cookie)
		}
	}
	g.cookies = kept
}

// loggedIn sets the reader of the request's login session. It returns false if it has none of
// this login.
func (s *credentialSource) loggedIn(g *gateRequest, to *policy.Reader) bool {
	if g.ticket == "" {
		return false
	}
	var err error
	*to, err = g.site.policy.SessionReader(g.r.Context(), s.login.Verifier(), g.ticket, g.request.Now)
	switch {
	case err != nil:
		*to = failedReader(err)
	case to.Anonymous() || !s.login.Names(to.UserID):
		*to = policy.Reader{}
		return false
	default:
		g.source, g.token = s, g.ticket
	}
	return true
}

// reader verifies the credential of a stream again.
func (s *credentialSource) reader(ctx context.Context, p *policy.Policy, token string, at time.Time) (policy.Reader, error) {
	switch {
	case s.login != nil:
		reader, err := p.SessionReader(ctx, s.login.Verifier(), token, at)
		if err == nil && !s.login.Names(reader.UserID) {
			reader = policy.Reader{}
		}
		return reader, err
	case s.key != nil:
		return p.KeyReader(ctx, s.key, token, at)
	}
	return p.Reader(ctx, &s.verifier, token, at)
}

// stamped adds the version of a login session to a stamp.
func (s *credentialSource) stamped(p *policy.Policy, token string, stamp func() uint64) func() uint64 {
	switch {
	case s == nil || s.login == nil && s.key == nil:
		return stamp
	case s.key != nil:
		return func() uint64 { return stamp() + p.KeyStamp(s.key, token) }
	}
	return func() uint64 { return stamp() + p.SessionStamp(token) }
}

// serveLogin answers a request to a path of the login.
func (h *Handler) serveLogin(w http.ResponseWriter, g *gateRequest) error {
	// Its responses set cookies: no cache keeps them, whatever the site's directives for
	// headers say, which are applied later.
	g.outcome.last.hold(w, g.r, wordNoStore)
	g.outcome.request = g.r
	id := g.outcome.requestID()
	sites := g.site.logins()
	if sites == nil {
		reason := reasons.Texts[policy.ReasonStoreUnavailable]
		w.Header().Set("Retry-After", denial.RetryAfter)
		return h.refuse(w, g.r, refusal{Denial: reason.Denial, code: policy.ReasonStoreUnavailable.String(), uri: denial.URI(g.original.EscapedPath(), ""), id: id})
	}
	asked := g.r
	if asked.URL != g.original { // a rewrite before the gate, such as try_files, is for pages
		asked = new(http.Request)
		*asked = *g.r
		asked.URL = g.original
	}
	request := &login.Request{
		Request: asked, Origin: siteURL(g), Secure: g.secure, Ticket: g.ticket, Reader: g.request.Reader, SupportID: id,
		Cookies: make(map[string]string, len(g.loginCookies)),
	}
	for _, cookie := range g.loginCookies {
		request.Cookies[cookie.name] = cookie.value
	}
	if g.source != nil {
		request.Session = g.source.login
	}
	sites.Serve(w, request)
	return nil
}

// login returns one of the site's logins, by which a session of each of them can be ended; nil
// for none.
func (r *siteRuntime) login() *login.Site {
	if all := r.logins(); len(all) > 0 {
		return all[0]
	}
	return nil
}

// logins returns the site's logins; nil while the store cannot be opened.
func (r *siteRuntime) logins() (all login.Logins) {
	for i := range r.sources {
		if r.sources[i].login != nil {
			all = append(all, r.sources[i].login)
		}
	}
	return all
}

// loginURL returns the page on which the reader of a denied request logs in, empty for none.
// What deny configures comes before the login at the gate. A request that is no navigation
// is part of a page: the reader returns to that.
func (h *Handler) loginURL(g *gateRequest, demand *policy.Demand) string {
	asked := demand.Authentication()
	if target := h.targets["login"]; target != nil {
		values := denial.Values{"next": siteURL(g) + cleanURI(g), "acr_values": asked.ACR}
		if asked.MaxAge != 0 {
			values["max_age"] = strconv.FormatInt(asked.MaxAge, 10)
		}
		return target.URL(values)
	}
	if len(h.logins) == 0 {
		return ""
	}
	next := cleanURI(g)
	if !isNavigation(g.r) {
		if page, err := url.Parse(g.r.Referer()); err == nil && page.Host == g.r.Host && page.Host != "" {
			next = page.RequestURI()
		}
	}
	if h.Deny.Register && g.request.Reader.Anonymous() {
		return siteURL(g) + login.StepUpURL(login.RegisterURL(next), asked)
	}
	return siteURL(g) + login.StepUpURL(login.URL(next), asked)
}

// mayRedirect reports whether the browser of a denied request may be sent to a page. A login at
// the gate begins only with a navigation: each attempt sets a cookie.
//
// A login elsewhere is not told by the gate that it was asked before: a reader whom it sends back
// as they were would be redirected without end.
func (h *Handler) mayRedirect(g *gateRequest, decision *policy.Decision, step denial.Step) bool {
	if decision.Reason == policy.ReasonStepUpRequired && h.targets["login"] != nil {
		return false
	}
	if len(h.logins) == 0 || h.targets["login"] != nil || step.Action != "login" {
		return true
	}
	return isNavigation(g.r) && !isPrefetch(g.r) && g.r.Header.Get("X-Requested-With") == ""
}

// reportLogin counts and logs what became of a login, a logout or a renewal.
func (h *Handler) reportLogin(event login.Event) {
	metrics.Logins.WithLabelValues(h.Vendor, h.Site, string(event.Kind), string(event.Result)).Inc()
	level := zapcore.InfoLevel
	failed := event.Result == login.ResultProvider || event.Result == login.ResultStore
	if event.Result == login.ResultOK {
		level = zapcore.DebugLevel
	} else if failed && !errors.Is(event.Err, context.Canceled) {
		level = zapcore.WarnLevel
	}
	if entry := h.logger.Check(level, "login"); entry != nil {
		entry.Write(zap.String("kind", string(event.Kind)), zap.String("result", string(event.Result)), zap.String("vendor", h.Vendor), zap.String("site", h.Site),
			zap.String("request_id", event.SupportID), errorField(event.Err))
	}
}
