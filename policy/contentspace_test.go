package policy

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/gatefold/gatefold/keys"
)

// spacedRule returns a rule `entitled` with options, which are given as names and JSON.
func spacedRule(rank int, path, sku string, options ...string) Rule {
	rule := Rule{Rank: rank, Path: path, Allow: entitledTo(sku)}
	for i := 0; i < len(options); i += 2 {
		if rule.Options == nil {
			rule.Options = map[string]json.RawMessage{}
		}
		rule.Options[options[i]] = json.RawMessage(options[i+1])
	}
	return rule
}

// newspaper are the rules of a site on which one id names an article, an issue and a film.
var newspaper = []Rule{
	spacedRule(1, "/articles/{publisherContentId}", "premium", "content_space", `"news"`),
	spacedRule(2, "/media/{id}", "premium", "content_space", `"news"`, "content_id", `{"capture":"id"}`),
	spacedRule(3, "/pdf/{file}", "premium", "content_space", `"news"`, "content_id", `{"capture":"file","without":[".pdf",".epub"]}`),
	spacedRule(4, "/wp-json/wp/v2/posts", "premium", "content_space", `"news"`, "content_id", `{"query":"id"}`),
	spacedRule(5, "/about/hello", "premium", "content_space", `"news"`, "content_id", `{"value":"hello"}`),
	spacedRule(6, "/epaper/{publisherContentId}", "epaper"),
	spacedRule(7, "/films/{publisherContentId}", "premium"),
	spacedRule(8, "/comments/{publisherContentId}", "premium", "content_space", `"news"`, "link_methods", `["GET","POST"]`),
	spacedRule(9, "/start", "premium"),
	{Rank: 10, Path: "/", Allow: Allow{Operator: "any"}},
}

func newNewspaper(t *testing.T) *testEnv { return newPathsEnv(t, newspaper, PathOptions{}) }

