package caddymodule

import (
	"net/http"
	"strings"

	"github.com/gatefold/gatefold/caddymodule/headers"
	"github.com/gatefold/gatefold/policy"
)

const (
	// sessionHeader carries the reader assertion. The name is reserved: a client's
	// header never reaches the origin.
	sessionHeader = "Gatefold-Session"
	// sharedCookie is DjaoApp's session cookie. An origin that expects it also accepts
	// a token in Authorization, and the other way round.
	sharedCookie = "sessionid"
)

// upstreamIdentity is the description of the reader for the origin: the site's settings,
// nil if they cannot be loaded, and the session, empty if there is none.
type upstreamIdentity struct {
	settings *policy.Forwarding
	session  string
}

// upstreamIdentity returns the upstream session of a decided request. The caller calls
// it before it spends a use: without the session the page is not served.
func (h *Handler) upstreamIdentity(g *gateRequest, decision *policy.Decision) (upstreamIdentity, error) {
	site := g.site
	if err := site.policy.Fresh(h.Vendor, g.request.Now); err != nil {
		return upstreamIdentity{}, err
	}
	settings, err := site.policy.Forwarding(g.r.Context(), site.sessions, site.site)
	if err != nil || !decision.Allow() || decision.Reason == policy.ReasonPreflight || decision.Loss != nil {
		return upstreamIdentity{settings: settings}, err
	}
	session, err := site.policy.Session(g.r.Context(), site.sessions, &g.request, decision, settings.Backend)
	return upstreamIdentity{settings, session}, err
}

// prepareUpstream strips link tokens, on pages that a link may open, and spoofable
// session headers from the request, and sets the upstream session if the request is
// allowed.
//
// Denied requests are prepared as well: a site's error routes may proxy to the origin.
// If the settings are not known, it strips the session headers of every backend.
func (g *gateRequest) prepareUpstream(identity upstreamIdentity, allowed bool) {
	g.stripTokens()
	g.outcome.forwarding = identity.settings
	if identity.settings == nil || identity.settings.Backend.Shared() {
		dropSharedSession(g.r)
	}
	if allowed {
		g.setReaderBase()
	}
	if identity.session != "" && allowed {
		g.asserted = true
		setSession(g.r.Header, identity.settings.Backend, identity.session)
	}
}

func setSession(header http.Header, backend policy.SessionBackend, session string) {
	switch backend {
	case policy.SessionNone:
	case policy.SessionAssertion:
		header[sessionHeader] = []string{session}
	case policy.SessionJWT:
		header["Authorization"] = []string{"Bearer " + session}
	case policy.SessionCookie:
		cookies := sharedCookie + "=" + session
		if others := header["Cookie"]; len(others) > 0 {
			cookies = strings.Join(others, "; ") + "; " + cookies
		}
		header["Cookie"] = []string{cookies}
	}
}

// dropSharedSession removes both forms of a shared-key session from a request: the
// origin accepts either, whichever one the gate sets.
func dropSharedSession(r *http.Request) {
	delete(r.Header, "Authorization")
	// Some servers end a cookie at a blank, a comma or a quote, so a cookie that
	// mentions the name anywhere is dropped.
	headers.DropCookies(r.Header, r.Header["Cookie"], sharedCookie, func(cookie string) bool { return headers.MentionsCookie(cookie, sharedCookie) })
	headers.CleanTokens(r.Header, "Connection", headers.Credential)
	headers.CleanTokens(r.Header, "Trailer", headers.Credential)
}
