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

// upstreamIdentity is how the origin learns who asks: the site's settings, nil where
// they are not known, and the reader assertion, empty when there is none.
type upstreamIdentity struct {
	settings *policy.Forwarding
	session  string
}

// upstreamIdentity returns what the origin is told of a decided request. It comes
// before a use is spent: a page whose origin cannot be told is not served.
func (h *Handler) upstreamIdentity(g *gateRequest, decision *policy.Decision) (upstreamIdentity, error) {
	site := g.site
	if err := site.policy.Fresh(h.Vendor, g.request.Now); err != nil {
		return upstreamIdentity{}, err
	}
	settings, err := site.policy.Forwarding(g.r.Context(), site.sessions, site.site)
	if err != nil || !decision.Allow() || decision.Reason == policy.ReasonPreflight {
		return upstreamIdentity{settings: settings}, err
	}
	session, err := site.policy.Session(g.r.Context(), site.sessions, &g.request, decision, settings.Backend)
	return upstreamIdentity{settings, session}, err
}

// prepareUpstream strips link tokens and spoofable session headers from the request,
// and sets the reader assertion if the request is allowed.
//
// Denied requests are prepared as well: a site's error routes may ask the origin for
// a page. Where the site's settings are not known, everything that could be a
// session under any of them is removed.
func (g *gateRequest) prepareUpstream(identity upstreamIdentity, allowed bool) {
	g.stripTokens()
	g.outcome.forwarding = identity.settings
	if identity.settings == nil || identity.settings.Backend.Shared() {
		dropSharedSession(g.r)
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
