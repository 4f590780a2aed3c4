package caddymodule

import (
	"context"
	"encoding/base64"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/gatefold/gatefold/caddymodule/clientaddress"
	"github.com/gatefold/gatefold/caddymodule/denial"
	"github.com/gatefold/gatefold/caddymodule/linkpath"
	"github.com/gatefold/gatefold/caddymodule/sitehosts"
	"github.com/gatefold/gatefold/policy"
)

// LinkEvidence implements policy.LinkSource. The policy calls it only for pages that a
// link may open; elsewhere the parameter belongs to the origin.
func (g *gateRequest) LinkEvidence() policy.LinkEvidence {
	evidence := policy.LinkEvidence{Redeemed: g.buf.links[:0]}
	if g.site.cookies != nil {
		g.redeemed = verifyLinkCookies(g.site.cookies, g.cookies, g.request.Now, g.redeemed)
	}
	for _, pending := range [...]bool{false, true} { // a use that is counted first
		for i := range g.redeemed {
			if link := &g.redeemed[i].link; link.Pending == pending {
				evidence.Redeemed = append(evidence.Redeemed, link.RedeemedLink)
			}
		}
	}
	evidence.Confirms = g.r.Method == http.MethodGet && !g.prefetch
	rest, tokens, share := g.gate.takeTokens(g.original.RawQuery)
	if tokens != nil {
		g.cleanQuery, g.stripsTokens, g.request.Query = rest, true, rest
	}
	if g.pathToken != "" && !g.pathFeed() && !slices.Contains(tokens, g.pathToken) {
		tokens, share = append([]string{g.pathToken}, tokens...), false
	}
	if tokens != nil || len(evidence.Redeemed) > 0 {
		evidence.HostUnknown = g.gate.hostUnknown(g.request.Host)
	}
	if tokens == nil {
		return evidence
	}
	evidence.Ambiguous = len(tokens) > 1
	evidence.Token, evidence.Share = tokens[0], share
	evidence.Spendable, evidence.Navigation = isPageView(g.r), isNavigation(g.r)
	if !evidence.Navigation {
		evidence.Device, evidence.Resumes = g.device(), g.r.Method == http.MethodHead || isSubresource(g.r)
	}
	evidence.Early = isEarlyData(g.r)
	return evidence
}

// ClientAddress implements policy.AddressSource.
func (g *gateRequest) ClientAddress() netip.Addr { return clientaddress.Of(g.r) }

// device returns a keyed hash of the address and the agent of a request: what a program
// that keeps no cookies is known by. It is empty if the address is unknown: programs that
// share none would be one device, and one that states an address would be another's.
func (g *gateRequest) device() string {
	address := clientaddress.Of(g.r)
	if g.site.cookies == nil || !address.IsValid() {
		return ""
	}
	sum := g.site.cookies.mac(appendText(appendText([]byte{deviceFormat}, address.String()), g.r.UserAgent()))
	return base64.RawURLEncoding.EncodeToString(sum[:16])
}

// findHosts returns the hosts that the configuration names for the site. It can be called
// once the server's routes are provisioned.
func (h *Handler) findHosts() (*sitehosts.Hosts, error) {
	return sitehosts.Of(h.server, h, h.Hosts)
}

// hostUnknown reports whether the host of a request is what the client says. Without a
// server, rules are tested for the site's own pages.
func (h *Handler) hostUnknown(host string) bool {
	if h.server == nil {
		return false
	}
	hosts, err := h.hosts.get()
	return err != nil || !hosts.Named(host)
}

// takePathToken takes the token of a path-borne link from the URLs of the request, before
// anything reads its path.
func (g *gateRequest) takePathToken() {
	if g.pathToken = linkpath.Take(g.original, g.r.URL); g.pathToken != "" {
		page := *g.original
		page.Scheme, page.Host = scheme(g), g.r.Host
		g.outcome.last.form = &linkpath.Form{Token: g.pathToken, Page: &page}
	}
}

// leavesToken reports whether a browser navigates to a URL with a token: it is redirected to
// the clean one, whatever opens the page, so that its scripts find no token in its URL.
func (g *gateRequest) leavesToken() bool {
	return g.stripsTokens && g.request.Link.Navigation || g.pathToken != "" && !g.pathFeed() && isNavigation(g.r)
}

// stripTokens removes link tokens from every form of the URL that a later handler could
// send to an origin.
func (g *gateRequest) stripTokens() {
	if !g.stripsTokens && g.pathToken == "" {
		return
	}
	if g.stripsTokens {
		if g.r.URL != g.original {
			g.r.URL.RawQuery, _, _ = g.gate.takeTokens(g.r.URL.RawQuery)
		}
		g.original.RawQuery = g.cleanQuery
	}
	uri := cleanURI(g)
	g.r.RequestURI = uri
	ctx := g.r.Context()
	// Caddy keeps the URI as received for placeholders, and gives it to error routes. It is a
	// copy, so that the request's context is replaced, in the request that Caddy has.
	if original, ok := ctx.Value(caddyhttp.OriginalRequestCtxKey).(http.Request); ok {
		original.RequestURI = uri
		*g.r = *g.r.WithContext(context.WithValue(ctx, caddyhttp.OriginalRequestCtxKey, original))
	}
	if repl, ok := ctx.Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok {
		repl.Set("http.request.orig_uri", uri) // also if a handler before the gate copied the request
	}
}

