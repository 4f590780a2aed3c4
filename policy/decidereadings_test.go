package policy

import (
	"slices"
	"testing"

	"github.com/gatefold/gatefold/keys"
)

func newReadingsEnv(t *testing.T) *testEnv {
	env := newTestEnv(t)
	rules, err := CompileRules([]Rule{
		{Rank: 1, Path: "/wp/admin", Allow: Allow{Operator: "authenticated"}},
		{Rank: 2, Path: "/wp", Allow: Allow{Operator: "any"}},
		spacedRule(3, "/p/{x}/{publisherContentId}", "{x}", "content_space", `"p"`),
		spacedRule(4, "/p/{publisherContentId}", "premium", "content_space", `"p"`),
	}, StandardOperators())
	must(t, err)
	env.site = NewSite("acme", "news", rules, PathOptions{EmptySegments: true, EncodedSlash: true, Parameters: true}, env.keys)
	return env
}

func TestEveryReadingOfAPathMustBeAllowed(t *testing.T) {
	env := newReadingsEnv(t)
	env.want(testRequest{path: "/wp//x"}, ReasonPublic)
	// One reading of each path is the administrator's page.
	for _, path := range []string{"/wp//admin", "/wp/x%2F..", "/wp%2Fadmin", "/wp/admin;x", "/wp/admin;x/y"} {
		if decision := env.decide(testRequest{path: path}); decision.Allow() {
			t.Errorf("%s: %s", path, decision.Reason)
		}
	}
	env.want(testRequest{path: "/wp//admin", reader: bob}, ReasonAuthenticated)
	env.want(testRequest{path: "//wp"}, ReasonNoRule)
}

func TestStrictestReadingDecides(t *testing.T) {
	env := newReadingsEnv(t)
	env.subscribe(0, 1000)
	env.records.grant(fakeGrant{Grant: Grant{ID: "g2", SKU: "p1", EndsAt: start*1000 + 500}, userID: "ann"})
	// As one segment, "p1/a1" is a content id of rule 4. As two, rule 3 requires p1.
	decision := env.want(testRequest{path: "/p/p1%2Fa1", reader: ann}, ReasonEntitled)
	if decision.Until != start*1000+500 {
		t.Errorf("the decision holds until %d", decision.Until-start*1000)
	}
	env.records.revoke("g2")
	env.want(testRequest{path: "/p/p1%2Fa1", reader: ann}, ReasonNotEntitled)
	// The earliest end of all readings counts.
	env.records.grant(fakeGrant{Grant: Grant{ID: "g3", SKU: "p1", EndsAt: start*1000 + 1500}, userID: "ann"})
	decision = env.want(testRequest{path: "/p/p1%2Fa1", reader: ann}, ReasonEntitled)
	if decision.Until != start*1000+1000 {
		t.Errorf("the decision holds until %d", decision.Until-start*1000)
	}
}

// If a cookie opens one reading and a counted link the other, the use is spent.
func TestEachReadingNeedsItsOwnLink(t *testing.T) {
	for _, swapped := range []bool{false, true} {
		env := newReadingsEnv(t)
		ids := []string{"p1/a1", "a1"} // one segment; two segments
		if swapped {
			slices.Reverse(ids)
		}
		env.newLink(keys.LinkClaims{ID: "held", PublisherContentID: ids[0]})
		link := linkEvidence(env.newLink(keys.LinkClaims{ID: "counted", PublisherContentID: ids[1], MaxUses: 1}))
		env.want(testRequest{path: "/p/p1%2Fa1", link: link}, ReasonLinkOtherResource)
		link.Redeemed = []RedeemedLink{redeemedLink("held")}
		env.want(testRequest{path: "/p/p1%2Fa1", link: link}, ReasonSignedLink)
		if spent := env.records.useCount("counted"); spent != 1 {
			t.Errorf("swapped: %t: %d uses were redeemed, want 1", swapped, spent)
		}
		env.want(testRequest{path: "/p/p1%2Fa1", link: link}, ReasonLinkUsedUp)
	}
}
