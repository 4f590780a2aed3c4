package caddymodule

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/gatefold/gatefold/keys"
)

// A link to `/read?article_id=5` is used for another article, whose id is in a form, in JSON
// or in a cookie: Rack reads forms of every method, WordPress JSON, and PHP without a php.ini
// cookies, each before the query.
func TestLinkOpensTheArticleOfItsQueryOnly(t *testing.T) {
	for name, rules := range map[string]string{
		"url":        "rule /read entitled premium",
		"content id": "rule /read entitled premium {\n content_id query article_id\n }",
	} {
		t.Run(name, func(t *testing.T) {
			s := newTestSite(t, rules+"\nrule / any")
			s.origin.Handle(func(_ http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				if cookie := r.Header.Get("Cookie"); len(body) > 0 || r.ContentLength != 0 || r.Header.Get("Content-Type") != "" ||
					strings.Contains(cookie, "article") || strings.Contains(cookie, "Article") {
					t.Errorf("the origin gets the body %q, %v", body, r.Header)
				}
				if !strings.Contains(r.Header.Get("Cookie"), "theme=dark") || r.URL.RawQuery != "article_id=5" {
					t.Errorf("the origin gets the query %q and the cookies %q", r.URL.RawQuery, r.Header.Get("Cookie"))
				}
			})
			link, id := s.link(keys.LinkClaims{URL: s.site + "/read?article_id=5", MaxUses: 9})
			opened := s.get(link, navigation...).linkCookie()
			for _, page := range []string{link, s.site + "/read?article_id=5"} {
				for _, cookie := range []string{"article_id=6", "a=b; article_id =6", "article.id=6", "Article_ID=6", "article%5Fid=6", "article_id[]=6"} {
					cookie += "; theme=dark; " + opened
					for kind, body := range map[string]string{"application/x-www-form-urlencoded": "article_id=6", "application/json": `{"article_id":6}`} {
						s.doBody(http.MethodGet, strings.TrimPrefix(page, s.site), body, "Cookie", cookie, "Content-Type", kind).status(http.StatusOK)
					}
				}
			}
			s.wantUses(id, 1, "at the end")
		})
	}
}

// A rule lets links open POST. The query says which article, so that a body could name
// another one: then the link opens nothing.
func TestLinkOpensNoPostWhoseBodyCouldNameAnotherArticle(t *testing.T) {
	s := newTestSite(t, `
		rule /comments entitled premium {
			content_id query post
			link_methods GET,POST
		}
		rule /articles/{publisherContentId} entitled premium {
			link_methods GET,POST
		}
		rule / any`)
	for path, opens := range map[string]bool{"/comments?post=5": false, "/articles/hello": true} {
		link, _ := s.link(keys.LinkClaims{URL: s.site + path})
		cookie := s.get(link, navigation...).linkCookie()
		s.get(path, "Cookie", cookie).page()
		s.do(http.MethodPost, path, "Cookie", cookie).page()
		if got := s.doBody(http.MethodPost, path, "post=6", "Cookie", cookie); (got.StatusCode == http.StatusOK) != opens {
			t.Errorf("%s: %d", path, got.StatusCode)
		}
	}
}
