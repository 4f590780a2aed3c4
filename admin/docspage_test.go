package admin_test

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"regexp"
	"strings"
	"testing"
)

// The page loads nothing and runs only its own script: its policy has the hashes
// of what it embeds.
func TestDocsPageLoadsNothing(t *testing.T) {
	p := newPublic(t)
	got := p.ask(http.MethodGet, "/docs", "", nil)
	got.want(http.StatusOK, nil)
	policy := got.head.Get("Content-Security-Policy")
	for _, want := range []string{"default-src 'none'", "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"} {
		if !strings.Contains(policy, want) {
			t.Errorf("the policy lacks %s: %s", want, policy)
		}
	}
	if strings.Contains(policy, "unsafe") || strings.Contains(policy, "http") || strings.Contains(policy, "*") {
		t.Errorf("the policy is loose: %s", policy)
	}
	for _, element := range []string{"style", "script"} {
		parts := regexp.MustCompile(`(?s)<`+element+`>(.*?)</`+element+`>`).FindAllStringSubmatch(got.body, -1)
		if len(parts) != 1 || parts[0][1] == "" {
			t.Fatalf("%d elements %s", len(parts), element)
		}
		sum := sha256.Sum256([]byte(parts[0][1]))
		if hash := "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"; !strings.Contains(policy, element+"-src "+hash) {
			t.Errorf("the policy does not admit the page's own %s: %s", element, policy)
		}
	}
	for _, reference := range regexp.MustCompile(`(?:href|src|action|srcset|data)="([^"]*)"`).FindAllStringSubmatch(got.body, -1) {
		if target := reference[1]; !strings.HasPrefix(target, "#") && target != "openapi.json" {
			t.Errorf("the page refers to %q", target)
		}
	}
	if regexp.MustCompile(`<(?:img|link|iframe|object|embed|form|base)|url\(|@import|\son\w+=|\sstyle=`).MatchString(got.body) {
		t.Error("the page has something that loads, sends or runs")
	}
}

// The page has every operation of the document with path, scope and example, and
// every link has a target.
func TestDocsPageHasEveryOperation(t *testing.T) {
	p := newPublic(t)
	page := p.ask(http.MethodGet, "/docs", "", nil).want(http.StatusOK, nil).body
	operations := 0
	for path, item := range node(p.document()["paths"]) {
		for method, operation := range node(item) {
			operations++
			id := node(operation)["operationId"].(string)
			_, rest, found := strings.Cut(page, `<article id="`+id+`">`)
			article, _, _ := strings.Cut(rest, "</article>")
			if !found || !strings.Contains(article, "<code>"+path+"</code>") || !strings.Contains(article, strings.ToUpper(method)) || !strings.Contains(article, "curl ") {
				t.Errorf("%s %s is not on the page", method, path)
			}
			if strings.Contains(article, "&lt;nil&gt;") || strings.Contains(article, "%!") {
				t.Errorf("%s %s shows the insides of the program", method, path)
			}
		}
	}
	if operations < 30 {
		t.Errorf("there are %d operations", operations)
	}
	for _, link := range regexp.MustCompile(`href="#([^"]+)"`).FindAllStringSubmatch(page, -1) {
		if !strings.Contains(page, `id="`+link[1]+`"`) {
			t.Errorf("the link #%s leads nowhere", link[1])
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
