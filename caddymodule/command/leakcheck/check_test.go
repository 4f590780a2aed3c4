package leakcheck

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
)

const (
	lead = "The council met on Monday in the old town hall to talk about the bridge that has been closed since March."
	body = "Sources say the mayor had known since the spring that the contractor would never finish the northern ramp, and the audit shows the missing three million crowns in detail."
	foot = "Contact the editors of The Acme by mail or call the front desk on weekdays before noon please."
)

// leaky is a site whose pages have the text that a refused reader must not have in the
// places that a test names.
type leaky struct {
	leaks  map[string]bool
	marked bool
	asked  []string
}

func (l *leaky) text(place string) string {
	if l.leaks[place] {
		return body
	}
	return "nothing to see here"
}

func (l *leaky) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	l.asked = append(l.asked, r.URL.RequestURI())
	if r.URL.Query().Get("token") == "gift" {
		http.SetCookie(w, &http.Cookie{Name: "link", Value: "gift", Path: "/"})
		http.Redirect(w, r, "/articles/hello", http.StatusSeeOther)
		return
	}
	cookie, _ := r.Cookie("link")
	entitled := r.Header.Get("Authorization") == "Bearer good" || cookie != nil && cookie.Value == "gift"
	escaped := strings.NewReplacer("the", `\u0074he`, "/", `\/`).Replace(l.text("__NEXT_DATA__"))
	switch r.URL.Path {
	case "/articles/hello":
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		article := "<p>Subscribe to read on.</p>"
		if entitled || l.leaks["page"] && r.URL.RawQuery == "" || l.leaks["page for Googlebot"] && strings.Contains(r.UserAgent(), "Googlebot") || l.leaks["AMP"] && r.URL.Query().Get("amp") != "" {
			article = "<p>" + strings.Replace(body, "mayor", "<b>mayor</b>", 1) + "</p>"
			if l.marked {
				article = "<!-- gatefold:premium -->" + article + "<!-- /gatefold:premium -->"
			}
		}
		fmt.Fprintf(w, `<html><head><title>Hello</title><link rel="alternate" type="application/rss+xml" href="/news/feed.rss">
<meta property="og:description" content="%s"><script type="application/ld+json">{"articleBody":"%s"}</script>
<script id="__NEXT_DATA__" type="application/json">{"buildId":"b1","text":"<p>%s"}</script><script>window.__INITIAL_STATE__={"a":"%s"}</script></head>
<body><p>%s</p>%s<!-- %s --><footer>%s</footer></body></html>`, l.text("attributes"), l.text("JSON-LD"), escaped, l.text("__INITIAL_STATE__"), lead, article, l.text("comments"), foot)
	case "/news/feed.rss":
		fmt.Fprintf(w, "<rss><item><description>&lt;p&gt;%s&lt;/p&gt;</description></item></rss>", strings.ReplaceAll(l.text("feed"), "mayor", "&lt;i&gt;mayor&lt;/i&gt;"))
	case "/wp-json/wp/v2/posts":
		fmt.Fprintf(w, `[{"content":{"rendered":"\u003cp\u003e%s\u003c\/p\u003e\n"}}]`, l.text("REST"))
	case "/_next/data/b1/articles/hello.json":
		_, _ = io.WriteString(w, l.text("data of Next.js"))
	default:
		http.NotFound(w, r)
	}
}

// Each place that has the text is found, and only that one; a clean site has none.
func TestLeaksAreFound(t *testing.T) {
	for _, marked := range []bool{false, true} {
		for _, place := range []string{"", "attributes", "JSON-LD", "__NEXT_DATA__", "__INITIAL_STATE__", "comments", "feed", "REST", "data of Next.js", "page for Googlebot", "AMP"} {
			site := &leaky{leaks: map[string]bool{place: true}, marked: marked}
			server := httptest.NewServer(site)
			for _, as := range []Entitled{{Bearer: "good"}, {Cookie: "link=gift"}, {Link: server.URL + "/articles/hello?token=gift"}} {
				report, err := Check(t.Context(), nil, server.URL+"/articles/hello", as)
				if err != nil {
					t.Fatal(err)
				}
				var found []string
				for _, p := range report.Places {
					if p.Leaked > 0 {
						found = append(found, p.What)
						if p.Leaked < 20 || p.Excerpt == "" {
							t.Errorf("%s: %+v", place, p)
						}
					}
				}
				if found = slices.Compact(found); place == "" && report.Leaks > 0 || place != "" && !slices.Equal(found, []string{place}) {
					t.Errorf("%q, marked %v: %v", place, marked, found)
				}
			}
			server.Close()
		}
	}
}

// A page that is hidden by style only is no gated page, whether its markers say so or not.
func TestWholePageIsALeak(t *testing.T) {
	server := httptest.NewServer(&leaky{leaks: map[string]bool{"page": true}})
	defer server.Close()
	if _, err := Check(t.Context(), nil, server.URL+"/articles/hello", Entitled{Bearer: "good"}); !errors.Is(err, ErrNothingGated) {
		t.Errorf("the check says %v", err)
	}
	marked := httptest.NewServer(&leaky{leaks: map[string]bool{"page": true}, marked: true})
	defer marked.Close()
	report, err := Check(t.Context(), nil, marked.URL+"/articles/hello", Entitled{Bearer: "good"})
	if err != nil || report.Places[0].What != "page" || report.Places[0].Leaked < 20 {
		t.Errorf("%+v %v", report, err)
	}
}

// The credential goes to the page's host only, and what cannot be checked is said.
func TestCheckRefuses(t *testing.T) {
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { t.Errorf("another host is asked: %v", r.Header) }))
	defer elsewhere.Close()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/moved":
			http.Redirect(w, r, elsewhere.URL, http.StatusFound)
		case "/file":
			w.Header().Set("Content-Type", "application/pdf")
		default:
			http.Error(w, "no", http.StatusForbidden)
		}
	}))
	defer server.Close()
	for path, want := range map[string]string{"/moved": "redirects to another host", "/file": "not HTML", "/other": "does not get the page: status 403"} {
		if _, err := Check(t.Context(), nil, server.URL+path, Entitled{Bearer: "good"}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", path, err)
		}
	}
	for _, target := range []string{"news.example/a", "ftp://news.example/a", "/a"} {
		if _, err := Check(t.Context(), nil, target, Entitled{Bearer: "x"}); err == nil {
			t.Errorf("%s is checked", target)
		}
	}
	_, err := Check(t.Context(), nil, server.URL+"/a", Entitled{Link: elsewhere.URL + "/a?token=SECRET"})
	if err == nil || strings.Contains(err.Error(), "SECRET") {
		t.Errorf("a link of another host: %v", err)
	}
}

// What is fetched is bounded, and on the page's own host.
func TestPlacesAreBounded(t *testing.T) {
	site := &leaky{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/articles/hello" {
			for i := range 200 {
				w.Header().Add("Link", fmt.Sprintf(`</feeds/%d>; rel="alternate"; type="application/rss+xml", <https://other.example/%d>; rel=amphtml`, i, i))
			}
		}
		site.ServeHTTP(w, r)
	}))
	defer server.Close()
	report, err := Check(t.Context(), nil, server.URL+"/articles/hello", Entitled{Bearer: "good"})
	if err != nil || len(site.asked) > maxPlaces+3 || !slices.Contains(site.asked, "/feeds/1") || report.Leaks > 0 {
		t.Errorf("%d requests, %v", len(site.asked), err)
	}
}
