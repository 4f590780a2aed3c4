package denial

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"html/template"
	"io"
	"net/http"
	"os"
)

// Fields are what a page can say of a denial. A template writes them escaped for their
// place.
type Fields struct {
	Status        int
	Title, Detail string
	// Reason is the code of the reason.
	Reason string
	// Site is the site's name.
	Site string
	// URL is the denied page, without link tokens.
	URL string
	// LoginURL is the login page, which leads back to the denied page; empty if the site
	// has none.
	LoginURL string
	// NextAction is what the reader can do about the denial, such as `subscribe`, NextURL
	// the page where they can, and NextLabel the text of a link to it; see Step.
	NextAction, NextURL, NextLabel string
	// RequestID finds the request in the log.
	RequestID string
	// Code is the support code, by which `gatefold explain --code` explains the denial.
	Code string
}

// Page is the page of a denial.
type Page struct {
	template *template.Template
	policy   string // Content-Security-Policy
}

// maxPage bounds the size of a page's file, and of the page that it makes.
const maxPage = 256 << 10

// ownPagePolicy lets a site's page load what it likes, but not be framed by a site that
// could take the login from it.
const ownPagePolicy = "base-uri 'none'; frame-ancestors 'none'"

// LoadPage reads a page from a file: HTML as a template of html/template over Fields.
func LoadPage(path string) (*Page, error) {
	file, err := os.Open(path) //nolint:gosec // the operator's own configuration
	if err != nil {
		return nil, err
	}
	defer file.Close() //nolint:errcheck // read only
	text, err := io.ReadAll(io.LimitReader(file, maxPage+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxPage {
		return nil, fmt.Errorf("%s is larger than %d KiB: link its styles and images", path, maxPage>>10)
	}
	parsed, err := template.New("page").Parse(string(text))
	if err != nil {
		return nil, err
	}
	page := &Page{parsed, ownPagePolicy}
	if _, err := page.render(Fields{Status: http.StatusForbidden}); err != nil {
		return nil, err
	}
	return page, nil
}

// Write answers with the page, or with the built-in one if the page cannot be made. A
// nil Page is the built-in one.
func (p *Page) Write(w http.ResponseWriter, f Fields) error {
	if p == nil {
		p = builtIn
	}
	body, err := p.render(f)
	if err != nil {
		p = builtIn
		var again error
		if body, again = p.render(f); again != nil {
			return errors.Join(err, again)
		}
	}
	header := w.Header()
	header.Set("Content-Type", "text/html; charset=utf-8")
	header.Set("Content-Security-Policy", p.policy)
	header.Set("Referrer-Policy", "no-referrer")
	w.WriteHeader(f.Status)
	_, writeErr := w.Write(body)
	return errors.Join(err, writeErr)
}

func (p *Page) render(f Fields) ([]byte, error) {
	var buffer limited
	if err := p.template.Execute(&buffer, f); err != nil {
		return nil, err
	}
	return buffer.Bytes(), nil
}

// limited is a buffer of maxPage bytes.
type limited struct{ bytes.Buffer }

func (l *limited) Write(b []byte) (int, error) {
	if l.Len()+len(b) > maxPage {
		return 0, fmt.Errorf("the page is larger than %d KiB", maxPage>>10)
	}
	return l.Buffer.Write(b)
}

// PageStyle is the style of the built-in page.
const PageStyle = `body{margin:0;min-height:100vh;display:grid;place-items:center;font:1.05rem/1.6 system-ui,sans-serif;color:#222;background:#f6f5f2}` +
	`main{max-width:32rem;padding:2rem}h1{font-size:1.5rem;line-height:1.25;margin:0 0 .75rem}p{margin:0 0 1.5rem}a{color:inherit}small{color:#666}` +
	`@media(prefers-color-scheme:dark){body{color:#eee;background:#1c1b1a}small{color:#aaa}}`

// builtIn is the page of sites without their own.
var builtIn = &Page{builtInTemplate, builtInPolicy()}

// builtInPolicy allows the page its own style and nothing else.
func builtInPolicy() string {
	sum := sha256.Sum256([]byte(PageStyle))
	return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
}

var builtInTemplate = template.Must(template.New("denial").Parse(`<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta name="robots" content="noindex">
<title>{{.Title}}</title>
<style>` + PageStyle + `</style>
</head>
<body>
<main>
<h1>{{.Title}}</h1>
<p>{{.Detail}}</p>
{{with .NextURL}}<p><a href="{{.}}">{{$.NextLabel}}</a></p>
{{end}}<small>{{.Reason}}{{if .Code}} · {{.Code}}{{else if .RequestID}} · {{.RequestID}}{{end}}</small>
</main>
</body>
</html>
`))
