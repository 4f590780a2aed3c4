package upstreamtest

import (
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gatefold/gatefold/keys/keystest"
)

// paywallRecipe is a recipe of docs/paywall.md.
type paywallRecipe struct {
	heading string
	// start starts the origin from the blocks of the recipe, and the gate before it.
	start func(t *testing.T, text string) *initSite
	// page, free, feed and data are the paths of an article that is paid for, of a free one, and
	// of the other places with its text.
	page, free, feed, data string
	// wall is a part of the page of a refused reader. Statuses has what they get of each place.
	wall     string
	statuses [3]int
	// public are the paths of what every reader gets alike, and short those at which no reader
	// gets the gated text.
	public, short []string
	// right and wrong are a line of the recipe, and a mistake in its place that opens the feed.
	right, wrong string
}

var paywallRecipes = []paywallRecipe{
	{
		heading: "Express", start: startExpressRecipe, page: "/articles/hello", free: "/articles/weather", feed: "/feed.xml", data: "/api/articles/hello",
		wall: `<a href="/.gatefold/login?next=%2Farticles%2Fhello">Log in</a>`, statuses: [3]int{200, 200, 200}, public: []string{"/"},
		right: "rule /feed.xml entitled premium {\n\t\t\tteaser origin\n\t\t}\n", wrong: "",
	},
	{
		heading: "Django", start: startDjangoRecipe, page: "/articles/hello/", free: "/articles/weather/", feed: "/feed/", data: "/api/articles/hello/",
		wall: `<section id="gatefold-wall"`, statuses: [3]int{200, 200, 200}, public: []string{"/"},
		right: "rule /feed entitled premium {\n\t\t\tteaser origin\n\t\t}\n", wrong: "",
	},
	{
		heading: "WordPress", start: startWordPressRecipe, page: "/articles/hello/", free: "/articles/weather/", feed: "/feed/", data: "/wp-json/wp/v2/posts",
		wall: `<section id="gatefold-wall"`, statuses: [3]int{200, 200, 401}, public: []string{"/", "/feed/"}, short: []string{"/feed/", "/wp-json/wp/v2/posts"},
		right: "return $page ?", wrong: "return true ?",
	},
	{
		heading: "A static site", start: startStaticRecipe, page: "/articles/hello/", free: "/notices/weather/", feed: "/feed.xml", data: "/search.json",
		wall: `<section id="gatefold-wall"`, statuses: [3]int{200, 401, 401}, public: []string{"/", "/notices/weather/"},
		right: "rule /feed.xml    entitled premium {\n\t\t\tcontent_space feed\n\t\t\tcontent_id    full\n\t\t}\n", wrong: "",
	},
}

// Parts of testdata/paywall/articles.json.
const (
	leadText, gatedText, openText = "The council met on Monday", "the mayor had known since the spring", "OPEN to all"
	asBrowser                     = "Accept: text/html,application/xhtml+xml"
)

// The sites of docs/paywall.md give an entitled reader all of an article, and a refused one its
// beginning or the paywall, in each place that has the text. The check finds no leak, and finds
// the mistake that opens the feed.
func TestRecipesOfPaywalls(t *testing.T) {
	for i := range paywallRecipes {
		p := &paywallRecipes[i]
		t.Run(p.heading, func(t *testing.T) {
			_, recipes, _ := strings.Cut(document(t, "docs/paywall.md"), "\n## Recipes\n")
			_, text, found := strings.Cut(recipes, "\n### "+p.heading+"\n")
			if !found || !strings.Contains(text, p.right) {
				t.Fatalf("docs/paywall.md has no recipe %q with %q", p.heading, p.right)
			}
			text, _, _ = strings.Cut(text, "\n### ")
			s := p.start(t, text)
			addPaywall(s.gate)
			p.check(t, s)

			wrong := p.start(t, strings.Replace(text, p.right, p.wrong, 1))
			said, err := wrong.command(leakCheck(wrong, p)...)
			if err == nil || !strings.Contains(err.Error(), "\nfeed ") || !strings.Contains(err.Error(), "refused readers get text of the gated part") {
				t.Errorf("the check of a site with an open feed says %s %v", said, err)
			}
		})
	}
}

// addPaywall creates the paywall of docs/paywall.md.
func addPaywall(g *gate) {
	g.t.Helper()
	g.must("paywall", "add", "main", write(g.t, g.dir, "main.json", block(g.t, document(g.t, "docs/paywall.md"), "json")))
}

func leakCheck(s *initSite, p *paywallRecipe) []string {
	_, cookie, _ := strings.Cut(s.reader("user-premium", "premium"), ": ")
	return []string{"paywall", "check", s.address + p.page, "--cookie", cookie}
}

