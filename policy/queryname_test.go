package policy

import (
	"strings"
	"testing"

	"github.com/gatefold/gatefold/keys"
)

// A reader of a link to article 5 adds another parameter that the origin's framework
// takes for the article's.
func TestLinkDoesNotOpenQueryThatFrameworkReadsAsAnother(t *testing.T) {
	claims := keys.LinkClaims{URL: "https://news.example/gold?article_id=5"}
	for _, query := range []string{
		"article_id=5&article.id=6", "article_id=5&article+id=6", "article_id=5&article%20id=6", "article_id=5&article[id=6", // PHP
		"article_id=5&+article_id=6", "article_id=5&article_id%00x=6", "article_id=5&%00article_id=6", "article_id=5&%61rticle_id=6",
		"article_id=5&article_id[]=6", "article_id=5&article_id[x]=6", "article_id=5&article.id[x]=6", "article_id=5&article_id.x=6",
		"article_id=5&ARTICLE_ID=6", "article_id=5&%EF%BB%BFarticle_id=6", "article_id=5&art%FFicle_id=6", // ASP.NET, Python
		"article_id=5&[article_id]=6", "article_id=5&article_id]=6", "article_id=5&article_id]x=6", // Rack
		"article_id=5&article[id]=6", "article_id=5&articleId=6", "article_id=5&article-id=6",
		"article_id=5&article_id:int=6",                              // Zope
		"article_id=5;article_id=6", "article_id=5&amp;article_id=6", // Perl, older Java
		"article_id=5&article_id=5", "article_id=5&article_id", "?article_id=6&article_id=5",
		"article_id=5%00", "article_id=5+", "article_id=", "article_id", "article.id=5", "",
		strings.Repeat("&", 1000) + "article_id=5", strings.Repeat("x=1&", 1000) + "article_id=5",
	} {
		if linkOpens(t, claims, testRequest{path: "/gold", query: query}) {
			t.Errorf("a link to article_id=5 opens %q", query)
		}
	}
	for _, query := range []string{"article_id=5", "article%5fid=%35", "utm_source=x&article_id=5&page=2", "article=6&article_id=5&id=7", "&&article_id=5"} {
		if !linkOpens(t, claims, testRequest{path: "/gold", query: query}) {
			t.Errorf("a link to article_id=5 does not open %q", query)
		}
	}
}

// phpName returns the variable that PHP sets for a parameter, without its members.
func phpName(name string) string {
	name, _, _ = strings.Cut(strings.TrimLeft(name, " "), "\x00")
	open := strings.IndexByte(name, '[')
	if open > 0 && strings.IndexByte(name[open:], ']') > 0 {
		name = name[:open]
	}
	return strings.NewReplacer(" ", "_", ".", "_", "[", "_").Replace(name)
}

// rackName returns the key of a parameter in Rack's nested parameters.
func rackName(name string) string {
	name = strings.TrimLeft(name, "[]")
	if i := strings.IndexAny(name, "[]"); i >= 0 {
		name = name[:i]
	}
	return name
}

// Whatever PHP, Rack or a server without regard to case reads as the bound parameter
// is in conflict with it.
func FuzzQueryNames(f *testing.F) {
	for _, name := range []string{"article_id", "article.id", " article id", "article[id", "[article_id]", "article_id[]", "article_id[0][x]", "ARTICLE_id", "article_id\x00x", "id"} {
		f.Add("article_id", name)
		f.Add("id", name)
	}
	f.Fuzz(func(t *testing.T, bound, name string) {
		a, b := readQueryName(bound), readQueryName(name)
		if a.conflicts(&b) != b.conflicts(&a) {
			t.Fatalf("%q and %q: conflicts is not symmetric", bound, name)
		}
		if !a.conflicts(&a) {
			t.Fatalf("%q is not in conflict with itself", bound)
		}
		if strings.ContainsAny(bound, "[]\x00") || strings.TrimLeft(bound, " .") != bound {
			return
		}
		if same := phpName(bound) == phpName(name) || bound == rackName(name) || strings.EqualFold(bound, name); same && !a.conflicts(&b) {
			t.Fatalf("a framework reads %q as %q", name, bound)
		}
	})
}
