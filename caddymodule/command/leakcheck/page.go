package leakcheck

import (
	"encoding/json"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/net/html"
)

// part is a part of a page.
type part struct{ what, text string }

// page is a response as HTML.
type page struct {
	visible string
	// gated is the text between markers, see docs/teaser.md; marked reports whether there is any.
	gated  string
	marked bool
	hidden []part // scripts, attributes, comments
	// links are the URLs of the page's other forms.
	links []place
	build string // of Next.js
}

// read takes a document apart.
func read(document string, base *url.URL, header http.Header) *page {
	p := &page{}
	var visible, gated, attributes, comments strings.Builder
	p.linkHeader(base, header)
	z := html.NewTokenizer(strings.NewReader(document))
	depth, raw, scriptKind := 0, "", ""
	for {
		kind := z.Next()
		if kind == html.ErrorToken {
			break
		}
		token := z.Token()
		switch kind {
		case html.TextToken:
			switch {
			case raw != "":
				p.script(raw, scriptKind, token.Data)
			default:
				visible.WriteString(token.Data + " ")
			}
			if depth > 0 && raw == "" {
				gated.WriteString(token.Data + " ")
			}
		case html.CommentToken:
			switch strings.ToLower(strings.TrimSpace(token.Data)) {
			case "gatefold:premium":
				depth, p.marked = depth+1, true
			case "/gatefold:premium":
				depth = max(0, depth-1)
			default:
				comments.WriteString(token.Data + " ")
			}
		case html.StartTagToken, html.SelfClosingTagToken:
			if raw, scriptKind = rawPart(&token); raw == "" {
				visible.WriteByte(' ')
			}
			for _, attribute := range token.Attr {
				attributes.WriteString(attribute.Val + " | ")
			}
			p.link(&token, base)
		case html.EndTagToken:
			raw = ""
			visible.WriteByte(' ')
		default:
		}
	}
	p.visible, p.gated = visible.String(), gated.String()
	p.hidden = append(p.hidden, part{"attributes", attributes.String()}, part{"comments", comments.String()})
	return p
}

// rawPart returns what the content of an element is, if no reader sees it as text.
func rawPart(token *html.Token) (what, kind string) {
	attribute := func(name string) string {
		if i := slices.IndexFunc(token.Attr, func(a html.Attribute) bool { return a.Key == name }); i >= 0 {
			return token.Attr[i].Val
		}
		return ""
	}
	switch token.Data {
	case "script":
		return "script", strings.ToLower(attribute("type")) + " " + attribute("id")
	case "style", "noscript", "iframe", "noembed", "noframes", "textarea", "title":
		return token.Data, ""
	}
	return "", ""
}

var hydration = regexp.MustCompile(`(?:window|self)\.(__[A-Za-z_]+|[A-Za-z_]*STATE[A-Za-z_]*)`)

// script keeps the content of such an element, by what it is.
func (p *page) script(what, kind, text string) {
	switch name := hydration.FindStringSubmatch(text); {
	case what != "script":
		what = "<" + what + ">"
	case strings.Contains(kind, "ld+json"):
		what = "JSON-LD"
	case strings.Contains(kind, "__NEXT_DATA__"):
		what = "__NEXT_DATA__"
		var data struct {
			BuildID string `json:"buildId"`
		}
		if json.Unmarshal([]byte(text), &data) == nil {
			p.build = data.BuildID
		}
	case name != nil:
		what = name[1]
	}
	p.hidden = append(p.hidden, part{what, text})
}

// link keeps the URL of another form of the page, which a link element names.
func (p *page) link(token *html.Token, base *url.URL) {
	if token.Data != "link" {
		return
	}
	var rel, kind, href string
	for _, attribute := range token.Attr {
		switch attribute.Key {
		case "rel":
			rel = strings.ToLower(attribute.Val)
		case "type":
			kind = strings.ToLower(attribute.Val)
		case "href":
			href = attribute.Val
		}
	}
	p.addLink(rel, kind, href, base)
}

func (p *page) addLink(rel, kind, href string, base *url.URL) {
	var what string
	switch {
	case strings.Contains(rel, "amphtml"):
		what = "AMP"
	case strings.Contains(rel, "https://api.w.org/"):
		what = "REST"
		href = strings.TrimSuffix(href, "/") + "/wp/v2/posts"
	case !strings.Contains(rel, "alternate"):
		return
	case strings.Contains(kind, "rss"), strings.Contains(kind, "atom"), strings.Contains(kind, "feed+json"):
		what = "feed"
	case strings.Contains(kind, "oembed"):
		what = "oEmbed"
	case strings.Contains(kind, "json"):
		what = "REST"
	default:
		return
	}
	if address, err := base.Parse(href); err == nil && href != "" {
		p.links = append(p.links, place{what, address})
	}
}

var linkValue = regexp.MustCompile(`<([^>]*)>([^,<]*)`)

// linkHeader keeps the URLs of Link headers (RFC 8288).
func (p *page) linkHeader(base *url.URL, header http.Header) {
	for _, value := range header.Values("Link") {
		for _, found := range linkValue.FindAllStringSubmatch(value, -1) {
			p.addLink(strings.ToLower(found[2]), strings.ToLower(found[2]), found[1], base)
		}
	}
}
