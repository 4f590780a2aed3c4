package caddymodule

import (
	"net/http"
	"strings"

	"github.com/gatefold/gatefold/policy"
)

const (
	// sessionHeader carries the assertion by which an origin learns who asks.
	// It is one of the gate's own names: what a client sends under it, or under
	// what an origin could take for it, never arrives (see reserved).
	sessionHeader = "Gatefold-Session"
	// sharedCookie is DjaoApp's session cookie. Its readers fall back to a token
	// in Authorization, and those of the token to this cookie.
	sharedCookie = "sessionid"
)

// introduction is how an origin is told who asks: the site's settings, and the
// session, which is empty when there is nothing to tell.
type upstreamIdentity struct {
	settings *policy.Forwarding
	session  string
}

// introduce prepares what an origin is told of an allowed request. A use that is to
// be spent is spent only after this: what cannot be told of is not served.
func (h *Handler) identifyUpstream(g *gateRequest, site *siteRuntime, decision *policy.Decision) (upstreamIdentity, error) {
	if !h.app.shared.fresh(h.Vendor, g.request.Now) {
		return upstreamIdentity{}, errStale
	}
	settings, err := site.policy.Forwarding(g.r.Context(), site.sessions, site.site)
	if err != nil || !decision.Allow() || decision.Reason == policy.ReasonPreflight {
		return upstreamIdentity{settings: settings}, err
	}
	session, err := site.policy.Session(g.r.Context(), site.sessions, &g.request, decision, settings.Backend)
	return upstreamIdentity{settings, session}, err
}

// handOver makes a decided request ready for whoever answers it: it takes out
// what could pass for a session, and tells an origin who asks.
//
// Denied requests are made ready as well: a site's error routes may ask the
// origin for a page. Where the site's settings are not known, everything is taken
// out that could be a session under any of them, and nothing is told; only what
// everybody may have is then still served.
func (h *Handler) prepareUpstream(g *gateRequest, decision *policy.Decision) {
	identity := g.upstream
	if identity.settings == nil {
		site, err := h.runtime.get()
		if err == nil {
			identity, err = h.identifyUpstream(g, site, decision)
		}
		if err != nil {
			withoutSession(decision, err)
		}
	}
	if identity.settings == nil {
		dropSharedSession(g.r)
		return
	}
	g.outcome.forwarding = identity.settings
	if identity.settings.Backend.Shared() {
		dropSharedSession(g.r)
	}
	if identity.session != "" && decision.Allow() {
		g.session = true
		setSession(g.r.Header, identity.settings.Backend, identity.session)
	}
}

// withoutSession denies a request of which the origin cannot be told who asks. A
// page that everybody may have it gives to nobody in particular.
func withoutSession(decision *policy.Decision, err error) {
	if decision.Allow() && !decision.Public() {
		decision.Reason, decision.Err = policy.ReasonStoreUnavailable, err
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

// dropSharedSession takes out of a request what an origin that shares a key with
// the site could take for a session: it reads a cookie and a header, whichever of
// the two the site fills.
func dropSharedSession(r *http.Request) {
	delete(r.Header, "Authorization")
	dropSharedCookie(r.Header)
	cleanTokens(r.Header, "Connection", carriesShared)
	cleanTokens(r.Header, "Trailer", carriesShared)
}

// carriesShared says whether a header carries shared sessions.
func carriesShared(name string) bool {
	return strings.EqualFold(name, "Authorization") || strings.EqualFold(name, "Cookie")
}

// dropSharedCookie removes every cookie in which any reader of cookies could find
// the shared session: some end a cookie at a blank or a comma, or in quotes, and
// trim more of a name than others. All other cookies stay as they are.
func dropSharedCookie(header http.Header) {
	lines := header["Cookie"]
	var kept []string
	touched := false
	for _, line := range lines {
		if !containsFold(line, sharedCookie) {
			kept = append(kept, line)
			continue
		}
		var parts []string
		for part := range strings.SplitSeq(line, ";") {
			if namesCookie(part, sharedCookie) {
				touched = true
				continue
			}
			parts = append(parts, strings.TrimLeft(part, " \t"))
		}
		if len(parts) > 0 {
			kept = append(kept, strings.Join(parts, "; "))
		}
	}
	switch {
	case len(kept) == 0:
		delete(header, "Cookie")
	case touched:
		header["Cookie"] = kept
	}
}

// namesCookie says whether a piece of a Cookie header holds a name, in any case,
// that is no part of a longer one.
func namesCookie(piece, name string) bool {
	for i := 0; i+len(name) <= len(piece); i++ {
		if (piece[i]|0x20) != name[0] || !strings.EqualFold(piece[i:i+len(name)], name) {
			continue
		}
		before := i == 0 || !isNameByte(piece[i-1])
		after := i+len(name) == len(piece) || !isNameByte(piece[i+len(name)])
		if before && after {
			return true
		}
	}
	return false
}

// isNameByte says whether a byte can be inside of a cookie's name (RFC 6265,
// section 4.1.1), as far as servers agree on that.
func isNameByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_' || c == '.'
}