// stripReferer removes link tokens from a request's Referer: a page that a program opened
// at the URL with the token may ask for its images from there, although it is asked not to.
func (g *gateRequest) stripReferer(referers []string) {
	for i, referer := range referers {
		referer = linkpath.CleanReferer(referer)
		referers[i] = referer
		page, query, found := strings.Cut(referer, "?")
		if !found {
			continue
		}
		query, fragment, _ := strings.Cut(query, "#")
		rest, _, _ := g.gate.takeTokens(query)
		if rest == query {
			continue
		}
		if rest != "" {
			page += "?" + rest
		}
		if fragment != "" {
			page += "#" + fragment
		}
		referers[i] = page
	}
}

// cleanURI returns the received URI without link tokens. It never begins with two
// slashes, which a browser interprets as a host.
func cleanURI(g *gateRequest) string {
	uri := g.original.EscapedPath()
	if strings.HasPrefix(uri, "//") {
		uri = "/." + uri
	}
	if g.original.RawQuery != "" {
		uri += "?" + g.original.RawQuery
	}
	return uri
}

// isPageView reports whether a request can be a reader's own page view, so that a use
// may be spent on it. A preview, a prefetch or a subresource must not use a link up
// before its reader opens it.
func isPageView(r *http.Request) bool {
	if r.Method != http.MethodGet || isPrefetch(r) || isPreviewAgent(r.UserAgent()) {
		return false
	}
	dest, site := r.Header.Get("Sec-Fetch-Dest"), r.Header.Get("Sec-Fetch-Site")
	return dest == "" || isNavigation(r) || dest == "empty" && (site == "same-origin" || site == "none")
}

// isSubresource reports whether a request is for a part of a page or a film that a browser's
// engine shows: it goes on with the use of its device, and begins none.
func isSubresource(r *http.Request) bool {
	dest := r.Header.Get("Sec-Fetch-Dest")
	return r.Method == http.MethodGet && dest != "" && !isPageView(r) && !isPrefetch(r) && !isPreviewAgent(r.UserAgent())
}

func isPrefetch(r *http.Request) bool {
	return first(r.Header, "Sec-Purpose") != "" || first(r.Header, "Purpose") != "" || first(r.Header, "X-Moz") != ""
}

// first returns the first value of a header by its canonical name. It costs a third of
// http.Header.Get, which checks the form of the name first.
func first(header http.Header, name string) string { return firstOf(header[name]) }

func firstOf(values []string) string {
	if len(values) > 0 {
		return values[0]
	}
	return ""
}

// isNavigation reports whether a request is the navigation of a browser's tab. Browsers say
// so by Sec-Fetch-Mode (Fetch Metadata), also if a service worker passes it on, with the
// destination `empty`. On plain http, and in old browsers, it is a request for HTML by a
// browser's agent: feed readers ask for HTML too, and name themselves.
func isNavigation(r *http.Request) bool {
	if r.Method != http.MethodGet {
		return false
	}
	mode, dest := r.Header.Get("Sec-Fetch-Mode"), r.Header.Get("Sec-Fetch-Dest")
	if mode != "" || dest != "" {
		return (mode == "" || mode == "navigate") && (dest == "" || dest == "document" || dest == "empty" && mode == "navigate")
	}
	agent := r.UserAgent()
	return denial.AcceptsHTML(r) && strings.HasPrefix(agent, "Mozilla/5.0 (") && !strings.Contains(agent, "(compatible")
}

// previewAgents are substrings of the User-Agent of programs that fetch a page to
// preview a link to it. A request that claims to be one only loses access.
var previewAgents = [...]string{
	"facebookexternalhit", "facebot", "meta-externalfetcher", "twitterbot", "slackbot", "slack-imgproxy",
	"whatsapp", "telegrambot", "discordbot", "linkedinbot", "skypeuripreview", "microsoftpreview",
	"pinterest.com/bot", "redditbot", "mastodon", "cardyb", "vkshare", "line-poker", "kakaotalk-scrap",
	"snap url preview", "iframely", "embedly", "google-pagerenderer", "googlemessages", "applebot",
	"mattermost-bot", "rocket.chat", "flipboardproxy",
}

func isPreviewAgent(agent string) bool {
	agent = strings.ToLower(agent)
	return slices.ContainsFunc(previewAgents[:], func(part string) bool { return strings.Contains(agent, part) })
}

// isEarlyData reports whether a request came before the TLS handshake was complete, so
// that it can be replayed (RFC 8470).
func isEarlyData(r *http.Request) bool {
	return r.TLS != nil && !r.TLS.HandshakeComplete || r.Header.Get("Early-Data") == "1"
}
