package policy

import (
	"fmt"
	"strings"
	"testing"

	"github.com/gatefold/gatefold/keys"
)

// linkOpens reports whether a link with these claims opens a page of the test site.
func linkOpens(t *testing.T, claims keys.LinkClaims, v testRequest) bool {
	t.Helper()
	env := newTestEnv(t)
	v.link = linkEvidence(env.newLink(claims))
	decision := env.decide(v)
	if !decision.Allow() && decision.Reason != ReasonLinkOtherResource {
		t.Fatalf("decided %s (%v)", decision.Reason, decision.Err)
	}
	return decision.Allow()
}

// The url is compared where its page has no content id.
func TestLinkURL(t *testing.T) {
	for _, c := range []struct {
		url, host, path, query string
		opens                  bool
	}{
		// The host.
		{"https://news.example/articles/a1", "news.example", "/articles/a1", "", true},
		{"https://news.example/articles/a1", "NEWS.Example", "/articles/a1", "", true},
		{"https://NEWS.example/articles/a1", "news.example", "/articles/a1", "", true},
		{"https://news.example:443/articles/a1", "news.example", "/articles/a1", "", true},
		{"https://news.example/articles/a1", "news.example:443", "/articles/a1", "", true},
		{"http://news.example/articles/a1", "news.example:80", "/articles/a1", "", true},
		{"https://news.example./articles/a1", "news.example", "/articles/a1", "", true},
		{"https://news.example/articles/a1", "news.example.", "/articles/a1", "", true},
		{"https://zürich.example/articles/a1", "xn--zrich-kva.example", "/articles/a1", "", true},
		{"https://XN--ZRICH-KVA.example/articles/a1", "xn--zrich-kva.example", "/articles/a1", "", true},
		{"https://news.example/articles/a1", "news.example:8443", "/articles/a1", "", false},
		{"https://news.example:8443/articles/a1", "news.example:8443", "/articles/a1", "", true},
		{"https://news.example/articles/a1", "other.example", "/articles/a1", "", false},
		{"https://news.example/articles/a1", "a.news.example", "/articles/a1", "", false},
		{"https://news.example/articles/a1", "news.example.evil.example", "/articles/a1", "", false},
		{"https://news.example/articles/a1", "news.example%00", "/articles/a1", "", false},

		// The path.
		{"https://news.example/articles/a1/", "news.example", "/articles/a1", "", true},
		{"https://news.example/articles/a1", "news.example", "/articles/a1/", "", true},
		{"https://news.example/articles/caf%C3%A9", "news.example", "/articles/caf%c3%a9", "", true},
		{"https://news.example/articles/café", "news.example", "/articles/caf%C3%A9", "", true},
		{"https://news.example/%61rticles/a1", "news.example", "/articles/%611", "", true},
		{"https://news.example/articles/a1#part", "news.example", "/articles/a1", "", true},
		{"https://news.example/articles/a1", "news.example", "/articles/A1", "", false},
		{"https://news.example/articles/a1", "news.example", "/articles/a1/comments", "", true},
		{"https://news.example/gold", "news.example", "/gold/x", "", false},
		{"https://news.example/articles", "news.example", "/articles/a1", "", false},
		{"https://news.example", "news.example", "/articles/a1", "", false},

		// The query.
		{"https://news.example/gold", "news.example", "/gold", "page=2&x", true},
		{"https://news.example/gold?page=2", "news.example", "/gold", "page=2", true},
		{"https://news.example/gold?page=2", "news.example", "/gold", "utm=x&page=2&token=y", true},
		{"https://news.example/gold?page=2", "news.example", "/gold", "page=%32", true},
		{"https://news.example/gold?q=a+b", "news.example", "/gold", "q=a%20b", true},
		{"https://news.example/gold?a=1&b=2", "news.example", "/gold", "b=2&&a=1", true},
		{"https://news.example/gold?page", "news.example", "/gold", "page=", true},
		{"https://news.example/gold?page=2", "news.example", "/gold", "", false},
		{"https://news.example/gold?page=2", "news.example", "/gold", "page=3", false},
		{"https://news.example/gold?page=2", "news.example", "/gold", "Page=2", false},
		{"https://news.example/gold?page=2", "news.example", "/gold", "page=2&page=2", false},
		{"https://news.example/gold?page=2", "news.example", "/gold", "page=2&page=3", false},
		{"https://news.example/gold?page=2", "news.example", "/gold", "page=2&p%61ge=3", false},
		{"https://news.example/gold?a=1&b=2", "news.example", "/gold", "a=1", false},
		// Queries that servers read differently.
		{"https://news.example/gold?page=2", "news.example", "/gold", "page=2;page=3", false},
		{"https://news.example/gold?page=2", "news.example", "/gold", "x=%zz&page=2", false},
		{"https://news.example/gold?page=2", "news.example", "/gold", strings.Repeat("x&", 1000) + "page=2", false},
	} {
		got := linkOpens(t, keys.LinkClaims{URL: c.url}, testRequest{host: c.host, path: c.path, query: c.query})
		if got != c.opens {
			t.Errorf("%s opens %s%s?%.60s: %t", c.url, c.host, c.path, c.query, got)
		}
	}
}

