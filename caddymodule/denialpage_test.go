package caddymodule

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/gatefold/gatefold/caddymodule/denial"
)

const browserAccept = "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"

// A site's own page of denials has the status of the denial, says what it is asked to,
// and writes nothing of the address unescaped.
func TestOwnPageOfDenials(t *testing.T) {
	s := newTestSite(t, standardRules)
	page := s.write("denied.html", `<h1>{{.Title}}</h1><a href="/login?back={{.URL}}" title="{{.URL}}">{{.Status}} {{.Reason}} {{.Site}}</a><a href="{{.LoginURL}}">{{.Detail}}</a>`)
	with := func(deny string) { s.load(s.config("", standardRules+"\ndeny {\n"+deny+"\n}\n", "")) }
	with("page " + page)
	got := s.get(`/articles/hello?a="><script>&token=`+cutLink, "Accept", browserAccept)
	want := `<h1>This link is not valid</h1><a href="/login?back=%2farticles%2fhello%3fa%3d%2522%253E%253Cscript%253E" title="/articles/hello?a=%22%3E%3Cscript%3E">403 link_invalid default</a><a href="">The link that you followed is incomplete or was altered.</a>`
	if got.StatusCode != http.StatusForbidden || got.body != want || got.Header.Get("Cache-Control") != "no-store" || got.Header.Get("Content-Type") != "text/html; charset=utf-8" {
		t.Errorf("%d %v\n%s, want\n%s", got.StatusCode, got.Header, got.body, want)
	}
	s.get("/articles/hello", "Accept", "application/json").denied(http.StatusUnauthorized, "login_required")
	s.get("/articles/hello").denied(http.StatusUnauthorized, "login_required")

	// A reload reads the file again.
	s.write("denied.html", "the second page")
	with("page " + page)
	if got := s.get("/articles/hello", "Accept", browserAccept); got.StatusCode != http.StatusUnauthorized || got.body != "the second page" {
		t.Errorf("%d %s", got.StatusCode, got.body)
	}
	// A browser that must log in is sent to log in; who is logged in reads the page.
	with("page " + page + "\nlogin /login")
	if got := s.get("/articles/hello", "Accept", browserAccept); got.StatusCode != http.StatusSeeOther {
		t.Errorf("%d %s", got.StatusCode, got.body)
	}
	if got := s.get("/articles/hello?token="+cutLink, "Accept", browserAccept); got.StatusCode != http.StatusForbidden || got.body != "the second page" {
		t.Errorf("%d %s", got.StatusCode, got.body)
	}
	s.origin.WantNone(t)
}

// What can only be a mistake in deny fails the load.
func TestMistakesOfDeny(t *testing.T) {
	s := newTestSite(t, standardRules)
	for deny, want := range map[string]string{
		"page " + s.dir + "/none.html":                              "no such file",
		"page " + s.write("big.html", strings.Repeat("x", 300<<10)): "larger than 256 KiB",
		"page " + s.write("open.html", "{{.Title"):                  "unclosed action",
		"page " + s.write("field.html", "{{.Token}}"):               "can't evaluate field Token",
		"forward paywall":              "must be a path",
		"forward https://x/paywall":    "must be a path",
		"forward /a/../articles/hello": "segments . and ..",
		"forward /a//b":                "empty segments",
		"forward /a?b=c":               "must be a path",
		"forward /%61":                 "must be a path",
		"errors\nforward /paywall":     "exclude one another",
		"errors\npage x":               "exclude one another",
	} {
		if err := load(s.config("", standardRules+"\ndeny {\n"+deny+"\n}\n", "")); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: the error is %v, want %q", deny, err, want)
		}
	}
}

