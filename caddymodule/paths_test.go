package caddymodule

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/gatefold/gatefold/keys"
)

// These paths opened protected pages of other products: some server behind a gate
// interprets each of them differently. None reaches the origin.
var ambiguousPaths = []string{
	"//articles/hello", "/articles//hello", "/public//../articles/hello", "/articles/hello//",
	"/./articles/hello", "/public/../articles/hello", "/public/..", "/articles/...", "/articles/hello/.", "/articles/hello/..",
	"/%2e/articles/hello", "/public/%2e%2e/articles/hello", "/public/%2E./articles/hello", "/public/.%2e/articles/hello",
	"/public/..%2farticles/hello", "/public%2f..%2farticles%2fhello", "/articles%2fhello", "/articles%2Fhello", "/public/%2Farticles",
	`/public\..\articles\hello`, "/public/%5c..%5carticles", "/public%5Carticles",
	"/articles;v=1/hello", "/public/..;/articles/hello", "/public/%3b/articles", "/articles/hello;.css", "/articles/hello%3Bx",
	"/articles/hello%00", "/articles/hello%00.css", "/articles/hello%0a", "/articles/hello%0d%0aX:%20y", "/articles/%7f",
	"/articles/hello%", "/articles/hello%2", "/articles/hello%zz", "/articles/%u0068ello",
	"/articles/%c0%af", "/articles/%ff", "/articles/%ed%a0%80",
	"/index.php/articles/hello", "/index.php/", "/wp/Index.PHP/articles/hello", "/index%2ephp/articles/hello", "/index.php%2farticles%2fhello",
	"/go.cgi/articles", "/a.aspx/articles", "/a.jsp/articles", "/index.php./articles/hello",
	"/public/%252e%252e/articles/hello", "/public/%252farticles", "/public/%255c", "/articles/hello%2500",
}

func TestAmbiguousPathsAreRefused(t *testing.T) {
	s := newTestSite(t, standardRules)
	for _, path := range ambiguousPaths {
		got := s.rawPath(path)
		if got.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: %d %s", path, got.StatusCode, got.body)
		}
	}
	s.origin.WantNone(t)
}

// Spellings that every server interprets alike are judged as the same path, and
// forwarded unchanged.
func TestEquivalentSpellingsAreDecidedAlike(t *testing.T) {
	s := newTestSite(t, standardRules)
	name, bearer := s.subscriber()
	for _, path := range []string{
		"/articles/hello", "/articles/hello/", "/articles/hello/part", "/%61rticles/hello", "/articles/h%c3%a4llo", "/articles/a%20b",
		"/articles/a+b", "/articles/a:b@c!d$e", "/articles/.hidden", "/articles/hello?x=../../y;z=//",
	} {
		if got := s.rawPath(path); got.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s: %d %s", path, got.StatusCode, got.body)
			continue
		}
		s.origin.WantNone(t)
		s.get(path, name, bearer).page()
		if got := s.origin.Last(t).RequestURI; got != path {
			t.Errorf("%s reached the origin as %s", path, got)
		}
	}
}

// The path of a request target in absolute form is judged as any other.
func TestAbsoluteFormTarget(t *testing.T) {
	s := newTestSite(t, standardRules)
	s.raw("GET "+s.site+"/articles/hello HTTP/1.1\r\nHost: 127.0.0.1:"+s.port+"\r\nConnection: close\r\n\r\n").denied(http.StatusUnauthorized, "login_required")
	s.raw("GET "+s.site+"/public/../articles/hello HTTP/1.1\r\nHost: 127.0.0.1:"+s.port+"\r\nConnection: close\r\n\r\n").denied(http.StatusBadRequest, "bad_path")
	s.origin.WantNone(t)
}

// A site may admit ambiguous paths. They are served only if every interpretation is
// allowed.
func TestAdmittedPathsAreAllowedInEveryInterpretation(t *testing.T) {
	s := newTestSite(t, "paths {\n\t\t\tallow empty_segments encoded_slash parameters\n\t\t}"+standardRules)
	for _, path := range []string{"/public//x", "/public/a%2Fb", "/public/a;v=1/b", "/wp//load.php?x"} {
		s.rawPath(path).page()
		if got := s.origin.Last(t).RequestURI; got != path {
			t.Errorf("%s reached the origin as %s", path, got)
		}
	}
	for _, path := range []string{
		"//articles/hello", "/articles//hello", "/articles%2fhello", "/articles;x/hello", "/;x/articles/hello", "/%2Farticles/hello", "/account;x", "//account", "/account%2f",
	} {
		s.rawPath(path).denied(http.StatusUnauthorized, "login_required")
	}
	// No option admits these.
	for _, path := range []string{"/public/..%2farticles/hello", "/public/..;/articles", "/public/%5c", "/public/../x", "/public/%252f"} {
		s.rawPath(path).denied(http.StatusBadRequest, "bad_path")
	}
	s.origin.WantNone(t)
	token := s.reader(keys.ReaderClaims{UserID: "u"})
	s.get("/account;x", "Authorization", "Bearer "+token).page()
}

