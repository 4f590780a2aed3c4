package caddymodule

import (
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

// retryAfterSeconds is when clients should repeat a request that got a 503.
const retryAfterSeconds = "5"

// deny responds to a denied request.
func (h *Handler) deny(w http.ResponseWriter, g *gateRequest, decision *policy.Decision) error {
	reason := reasons[decision.Reason]
	if reason.status == 0 {
		reason = reasons[policy.ReasonStoreUnavailable] // fail closed
	}
	header := w.Header()
	switch reason.status {
	case http.StatusUnauthorized:
		header.Set("WWW-Authenticate", challenge(h.Site, decision.Reason))
		if h.login != nil && g.r.Method == http.MethodGet && acceptsHTML(g.r) && !decision.Link.Ignored {
			header.Set("Cache-Control", "no-store")
			header.Set("Location", loginURL(h.login, g))
			w.WriteHeader(http.StatusSeeOther)
			return nil
		}
	case http.StatusServiceUnavailable:
		header.Set("Retry-After", retryAfterSeconds)
	case http.StatusMethodNotAllowed:
		header.Set("Allow", g.request.AllowedMethods())
	}
	return h.refuse(w, g.r, reason.denial, decision.Reason.String())
}

// notFound responds to a request that no local route answers.
func (h *Handler) notFound(w http.ResponseWriter, r *http.Request) error {
	return h.refuse(w, r, denial{http.StatusNotFound, "There is no such page", "The site has no page at this address."}, "not_found")
}

// refuse passes a denial to the site's error routes if Deny.Errors is set. Otherwise
// it writes a page for clients that ask for HTML, and a problem for all others.
func (h *Handler) refuse(w http.ResponseWriter, r *http.Request, d denial, code string) error {
	header := w.Header()
	header.Set("Cache-Control", "no-store")
	if h.Deny != nil && h.Deny.Errors {
		return caddyhttp.Error(d.status, errors.New(code))
	}
	header.Set("X-Content-Type-Options", "nosniff")
	header.Add("Vary", "Accept")
	p := problem{"about:blank", d.title, d.status, d.detail, code}
	if !acceptsHTML(r) {
		return writeProblem(w, p)
	}
	header.Set("Content-Type", "text/html; charset=utf-8")
	header.Set("Content-Security-Policy", pagePolicy)
	header.Set("Referrer-Policy", "no-referrer")
	w.WriteHeader(p.Status)
	return denialPage.Execute(w, p)
}

// challenge returns the WWW-Authenticate header of a denial (RFC 6750, section 3).
func challenge(site string, reason policy.Reason) string {
	if reason == policy.ReasonBadCredential {
		return `Bearer realm="` + site + `", error="invalid_token"`
	}
	return `Bearer realm="` + site + `"`
}

// loginURL returns the URL of the login page with the requested page, which is always
// one of the request's own host, as the parameter next.
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

func writeProblem(w http.ResponseWriter, p problem) error {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(p.Status)
	return json.NewEncoder(w).Encode(p)
}

const pageStyle = `body{margin:0;min-height:100vh;display:grid;place-items:center;font:1.05rem/1.6 system-ui,sans-serif;color:#222;background:#f6f5f2}` +
	`main{max-width:32rem;padding:2rem}h1{font-size:1.5rem;line-height:1.25;margin:0 0 .75rem}p{margin:0 0 1.5rem}small{color:#666}` +
	`@media(prefers-color-scheme:dark){body{color:#eee;background:#1c1b1a}small{color:#aaa}}`

// pagePolicy allows the page its own style and nothing else.
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
