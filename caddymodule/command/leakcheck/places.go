package leakcheck

import (
	"net/url"
	"path"
	"strings"
)

// maxPlaces bounds the URLs that are fetched for a page.
const maxPlaces = 40

// place is another form of a page.
type place struct {
	what    string
	address *url.URL
}

// places returns where else the text of a page could be: what the page names, and where
// common systems have it. They are of the page's own host.
func places(address *url.URL, pages ...*page) []place {
	var all []place
	for _, p := range pages {
		all = append(all, p.links...)
	}
	at := func(what, reference string) {
		if target, err := address.Parse(reference); err == nil {
			all = append(all, place{what, target})
		}
	}
	query := func(what, more string) {
		target := *address
		target.RawQuery = strings.TrimPrefix(target.RawQuery+"&"+more, "&")
		all = append(all, place{what, &target})
	}
	page := strings.TrimSuffix(address.EscapedPath(), "/")
	slug := url.QueryEscape(path.Base(address.Path))
	query("AMP", "amp=1")
	query("AMP", "outputType=amp")
	at("AMP", page+"/amp")
	at("AMP", "/amp"+page)
	query("print", "print=1")
	query("print", "view=print")
	at("print", page+"/print")
	query("data", "format=json")
	at("data", page+".json")
	at("REST", "/wp-json/wp/v2/posts?slug="+slug)
	at("REST", "/?rest_route=/wp/v2/posts&slug="+slug)
	at("oEmbed", "/wp-json/oembed/1.0/embed?url="+url.QueryEscape(address.String()))
	at("feed", page+"/feed")
	for _, feed := range []string{"/feed", "/rss", "/rss.xml", "/atom.xml", "/feed.xml", "/index.xml", "/feed.json"} {
		at("feed", feed)
	}
	for _, p := range pages {
		if p.build != "" {
			at("data of Next.js", "/_next/data/"+url.PathEscape(p.build)+page+".json")
		}
	}
	seen := map[string]bool{address.String(): true}
	var kept []place
	for _, found := range all {
		found.address.Fragment = ""
		if found.address.Host != address.Host || found.address.Scheme != address.Scheme || seen[found.address.String()] || len(kept) == maxPlaces {
			continue
		}
		seen[found.address.String()] = true
		kept = append(kept, found)
	}
	return kept
}