// readsTarget makes the origin serve the path that it reads from the request target.
func (s *testSite) readsTarget(read func(target string) (path string)) {
	s.origin.Handle(func(w http.ResponseWriter, r *http.Request) {
		if strings.TrimRight(read(r.RequestURI), "/") == "/articles/hello" {
			fmt.Fprint(w, "the full text")
			return
		}
		fmt.Fprint(w, "origin saw another page")
	})
}

// leaks reports whether an answer is the article, and fails the test if it is anything
// else than the article, another page or a denial.
func (a answer) leaks() bool {
	a.t.Helper()
	if a.StatusCode == http.StatusOK && a.body != "the full text" && a.body != "origin saw another page" ||
		a.StatusCode != http.StatusOK && a.StatusCode != http.StatusUnauthorized && a.StatusCode != http.StatusBadRequest {
		a.t.Fatalf("%d %s", a.StatusCode, a.body)
	}
	return a.body == "the full text"
}

// An origin that does not distinguish capitals serves the article under every spelling of
// `articles`, none of which is in a rule: the last rule would make it public.
func TestOriginThatIgnoresCaseLeaksNothing(t *testing.T) {
	s := newTestSite(t, standardRules)
	spellings := []string{"/ARTICLES/hello", "/Articles/hello", "/articleS/hello", "/%41rticles/hello", "/article%c5%bf/hello"}
	ignoresCase := func(target string) string {
		decoded, _ := url.PathUnescape(target)
		return strings.ToLower(strings.ToUpper(decoded)) // the long s is an S in capitals
	}
	s.readsTarget(ignoresCase)
	name, bearer := s.subscriber()
	for _, path := range spellings {
		if !s.rawPath(path).leaks() {
			s.rawPath(path).denied(http.StatusUnauthorized, "login_required")
		} else {
			t.Errorf("%s has the article", path)
		}
		if !s.get(path, name, bearer).leaks() {
			t.Errorf("%s: a subscriber does not have the article", path)
		}
	}
	if s.get("/About").StatusCode != http.StatusOK {
		t.Error("a public page with a capital is denied")
	}
	// A site that knows better has the exact rules alone.
	s.load(s.config("", "paths {\n\t\t\tcase_sensitive\n\t\t}"+standardRules, ""))
	for _, path := range spellings {
		if !s.rawPath(path).leaks() {
			t.Errorf("%s is denied on a case-sensitive site", path)
		}
	}
}

// A front controller serves what the path info names, and an origin that parses the
// target as a URL takes the first segment after two slashes as a host. With either
// admitted, the page that such an origin serves is judged.
func TestOriginsThatRouteByAPartOfThePath(t *testing.T) {
	for name, c := range map[string]struct {
		trait   string
		read    func(target string) string
		attacks []string
		public  []string
	}{
		"path info": {"path_info", func(target string) string {
			decoded, _ := url.PathUnescape(target)
			_, info, _ := strings.Cut(strings.ToLower(decoded), ".php")
			return info
		}, []string{"/index.php/articles/hello", "/index.php/articles/hello/", "/wp/a.PHP/articles/hello", "/index%2ephp/articles/hello"}, []string{"/index.php/about", "/index.php"}},
		"path info below the directory": {"path_info", func(target string) string {
			return strings.Replace(target, "/index.php", "", 1)
		}, []string{"/articles/index.php/hello"}, []string{"/blog/index.php/hello"}},
		"authority": {"empty_segments", func(target string) string {
			parsed, err := url.Parse(target)
			if err != nil {
				return ""
			}
			return parsed.Path
		}, []string{"//localhost/articles/hello", "//a:1/articles/hello"}, []string{"//localhost/about", "/a//b"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newTestSite(t, standardRules)
			s.readsTarget(c.read)
			for _, path := range c.attacks {
				s.rawPath(path).denied(http.StatusBadRequest, "bad_path")
			}
			s.load(s.config("", "paths {\n\t\t\tallow "+c.trait+"\n\t\t}"+standardRules, ""))
			for _, path := range c.attacks {
				if s.rawPath(path).leaks() {
					t.Errorf("%s has the article", path)
				}
				s.rawPath(path).denied(http.StatusUnauthorized, "login_required")
			}
			s.origin.WantNone(t)
			for _, path := range c.public {
				if got := s.rawPath(path); got.StatusCode != http.StatusOK {
					t.Errorf("%s: %d %s", path, got.StatusCode, got.body)
				}
			}
		})
	}
}

func TestSiteWithoutRulesDeniesEverything(t *testing.T) {
	s := newTestSite(t, "site empty")
	s.get("/").denied(http.StatusForbidden, "no_rule")
	s.origin.WantNone(t)
}
