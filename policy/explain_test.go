package policy

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/gatefold/gatefold/keys"
)

// Explain returns the decision of Decide for any reader, page and link, and redeems
// nothing.
func TestExplainEqualsDecide(t *testing.T) {
	env := newTestEnv(t)
	env.subscribe(0, 0)
	counted := env.newLink(keys.LinkClaims{ID: "counted", MaxUses: 3})
	links := []LinkEvidence{
		{},
		linkEvidence(counted), linkEvidence(env.newLink(keys.LinkClaims{ID: "open"})),
		linkEvidence(env.newLink(keys.LinkClaims{ID: "other", PublisherContentID: "zz"})),
		linkEvidence(env.newLink(keys.LinkClaims{ID: "ended", ExpiresAt: start + 1})),
		linkEvidence("malformed"),
		{Token: counted},
		{Redeemed: []RedeemedLink{redeemedLink("open")}},
		{Ambiguous: true},
	}
	env.newLink(keys.LinkClaims{ID: "revoked"})
	env.records.revokeLink("revoked")
	env.advance(2_000_000_000)
	random := rand.New(rand.NewPCG(1, 2))
	reasons := map[Reason]int{}
	for range 2000 {
		v := testRequest{
			method: []string{"GET", "POST"}[random.IntN(2)],
			path:   []string{"/articles/a1", "/articles/zz", "/gold", "/account", "/public", "/form", "/none"}[random.IntN(7)],
			reader: []Reader{{}, {UserID: "u1"}, {UserID: "other"}, {Rejected: true}, {Unknown: true}}[random.IntN(5)],
			link:   links[random.IntN(len(links))],
		}
		decided := env.policy.Decide(t.Context(), env.request(v))
		explained := env.policy.Explain(t.Context(), env.request(v))
		if fmt.Sprint(decided.Reason, decided.Link, decided.SKU, decided.Grant, decided.Until) !=
			fmt.Sprint(explained.Decision.Reason, explained.Decision.Link, explained.Decision.SKU, explained.Decision.Grant, explained.Decision.Until) {
			t.Fatalf("%+v: decided %+v, explained %+v", v, decided, explained.Decision)
		}
		if len(explained.Readings) != 1 || explained.Readings[0].Decision.Reason != decided.Reason {
			t.Fatalf("%+v: the readings are %+v", v, explained.Readings)
		}
		reasons[decided.Reason]++
	}
	if len(reasons) < 10 {
		t.Errorf("only these reasons occurred: %v", reasons)
	}
	if used := env.records.useCount("counted"); used != 0 {
		t.Errorf("%d uses were redeemed", used)
	}
}

func TestExplainRules(t *testing.T) {
	env := newTestEnv(t)
	rules, err := CompileRules([]Rule{
		{Rank: 1, Path: "/other", Allow: Allow{Operator: "any"}},
		{Rank: 2, Path: "/articles", Methods: []string{"POST"}, Allow: Allow{Operator: "any"}},
		{Rank: 3, Path: "/articles/{publisherContentId}", Allow: entitledTo("premium", "{publisherContentId}")},
		{Rank: 4, Path: "/", Allow: Allow{Operator: "any"}},
	}, StandardOperators())
	must(t, err)
	env.site = NewSite("acme", "news", rules, PathOptions{EmptySegments: true}, env.keys)

	reading := env.policy.Explain(t.Context(), env.request(testRequest{path: "/articles/a1"})).Readings[0]
	if reading.Path != "/articles/a1" || len(reading.PassedOver) != 1 || reading.PassedOver[0].Rank != 2 || reading.OtherRules != 1 {
		t.Errorf("the rules are %+v", reading)
	}
	if strings.Join(reading.SKUs, " ") != "premium a1" || reading.ContentID != "a1" || reading.Decision.Rule.Rank != 3 {
		t.Errorf("the rule requires one of %v for %q", reading.SKUs, reading.ContentID)
	}
	both := env.policy.Explain(t.Context(), env.request(testRequest{path: "//articles/a1"}))
	if len(both.Readings) < 2 || both.Decision.Reason != ReasonLoginRequired {
		t.Errorf("a path with two readings: %+v", both)
	}
}

func TestExplainLinks(t *testing.T) {
	env := newTestEnv(t)
	for name, test := range map[string]struct {
		claims keys.LinkClaims
		misfit string
	}{
		"fits":    {keys.LinkClaims{ID: "a"}, ""},
		"content": {keys.LinkClaims{ID: "b", PublisherContentID: "zz"}, "publisherContentId"},
		"sku":     {keys.LinkClaims{ID: "c", SKU: "gold"}, "sku"},
		"url":     {keys.LinkClaims{ID: "d", URL: "https://news.example/articles/zz"}, "url"},
	} {
		explained := env.policy.Explain(t.Context(), env.request(testRequest{path: "/articles/a1", link: linkEvidence(env.newLink(test.claims))}))
		if explained.Token == nil || explained.Token.Reason != ReasonSignedLink || explained.Token.Claims.ID != test.claims.ID || explained.Readings[0].Misfit != test.misfit {
			t.Errorf("%s: %+v, misfit %q", name, explained.Token, explained.Readings[0].Misfit)
		}
	}
	bad := env.policy.Explain(t.Context(), env.request(testRequest{path: "/articles/a1", link: linkEvidence("malformed")}))
	if bad.Token == nil || bad.Token.Reason != ReasonLinkInvalid || bad.Token.Err == nil {
		t.Errorf("a malformed token: %+v", bad.Token)
	}
	if none := env.policy.Explain(t.Context(), env.request(testRequest{path: "/public", link: linkEvidence("malformed")})); none.Token != nil {
		t.Errorf("a public page: the token is verified: %+v", none.Token)
	}
}
