package policy

import (
	"testing"

	"github.com/gatefold/gatefold/keys"
)

// A counted link is spent only if nothing else allows, and an uncounted one never.
func TestCountedLinkIsSpentOnlyWhenNeeded(t *testing.T) {
	env := newTestEnv(t)
	env.subscribe(0, 0)
	link := linkEvidence(env.newLink(keys.LinkClaims{MaxUses: 2}))
	held := link
	held.Redeemed = []RedeemedLink{redeemedLink("link_1")}
	early, preview := link, link
	early.Early, preview.Spendable = true, false
	for _, c := range []struct {
		name  string
		visit testRequest
		spent int
	}{
		{"a subscriber", testRequest{reader: ann, link: link}, 0},
		{"the holder of its cookie", testRequest{link: held}, 0},
		{"early data", testRequest{link: early}, 0},
		{"a preview", testRequest{link: preview}, 0},
		{"another page", testRequest{path: "/articles/a2", link: link}, 0},
		{"a page without links", testRequest{path: "/account", link: link}, 0},
		{"a first reader", testRequest{link: link}, 1},
		{"a second reader", testRequest{reader: bob, link: link}, 2},
		{"a third reader", testRequest{link: link}, 2},
	} {
		env.decide(c.visit)
		if spent := env.records.useCount("link_1"); spent != c.spent {
			t.Fatalf("after %s, %d uses are redeemed, want %d", c.name, spent, c.spent)
		}
	}
	env.want(testRequest{link: linkEvidence(env.newLink(keys.LinkClaims{ID: "free"}))}, ReasonSignedLink)
	if spent := env.records.useCount("free"); spent != 0 {
		t.Fatalf("an uncounted link was redeemed %d times", spent)
	}
}

// A link that was ignored is reported, because such a request must not be redirected to
// the login page.
func TestIgnoredLink(t *testing.T) {
	env := newTestEnv(t)
	counted := env.newLink(keys.LinkClaims{ID: "counted", MaxUses: 1})
	free := env.newLink(keys.LinkClaims{ID: "free"})
	for _, c := range []struct {
		token   string
		ignored bool
	}{{"", false}, {counted, true}, {free, false}} {
		decision := env.decide(testRequest{link: LinkEvidence{Token: c.token}})
		if decision.Link.Ignored != c.ignored || decision.Link.Spend {
			t.Errorf("%+v", decision.Link)
		}
	}
}
