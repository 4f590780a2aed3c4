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
func (h *Handler) linkEvidence(v *visit, site *siteRuntime) policy.LinkEvidence {
	v.carried = openLinkCookies(site.cookies, v.cookies, v.request.Now, v.carried)
	evidence := policy.LinkEvidence{Passes: v.room.passes[:0]}
	for _, carried := range v.carried {
		evidence.Passes = append(evidence.Passes, carried.pass.Pass)
	}
	rest, tokens, share := h.takeTokens(v.original.RawQuery)
	if tokens == nil {
		return evidence
	}
	h.stripTokens(v, rest)
	evidence.Ambiguous = len(tokens) > 1
	evidence.Token, evidence.Share = tokens[0], share
	evidence.Readable = v.r.Method == http.MethodGet || v.r.Method == http.MethodHead
	evidence.Spendable = isOwnVisit(v.r)
	evidence.Early = isEarlyData(v.r)
	return evidence
}

// stripTokens takes links' tokens out of every form of the URL that handlers
// after this one could send to an origin.
func (h *Handler) stripTokens(v *visit, rest string) {
	if v.r.URL != v.original {
		v.r.URL.RawQuery, _, _ = h.takeTokens(v.r.URL.RawQuery)
	}
	v.original.RawQuery = rest
	v.r.RequestURI = cleanURI(v)
}

// cleanURI returns the request's own URI without our parameter. It never begins
// with two slashes, which a browser would take for another host.
func cleanURI(v *visit) string {
	uri := v.original.EscapedPath()
	if strings.HasPrefix(uri, "//") {
		uri = "/." + uri
	}
	if v.original.RawQuery != "" {
		uri += "?" + v.original.RawQuery
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
func (h *Handler) keepLink(header http.Header, v *visit, decision *policy.Decision) {
	site, err := h.runtime.get()
	if err != nil {
		return // the decision came from it: it is open
	}
	issuedAt := v.request.Now.Unix()
	expiresAt := min(issuedAt+int64(time.Duration(h.SessionTTL)/time.Second), decision.Link.ExpiresAt)
	pass := linkPass{
		Pass:       policy.Pass{Issuer: decision.Link.Issuer, ID: decision.Link.ID, ExpiresAt: expiresAt},
		Redemption: v.redemption,
		IssuedAt:   issuedAt,
	}
	setLinkCookie(header, site.cookies, pass, v.carried, v.secure)
}
