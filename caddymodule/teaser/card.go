package teaser

import (
	"bytes"
	"compress/gzip"
	"html/template"
	"io"
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/html"
	"golang.org/x/net/html/charset"
)

// Bounds of what a card has of a page, in bytes.
const (
	maxHead     = 128 << 10 // of the page, as it is received
	maxHeadText = 256 << 10 // of the page, decompressed
	maxCardText = 300
	maxCardURL  = 2 << 10
)

// Head is the http.ResponseWriter that keeps the beginning of an HTML page, for a card. It
// passes nothing. Cancel is called once the rest is not needed. The request must be prepared
// by PrepareRequest. A Head is not safe for concurrent use.
type Head struct {
	header http.Header
	cancel func()
	status int
	body   bytes.Buffer
}

// NewHead returns a Head.
func NewHead(cancel func()) *Head { return &Head{header: http.Header{}, cancel: cancel} }

// Header implements http.ResponseWriter.
func (h *Head) Header() http.Header { return h.header }

// WriteHeader implements http.ResponseWriter.
func (h *Head) WriteHeader(status int) {
	if h.status == 0 && (status >= 200 || status == http.StatusSwitchingProtocols) {
		h.status = status
	}
}

// Write implements http.ResponseWriter.
func (h *Head) Write(p []byte) (int, error) {
	h.WriteHeader(http.StatusOK)
	h.body.Write(p[:min(len(p), maxHead-h.body.Len())])
	if h.body.Len() == maxHead || h.status != http.StatusOK {
		h.cancel()
	}
	return len(p), nil
}

// Card is what the head of a page declares for previews of links to it (the Open Graph
// protocol). It has nothing of the page's body.
type Card struct {
	Title, Description, SiteName, Type string
	Image, ImageAlt, Large             string
}

// Card returns the card of the page. It reports false if there is none: the page is not
// HTML, or it declares no title.
func (h *Head) Card(page *url.URL) (Card, bool) {
	compressed, known := encoding(h.header)
	if h.status != http.StatusOK || !isHTML(h.header) || !known {
		return Card{}, false
	}
	var source io.Reader = &h.body
	if compressed {
		z, err := gzip.NewReader(source)
		if err != nil {
			return Card{}, false
		}
		source = z
	}
	text, err := charset.NewReader(io.LimitReader(source, maxHeadText), h.header.Get("Content-Type"))
	if err != nil {
		return Card{}, false
	}
	declared := declarations(text)
	first := func(names ...string) string {
		for _, name := range names {
			if value := declared[name]; value != "" {
				return value
			}
		}
		return ""
	}
	card := Card{
		Title: shorten(first("og:title", "twitter:title", "title")), Description: shorten(first("og:description", "twitter:description", "description")),
		SiteName: shorten(first("og:site_name")), Type: shorten(first("og:type")), ImageAlt: shorten(first("og:image:alt", "twitter:image:alt")),
	}
	if address, err := page.Parse(first("og:image", "og:image:url", "twitter:image")); err == nil && (address.Scheme == "https" || address.Scheme == "http") {
		if image := address.String(); first("og:image", "og:image:url", "twitter:image") != "" && len(image) <= maxCardURL {
			card.Image = image
		}
	}
	if declared["twitter:card"] == "summary_large_image" {
		card.Large = "summary_large_image"
	}
	return card, card.Title != ""
}

// declarations returns the title and the meta elements of a document's head, the first of
// each name. They end at its body, and at a gated region.
func declarations(document io.Reader) map[string]string {
	found := map[string]string{}
	z := html.NewTokenizer(document)
	z.SetMaxBuf(maxToken)
	inTitle := false
	for {
		switch z.Next() {
		case html.ErrorToken:
			return found
		case html.CommentToken:
			if strings.Contains(strings.ToLower(string(z.Text())), markerScheme) {
				return found
			}
		case html.TextToken:
			if text := strings.TrimSpace(string(z.Text())); inTitle && found["title"] == "" {
				found["title"] = text
			}
		case html.StartTagToken, html.SelfClosingTagToken:
			name, attributes := z.TagName()
			inTitle = string(name) == "title"
			switch string(name) {
			case "body", "template", "svg", "noscript", "p", "div", "main", "article", "section", "header":
				return found
			case "meta":
				if attributes {
					declare(z, found)
				}
			}
		case html.EndTagToken:
			inTitle = false
			if name, _ := z.TagName(); string(name) == "head" {
				return found
			}
		case html.DoctypeToken:
		}
	}
}

// declare takes a meta element.
func declare(z *html.Tokenizer, found map[string]string) {
	var name, content string
	for more := true; more; {
		var key, value []byte
		key, value, more = z.TagAttr()
		switch string(key) {
		case "property", "name":
			if name == "" {
				name = strings.ToLower(strings.TrimSpace(string(value)))
			}
		case "content":
			if content == "" {
				content = strings.TrimSpace(string(value))
			}
		}
	}
	if name != "" && found[name] == "" && len(found) < maxNames {
		found[name] = content
	}
}

// shorten returns the beginning of a text, of at most maxCardText bytes.
func shorten(text string) string {
	text = strings.Join(strings.Fields(strings.ToValidUTF8(text, "")), " ")
	if len(text) <= maxCardText {
		return text
	}
	end := maxCardText - len("…")
	for end > 0 && !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + "…"
}

// cardTemplate has no og:url and no canonical link: a service that finds one fetches that
// page in place of the link, and leads readers to it.
var cardTemplate = template.Must(template.New("card").Parse(`<!DOCTYPE html>
<html>
<head>
<meta charset="utf-8">
<meta name="robots" content="noindex">
<title>{{.Title}}</title>
<meta property="og:title" content="{{.Title}}">
{{- with .Type}}
<meta property="og:type" content="{{.}}">{{end}}
{{- with .SiteName}}
<meta property="og:site_name" content="{{.}}">{{end}}
{{- with .Description}}
<meta name="description" content="{{.}}">
<meta property="og:description" content="{{.}}">{{end}}
{{- with .Image}}
<meta property="og:image" content="{{.}}">{{end}}
{{- with .ImageAlt}}
<meta property="og:image:alt" content="{{.}}">{{end}}
{{- with .Large}}
<meta name="twitter:card" content="{{.}}">{{end}}
</head>
<body><h1>{{.Title}}</h1>{{with .Description}}<p>{{.}}</p>{{end}}</body>
</html>
`))

// Write writes the card as an HTML document in UTF-8.
func (c *Card) Write(w io.Writer) error { return cardTemplate.Execute(w, c) }
