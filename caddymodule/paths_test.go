package caddymodule

import (
	"net/http"
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

// A rewrite before the gate does not change the decision: the received path is judged.
func TestRewriteDoesNotChangeTheDecision(t *testing.T) {
	s := newTestSiteWith(t, "", standardRules, "rewrite /articles/* /public/x\n\ttry_files {path}")
	s.get("/articles/hello").denied(http.StatusUnauthorized, "login_required")
	for _, path := range ambiguousPaths {
		if got := s.rawPath(path); got.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: %d", path, got.StatusCode)
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
	// A path in another case is another path, of the last rule.
	s.get("/Articles/hello").page()
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

func TestSiteWithoutRulesDeniesEverything(t *testing.T) {
	s := newTestSite(t, "site empty")
	s.get("/").denied(http.StatusForbidden, "no_rule")
	s.origin.WantNone(t)
}
