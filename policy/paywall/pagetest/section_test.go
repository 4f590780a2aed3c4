package pagetest

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/gatefold/gatefold/caddymodule/teaser"
	"github.com/gatefold/gatefold/policy/paywall"
)

// newspaper is an article of an origin, which says by a marker what is gated.
const newspaper = `<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="%s">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>The bridge</title>
<link rel="stylesheet" href="%s">
</head>
<body>
<main>
<article>
<h1>The bridge stays closed until the summer</h1>
<p>The council met on Monday in the old town hall to talk about the bridge that has been closed since March.</p>
<!-- gatefold:premium --><p>SECRET</p><!-- /gatefold:premium -->
</article>
</main>
<footer><p>The Acme</p></footer>
</body>
</html>`

// hostileStyle is meant for the article. It must not spoil the section in it.
const (
	newspaperStyle = `html{font-size:62.5%}body{margin:0;font:1.8rem/1.6 Georgia,serif;background:Canvas;color:CanvasText}main{max-width:72rem;margin:auto;padding:1rem}`
	hostileStyle   = `article p{margin:4rem 0;color:#999;text-align:justify}article a{color:#eee;text-decoration:none;padding:3px}article ul{list-style:square}` +
		`article h2{color:#ddd;font-size:10rem}article span{color:#fefefe}`
)

// newNewspaper serves the article as the gate does to a refused reader: with the section, by
// package teaser. The query chooses the page's own policy as well.
func newNewspaper(t *testing.T) *httptest.Server {
	t.Helper()
	texts := arabic(t)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		query := r.URL.Query()
		switch r.URL.Path {
		case "/style.css":
			w.Header().Set("Content-Type", "text/css")
			_, _ = io.WriteString(w, newspaperStyle)
			if query.Get("plain") == "" {
				_, _ = io.WriteString(w, hostileStyle)
			}
			return
		case "/article":
		default:
			http.NotFound(w, r)
			return
		}
		var configured *paywall.Paywall
		if template := query.Get("template"); template != "" {
			configured = wall(t, template)
		}
		page, view := paywall.Compile(configured, ""), &paywall.View{
			Language: texts.For([]string{query.Get("lang")}), Reason: "login_required", Site: "The Acme", Login: "/login?client=news", Code: "7KQ2M4XN",
			Checkout: func(item paywall.Item) string { return "/checkout/" + item.Kind + "/" + item.SKU },
		}
		section := func(w io.Writer) error {
			var b bytes.Buffer
			if err := page.RenderSection(&b, view); err != nil {
				return err
			}
			_, err := w.Write(b.Bytes())
			return err
		}
		cutting := teaser.NewResponse(w, r.Method, teaser.Region{}, teaser.Wall{Section: section, Style: page.SectionStyle()}, func() {})
		cutting.Header().Set("Content-Type", "text/html; charset="+query.Get("charset"))
		if policy := query.Get("policy"); policy != "" {
			cutting.Header().Set("Content-Security-Policy", policy)
		}
		_, _ = fmt.Fprintf(cutting, newspaper, query.Get("charset"), "/style.css?plain="+query.Get("plain"))
		if result, err := cutting.Close(false); err != nil || !result.Cut {
			t.Errorf("the page is not cut: %+v %v", result, err)
		}
	}))
	t.Cleanup(server.Close)
	return server
}

// The section is without a violation of WCAG 2.2 AA in a page of an origin with a style of
// its own, on a phone of 320 px and on a desktop, by day and by night, in three languages and
// from right to left. It has its style under each policy that the page may have, says nothing in
// the console, and its first link is the login.
func TestSectionInChromium(t *testing.T) {
	axe, site := AxeCore(t), newNewspaper(t)
	policies := []string{"", "default-src 'self'", "default-src 'none'; style-src 'self'", "style-src 'self' 'unsafe-inline'", "style-src 'self' 'nonce-x' 'unsafe-inline'"}
	for name, dark := range map[string]bool{"light": false, "dark": true} {
		t.Run(name, func(t *testing.T) {
			tab, console := start(t, dark)
			at := 0
			for _, template := range []string{"BOXES", "ARTICLE", "LOGIN", ""} {
				for _, language := range []string{"en", "sv", "fr", "ar"} {
					charset := []string{"utf-8", "windows-1252"}[at%2]
					policy := policies[at%len(policies)]
					at++
					page := fmt.Sprintf("%s/article?template=%s&lang=%s&charset=%s&policy=%s", site.URL, template, language, charset, strings.NewReplacer(" ", "+", ";", "%3B").Replace(policy))
					for _, width := range []int64{320, 1280} {
						if err := chromedp.Do(tab, chromedp.EmulateViewport(width, 900), chromedp.Navigate(page)); err != nil {
							t.Fatalf("%s: %v", page, err)
						}
						if template == "" {
							continue // its look is that of the page
						}
						if wide := evaluate[int64](t, tab, "document.documentElement.scrollWidth"); wide > width {
							t.Errorf("%s is %d px wide on a screen of %d", page, wide, width)
						}
						evaluate[bool](t, tab, axe+"\n;true")
						if found := evaluate[string](t, tab, Violations(`"#gatefold-wall"`)); found != "[]" {
							t.Errorf("%s at %d px: %s", page, width, found)
						}
					}
					if template == "" {
						continue
					}
					look := evaluate[string](t, tab, `(e => getComputedStyle(e).borderStyle + " " + getComputedStyle(e).direction + " " + getComputedStyle(e.querySelector("p")).textAlign)(document.querySelector(".gatefold-wall"))`)
					if want := map[bool]string{true: "solid rtl start", false: "solid ltr start"}[language == "ar"]; look != want {
						t.Errorf("%s looks %s", page, look)
					}
					if night := evaluate[bool](t, tab, `getComputedStyle(document.querySelector(".gatefold-wall")).backgroundColor === "rgb(15, 16, 18)"`); night != dark {
						t.Errorf("%s is dark: %v", page, night)
					}
					if err := chromedp.Do(tab, chromedp.KeyEvent("\t")); err != nil {
						t.Fatal(err)
					}
					if first := evaluate[string](t, tab, `document.activeElement.getAttribute("href")`); first != "/login?client=news" {
						t.Errorf("%s: the first link is %s", page, first)
					}
				}
			}
			if lines := console(); len(lines) > 0 {
				t.Errorf("the console says %s", strings.Join(lines, "\n"))
			}
		})
	}
}
