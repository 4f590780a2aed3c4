package policy

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatefold/gatefold/keys"
)

// A handler before the gate rewrites the path, so that the origin serves another page
// than the reader asked for. Each way to have an article for nothing is closed.
func TestReceivedAndRewrittenPathAreBothJudged(t *testing.T) {
	both := newPathsEnv(t, readmeRules, PathOptions{})
	received := newPathsEnv(t, readmeRules, PathOptions{Judge: ReceivedForm})
	current := newPathsEnv(t, readmeRules, PathOptions{Judge: CurrentForm})
	for _, c := range []struct {
		path, current                       string
		both, onlyReceived, onlyCurrentForm Reason
	}{
		{"/blog/articles/hello", "/articles/hello", ReasonLoginRequired, ReasonPublic, ReasonLoginRequired},
		{"/articles/hello", "/index.php", ReasonLoginRequired, ReasonLoginRequired, ReasonPublic},
		{"/blog/about", "/about", ReasonPublic, ReasonPublic, ReasonPublic},
		{"/blog/Articles/hello", "/Articles/hello", ReasonLoginRequired, ReasonPublic, ReasonLoginRequired},
		{"/about", "/about", ReasonPublic, ReasonPublic, ReasonPublic},
		{"/articles/hello", "/articles/hello", ReasonLoginRequired, ReasonLoginRequired, ReasonLoginRequired},
		{"/x", "/index.php/articles/hello", ReasonBadPath, ReasonPublic, ReasonBadPath},
		{"/a//b", "/b", ReasonBadPath, ReasonBadPath, ReasonPublic},
		{"/a//b", "/articles/b", ReasonBadPath, ReasonBadPath, ReasonLoginRequired},
		{"/x", "articles/hello", ReasonBadPath, ReasonPublic, ReasonBadPath},
	} {
		visit := testRequest{path: c.path, current: c.current}
		got := []Reason{both.decide(visit).Reason, received.decide(visit).Reason, current.decide(visit).Reason}
		require.Equal(t, []Reason{c.both, c.onlyReceived, c.onlyCurrentForm}, got, "%s rewritten to %s", c.path, c.current)
	}
	decision := both.decide(testRequest{path: "/blog/articles/hello", current: "/articles/hello"})
	require.True(t, decision.Rewritten, "the decision does not say that the rewritten path is denied")
	decision = both.decide(testRequest{path: "/x", current: "/y/../z"})
	require.ErrorContains(t, decision.Err, "the path as rewritten before the gate: ambiguous path: it contains a dot segment")
	decision = both.decide(testRequest{path: "/y/../z", current: "/x"})
	require.ErrorContains(t, decision.Err, "the path as received: ambiguous path")
}

// Both forms need a grant. The captures are those of the path as received if both
// decisions are equally strict.
func TestRewrittenPathNeedsItsOwnGrant(t *testing.T) {
	env := newPathsEnv(t, readmeRules, PathOptions{})
	env.records.grant(fakeGrant{Grant: Grant{ID: "g1", SKU: "a1"}, userID: "ann"})
	visit := testRequest{path: "/articles/a1", current: "/articles/a2", reader: ann}
	env.want(visit, ReasonNotEntitled)
	env.records.grant(fakeGrant{Grant: Grant{ID: "g2", SKU: "a2", EndsAt: start*1000 + 500}, userID: "ann"})
	decision := env.want(visit, ReasonEntitled)
	if id, _ := decision.Param("publisherContentId"); id != "a1" || decision.Rewritten || decision.Until != start*1000+500 {
		t.Errorf("captured %q until %d", id, decision.Until-start*1000)
	}
}

// A link by url is compared with the URL that the reader received, one by content id or
// sku with the page of each form.
func TestLinkToARewrittenPath(t *testing.T) {
	for _, c := range []struct {
		name   string
		claims keys.LinkClaims
		path   string
		want   Reason
	}{
		{"the url as received", keys.LinkClaims{URL: "https://news.example/blog/articles/a1"}, "/blog/articles/a1", ReasonSignedLink},
		{"the url as rewritten, of the same content", keys.LinkClaims{URL: "https://news.example/articles/a1"}, "/blog/articles/a1", ReasonSignedLink},
		{"the url of other content", keys.LinkClaims{URL: "https://news.example/articles/a2"}, "/blog/articles/a1", ReasonLinkOtherResource},
		{"another url", keys.LinkClaims{URL: "https://news.example/blog/articles/a2"}, "/blog/articles/a1", ReasonLinkOtherResource},
		{"the content", keys.LinkClaims{PublisherContentID: "a1"}, "/blog/articles/a1", ReasonSignedLink},
		{"other content", keys.LinkClaims{PublisherContentID: "a2"}, "/blog/articles/a1", ReasonLinkOtherResource},
		{"the sku", keys.LinkClaims{SKU: "premium"}, "/blog/articles/a1", ReasonSignedLink},
		{"content of the received form only", keys.LinkClaims{PublisherContentID: "a9"}, "/articles/a9", ReasonLinkOtherResource},
	} {
		t.Run(c.name, func(t *testing.T) {
			env := newPathsEnv(t, readmeRules, PathOptions{})
			link := linkEvidence(env.newLink(c.claims))
			env.want(testRequest{path: c.path, current: "/articles/a1", link: link}, c.want)
			redeemed := LinkEvidence{Redeemed: []RedeemedLink{redeemedLink("link_1")}}
			if got := env.decide(testRequest{path: c.path, current: "/articles/a1", link: redeemed}); got.Allow() != (c.want == ReasonSignedLink) {
				t.Errorf("redeemed: %s", got.Reason)
			}
		})
	}
}