// The sku and the content id that a link has must match, and so must the host of its url,
// of which the rest only says where the link lands.
func TestEveryClaimOfALinkMustMatch(t *testing.T) {
	const page = "https://news.example/articles/a1"
	for _, c := range []struct {
		claims keys.LinkClaims
		opens  bool
	}{
		{keys.LinkClaims{PublisherContentID: "a1"}, true},
		{keys.LinkClaims{PublisherContentID: "A1"}, false},
		{keys.LinkClaims{SKU: "premium"}, true},
		{keys.LinkClaims{SKU: "a1"}, true}, // the rule also names {publisherContentId}
		{keys.LinkClaims{SKU: "gold"}, false},
		{keys.LinkClaims{SKU: "{publisherContentId}"}, false},
		{keys.LinkClaims{URL: page, SKU: "premium", PublisherContentID: "a1"}, true},
		{keys.LinkClaims{URL: page + "?x=1", SKU: "premium", PublisherContentID: "a1"}, true},
		{keys.LinkClaims{URL: "https://other.example/articles/a1", SKU: "premium", PublisherContentID: "a1"}, false},
		{keys.LinkClaims{URL: page, SKU: "gold", PublisherContentID: "a1"}, false},
		{keys.LinkClaims{URL: page, SKU: "premium", PublisherContentID: "a2"}, false},
		{keys.LinkClaims{URL: page, PublisherContentID: "a2"}, false},
	} {
		if got := linkOpens(t, c.claims, testRequest{}); got != c.opens {
			t.Errorf("%+v opens the article: %t", c.claims, got)
		}
	}
}

// The content id is the stored argument, or else the captured parameter of that name,
// or else none.
func TestLinkContentID(t *testing.T) {
	for _, c := range []struct {
		path, arguments, id string
		opens               bool
	}{
		{"/{publisherContentId}", `{"sku":"premium"}`, "a1", true},
		{"/{publisherContentId}", `{"sku":"premium","publisherContentId":null}`, "a1", true},
		{"/{publisherContentId}", `{"sku":"premium","publisherContentId":"stated"}`, "stated", true},
		{"/{publisherContentId}", `{"sku":"premium","publisherContentId":"stated"}`, "a1", false},
		{"/{slug}", `{"sku":"premium","publisherContentId":"{slug}"}`, "a1", true},
		{"/{slug}", `{"sku":"premium"}`, "a1", false},
		{"/{slug}", `{"sku":"premium"}`, "{slug}", false},
	} {
		env := newTestEnv(t)
		allow, err := ParseAllow("entitled/" + c.arguments)
		must(t, err)
		rules, err := CompileRules([]Rule{{Rank: 1, Path: c.path, Allow: allow}}, StandardOperators())
		must(t, err)
		env.site = NewSite("acme", "news", rules, PathOptions{}, env.keys)
		decision := env.decide(testRequest{path: "/a1", link: linkEvidence(env.newLink(keys.LinkClaims{PublisherContentID: c.id}))})
		if decision.Allow() != c.opens {
			t.Errorf("rule %s %s, link for %s: %s", c.path, c.arguments, c.id, decision.Reason)
		}
	}
}

