package caddymodule

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy"
)

// LinkEvidence implements policy.LinkSource: it collects the links that the request
// carries. The policy calls it only on pages that a link may open; elsewhere the
// parameter belongs to the origin.
func (g *gateRequest) LinkEvidence() policy.LinkEvidence {
	evidence := policy.LinkEvidence{Redeemed: g.buf.links[:0]}
	if g.site.cookies != nil {
		g.redeemed = openLinkCookies(g.site.cookies, g.cookies, g.request.Now, g.redeemed)
	}
	for _, cookie := range g.redeemed {
		evidence.Redeemed = append(evidence.Redeemed, cookie.link.RedeemedLink)
	}
	rest, tokens, share := g.gate.takeTokens(g.original.RawQuery)
	if tokens == nil {
		return evidence
	}
	g.cleanQuery, g.stripsTokens = rest, true
	evidence.Ambiguous = len(tokens) > 1
	evidence.Token, evidence.Share = tokens[0], share
	evidence.Readable = g.r.Method == http.MethodGet || g.r.Method == http.MethodHead
	evidence.Spendable = isPageView(g.r)
	evidence.Early = isEarlyData(g.r)
	return evidence
}

// stripTokens removes link tokens from every form of the URL that later handlers
// could send to an origin.
func (g *gateRequest) stripTokens() {
	if !g.stripsTokens {
		return
	}
	if g.r.URL != g.original {
		g.r.URL.RawQuery, _, _ = g.gate.takeTokens(g.r.URL.RawQuery)
	}
	g.original.RawQuery = g.cleanQuery
	g.r.RequestURI = cleanURI(g)
}

// cleanURI returns the request's own URI without link tokens. It never begins with
// two slashes, which a browser takes for another host.
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

// isPageView says whether a request can be a reader's own visit to a page, so
// that a use may be spent on it. A preview, a prefetch or a part of another page
// is not: the link would be used up before its reader came.
func isPageView(r *http.Request) bool {
	if r.Method != http.MethodGet {
		return false
	}
	for _, name := range [...]string{"Sec-Purpose", "Purpose", "X-Moz"} {
		if r.Header.Get(name) != "" {
			return false
		}
	}
	switch r.Header.Get("Sec-Fetch-Dest") {
	case "", "document":
	case "empty":
		if from := r.Header.Get("Sec-Fetch-Site"); from != "same-origin" && from != "none" {
			return false
		}
	default:
		return false
	}
	return !isPreviewAgent(r.UserAgent())
}

// previewAgents are parts of the User-Agent of programs that fetch a page to
// show a preview of a link to it. Being one only ever lowers what a request
// gets.
var previewAgents = [...]string{
	"facebookexternalhit", "facebot", "meta-externalfetcher", "twitterbot", "slackbot", "slack-imgproxy",
	"whatsapp", "telegrambot", "discordbot", "linkedinbot", "skypeuripreview", "microsoftpreview",
	"pinterest.com/bot", "redditbot", "mastodon", "cardyb", "vkshare", "line-poker", "kakaotalk-scrap",
	"snap url preview", "iframely", "embedly", "google-pagerenderer", "googlemessages", "applebot",
	"mattermost-bot", "rocket.chat", "flipboardproxy",
}

func isPreviewAgent(agent string) bool {
	if agent == "" {
		return false
	}
	lowered := strings.ToLower(agent)
	for _, known := range previewAgents {
		if strings.Contains(lowered, known) {
			return true
		}
	}
	return false
}

// isEarlyData says whether a request came before the TLS handshake was complete
// (RFC 8470): whoever recorded it could send it again.
func isEarlyData(r *http.Request) bool {
	return r.TLS != nil && !r.TLS.HandshakeComplete || r.Header.Get("Early-Data") == "1"
}

// validateShare checks how the site takes what publishers sign, and brings its
// domains into their normal form.
func (h *Handler) validateShare() error {
	if !paramPattern.MatchString(h.ShareParam) {
		return fmt.Errorf("share_param: %q must be letters, digits, - and _", h.ShareParam)
	}
	if h.ShareParam == h.LinkParam {
		return fmt.Errorf("share_param: %q is the link_param as well: give them different names", h.ShareParam)
	}
	for i, domain := range h.ShareDomains {
		normal, err := keys.NormalDomain(domain)
		if err != nil {
			return fmt.Errorf("share_domain: %q %w", domain, err)
		}
		h.ShareDomains[i] = normal
	}
	return nil
}

// takeTokens takes the tokens out of a query: those in the parameter for links,
// and those in the one for what publishers sign. A parameter of that second name
// is the origin's own unless a token stands in it: sites share by `?share=mail`.
func (h *Handler) takeTokens(query string) (rest string, tokens []string, share bool) {
	rest, tokens = takeParam(query, h.LinkParam)
	without, shared := takeParam(rest, h.ShareParam)
	if !anyToken(shared) {
		return rest, tokens, false
	}
	return without, append(tokens, shared...), len(tokens) == 0
}

// anyToken says whether one of some values has the shape of a compact JWS: three
// parts, of which the first is a JSON object in base64url.
func anyToken(values []string) bool {
	for _, value := range values {
		if strings.HasPrefix(value, "ey") && strings.Count(value, ".") == 2 {
			return true
		}
	}
	return false
}
