package caddymodule

import (
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/gatefold/gatefold/keys"
)

// The Caddyfile of docs/hardening.md denies every way to the full text to a stranger, and
// opens it to a subscriber. It takes the address of a client only from the proxy.
func TestHardenedSite(t *testing.T) {
	text, err := os.ReadFile("../docs/hardening.md")
	if err != nil {
		t.Fatal(err)
	}
	file := regexp.MustCompile("(?ms)^```caddyfile\n(.*?)^```$").FindSubmatch(text)
	if file == nil {
		t.Fatal("docs/hardening.md has no Caddyfile")
	}
	t.Setenv("GATEFOLD_SECRET", "a secret of this test")
	s := newTestSite(t, standardRules)
	config := string(file[1])
	for _, change := range [][2]string{
		{"admin unix//run/gatefold/admin.sock", "admin off\n\tauto_https off\n\tstorage file_system " + s.dir},
		{"store bolt /var/lib/gatefold/gatefold.db", "store bolt " + s.dir + "/hardened.db"},
		{"news.example.com {", "http://127.0.0.1:" + s.port + " {"},
		{"localhost:3000", strings.TrimPrefix(s.origin.URL, "http://")},
		{"output stderr", "output test"},
	} {
		if !strings.Contains(config, change[0]) {
			t.Fatalf("the Caddyfile lacks %q", change[0])
		}
		config = strings.ReplaceAll(config, change[0], change[1])
	}
	s.load(config)
	s.origin.Take()
	for _, path := range []string{
		"/articles/hello", "/ARTICLES/hello", "/articles/hello/feed", "/articles/hello?print=1", "/amp/hello", "/print/hello", "/api/articles/hello", "/api/articles/hello.json",
		"/wp-json/wp/v2/posts", "/wp-json", "/WP-JSON/wp/v2/posts", "/feeds/full", "/feeds/full/rss.xml", "/search?q=hello", "/account",
	} {
		s.get(path, "X-Forwarded-For", "203.0.113.7").denied(http.StatusUnauthorized, "login_required")
	}
	for _, path := range []string{"/index.php/articles/hello", "//articles/hello", "/articles%2fhello"} {
		s.rawPath(path).denied(http.StatusBadRequest, "bad_path")
	}
	for _, path := range []string{"/?feed=rss2", "/?p=5", "/?rest_route=/wp/v2/posts", "/?rest.route=/wp/v2/posts", "/index.php?p=5", "/INDEX.PHP?p=5"} {
		if got := s.get(path); got.StatusCode != http.StatusFound || got.Header.Get("Location") != "/" {
			t.Errorf("%s: status %d to %q", path, got.StatusCode, got.Header.Get("Location"))
		}
	}
	s.origin.WantNone(t)
	for _, path := range []string{"/", "/feed", "/sitemap.xml", "/about?x=1"} {
		s.get(path).page()
	}
	name, reader := s.subscriber()
	for _, path := range []string{"/articles/hello", "/amp/hello", "/wp-json/wp/v2/posts", "/feeds/full", "/search?q=hello"} {
		s.get(path, name, reader).page()
	}
	link, _ := s.link(keys.LinkClaims{PublisherContentID: "hello"})
	s.get(link).page()
	for _, entry := range logged.entries(t, "http.handlers.gatefold") {
		if entry["msg"] == "denied" && entry["client_ip"] != "127.0.0.1" {
			t.Errorf("a client chooses its address: %v", entry)
		}
	}
}
