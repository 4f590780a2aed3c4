package admin_test

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
)

// docsPages returns the documentation pages by path: the index and those it links to.
func (p *public) docsPages() map[string]answer {
	p.Helper()
	pages := map[string]answer{"/docs": p.ask(http.MethodGet, "/docs", "", nil).want(http.StatusOK, nil)}
	for _, link := range regexp.MustCompile(`href="(docs/[a-z-]+)"`).FindAllStringSubmatch(pages["/docs"].body, -1) {
		pages["/"+link[1]] = p.ask(http.MethodGet, "/"+link[1], "", nil).want(http.StatusOK, nil)
	}
	if len(pages) < 20 {
		p.Fatalf("the index links to %d pages", len(pages)-1)
	}
	return pages
}

// The pages load nothing and run nothing: their policy has the hash of the style that they
// embed.
func TestDocsPagesLoadNothing(t *testing.T) {
	for path, got := range newPublic(t).docsPages() {
		policy := got.head.Get("Content-Security-Policy")
		for _, want := range []string{"default-src 'none'", "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"} {
			if !strings.Contains(policy, want) {
				t.Errorf("%s: the policy lacks %s: %s", path, want, policy)
			}
		}
		if strings.Contains(policy, "unsafe") || strings.Contains(policy, "http") || strings.Contains(policy, "*") || strings.Contains(policy, "script-src") {
			t.Errorf("%s: the policy is loose: %s", path, policy)
		}
		parts := regexp.MustCompile(`(?s)<style>(.*?)</style>`).FindAllStringSubmatch(got.body, -1)
		if len(parts) != 1 || parts[0][1] == "" {
			t.Fatalf("%s: %d styles", path, len(parts))
		}
		sum := sha256.Sum256([]byte(parts[0][1]))
		if hash := "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"; !strings.Contains(policy, "style-src "+hash) {
			t.Errorf("%s: the policy does not admit the page's own style: %s", path, policy)
		}
		if regexp.MustCompile(`<(?:script|img|link|iframe|object|embed|form|base)|url\(|@import|\son\w+=|\sstyle=`).MatchString(got.body) {
			t.Errorf("%s has something that loads, sends or runs", path)
		}
	}
}

// Every operation of the document is on the page of its tag with path, scope and example,
// the smallest call first, and every link of a page has a target.
func TestDocsPagesHaveEveryOperation(t *testing.T) {
	p := newPublic(t)
	pages := p.docsPages()
	operations := 0
	for path, item := range node(p.document()["paths"]) {
		for method, operation := range node(item) {
			operations++
			id := node(operation)["operationId"].(string)
			tag := node(operation)["tags"].([]any)[0].(string)
			page := pages["/docs/"+strings.ReplaceAll(strings.ToLower(tag), " ", "-")].body
			_, rest, found := strings.Cut(page, `<article id="`+id+`">`)
			article, _, _ := strings.Cut(rest, "</article>")
			if !found || !strings.Contains(strings.ReplaceAll(article, "<wbr>", ""), "<code>"+path+"</code>") || !strings.Contains(article, strings.ToUpper(method)) || !strings.Contains(article, "curl ") {
				t.Errorf("%s %s is not on the page of %s", method, path, tag)
			}
			if strings.Contains(article, "&lt;nil&gt;") || strings.Contains(article, "%!") {
				t.Errorf("%s %s shows the insides of the program", method, path)
			}
		}
	}
	if operations < 30 {
		t.Errorf("there are %d operations", operations)
	}
	for path, page := range pages {
		first := regexp.MustCompile(`<article id="([^"]+)">(?s:.*?)<p class="call"><b[^>]*>([A-Z]+)</b> <code>([^<]+)</code>`).FindAllStringSubmatch(page.body, -1)
		for _, later := range first[min(1, len(first)):] {
			if strings.Count(later[3], "{") < strings.Count(first[0][3], "{") {
				t.Errorf("%s begins with %s, and %s needs fewer ids", path, first[0][1], later[1])
			}
		}
		for _, link := range regexp.MustCompile(`(?:href|src|action|srcset|data)="([^"]*)"`).FindAllStringSubmatch(page.body, -1) {
			reference, err := url.Parse(link[1])
			if err != nil {
				t.Fatal(err)
			}
			target := (&url.URL{Path: path}).ResolveReference(reference)
			on, known := pages[target.Path]
			switch {
			case target.Path == "/openapi.json":
			case !known, target.Fragment != "" && !strings.Contains(on.body, `id="`+target.Fragment+`"`):
				t.Errorf("the link %s of %s leads nowhere", link[1], path)
			}
		}
	}
}

// Only the mount for remote clients serves page and document.
func TestDocsAreThoseOfTheMount(t *testing.T) {
	p := newPublic(t)
	p.ask(http.MethodPost, "/docs", "", nil).refused(http.StatusUnauthorized, "unauthorized", "")
	p.ask(http.MethodGet, "/docs/", "", nil).refused(http.StatusUnauthorized, "unauthorized", "")
	// The operator's mount serves no page.
	newFixture(t, true).call(http.MethodGet, "/docs", "").refused(http.StatusNotFound, "not_found", "")
	newFixture(t, true).call(http.MethodGet, "/openapi.json", "").refused(http.StatusNotFound, "not_found", "")
}