// A reader opens a gift link: the article's images, its API, its PDF and its second page
// open as well, and nothing that another content space has under the same id.
func TestLinkOpensTheContentOfItsLandingPage(t *testing.T) {
	for _, c := range []struct {
		claims     keys.LinkClaims
		page       string // path and query
		opens      bool
		afterwards string // the claim that does not fit
	}{
		{keys.LinkClaims{URL: "https://news.example/articles/hello?utm=x"}, "/articles/hello", true, ""},
		{keys.LinkClaims{URL: "https://news.example/articles/hello"}, "/articles/hello/2?page=2", true, ""},
		{keys.LinkClaims{URL: "https://news.example/articles/hello"}, "/media/hello/photo.jpg", true, ""},
		{keys.LinkClaims{URL: "https://news.example/articles/hello"}, "/pdf/hello.pdf", true, ""},
		{keys.LinkClaims{URL: "https://news.example/articles/hello"}, "/pdf/hello", true, ""},
		{keys.LinkClaims{URL: "https://news.example/articles/hello"}, "/wp-json/wp/v2/posts?id=hello&page=2", true, ""},
		{keys.LinkClaims{URL: "https://news.example/articles/hello"}, "/about/hello", true, ""},
		{keys.LinkClaims{URL: "https://news.example/wp-json/wp/v2/posts?id=hello"}, "/articles/hello", true, ""},
		{keys.LinkClaims{URL: "https://news.example/pdf/hello.epub"}, "/articles/hello", true, ""},
		{keys.LinkClaims{URL: "https://news.example/articles/hello"}, "/articles/other", false, "url"},
		{keys.LinkClaims{URL: "https://news.example/articles/hello"}, "/media/other/photo.jpg", false, "url"},
		{keys.LinkClaims{URL: "https://news.example/articles/hello"}, "/pdf/hello.doc", false, "url"},
		{keys.LinkClaims{URL: "https://news.example/articles/hello"}, "/pdf/.pdf", false, "url"},
		{keys.LinkClaims{URL: "https://news.example/articles/hello"}, "/epaper/hello", false, "contentSpace"},
		{keys.LinkClaims{URL: "https://news.example/articles/hello"}, "/films/hello", false, "contentSpace"},
		{keys.LinkClaims{URL: "https://news.example/films/hello"}, "/articles/hello", false, "contentSpace"},
		{keys.LinkClaims{URL: "https://news.example/films/hello"}, "/films/hello/trailer", true, ""},
		// A query that servers read differently has no id.
		{keys.LinkClaims{URL: "https://news.example/articles/hello"}, "/wp-json/wp/v2/posts?id=hello&id=other", false, "url"},
		{keys.LinkClaims{URL: "https://news.example/articles/hello"}, "/wp-json/wp/v2/posts?ID=other&id=hello", false, "url"},
		{keys.LinkClaims{URL: "https://news.example/articles/hello"}, "/wp-json/wp/v2/posts?id[]=hello", false, "url"},
		{keys.LinkClaims{URL: "https://news.example/articles/hello"}, "/wp-json/wp/v2/posts", false, "url"},
		// Without content the url alone opens.
		{keys.LinkClaims{URL: "https://news.example/start?a=1"}, "/start?a=1", true, ""},
		{keys.LinkClaims{URL: "https://news.example/start?a=1"}, "/start", false, "url"},
		{keys.LinkClaims{URL: "https://news.example/start"}, "/start/2", false, "url"},
		{keys.LinkClaims{URL: "https://news.example/wp-json/wp/v2/posts"}, "/wp-json/wp/v2/posts", true, ""},
		{keys.LinkClaims{URL: "https://news.example/wp-json/wp/v2/posts"}, "/wp-json/wp/v2/posts?id=hello", true, ""},
		{keys.LinkClaims{URL: "https://news.example/wp-json/wp/v2/posts"}, "/articles/hello", false, "url"},
		// The named content opens, whatever the landing page is.
		{keys.LinkClaims{URL: "https://news.example/welcome", PublisherContentID: "hello", ContentSpace: "news"}, "/articles/hello", true, ""},
		{keys.LinkClaims{URL: "https://news.example/films/hello", PublisherContentID: "hello"}, "/films/hello", true, ""},
		{keys.LinkClaims{URL: "https://news.example/films/hello", PublisherContentID: "hello"}, "/articles/hello", false, "contentSpace"},
		{keys.LinkClaims{URL: "https://other.example/articles/hello"}, "/articles/hello", false, "url"},
		// A bare content id is one of the default space.
		{keys.LinkClaims{PublisherContentID: "hello"}, "/articles/hello", true, ""},
		{keys.LinkClaims{PublisherContentID: "hello"}, "/media/hello/x.jpg", true, ""},
		{keys.LinkClaims{PublisherContentID: "hello"}, "/films/hello", false, "contentSpace"},
		{keys.LinkClaims{PublisherContentID: "hello", ContentSpace: "/films/{publisherContentId}"}, "/films/hello", true, ""},
		// A sku opens what asks for it, in every space.
		{keys.LinkClaims{SKU: "premium"}, "/films/hello", true, ""},
		{keys.LinkClaims{SKU: "premium"}, "/epaper/hello", false, "sku"},
		{keys.LinkClaims{SKU: "epaper", PublisherContentID: "hello"}, "/articles/hello", false, "sku"},
	} {
		env := newNewspaper(t)
		path, query, _ := strings.Cut(c.page, "?")
		visit := testRequest{path: path, query: query, link: linkEvidence(env.newLink(c.claims))}
		explained := env.policy.Explain(t.Context(), env.request(visit))
		if got := explained.Decision.Allow(); got != c.opens || explained.Readings[0].Misfit != c.afterwards {
			t.Errorf("%s %s/%s opens %s: %t, misfit %q, want %q", c.claims.URL, c.claims.ContentSpace, c.claims.PublisherContentID, c.page, got, explained.Readings[0].Misfit, c.afterwards)
		}
		visit.link = LinkEvidence{Redeemed: []RedeemedLink{redeemedLink("link_1")}}
		if got := env.decide(visit); got.Allow() != c.opens {
			t.Errorf("redeemed: %s %s opens %s: %s", c.claims.URL, c.claims.PublisherContentID, c.page, got.Reason)
		}
	}
}