func (p *paywallRecipe) check(t *testing.T, s *initSite) {
	t.Helper()
	get := func(path string, headers ...string) (int, string) {
		t.Helper()
		status, body, header := fetch(t, s.address+path, append(headers, asBrowser)...)
		for name := range header {
			if strings.HasPrefix(name, "Gatefold-") {
				t.Errorf("%s sends the header %s", path, name)
			}
		}
		if public := strings.Contains(header.Get("Cache-Control"), "public"); public != slices.Contains(p.public, path) {
			t.Errorf("%s is %q", path, header.Get("Cache-Control"))
		}
		return status, body
	}
	get("/") // what every reader may have stays public
	premium, other := s.reader("user-premium", "premium"), s.reader("user-other", "other")
	for i, path := range []string{p.page, p.feed, p.data} {
		for _, reader := range []string{"Gatefold-View: teaser", "Gatefold-Require: any", other} { // the headers of strangers are nothing
			status, body := get(path, reader)
			want := p.statuses[i]
			if want == http.StatusUnauthorized && reader == other {
				want = http.StatusForbidden
			}
			if status != want || strings.Contains(body, "SECRET") || strings.Contains(body, gatedText) || status == http.StatusOK && !strings.Contains(body, leadText) {
				t.Errorf("%s gives %s %d, not %d: %s", path, reader, status, want, body)
			}
			if path == p.page && reader != other && !strings.Contains(body, p.wall) {
				t.Errorf("%s has no %q: %s", path, p.wall, body)
			}
		}
		if status, body := get(path, premium); status != http.StatusOK || strings.Contains(body, gatedText) == slices.Contains(p.short, path) || !strings.Contains(body, leadText) {
			t.Errorf("%s gives the subscriber %d %s", path, status, body)
		}
	}
	if status, body := get(p.free); status != http.StatusOK || !strings.Contains(body, openText) {
		t.Errorf("%s gives a stranger %d %s", p.free, status, body)
	}
	if said := s.must(leakCheck(s, p)...); !strings.Contains(said, "words are gated") {
		t.Errorf("the check says %s", said)
	}
	if p.heading == "A static site" {
		address := s.must("feed", "create", s.address+p.feed, "--space", "feed", "--user", "user-premium")
		if status, body, _ := fetch(t, strings.Fields(address)[0]); status != http.StatusOK || !strings.Contains(body, gatedText) {
			t.Errorf("the subscriber's feed %s is %d %s", address, status, body)
		}
	}
}

// cacheableSite changes a site block so that the site says of every page that it is public.
var cacheableSite = []string{"\tgatefold {\n", "\theader >Cache-Control \"public, max-age=600\"\n\tgatefold {\n"}

// withArticles is a folder with articles.json.
func withArticles(t *testing.T) string {
	t.Helper()
	dir := folder(t)
	write(t, dir, "articles.json", articlesFile(t))
	return dir
}

func articlesFile(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("testdata/paywall/articles.json")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func startExpressRecipe(t *testing.T, text string) *initSite {
	t.Helper()
	program, err := exec.LookPath("node")
	if err != nil {
		t.Fatalf("%v: run `make test`", err)
	}
	dir, port := withArticles(t), keystest.FreePort(t)
	if err := os.Symlink(filepath.Join(unpacked(t), "node", "node_modules"), filepath.Join(dir, "node_modules")); err != nil {
		t.Fatal(err)
	}
	site := write(t, dir, "site.mjs", strings.Replace(block(t, text, "js"), "listen(3000,", "listen("+port+",", 1))
	run(t, dir, os.Environ(), program, site).waitForPort(t, "tcp", "localhost:"+port)
	return startSection(t, text, "http", []string{"OIDC_SECRET=secret"}, append(cacheableSite, "localhost:3000", "localhost:"+port)...).initSite
}

func startDjangoRecipe(t *testing.T, text string) *initSite {
	t.Helper()
	dir, port := withArticles(t), keystest.FreePort(t)
	write(t, dir, "templates/article.html", block(t, text, "html"))
	write(t, dir, "urls.py", block(t, text, "python"))
	wsgi, err := os.ReadFile("testdata/paywall/wsgi.py")
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir, "wsgi.py", string(wsgi))
	gunicorn(t, dir, port, "wsgi:application")
	return startSection(t, text, "http", nil, append(cacheableSite, "localhost:8000", "127.0.0.1:"+port)...).initSite
}

// startWordPressRecipe puts the rule and the block of the recipe into what `gatefold init`
// writes, and runs the plugin in a stand-in for WordPress.
func startWordPressRecipe(t *testing.T, text string) *initSite {
	t.Helper()
	dir := withArticles(t)
	front, err := os.ReadFile("testdata/paywall/wordpress/index.php")
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir, "index.php", string(front))
	write(t, dir, "wp-content/plugins/gatefold.php", block(t, text, "php"))
	return startInit(t, "wordpress", dir+" unix/"+runFPM(t),
		"\n\tgatefold {\n\t\t# Tokens", "\n\theader >Cache-Control \"public, max-age=600\"\n\tgatefold {\n"+indented(block(t, text, "text"))+"\t\t# Tokens",
		"\t\trule /articles/{publisherContentId} entitled premium {publisherContentId}\n", indented(block(t, text, "caddyfile")))
}

// indented returns lines as they are in the gate's block.
func indented(lines string) string {
	return "\t\t" + strings.ReplaceAll(strings.TrimSuffix(lines, "\n"), "\n", "\n\t\t") + "\n"
}

// startStaticRecipe writes the files as a generator does that has the template of the recipe.
func startStaticRecipe(t *testing.T, text string) *initSite {
	t.Helper()
	dir := folder(t)
	var articles map[string]struct {
		Title, Lead, Text string
		Free              bool
	}
	if err := json.Unmarshal([]byte(articlesFile(t)), &articles); err != nil {
		t.Fatal(err)
	}
	feed := "<rss version=\"2.0\"><channel>"
	for id, a := range articles {
		name := map[bool]string{true: "notices/", false: "articles/"}[a.Free] + id + "/index.html"
		write(t, dir, name, strings.NewReplacer("{title}", a.Title, "{lead}", a.Lead, "{text}", a.Text).Replace(block(t, text, "html")))
		feed += "<item><title>" + a.Title + "</title><description><![CDATA[" + a.Lead + a.Text + "]]></description></item>"
	}
	write(t, dir, "feed.xml", feed+"</channel></rss>")
	write(t, dir, "search.json", articlesFile(t))
	write(t, dir, "index.html", "<!DOCTYPE html><title>The Acme</title>")
	return startSection(t, text, "http", nil, append(cacheableSite, "/srv/news", dir)...).initSite
}
