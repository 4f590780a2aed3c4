package upstreamtest

import (
	"strings"
	"testing"
)

// boundQueries are spellings of the query article_id=5, to which a link is bound,
// with a second article in it.
func boundQueries() []string {
	names := []string{
		"article_id", "article.id", "article id", "article+id", "article%20id", "article%2eid", "article[id", "article%5bid", "article[id]", "article%5Bid%5D", "article%09id", "article\tid", "article%0aid", "article%0did", "article%c2%a0id",
		"article-id", "article%2did", "articleId", "articleid", "article__id", "article:id", "article/id", "article%2fid", "article,id", "article|id", "article;id", "article%3bid", "article'id",
		"Article_id", "ARTICLE_ID", "article_ID", "article_%69d", "%61rticle_id", "article%5fid", "article%5Fid", "article%255fid", "article_id%00", "article_id%00x", "%00article_id", "article%00_id", "article_id%20", "%20article_id", "+article_id", " article_id", "article_id+", "%09article_id", "%0aarticle_id", "%0d%0aarticle_id", "%c2%a0article_id", "%e2%80%8barticle_id", "%ef%bb%bfarticle_id", "article_id%e2%80%8b",
		"article_id[]", "article_id%5b%5d", "article_id[0]", "article_id[x]", "article_id[x][y]", "article_id[", "article_id%5b", "article_id]", "article_id[]x", "[article_id]", "article_id.", "article_id_", ".article_id", "_article_id", "article_id%2e", "article_id.0",
		"article＿id", "article%ef%bc%bfid", "art%c4%b1cle_id", "art%c4%b0cle_id", "%ef%bd%81rticle_id", "article%u005fid", "article_id%ff", "article_id\xff", "article_i\u0301d", "&article_id", "?article_id", "#article_id", "%26article_id", "%3farticle_id", "amp;article_id", "article_id=", "article_id%3d", "article_id==",
	}
	var all []string
	for _, name := range names {
		for _, separator := range []string{"&", ";", "&x&", "%26", "&amp;", "&?"} {
			all = append(all, "article_id=5"+separator+name+"=6")
		}
		all = append(all, name+"=6&article_id=5", name+"=6;article_id=5", name+"=5", name+"=6", name+"&article_id=5", "article_id=5&"+name)
	}
	for _, value := range []string{
		"6", "05", "5.0", "+5", "%205", "5%20", "5+", "5%00", "5%006", "5%0a", "5,6", "5%2c6", "5;6", "5%3b6", "5%26article_id=6", "5%26article_id%3d6", "5#6", "5%236", "5/6", "5%2f6", "%35", "%2535", "%ef%bc%95", "5%cc%81", "5%e2%80%8b", "", "5=6", "5]", "0x5", "5e0", "56", "[5]", "%5b6%5d",
	} {
		all = append(all, "article_id="+value, "article_id="+value+"&x=1", "x=1&article_id="+value)
	}
	for _, filler := range []string{"x=1&", "x&", "&", "%&", ";", "x[]=1&"} {
		for _, times := range []int{10, 999, 1001} {
			all = append(all, "article_id=5&"+strings.Repeat(filler, times)+"article_id=6", strings.Repeat(filler, times)+"article_id=6&article_id=5")
		}
	}
	return all
}

// linked are requests with a link for article 5.
func linked(token string) []*request {
	var all []*request
	for _, query := range boundQueries() {
		for _, target := range []string{"/article?" + query + "&token=" + token, "/article?token=" + token + "&" + query} {
			all = append(all, &request{kind: "bound query", method: "GET", target: target, host: host})
		}
	}
	form := []string{"Content-Type: application/x-www-form-urlencoded"}
	for _, method := range []string{"GET", "POST", "PUT", "QUERY"} {
		for _, body := range []string{"article_id=6", "article.id=6", "article_id[]=6", "article_id=6&article_id=5"} {
			all = append(all, &request{kind: "bound body", method: method, target: "/article?article_id=5&token=" + token, host: host, headers: form, body: body})
		}
	}
	for _, path := range []string{"/article/6", "/articles/6", "/article;article_id=6", "/article/?article_id=6&", "/ARTICLE", "/article%3farticle_id=6"} {
		all = append(all, &request{kind: "bound path", method: "GET", target: path + "?article_id=5&token=" + token, host: host})
	}
	return all
}

// A link that is bound to one URL opens no other article, however an origin reads the
// query.
func TestLinkOpensTheArticleThatItsURLNames(t *testing.T) {
	var dynamic []origin
	for _, o := range startOrigins(t) {
		if !o.static {
			dynamic = append(dynamic, o)
		}
	}
	g := startGate(t, dynamic, withLinks)
	link := g.must("link", "create", "http://"+host+"/article?article_id=5")
	_, token, found := strings.Cut(link, "token=")
	if !found {
		t.Fatalf("the link is %s", link)
	}
	requests := linked(token)
	if len(requests) < 1000 {
		t.Fatalf("there are only %d queries", len(requests))
	}
	for _, s := range g.sites {
		t.Run(s.origin.name, func(t *testing.T) {
			t.Parallel()
			open := ask(s.open, fifth(requests, 0), nil, onlyArticle("5"))
			answers := ask(s.address, requests, nil, onlyArticle("5"))
			report(t, "the bearer of the link", answers)
			t.Logf("%d requests: without a gate %d open another article; with it %v, %d open the linked one", len(requests), len(open.faults), answers.statuses, answers.served)
			if len(open.faults) < 20 || answers.served < 10 {
				t.Errorf("without a gate %d requests open another article, and %d open the linked one with it: this shows little", len(open.faults), answers.served)
			}
		})
	}
}
