package login

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"html/template"
	"net/http"

	"github.com/gatefold/gatefold/caddymodule/denial"
)

// page is a page of the login for a reader.
type page struct {
	Status        int
	Title, Detail string
	// Button is the text of a button that leads to Link, or posts to Post.
	Button, Link, Post string
	// Choices are links, one of which the reader follows. Language is that of the page;
	// empty for English.
	Choices  []link
	Language string

	SupportID string
	target    string // the origin to which a post may be redirected
}

// link is a text that leads to a path of this site.
type link struct{ Text, To string }

const pageStyle = `button,.b{display:inline-block;font:inherit;padding:.5rem 1.25rem;border:1px solid;border-radius:.4rem;background:none;color:inherit;text-decoration:none;cursor:pointer}`

// pageTemplate has the style of denials, and a button.
var pageTemplate = template.Must(template.New("login").Parse(`<!DOCTYPE html>
<html lang="{{or .Language "en"}}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta name="robots" content="noindex">
<title>{{.Title}}</title>
<style>` + denial.PageStyle + pageStyle + `</style>
</head>
<body>
<main>
<h1>{{.Title}}</h1>
{{with .Detail}}<p>{{.}}</p>
{{end}}{{if .Post}}<form method="post" action="{{.Post}}"><p><button>{{.Button}}</button></p></form>
{{else if .Link}}<p><a class="b" href="{{.Link}}">{{.Button}}</a></p>
{{end}}{{range .Choices}}<p><a class="b" href="{{.To}}">{{.Text}}</a></p>
{{end}}{{with .SupportID}}<small>{{.}}</small>
{{end}}</main>
</body>
</html>
`))

// page answers with a page, or with a problem for clients that do not ask for HTML.
func (s *Site) page(w http.ResponseWriter, r *Request, p page) {
	p.SupportID = r.SupportID
	header := w.Header()
	header.Add("Vary", "Accept")
	if !denial.AcceptsHTML(r.Request) && p.Post == "" && p.Choices == nil {
		header.Set("Content-Type", "application/problem+json")
		w.WriteHeader(p.Status)
		_ = json.NewEncoder(w).Encode(map[string]any{
			"type": "about:blank", "title": p.Title, "status": p.Status, "detail": p.Detail, "requestId": p.SupportID,
		})
		return
	}
	sum := sha256.Sum256([]byte(denial.PageStyle + pageStyle))
	forms := "'none'"
	if p.Post != "" {
		forms = "'self' " + p.target
	}
	header.Set("Content-Type", "text/html; charset=utf-8")
	header.Set("Content-Security-Policy", "default-src 'none'; style-src 'sha256-"+base64.StdEncoding.EncodeToString(sum[:])+
		"'; base-uri 'none'; form-action "+forms+"; frame-ancestors 'none'")
	w.WriteHeader(p.Status)
	_ = pageTemplate.Execute(w, p)
}
