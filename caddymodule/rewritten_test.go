package caddymodule

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gatefold/gatefold/admin"
	"github.com/gatefold/gatefold/caddymodule/command"
	"github.com/gatefold/gatefold/caddymodule/ruleconfig"
	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store"
)

// loadAround loads a configuration whose site has these directives, in which GATE is
// the gate and PROXY the handler after it.
func (s *testSite) loadAround(directives, gate string) {
	s.Helper()
	config := s.config("", gate, "")
	begin := strings.LastIndex(config, "\tgatefold {")
	proxy := strings.LastIndex(config, "\treverse_proxy")
	end := strings.LastIndex(config, "}")
	around := strings.NewReplacer("GATE", config[begin:proxy], "PROXY", config[proxy:end]).Replace(directives)
	s.load(config[:begin] + around + "\n}\n")
}

// rewrites are the ways to rewrite a path before the gate. In each, the reader asks for
// one path and the origin gets another.
var rewrites = []struct {
	name, directives string
	asked, served    string
	public, shown    string // the same for a public page
}{
	{"handle_path", "handle_path /blog/* {\nGATE\nPROXY\n}", "/blog/articles/hello", "/articles/hello", "/blog/about", "/about"},
	{"nested handle_path", "handle_path /a/* {\nhandle_path /b/* {\nGATE\nPROXY\n}\n}", "/a/b/articles/hello", "/articles/hello", "/a/b/", "/"},
	{"uri strip_prefix", "uri strip_prefix /blog\nGATE\nPROXY", "/blog/articles/hello", "/articles/hello", "/blog", "/"},
	{"uri strip_suffix", "uri strip_suffix -print\nGATE\nPROXY", "/articles-print", "/articles", "/about-print", "/about"},
	{"uri replace", "uri replace texts articles\nGATE\nPROXY", "/texts/hello", "/articles/hello", "/text", "/text"},
	{"uri path_regexp", "uri path_regexp ^/t/ /articles/\nGATE\nPROXY", "/t/hello", "/articles/hello", "/tt/hello", "/tt/hello"},
	{"rewrite", "rewrite /old/* /articles/hello\nGATE\nPROXY", "/old/x", "/articles/hello", "/older", "/older"},
	{"rewrite with a query", "rewrite /old /articles/hello?a=b\nGATE\nPROXY", "/old", "/articles/hello?a=b", "/older", "/older"},
	{"rewrite with a capture", "@old path_regexp old ^/old/(.*)$\nrewrite @old /{re.old.1}\nGATE\nPROXY", "/old/articles/hello", "/articles/hello", "/old/x", "/x"},
	{"rewrite in a route", "route {\nrewrite /free /articles/hello\nGATE\nPROXY\n}", "/free", "/articles/hello", "/freedom", "/freedom"},
	{"strip_prefix in a route", "route /blog/* {\nuri strip_prefix /blog\nGATE\nPROXY\n}", "/blog/articles/hello", "/articles/hello", "/blog/x", "/x"},
	{"rewrite to capitals", "rewrite /free /ARTICLES/hello\nGATE\nPROXY", "/free", "/ARTICLES/hello", "/x", "/x"},
}

// A rewrite before the gate makes a public path of an article: the article is judged. A
// site can choose one form of the path.
func TestRewriteBeforeTheGateLeaksNothing(t *testing.T) {
	s := newTestSite(t, standardRules)
	name, bearer := s.subscriber()
	rules := "rule /articles entitled premium" + standardRules
	for _, c := range rewrites {
		t.Run(c.name, func(t *testing.T) {
			for judge, denied := range map[string]bool{"": true, "paths {\njudge current\n}\n": true, "paths {\njudge received\n}\n": false} {
				s.loadAround(c.directives, judge+rules)
				s.origin.Take()
				if denied {
					s.get(c.asked).denied(http.StatusUnauthorized, "login_required")
					s.origin.WantNone(t)
				}
				s.get(c.asked, name, bearer).page()
				if got := s.origin.Last(t).RequestURI; got != c.served {
					t.Errorf("%s reached the origin as %s, want %s", c.asked, got, c.served)
				}
				if !denied {
					s.get(c.asked).page()
				}
				s.get(c.public).page()
				if got := s.origin.Last(t).RequestURI; got != c.shown {
					t.Errorf("%s reached the origin as %s, want %s", c.public, got, c.shown)
				}
			}
		})
	}
}

