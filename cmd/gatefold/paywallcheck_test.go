package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/gatefold/gatefold/keys/keystest"
)

const (
	leakLead  = "The council met on Monday in the old town hall to talk about the bridge."
	leakGated = "Sources say the mayor had known since the spring that the contractor would never finish the northern ramp, and the audit shows it in detail."
)

// leakyOrigin is a CMS that knows nothing of readers: each of its pages has the markers of a
// teaser, and the text of the article in one more place, which a test names.
type leakyOrigin struct{ place atomic.Value }

func (o *leakyOrigin) text(place string) string {
	if o.place.Load() == place {
		return leakGated
	}
	return "Subscribers read more."
}

func (o *leakyOrigin) serve(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/articles/hello":
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		fmt.Fprintf(w, `<!DOCTYPE html><html><head><title>Hello</title><link rel="alternate" type="application/rss+xml" href="/news.rss"><link rel="amphtml" href="/fast/hello">
<link rel="https://api.w.org/" href="/wp-json/"><script type="application/ld+json">{"@type":"NewsArticle","articleBody":%q}</script>
<script id="__NEXT_DATA__" type="application/json">{"props":{"html":"\u003cp\u003e%s"}}</script></head>
<body><p>%s</p><!-- gatefold:premium --><p>%s</p><!-- /gatefold:premium --></body></html>`, o.text("JSON-LD"), o.text("__NEXT_DATA__"), leakLead, leakGated)
	case "/news.rss":
		fmt.Fprintf(w, "<rss><channel><item><description>&lt;p&gt;%s&lt;/p&gt;</description></item></channel></rss>", o.text("feed"))
	case "/fast/hello":
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprintf(w, "<html amp><body><p>%s</p><p>%s</p></body></html>", leakLead, o.text("AMP"))
	case "/wp-json/wp/v2/posts":
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `[{"content":{"rendered":"<p>%s<\/p>"}}]`, o.text("REST"))
	case "/":
		_, _ = io.WriteString(w, "front page")
	default:
		http.NotFound(w, r)
	}
}

// leakSite is a site whose gate cuts the articles of a CMS, and leaves all else public.
func leakSite(t *testing.T) (*server, *leakyOrigin) {
	t.Helper()
	origin, cms := keystest.NewOrigin(t), new(leakyOrigin)
	cms.place.Store("")
	origin.Handle(cms.serve)
	s := newServer(t)
	text, err := os.ReadFile(s.config)
	if err != nil {
		t.Fatal(err)
	}
	config := strings.Replace(string(text), "entitled premium {publisherContentId}", "{\n\t\t\tentitled premium\n\t\t\tteaser cut\n\t\t}", 1)
	config = regexp.MustCompile(`reverse_proxy 127\.0\.0\.1:\d+`).ReplaceAllString(config, "reverse_proxy "+strings.TrimPrefix(origin.URL, "http://"))
	s.writeConfig(config)
	s.start()
	return s, cms
}

// documentedCheck returns the arguments of the check in docs/teaser.md, for a site.
func documentedCheck(t *testing.T, site, token string) []string {
	t.Helper()
	text, err := os.ReadFile("../../docs/teaser.md")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`(?m)^gatefold (paywall check .*)$`).FindSubmatch(text)
	if found == nil {
		t.Fatal("docs/teaser.md has no check")
	}
	return strings.Fields(strings.NewReplacer("https://news.example.com", site, "$TOKEN", token, `"`, "").Replace(string(found[1])))
}

// An editor checks a site whose feed, JSON-LD, hydration data, AMP page or REST route has the
// article. The command names the place and fails; once the place has a rule or the text is out
// of it, it succeeds. A check by a link is the same.
func TestPaywallCheckFindsLeaks(t *testing.T) {
	t.Parallel()
	s, cms := leakSite(t)
	s.must("grant", "add", "--user", "ann", "--sku", "premium")
	token := s.must("token", "reader", "--user", "ann")
	check := documentedCheck(t, s.site, token)
	places := []string{"JSON-LD", "__NEXT_DATA__", "feed", "AMP", "REST"}
	for _, place := range append(places, "") {
		cms.place.Store(place)
		for _, args := range [][]string{
			check,
			{"paywall", "check", s.site + "/articles/hello", "--bearer", token},
			{"paywall", "check", s.site + "/articles/hello", "--link", s.must("link", "create", s.site+"/articles/hello", "--max-uses", "1")},
		} {
			got := s.command(args...)
			if place == "" {
				if got.code != 0 || strings.Contains(got.stdout, "PLACE") || !strings.Contains(got.stdout, " words are gated; ") {
					t.Errorf("a site without a leak: %+v", got)
				}
				continue
			}
			leaks := "1 places"
			if place == "REST" {
				leaks = "2 places" // with and without the slug
			}
			if got.code != 1 || !strings.Contains(got.stderr, "text of the gated part in "+leaks) {
				t.Errorf("%s: %+v", place, got)
			}
			for _, other := range places {
				if named := regexp.MustCompile(`(?m)^` + other + ` +200 +2\d `).MatchString(got.stdout); named != (other == place) {
					t.Errorf("%s: %s is named: %t\n%s", place, other, named, got.stdout)
				}
			}
			if !strings.Contains(got.stdout, "sources say the mayor had known since the") || strings.Contains(got.stdout+got.stderr, token) {
				t.Errorf("%s: %+v", place, got)
			}
		}
	}
	var report struct {
		Leaks  int
		Places []struct{ What, URL string }
	}
	cms.place.Store("feed")
	got := s.command(append(check, "--json")...)
	if err := json.Unmarshal([]byte(got.stdout), &report); err != nil || got.code != 1 || report.Leaks != 1 || len(report.Places) < 10 {
		t.Errorf("--json: %v, %+v", err, got)
	}
	// What cannot be checked is an error of its own, and says why.
	for want, args := range map[string][]string{
		"does not get the page":                  {s.site + "/account", "--bearer", "none"},
		"nothing is gated":                       {s.site + "/fast/hello", "--bearer", token},
		"is not an http or https URL":            {"/articles/hello", "--bearer", token},
		"at least one of the flags":              {s.site + "/articles/hello"},
		"if any flags in the group":              {s.site + "/articles/hello", "--bearer", token, "--cookie", "a=b"},
		"the link is not one of the page's host": {s.site + "/articles/hello", "--link", "http://other.example/?token=SECRET"},
	} {
		if got := s.command(append([]string{"paywall", "check"}, args...)...); got.code != 1 || !strings.Contains(got.stderr, want) || strings.Contains(got.stderr, "SECRET") {
			t.Errorf("%v: %+v, want %q", args, got, want)
		}
	}
	// The feed gets a rule of its own.
	text, err := os.ReadFile(s.config)
	if err != nil {
		t.Fatal(err)
	}
	s.writeConfig(strings.Replace(string(text), "rule / any", "rule /news.rss entitled premium\n\t\trule / any", 1))
	s.must("reload", "--config", s.config)
	if got := s.command(check...); got.code != 0 {
		t.Errorf("with a rule for the feed: %+v", got)
	}
}
