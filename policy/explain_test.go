package policy

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/gatefold/gatefold/keys"
)

// What is explained is what is decided: for any reader, page and link, and
// without spending anything.
func TestExplainDecidesAsTheGateDoes(t *testing.T) {
	w := newWorld(t)
	w.subscribe(0, 0)
	counted := w.newLink(keys.LinkClaims{ID: "counted", MaxUses: 3})
	links := []LinkEvidence{
		{},
		carries(counted), carries(w.newLink(keys.LinkClaims{ID: "open"})),
		carries(w.newLink(keys.LinkClaims{ID: "other", PublisherContentID: "zz"})),
		carries(w.newLink(keys.LinkClaims{ID: "ended", ExpiresAt: start + 1})),
		carries("garbage"),
		{Token: counted, Readable: true},
		{Redeemed: []RedeemedLink{passOf("open")}},
		{Ambiguous: true},
	}
	w.newLink(keys.LinkClaims{ID: "revoked"})
	w.records.revokeLink("revoked")
	w.wait(2_000_000_000)
	random := rand.New(rand.NewPCG(1, 2))
	reasons := map[Reason]int{}
	for range 2000 {
		v := visit{
			method: []string{"GET", "POST"}[random.IntN(2)],
			path:   []string{"/articles/a1", "/articles/zz", "/gold", "/account", "/public", "/form", "/none"}[random.IntN(7)],
			reader: []Reader{{}, {UserID: "u1"}, {UserID: "nobody"}, {Rejected: true}, {Unknown: true}}[random.IntN(5)],
			link:   links[random.IntN(len(links))],
		}
		decided := w.policy.Decide(t.Context(), w.request(v))
		explained := w.policy.Explain(t.Context(), w.request(v))
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
		t.Errorf("only these reasons were seen: %v", reasons)
	}
	if used := w.records.used("counted"); used != 0 {
		t.Errorf("%d uses were spent", used)
	}
}

func TestExplainTellsOfRules(t *testing.T) {
	w := newWorld(t)
	rules, err := CompileRules([]Rule{
		{Rank: 1, Path: "/other", Allow: Allow{Operator: "any"}},
		{Rank: 2, Path: "/articles", Methods: []string{"POST"}, Allow: Allow{Operator: "any"}},
		{Rank: 3, Path: "/articles/{publisherContentId}", Allow: entitledTo("premium", "{publisherContentId}")},
		{Rank: 4, Path: "/", Allow: Allow{Operator: "any"}},
	}, StandardOperators())
	must(t, err)
	w.site = NewSite("acme", "news", rules, PathOptions{EmptySegments: true}, w.keys)

	reading := w.policy.Explain(t.Context(), w.request(visit{path: "/articles/a1"})).Readings[0]
	if reading.Path != "/articles/a1" || len(reading.PassedOver) != 1 || reading.PassedOver[0].Rank != 2 || reading.OtherRules != 1 {
		t.Errorf("the rules are %+v", reading)
	}
	if strings.Join(reading.SKUs, " ") != "premium a1" || reading.ContentID != "a1" || reading.Decision.Rule.Rank != 3 {
		t.Errorf("the rule asks for %v of %q", reading.SKUs, reading.ContentID)
	}
	both := w.policy.Explain(t.Context(), w.request(visit{path: "//articles/a1"}))
	if len(both.Readings) < 2 || both.Decision.Reason != ReasonLoginRequired {
		t.Errorf("a path of two readings is %+v", both)
	}
}

func TestExplainTellsOfLinks(t *testing.T) {
	w := newWorld(t)
	for name, test := range map[string]struct {
		claims keys.LinkClaims
		misfit string
	}{
		"fits":    {keys.LinkClaims{ID: "a"}, ""},
		"content": {keys.LinkClaims{ID: "b", PublisherContentID: "zz"}, "publisherContentId"},
		"sku":     {keys.LinkClaims{ID: "c", SKU: "gold"}, "sku"},
		"url":     {keys.LinkClaims{ID: "d", URL: "https://news.example/articles/zz"}, "url"},
	} {
		explained := w.policy.Explain(t.Context(), w.request(visit{path: "/articles/a1", link: carries(w.newLink(test.claims))}))
		if explained.Token == nil || explained.Token.Reason != ReasonSignedLink || explained.Token.Claims.ID != test.claims.ID || explained.Readings[0].Misfit != test.misfit {
			t.Errorf("%s: %+v, misfit %q", name, explained.Token, explained.Readings[0].Misfit)
		}
	}
	bad := w.policy.Explain(t.Context(), w.request(visit{path: "/articles/a1", link: carries("garbage")}))
	if bad.Token == nil || bad.Token.Reason != ReasonLinkInvalid || bad.Token.Err == nil {
		t.Errorf("garbage: %+v", bad.Token)
	}
	if none := w.policy.Explain(t.Context(), w.request(visit{path: "/public", link: carries("garbage")})); none.Token != nil {
		t.Errorf("on a public page the token is looked at: %+v", none.Token)
	}
}
