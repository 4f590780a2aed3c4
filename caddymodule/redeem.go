package caddymodule

import (
	"crypto/rand"
	"encoding/base64"
	"net/http"
	"strings"
	"time"

	"github.com/gatefold/gatefold/policy"
)

// newRedemptionID returns the id by which one use of a link is counted once,
// however often the store is asked.
func newRedemptionID() string {
	var id [12]byte
	_, _ = rand.Read(id[:]) // never fails, see crypto/rand
	return base64.RawURLEncoding.EncodeToString(id[:])
}

// linkEvidence collects what a request carries of links, and takes the token
// out of what goes on to the origin. It is asked only on pages that a link may
// open: elsewhere the parameter is the origin's own.
func (h *Handler) linkEvidence(g *gateRequest, site *siteRuntime) policy.LinkEvidence {
	g.redeemed = openLinkCookies(site.cookies, g.cookies, g.request.Now, g.redeemed)
	evidence := policy.LinkEvidence{Redeemed: g.buf.passes[:0]}
	for _, redeemed := range g.redeemed {
		evidence.Redeemed = append(evidence.Redeemed, redeemed.link.RedeemedLink)
	}
	rest, tokens, share := h.takeTokens(g.original.RawQuery)
	if tokens == nil {
		return evidence
	}
	h.stripTokens(g, rest)
	evidence.Ambiguous = len(tokens) > 1
	evidence.Token, evidence.Share = tokens[0], share
	evidence.Readable = g.r.Method == http.MethodGet || g.r.Method == http.MethodHead
	evidence.Spendable = isOwnVisit(g.r)
	evidence.Early = isEarlyData(g.r)
	return evidence
}

// stripTokens takes links' tokens out of every form of the URL that handlers
// after this one could send to an origin.
func (h *Handler) stripTokens(g *gateRequest, rest string) {
	if g.r.URL != g.original {
		g.r.URL.RawQuery, _, _ = h.takeTokens(g.r.URL.RawQuery)
	}
	g.original.RawQuery = rest
	g.r.RequestURI = cleanURI(g)
}

// cleanURI returns the request's own URI without our parameter. It never begins
// with two slashes, which a browser would take for another host.
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

// isOwnVisit says whether a request can be a reader's own visit to a page, so
// that a use may be spent on it. A preview, a prefetch or a part of another page
// is not: the link would be used up before its reader came.
func isOwnVisit(r *http.Request) bool {
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

// keepLink gives the browser the cookie of the link that just let it in.
func (h *Handler) keepLink(header http.Header, g *gateRequest, decision *policy.Decision) {
	site, err := h.runtime.get()
	if err != nil {
		return // the decision came from it: it is open
	}
	issuedAt := g.request.Now.Unix()
	expiresAt := min(issuedAt+int64(time.Duration(h.LinkCookieTTL)/time.Second), decision.Link.ExpiresAt)
	payload := linkCookiePayload{
		RedeemedLink: policy.RedeemedLink{Issuer: decision.Link.Issuer, ID: decision.Link.ID, ExpiresAt: expiresAt},
		Redemption:   g.redemption,
		IssuedAt:     issuedAt,
	}
	setLinkCookie(header, site.cookies, payload, g.redeemed, g.secure)
}