// The path as received is judged too: a rewrite to a public page opens nothing, and no
// spelling that servers read differently passes.
func TestRewriteDoesNotHideTheReceivedPath(t *testing.T) {
	s := newTestSiteWith(t, "", standardRules, "rewrite /articles/* /public/x\n\ttry_files {path}")
	s.get("/articles/hello").denied(http.StatusUnauthorized, "login_required")
	for _, path := range ambiguousPaths {
		if got := s.rawPath(path); got.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: %d", path, got.StatusCode)
		}
	}
	s.origin.WantNone(t)
	s.loadAround("rewrite /articles/* /public/x\nGATE\nPROXY", "paths {\njudge current\n}\n"+standardRules)
	s.get("/articles/hello").page()
	// A rewrite can itself make a path that servers read differently.
	s.loadAround("rewrite /x /index.php/articles/hello\nGATE\nPROXY", standardRules)
	s.get("/x").denied(http.StatusBadRequest, "bad_path")
}

// What rewrites the path after the gate is no business of the gate.
func TestRewriteAfterTheGateIsNotJudged(t *testing.T) {
	s := newTestSite(t, standardRules)
	s.loadAround("route {\nGATE\nrewrite /free /articles/hello\nPROXY\n}", standardRules)
	s.get("/free").page()
	s.get("/articles/hello").denied(http.StatusUnauthorized, "login_required")
}

// The log names the path that was denied, if it is not the one received.
func TestLogNamesTheRewrittenPath(t *testing.T) {
	s := newTestSite(t, standardRules)
	s.loadAround("handle_path /blog/* {\nGATE\nPROXY\n}", standardRules)
	logged.Reset()
	s.get("/blog/articles/hello").denied(http.StatusUnauthorized, "login_required")
	entries := logged.entries(t, "http.handlers.gatefold")
	if len(entries) != 1 || entries[0]["path"] != "/blog/articles/hello" || entries[0]["rewritten_path"] != "/articles/hello" {
		t.Errorf("the log is %v", entries)
	}
}

// A counted link to the article opens it under its rewritten path, is spent once, and
// leads to the URL that the reader received.
func TestLinkToARewrittenPage(t *testing.T) {
	s := newTestSite(t, standardRules)
	s.loadAround("handle_path /blog/* {\nGATE\nPROXY\n}", standardRules)
	address, id := s.link(keys.LinkClaims{URL: s.site + "/blog/articles/hello", MaxUses: 1})
	opened := s.get(address)
	if opened.StatusCode == http.StatusSeeOther || opened.StatusCode == http.StatusFound {
		if to := opened.Header.Get("Location"); !strings.HasSuffix(to, "/blog/articles/hello") {
			t.Errorf("the link leads to %s", to)
		}
		opened = s.get("/blog/articles/hello", "Cookie", opened.linkCookie())
	}
	opened.page()
	if got := s.origin.Last(t).RequestURI; got != "/articles/hello" {
		t.Errorf("the origin got %s", got)
	}
	if uses := s.uses(id); uses != 1 {
		t.Errorf("%d uses", uses)
	}
	s.get(address).denied(http.StatusForbidden, "link_used_up")
	inner, _ := s.link(keys.LinkClaims{URL: s.site + "/articles/other"})
	s.get(strings.Replace(inner, "/articles/other", "/blog/articles/hello", 1)).denied(http.StatusForbidden, "link_other_resource")
}

// An open stream is decided again by both forms of its path.
func TestStreamOfARewrittenPathIsCut(t *testing.T) {
	s := newStreamSite(t)
	s.loadAround("handle_path /blog/* {\nGATE\nPROXY\n}", streamRules)
	grant := s.grant(store.Grant{UserID: "subscriber", SKU: "premium"})
	_, ended := s.open("/blog/articles/events", "Authorization", "Bearer "+s.reader(keys.ReaderClaims{UserID: "subscriber"}))
	s.waitFor("the stream is watched", func() bool { return openStreams.count() == 1 })
	select {
	case <-ended:
		t.Fatal("the stream ended while it was allowed")
	default:
	}
	if err := s.running().Store.As(store.Actor{}).DeleteGrant(t.Context(), defaultVendor, store.DefaultList, grant.ID, nil); err != nil {
		t.Fatal(err)
	}
	s.waitFor("the end of the stream", func() bool {
		select {
		case <-ended:
			return true
		default:
			return false
		}
	})
}