// The origin makes the paywall: it is asked for that page only, knows which page was
// denied and why, and gets nothing by which it could serve the denied one.
func TestForwardedDenials(t *testing.T) {
	php := phpOrigin(t)
	for name, handlers := range map[string]string{
		"proxy": "reverse_proxy {origin}", "rewrites": "rewrite * /blog{uri}\nreverse_proxy {origin}",
		"PHP": "php_fastcgi {php} {\n try_files {path} /index.php\n env X_ORIG {http.request.orig_uri}\n}",
	} {
		s := newTestSite(t, standardRules)
		s.origin.Handle(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Set-Cookie", "session=1")
			w.Header().Set("Etag", `"paywall"`)
			w.Header().Set("Content-Language", "sv")
			denied := r.Header.Get("Gatefold-Denied") + " " + r.Header.Get("Gatefold-Denied-Url")
			r.Header.Del("Gatefold-Denied-Url")
			fmt.Fprintf(w, "paywall for %s of %s: ", denied, r.RequestURI)
			fullText(w, r)
		})
		handlers = strings.NewReplacer("{origin}", strings.TrimPrefix(s.origin.URL, "http://"), "{php}", php).Replace(handlers)
		s.load(s.siteOf("route {\ngatefold {\n" + standardRules + "\ndeny {\nforward /subscribe/now\n}\n}\n" + handlers + "\n}"))
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			got := s.doBody(method, "/articles/hello?a=1&token="+cutLink, "hello", append([]string{"Accept", browserAccept, "Gatefold-Denied", "public"}, hostile...)...)
			if got.StatusCode != http.StatusUnauthorized || got.Header.Get("Cache-Control") != "no-store" || got.Header.Get("Set-Cookie") != "" || got.Header.Get("Etag") != "" {
				t.Errorf("%s: %d %v", name, got.StatusCode, got.Header)
			}
			if name == "PHP" {
				// HTTP_GATEFOLD_DENIED_URL names the page; nothing else does.
				if n := strings.Count(got.body, "hello"); n != 1 || !strings.Contains(got.body, "/subscribe/now map[") || !strings.Contains(got.body, "X_ORIG:/subscribe/now") {
					t.Errorf("%s %s: %s", name, method, got.body)
				}
				continue
			}
			want := "paywall for bad_credential " + s.site + "/articles/hello?a=1 of "
			if strings.Contains(got.body, "FULL TEXT") || !strings.HasPrefix(got.body, want) || !strings.Contains(got.body, "/subscribe/now: ") || got.Header.Get("Content-Language") != "sv" {
				t.Errorf("%s: %s, want %s", name, got.body, want)
			}
		}
		// A program gets the problem.
		s.origin.Take()
		s.get("/articles/hello").denied(http.StatusUnauthorized, "login_required")
		s.origin.WantNone(t)
	}
}

// Without a page at the path, or without the origin, the gate answers itself.
func TestForwardedDenialsWithoutAPage(t *testing.T) {
	s := newTestSite(t, standardRules+"\ndeny {\nforward /subscribe\n}\n")
	for _, status := range []int{http.StatusNotFound, http.StatusFound, http.StatusNoContent, http.StatusInternalServerError} {
		s.origin.Handle(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "/articles/hello")
			w.Header().Set("X-Left-Behind", "x")
			w.WriteHeader(status)
		})
		got := s.get("/articles/hello", "Accept", browserAccept)
		if got.StatusCode != http.StatusUnauthorized || !strings.Contains(got.body, "login_required") || got.Header.Get("Location")+got.Header.Get("X-Left-Behind") != "" {
			t.Errorf("%d: %d %v %s", status, got.StatusCode, got.Header, got.body)
		}
	}
	s.origin.Close()
	if got := s.get("/articles/hello", "Accept", browserAccept); got.StatusCode != http.StatusUnauthorized || !strings.Contains(got.body, "login_required") {
		t.Errorf("without the origin: %d %s", got.StatusCode, got.body)
	}
}

// The URI of a denied page ends no text in which an error page writes it.
func TestDeniedURIs(t *testing.T) {
	for path, want := range map[string]string{
		"/a":    "/a?q",
		"//e":   "/.//e?q",
		"/é\"'": "/%C3%A9%22%27?q",
		"/{x}":  "/%7Bx%7D?q",
		"/%22":  "/%22?q",
		"/<b>`": "/%3Cb%3E%60?q",
	} {
		if got := denial.URI(path, "q"); got != want {
			t.Errorf("%s becomes %s, want %s", path, got, want)
		}
	}
}
