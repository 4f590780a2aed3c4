package caddymodule

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"html/template"
	"net/http"
	"net/url"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/gatefold/gatefold/policy"
)

// denial is how a reason is answered.
type denial struct {
	status int
	title  string
	detail string
}

// denials are the answers to every reason that denies. Texts are for readers;
// they hold nothing that the client sent.
var denials = map[policy.Reason]denial{
	policy.ReasonLoginRequired:     {http.StatusUnauthorized, "Log in to read this page", "This page is for readers who are logged in."},
	policy.ReasonBadCredential:     {http.StatusUnauthorized, "Log in again", "Your login is not valid, or no longer."},
	policy.ReasonNotEntitled:       {http.StatusForbidden, "Your subscription does not include this page", "You are logged in, but nothing that you have gives access to this page."},
	policy.ReasonLinkExpired:       {http.StatusForbidden, "This link has expired", "The link that you followed is no longer valid."},
	policy.ReasonLinkUsedUp:        {http.StatusForbidden, "This link has been used up", "The link that you followed was opened as often as it may be."},
	policy.ReasonLinkRevoked:       {http.StatusForbidden, "This link has been withdrawn", "The link that you followed was withdrawn by its sender."},
	policy.ReasonLinkInvalid:       {http.StatusForbidden, "This link is not valid", "The link that you followed is incomplete or was altered."},
	policy.ReasonLinkOtherResource: {http.StatusForbidden, "This link is for another page", "The link that you followed does not open this page."},
	policy.ReasonLinkUntrusted:     {http.StatusForbidden, "This link is not valid", "The link that you followed was not made by a publisher of this site."},
	policy.ReasonLinkOtherSite:     {http.StatusForbidden, "This link is for another site", "The link that you followed was made by a publisher of another site."},
	policy.ReasonLinkNotAllowed:    {http.StatusForbidden, "This link does not open this page", "The publisher who made the link that you followed cannot open this page."},
	policy.ReasonNoRule:            {http.StatusForbidden, "This page is not available", "No rule of this site covers this page."},
	policy.ReasonBadPath:           {http.StatusBadRequest, "The address is not valid", "The path of the address could be read in more than one way."},
	policy.ReasonBadQuery:          {http.StatusBadRequest, "The address is not valid", "The address carries more than one link token."},
	policy.ReasonBadMethod:         {http.StatusMethodNotAllowed, "The method is not allowed", "This method is not served here."},
	policy.ReasonTooEarly:          {http.StatusTooEarly, "Try again", "The request came too early in the connection."},
	policy.ReasonKeysUnavailable:   {http.StatusServiceUnavailable, "Try again in a moment", "Who signed your link or your login cannot be checked at the moment."},
	policy.ReasonStoreUnavailable:  {http.StatusServiceUnavailable, "Try again in a moment", "Access cannot be checked at the moment."},
}

const retryAfterSeconds = "5"

// deny answers a request that must not go on.
func (h *Handler) deny(w http.ResponseWriter, g *gateRequest, decision *policy.Decision) error {
	answer, known := denials[decision.Reason]
	if !known {
		// A reason that nobody wrote an answer for still closes the gate.
		answer = denials[policy.ReasonStoreUnavailable]
	}
	header := w.Header()
	header.Set("Cache-Control", "no-store")
	switch answer.status {
	case http.StatusUnauthorized:
		header.Set("WWW-Authenticate", challenge(h.Site, decision.Reason))
		if h.login != nil && g.r.Method == http.MethodGet && acceptsHTML(g.r) && !decision.Link.Ignored {
			header.Set("Location", loginURL(h.login, g))
			w.WriteHeader(http.StatusSeeOther)
			return nil
		}
	case http.StatusServiceUnavailable:
		header.Set("Retry-After", retryAfterSeconds)
	case http.StatusMethodNotAllowed:
		header.Set("Allow", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")
	}
	if h.Deny != nil && h.Deny.Errors {
		return caddyhttp.Error(answer.status, errors.New(decision.Reason.String()))
	}
	return writeDenial(w, g.r, answer, decision.Reason.String())
}

// challenge says how to log in (RFC 6750, section 3).
func challenge(site string, reason policy.Reason) string {
	if reason == policy.ReasonBadCredential {
		return `Bearer realm="` + site + `", error="invalid_token"`
	}
	return `Bearer realm="` + site + `"`
}

// loginURL returns where to log in, with the page to come back to: always one
// of the site that was asked for.
func loginURL(login *url.URL, g *gateRequest) string {
	scheme := "http"
	if g.secure {
		scheme = "https"
	}
	target := *login
	query := "next=" + url.QueryEscape(scheme+"://"+g.r.Host+cleanURI(g))
	if target.RawQuery != "" {
		query = target.RawQuery + "&" + query
	}
	target.RawQuery = query
	return target.String()
}

// problem is an RFC 9457 problem.
type problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
	Code   string `json:"code"`
}

// writeDenial writes a page for those who ask for HTML, and a problem for
// everybody else.
func writeDenial(w http.ResponseWriter, r *http.Request, answer denial, code string) error {
	header := w.Header()
	header.Set("X-Content-Type-Options", "nosniff")
	header.Add("Vary", "Accept")
	if acceptsHTML(r) {
		header.Set("Content-Type", "text/html; charset=utf-8")
		header.Set("Content-Security-Policy", pagePolicy)
		header.Set("Referrer-Policy", "no-referrer")
		var page bytes.Buffer
		if err := denialPage.Execute(&page, map[string]any{"Title": answer.title, "Detail": answer.detail, "Code": code}); err != nil {
			return err
		}
		w.WriteHeader(answer.status)
		_, err := w.Write(page.Bytes())
		return err
	}
	header.Set("Content-Type", "application/problem+json")
	body, err := json.Marshal(problem{Type: "about:blank", Title: answer.title, Status: answer.status, Detail: answer.detail, Code: code})
	if err != nil {
		return err
	}
	w.WriteHeader(answer.status)
	_, err = w.Write(append(body, '\n'))
	return err
}

const pageStyle = `body{margin:0;min-height:100vh;display:grid;place-items:center;font:1.05rem/1.6 system-ui,sans-serif;color:#222;background:#f6f5f2}` +
	`main{max-width:32rem;padding:2rem}h1{font-size:1.5rem;line-height:1.25;margin:0 0 .75rem}p{margin:0 0 1.5rem}small{color:#666}` +
	`@media(prefers-color-scheme:dark){body{color:#eee;background:#1c1b1a}small{color:#aaa}}`

// pagePolicy lets the page have its own style and nothing else.
var pagePolicy = func() string {
	sum := sha256.Sum256([]byte(pageStyle))
	return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
}()

var denialPage = template.Must(template.New("denial").Parse(`<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta name="robots" content="noindex">
<title>{{.Title}}</title>
<style>` + pageStyle + `</style>
</head>
<body>
<main>
<h1>{{.Title}}</h1>
<p>{{.Detail}}</p>
<small>{{.Code}}</small>
</main>
</body>
</html>
`))
