package upstreamtest

import (
	"encoding/csv"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gatefold/gatefold/keys/keystest"
)

// cacheable is an origin that lets every cache keep every page, articles included.
func cacheable(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "public, max-age=600")
		switch name, found := strings.CutPrefix(r.URL.Path, "/articles/"); {
		case found:
			fmt.Fprint(w, article(name))
		case strings.HasPrefix(r.URL.Path, "/account"):
			fmt.Fprint(w, accountPage)
		case strings.HasPrefix(r.URL.Path, "/podcasts/"):
			fmt.Fprint(w, "SECRET-PODCAST"+r.URL.Path)
		default:
			fmt.Fprint(w, frontPage+r.Header.Get("X-Forwarded-For"))
		}
	}))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

// fetch sends a GET, and returns status, body and header of the answer.
func fetch(t *testing.T, address string, headers ...string) (int, string, http.Header) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, header := range headers {
		name, value, _ := strings.Cut(header, ": ")
		request.Header.Set(name, value)
	}
	response, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body), response.Header
}

// A CDN keeps public pages, and neither a subscriber's article nor a denial, although the
// origin calls all of them public.
func TestRecipeOfCDN(t *testing.T) {
	r := startRecipe(t, "A CDN in front", nil, "192.0.2.0/24", "127.0.0.1/32", "localhost:3000", cacheable(t))
	port, dir := keystest.FreePort(t), folder(t)
	runNginx(t, port, strings.NewReplacer("/var/cache/nginx/news", filepath.Join(dir, "cache"), "listen 80;", "listen 127.0.0.1:"+port+";",
		"http://gate.example.com", strings.Replace(r.address, "localhost", "127.0.0.1", 1), "$http_host", strings.TrimPrefix(r.address, "http://")).Replace(block(t, r.text, "nginx")))
	cdn := "http://127.0.0.1:" + port
	through := func(target string, headers ...string) (int, string, http.Header) {
		t.Helper()
		return fetch(t, cdn+target, headers...)
	}
	for i, want := range []string{"MISS", "HIT"} {
		if status, body, header := through("/"); status != http.StatusOK || header.Get("X-Cache") != want || !strings.Contains(body, frontPage+"127.0.0.1") {
			t.Errorf("request %d of the front page is %d %s", i, status, body)
		}
	}
	premium := r.reader("user-premium", "premium")
	for range 2 {
		if status, body, header := through("/articles/hello"); status != http.StatusUnauthorized || header.Get("X-Cache") != "MISS" || strings.Contains(body, "SECRET") {
			t.Errorf("a stranger gets %d %s", status, body)
		}
		if status, body, header := through("/articles/hello", premium); status != http.StatusOK || header.Get("X-Cache") != "MISS" || !strings.Contains(body, secretHello) {
			t.Errorf("the subscriber gets %d %s", status, body)
		}
	}
}

// A crawler's address opens articles to it, and no account. What claims to be a crawler
// by its agent or by a forwarded address stays a stranger.
func TestRecipeOfCrawlers(t *testing.T) {
	agent := "User-Agent: Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"
	origin := cacheable(t)
	crawler := startRecipe(t, "Crawlers let in", nil, "192.0.2.0/27", "127.0.0.0/8 ::1", "localhost:3000", origin)
	crawler.wants("/articles/hello", http.StatusOK, secretHello, agent)
	crawler.wants("/account", http.StatusUnauthorized, "login_required", agent)
	if _, _, got := fetch(t, crawler.address+"/articles/hello"); got.Get("Cache-Control") != "private, no-store" || got.Get("X-Robots-Tag") != "noarchive" {
		t.Errorf("caches may keep the crawler's copy: %v", got)
	}
	stranger := startRecipe(t, "Crawlers let in", nil, "localhost:3000", origin)
	stranger.wants("/articles/hello", http.StatusUnauthorized, "login_required", agent, "X-Forwarded-For: 192.0.2.1", "X-Real-Ip: 192.0.2.1")
	stranger.wants("/articles/hello", http.StatusOK, secretHello, stranger.reader("user-premium", "premium"))
}

// commands runs the commands of a recipe.
func (r *recipe) commands() string {
	r.t.Helper()
	command := "#!/bin/sh\nexec '" + binary + "' \"$@\" --address '" + r.admin + "'\n"
	if err := os.WriteFile(filepath.Join(r.dir, "gatefold"), []byte(command), 0o700); err != nil {
		r.t.Fatal(err)
	}
	blocks := walkBlocks(r.text)
	if len(blocks) != 1 {
		r.t.Fatalf("the recipe has %d blocks of commands", len(blocks))
	}
	return walk(r.t, r.dir, r.substitute, blocks, append(r.environment(), "PATH="+r.dir+":"+os.Getenv("PATH")))[0]
}

// One link opens a subscriber's feed and its episodes to an app without cookies, until it
// is revoked.
func TestRecipeOfPodcast(t *testing.T) {
	r := startRecipe(t, "A podcast feed", nil, "localhost:3000", cacheable(t))
	for _, closed := range []string{"/podcasts/daily/feed.xml", "/podcasts/daily/1.mp3"} {
		r.wants(closed, http.StatusUnauthorized, "login_required")
	}
	rest := r.commands()
	for _, want := range []string{"HTTP/1.1 200", "SECRET-PODCAST/podcasts/daily/feed.xml", "HTTP/1.1 200", "SECRET-PODCAST/podcasts/daily/1.mp3", "HTTP/1.1 403", `"code":"link_revoked"`} {
		_, after, found := strings.Cut(rest, want)
		if !found {
			t.Fatalf("no %q, or not in this order, in\n%s", want, rest)
		}
		rest = after
	}
}

// The newsletter's 1,000 readers get a link each, which open the article.
func TestRecipeOfNewsletter(t *testing.T) {
	origin := cacheable(t)
	r := startRecipe(t, "Express", nil, "localhost:3000", origin)
	r.text = section(t, "A newsletter with 1,000 links")
	var readers strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&readers, "reader-%d\n", i)
	}
	write(t, r.dir, "readers.txt", readers.String())
	begun := time.Now()
	r.commands()
	t.Logf("1,000 links took %s", time.Since(begun).Round(time.Millisecond))
	file, err := os.Open(filepath.Join(r.dir, "links.csv"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	rows, err := csv.NewReader(file).ReadAll()
	if err != nil || len(rows) != 1001 {
		t.Fatalf("there are %d rows: %v", len(rows), err)
	}
	links := map[string]bool{}
	for _, row := range rows[1:] {
		for _, cell := range row {
			if strings.HasPrefix(cell, r.address) {
				links[cell] = true
			}
		}
	}
	if len(links) != 1000 {
		t.Fatalf("there are %d links, such as %q", len(links), rows[1])
	}
	opened := 0
	for link := range links {
		r.wants(strings.TrimPrefix(link, r.address), http.StatusOK, secretHello)
		if opened++; opened == 5 {
			break
		}
	}
}