func TestCheckLinkTarget(t *testing.T) {
	for _, c := range []struct {
		claims keys.LinkClaims
		want   string // of the error; empty for none
	}{
		{keys.LinkClaims{SKU: "premium"}, ""},
		{keys.LinkClaims{PublisherContentID: "a1"}, ""},
		{keys.LinkClaims{URL: "https://news.example"}, ""},
		{keys.LinkClaims{URL: "http://[::1]:8080/a?b=c#d"}, ""},
		{keys.LinkClaims{}, "has no url"},
		{keys.LinkClaims{URL: "/articles/a1"}, "absolute"},
		{keys.LinkClaims{URL: "//news.example/a"}, "absolute"},
		{keys.LinkClaims{URL: "news.example/a", SKU: "premium"}, "absolute"},
		{keys.LinkClaims{URL: "ftp://news.example/a"}, "absolute"},
		{keys.LinkClaims{URL: "javascript:alert(1)"}, "absolute"},
		{keys.LinkClaims{URL: "https:news.example"}, "absolute"},
		{keys.LinkClaims{URL: "https:///a"}, "absolute"},
		{keys.LinkClaims{URL: "https://news.example:x/a"}, "absolute"},
		{keys.LinkClaims{URL: "https://%zz/a"}, "absolute"},
		{keys.LinkClaims{URL: "https://me@news.example/a"}, "user name"},
		{keys.LinkClaims{URL: "https://me:pw@news.example/a"}, "user name"},
		{keys.LinkClaims{URL: "https://:443/a"}, "host is empty"},
		{keys.LinkClaims{URL: "https://a_b.example/a"}, "name is invalid"},
		{keys.LinkClaims{URL: "https://xn--zzzzzz.example/a"}, "name is invalid"},
		{keys.LinkClaims{URL: "https://news.example/a/../b"}, "ambiguous path"},
		{keys.LinkClaims{URL: "https://news.example//b"}, "ambiguous path"},
		{keys.LinkClaims{URL: "https://news.example/a%2Fb"}, "ambiguous path"},
		{keys.LinkClaims{URL: "https://news.example/a?x=%zz"}, "query"},
		{keys.LinkClaims{URL: "https://news.example/a?x=1;y=2"}, "query"},
		// Such a link could never open a page: each parameter must occur exactly once.
		{keys.LinkClaims{URL: "https://news.example/a?x=1&x=2"}, "twice"},
		{keys.LinkClaims{URL: "https://news.example/a?x=1&y=2&%78=1"}, "twice"},
		{keys.LinkClaims{URL: "https://news.example/a?x=1&X=1"}, "read as one"},
		{keys.LinkClaims{URL: "https://news.example/a?a_b=1&a.b=1"}, "read as one"},
		{keys.LinkClaims{URL: "https://news.example/a?a=1&a[b]=1"}, "read as one"},
		{keys.LinkClaims{URL: "https://news.example/a?a[]=1&a[1]=2"}, "read as one"},
	} {
		err := CheckLinkTarget(&c.claims)
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%+v: %v", c.claims, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%+v: %v, want %q", c.claims, err, c.want)
		}
	}
}

// A link that CheckLinkTarget accepts opens at least the page at its own url.
func TestLinkOpensItsOwnURL(t *testing.T) {
	for _, rest := range []string{"", "/", "?x", "?x=1&y=2", "?x=a+b&y=%26", "?=1", "?filter[a]=1&filter[b]=2", "?tx_news[news]=5&tx_news[action]=detail"} {
		_, query, _ := strings.Cut(rest, "?")
		if !linkOpens(t, keys.LinkClaims{URL: "https://news.example/articles/a1" + rest}, testRequest{query: query}) {
			t.Errorf("a link to %q does not open its own url", rest)
		}
	}
}

func TestNormalHost(t *testing.T) {
	for host, want := range map[string]string{
		"news.example":          "news.example",
		"News.EXAMPLE":          "news.example",
		"news.example.":         "news.example",
		"news.example:443":      "news.example",
		"news.example:80":       "news.example",
		"news.example.:80":      "news.example",
		"news.example:":         "news.example",
		"news.example:8080":     "news.example:8080",
		"localhost:2019":        "localhost:2019",
		"127.0.0.1":             "127.0.0.1",
		"[::1]":                 "[::1]",
		"[::1]:443":             "[::1]",
		"[2001:DB8::1]:8443":    "[2001:db8::1]:8443",
		"Zürich.example":        "xn--zrich-kva.example",
		"ZU\u0308RICH.example":  "xn--zrich-kva.example", // decomposed
		"\u212Aiosk.example":    "kiosk.example",         // the Kelvin sign
		"news\u3002example":     "news.example",          // the ideographic full stop
		"news.example\u3002":    "news.example",
		"xn--zrich-kva.example": "xn--zrich-kva.example",
		// Refused.
		"":                       "",
		".":                      "",
		":443":                   "",
		"a b":                    "",
		"a/b":                    "",
		"a@b":                    "",
		"::1":                    "",
		"a\x00b":                 "",
		"news_1.example":         "",
		"xn--a.example":          "",
		"xn--zrich-kva\u00ad--.": "",
	} {
		got, err := NormalHost(host)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v; want %q", host, got, err, want)
		}
		if again, err := NormalHost(got); want != "" && (again != got || err != nil) {
			t.Errorf("the normal form %q is changed to %q, %v", got, again, err)
		}
		if err != nil && len(host) > 1 && strings.Contains(err.Error(), host) {
			t.Errorf("the error contains the host: %v", err)
		}
	}
}

// The size on which the cache bound is based grows with the url.
func TestTargetSizeGrowsWithItsURL(t *testing.T) {
	var long strings.Builder
	long.WriteString("https://news.example/articles/a1?")
	for i := range 200 {
		fmt.Fprintf(&long, "%d&", i)
	}
	small, err := newTarget(&keys.LinkClaims{URL: "https://news.example/articles/a1"})
	must(t, err)
	large, err := newTarget(&keys.LinkClaims{URL: long.String()})
	must(t, err)
	if grown := large.size() - small.size(); grown < 200*32 {
		t.Errorf("200 parameters have a size of %d bytes", grown)
	}
}