// Explain and rule tests decide as the gate does: without regard to case, and with a
// rewritten path that they are told. Without it the answer says what is missing.
func TestExplainOfFoldedAndRewrittenPaths(t *testing.T) {
	s := newTestSite(t, standardRules)
	s.loadAround("handle_path /blog/* {\nGATE\nPROXY\n}", standardRules)
	text := func(request admin.ExplainRequest) (string, *admin.Explanation) {
		result := s.explain(request)
		var text strings.Builder
		command.WriteExplanation(&text, result)
		return text.String(), result
	}
	got, _ := text(admin.ExplainRequest{URL: "/ARTICLES/hello"})
	if !strings.Contains(got, "/ARTICLES/hello, in any case: login_required") || !strings.Contains(got, "deny, login_required") {
		t.Errorf("it says\n%s", got)
	}
	const missing = "give the rewritten path"
	got, result := text(admin.ExplainRequest{URL: "/blog/articles/hello"})
	if !result.Decision.Allow || strings.Contains(got, missing) {
		t.Errorf("before any request it says\n%s", got)
	}
	s.get("/blog/articles/hello").denied(http.StatusUnauthorized, "login_required")
	if got, _ = text(admin.ExplainRequest{URL: "/blog/articles/hello"}); !strings.Contains(got, missing) {
		t.Errorf("it does not say that paths are rewritten:\n%s", got)
	}
	got, result = text(admin.ExplainRequest{URL: "/blog/articles/hello", RewrittenPath: "/articles/hello"})
	if result.Decision.Reason != "login_required" || strings.Contains(got, missing) || !strings.Contains(got, "/articles/hello, as rewritten: login_required") {
		t.Errorf("it says\n%s", got)
	}
}

func TestOfflineRuleTestsIgnoreCase(t *testing.T) {
	for _, c := range []struct {
		paths *PathConfig
		want  policy.Reason
	}{{nil, policy.ReasonLoginRequired}, {&PathConfig{CaseSensitive: true}, policy.ReasonPublic}} {
		judge, err := newOfflineJudge(&Handler{Paths: c.paths, Rules: []ruleconfig.Rule{
			{Path: "/articles", Operator: "authenticated"}, {Path: "/", Operator: "any"},
		}})
		if err != nil {
			t.Fatal(err)
		}
		result, err := judge.Explain(t.Context(), admin.ExplainRequest{URL: "https://news.example/Articles/x"})
		if err != nil || result.Decision.Reason != c.want.String() {
			t.Errorf("%+v: %+v, %v", c.paths, result, err)
		}
	}
}

// A static site serves /members.html as the page /members. Asked for by the name of its
// file, the page needs what the rule for /members says.
func TestFileOfAPageIsGatedAsThePage(t *testing.T) {
	s := newTestSite(t, standardRules)
	root := t.TempDir()
	for _, name := range []string{"members.html", "about.html"} {
		if err := os.WriteFile(filepath.Join(root, name), []byte("the page "+name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s.loadAround("route {\nGATE\nroot * "+root+"\ntry_files {path} {path}.html\nfile_server\n}", "rule /members authenticated"+standardRules)
	for _, path := range []string{"/members", "/members.html", "/Members.html", "/members.html/"} {
		if got := s.get(path); got.StatusCode != http.StatusUnauthorized || strings.Contains(got.body, "the page") {
			t.Errorf("%s: %d %s", path, got.StatusCode, got.body)
		}
	}
	name, bearer := s.subscriber()
	for path, file := range map[string]string{"/members": "members.html", "/members.html": "members.html", "/about.html": "about.html"} {
		if got := s.get(path, name, bearer); got.StatusCode != http.StatusOK || got.body != "the page "+file {
			t.Errorf("%s: %d %s", path, got.StatusCode, got.body)
		}
	}
}