// The vendor declares which space a content id without url and space is of.
func TestDefaultContentSpace(t *testing.T) {
	env := newNewspaper(t)
	held := LinkEvidence{Redeemed: []RedeemedLink{redeemedLink("link_1")}}
	token := linkEvidence(env.newLink(keys.LinkClaims{PublisherContentID: "hello"}))
	env.want(testRequest{path: "/articles/hello", link: token}, ReasonSignedLink)
	env.records.commit(Invalidation{Shared: true}, func() { env.records.space = "/films/{publisherContentId}" })
	for _, link := range []LinkEvidence{token, held} {
		env.want(testRequest{path: "/films/hello", link: link}, ReasonSignedLink)
		if decision := env.decide(testRequest{path: "/articles/hello", link: link}); decision.Allow() {
			t.Error("the link still opens the former space")
		}
	}
	// The space that the link's page has counts first.
	env.newLink(keys.LinkClaims{ID: "link_2", URL: "https://news.example/articles/hello", PublisherContentID: "hello"})
	env.want(testRequest{path: "/articles/hello", link: LinkEvidence{Redeemed: []RedeemedLink{redeemedLink("link_2")}}}, ReasonSignedLink)

	env.records.commit(Invalidation{Shared: true}, func() { env.records.linksDown = errDown })
	env.waitForCaches()
	for _, link := range []LinkEvidence{token, held} {
		if decision := env.want(testRequest{path: "/films/hello", link: link}, ReasonStoreUnavailable); !errors.Is(decision.Err, errDown) {
			t.Errorf("the error is %v", decision.Err)
		}
	}
}

// A reader with a gift link writes below the article, as the origin's API permits: no link
// opens a method that changes something, unless the rule says so.
func TestLinkReads(t *testing.T) {
	env := newNewspaper(t)
	token := linkEvidence(env.newLink(keys.LinkClaims{PublisherContentID: "hello"}))
	held := LinkEvidence{Redeemed: []RedeemedLink{redeemedLink("link_1")}}
	for method, opens := range map[string][2]bool{ // the article, its comments
		"GET": {true, true}, "HEAD": {true, true}, "POST": {false, true}, "PUT": {}, "PATCH": {}, "DELETE": {}, "OPTIONS": {},
	} {
		for i, path := range []string{"/articles/hello", "/comments/hello"} {
			for _, link := range []LinkEvidence{token, held} {
				want := ReasonLoginRequired
				if opens[i] {
					want = ReasonSignedLink
				}
				if got := env.decide(testRequest{method: method, path: path, link: link}); got.Reason != want {
					t.Errorf("%s %s: %s, want %s", method, path, got.Reason, want)
				}
			}
		}
	}
}

// The content id is a parameter of the rule: of its skus too.
func TestContentIDIsAParameter(t *testing.T) {
	rule := Rule{Path: "/pdf/{file}", Allow: entitledTo("{publisherContentId}"), Options: map[string]json.RawMessage{
		"content_id": json.RawMessage(`{"capture":"file","without":[".pdf"]}`),
	}}
	env := newPathsEnv(t, []Rule{rule}, PathOptions{})
	env.records.grant(fakeGrant{Grant: Grant{ID: "g", SKU: "hello"}, userID: "ann"})
	decision := env.want(testRequest{path: "/pdf/hello.pdf", reader: ann}, ReasonEntitled)
	if id, _ := decision.Param("publisherContentId"); id != "hello" {
		t.Errorf("the parameter is %q", id)
	}
	env.want(testRequest{path: "/pdf/other.pdf", reader: ann}, ReasonNotEntitled)
}