// With `judge current` the path as received decides nothing, but a link's url is still
// compared with it, also if it is ambiguous.
func TestLinkIsComparedWithTheReceivedURLUnderJudgeCurrent(t *testing.T) {
	env := newPathsEnv(t, readmeRules, PathOptions{Judge: CurrentForm})
	link := linkEvidence(env.newLink(keys.LinkClaims{URL: "https://news.example/x/a1"}))
	env.want(testRequest{path: "/x/a1", current: "/articles/a1", link: link}, ReasonSignedLink)
	env.want(testRequest{path: "/x//a1", current: "/articles/a1", link: link}, ReasonLinkOtherResource)
	env.want(testRequest{path: "/articles/a1", link: link}, ReasonLinkOtherResource)
}

// One match is opened by the grant or a redeemed link, the other needs a use of a
// counted link: it is spent, exactly once, and the answer is that of the redemption.
func TestUseIsSpentIfOneMatchNeedsIt(t *testing.T) {
	for _, c := range []struct{ name, path, current string }{
		{"rewritten", "/articles/held", "/articles/counted"},
		{"received", "/articles/counted", "/articles/held"},
	} {
		t.Run(c.name, func(t *testing.T) {
			env := newPathsEnv(t, readmeRules, PathOptions{})
			env.records.grant(fakeGrant{Grant: Grant{ID: "g1", SKU: "held"}, userID: "ann"})
			link := linkEvidence(env.newLink(keys.LinkClaims{PublisherContentID: "counted", MaxUses: 1}))
			visit := testRequest{path: c.path, current: c.current, reader: ann, link: link}
			env.want(visit, ReasonSignedLink)
			if spent := env.records.useCount("link_1"); spent != 1 {
				t.Errorf("%d uses are spent, want 1", spent)
			}
			env.want(visit, ReasonLinkUsedUp)
			visit.reader = bob
			env.want(visit, ReasonLinkOtherResource)
		})
	}
	// A use is not spent for a page that the other match denies.
	env := newPathsEnv(t, readmeRules, PathOptions{})
	link := linkEvidence(env.newLink(keys.LinkClaims{PublisherContentID: "counted", MaxUses: 1}))
	env.want(testRequest{path: "/account", current: "/articles/counted", link: link}, ReasonLoginRequired)
	if spent := env.records.useCount("link_1"); spent != 0 {
		t.Errorf("%d uses are spent", spent)
	}
}

// A publisher's link whose record must be written is stricter than a redeemed one.
func TestStrictnessOfLinks(t *testing.T) {
	order := []Decision{
		{Reason: ReasonPublic},
		{Reason: ReasonAuthenticated},
		{Reason: ReasonEntitled},
		{Reason: ReasonSignedLink},
		{Reason: ReasonSignedLink, Link: LinkUse{First: true}},
		{Reason: ReasonSignedLink, Link: LinkUse{First: true, Spend: true}},
		{Reason: ReasonLinkExpired, Link: LinkUse{Spend: true}},
	}
	for i := range order[1:] {
		if strictness(&order[i]) >= strictness(&order[i+1]) {
			t.Errorf("%+v is not less strict than %+v", order[i], order[i+1])
		}
	}
}

// A front controller behind path info serves what the path info names. A site that admits
// it is judged by each reading, and links by url open the URL that they name.
func TestPathInfoIsJudgedInEveryReading(t *testing.T) {
	rules := append([]Rule{{Rank: 0, Path: "/blog/member", Allow: Allow{Operator: "authenticated"}}}, readmeRules...)
	env := newPathsEnv(t, rules, PathOptions{PathInfo: true, EmptySegments: true})
	for path, want := range map[string]Reason{
		"/index.php/articles/hello": ReasonLoginRequired, "/index.php/Articles/hello": ReasonLoginRequired,
		"/blog/index.php/member": ReasonLoginRequired, "/x/y.php/account": ReasonLoginRequired, "/blog/member/x.php/about": ReasonLoginRequired,
		"/index.php/about": ReasonPublic, "/index.php": ReasonPublic, "/articles.php/hello": ReasonPublic,
		"//localhost/articles/hello": ReasonLoginRequired, "///localhost/account": ReasonLoginRequired, "//localhost/about": ReasonPublic,
		"//localhost/index.php/articles/hello": ReasonLoginRequired, "/index.php//localhost/account": ReasonLoginRequired,
	} {
		if decision := env.decide(testRequest{path: path}); decision.Reason != want {
			t.Errorf("%s: %s, want %s", path, decision.Reason, want)
		}
	}
	link := linkEvidence(env.newLink(keys.LinkClaims{URL: "https://news.example/index.php/articles/hello"}))
	env.want(testRequest{path: "/index.php/articles/hello", link: link}, ReasonSignedLink)
	env.want(testRequest{path: "/articles/hello", link: link}, ReasonLinkOtherResource)
	env.want(testRequest{path: "/x/index.php/articles/hello", link: link}, ReasonLinkOtherResource)
}