func TestInvalidLinkOptions(t *testing.T) {
	for name, c := range map[string]struct {
		path, options, want string
	}{
		"a name with a blank":       {"/{id}", `{"content_space":"a b"}`, "not a name of a content space"},
		"a space that is no text":   {"/{id}", `{"content_space":1}`, "must be a string"},
		"an unknown capture":        {"/{id}", `{"content_id":{"capture":"x"}}`, "{x} is not captured by the path"},
		"two sources":               {"/{id}", `{"content_id":{"capture":"id","query":"id"}}`, "exactly one of"},
		"no source":                 {"/{id}", `{"content_id":{}}`, "exactly one of"},
		"an unknown member":         {"/{id}", `{"content_id":{"header":"x"}}`, "an object such as"},
		"null":                      {"/{id}", `{"content_id":null}`, "exactly one of"},
		"a suffix of a value":       {"/{id}", `{"content_id":{"value":"x","without":[".pdf"]}}`, "only of a captured segment"},
		"an empty suffix":           {"/{id}", `{"content_id":{"capture":"id","without":[""]}}`, "no suffix may be empty"},
		"a long text":               {"/{id}", `{"content_id":{"value":"` + strings.Repeat("x", 256) + `"}}`, "longer than 255"},
		"many suffixes":             {"/{id}", `{"content_id":{"capture":"id","without":["` + strings.Repeat(`x","`, 16) + `x"]}}`, "more than 16"},
		"no method":                 {"/{id}", `{"link_methods":[]}`, "a list of methods"},
		"an invalid method":         {"/{id}", `{"link_methods":["get"]}`, "not a method in upper case"},
		"HEAD alone":                {"/{id}", `{"link_methods":["HEAD"]}`, "name GET instead"},
		"a method of another rule":  {"/{id}", `{"link_methods":["GET","PUT"]}`, "does not match PUT"},
		"a parameter in the query":  {"/x", `{"content_id":{"query":"id"}}`, "{publisherContentId} is not captured"},
		"an argument besides":       {"/y/{id}", `{"content_id":{"capture":"id"}}`, "a step has the argument"},
		"a rule without links":      {"/any", `{"content_space":"news"}`, "no step of the rule accepts links"},
		"methods without links":     {"/any", `{"link_methods":["GET"]}`, "no step of the rule accepts links"},
		"a content id without them": {"/any", `{"content_id":{"value":"x"}}`, "no step of the rule accepts links"},
	} {
		rule := Rule{Path: c.path, Methods: []string{"GET", "POST"}, Allow: entitledTo("premium")}
		switch c.path {
		case "/x":
			rule.Allow = entitledTo("{publisherContentId}")
		case "/y/{id}":
			rule.Allow.Arguments["publisherContentId"] = json.RawMessage(`"{id}"`)
		case "/any":
			rule.Allow = Allow{Operator: "any"}
		}
		must(t, json.Unmarshal([]byte(c.options), &rule.Options))
		if _, err := CompileRules([]Rule{rule}, StandardOperators()); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// The words of the Caddyfile.
func TestParseContentID(t *testing.T) {
	for words, want := range map[string]string{
		"{id}":                   `{"capture":"id"}`,
		":id":                    `{"capture":"id"}`,
		"{f} without .pdf .epub": `{"capture":"f","without":[".pdf",".epub"]}`,
		"query id":               `{"query":"id"}`,
		"hello":                  `{"value":"hello"}`,
		"query":                  `{"value":"query"}`,
		"{f} without":            "",
		"{f} with .pdf":          "",
		"hello without .pdf":     "",
		"query id without .pdf":  "",
		"header id":              "",
	} {
		got, err := ParseContentID(strings.Fields(words))
		encoded, _ := json.Marshal(got)
		if want == "" && err == nil || want != "" && string(encoded) != want {
			t.Errorf("%s is %s, %v", words, encoded, err)
		}
	}
	if _, err := ParseContentID(nil); err == nil {
		t.Error("no word was accepted")
	}
}
