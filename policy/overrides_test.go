package policy

import (
	"testing"
	"time"

	"github.com/gatefold/gatefold/keys"
)

// A rule test supposes a reader: she is judged as one who really has these
// grants and really holds this link, and by nothing that the store has of her.
func TestOverrides(t *testing.T) {
	env := newTestEnv(t)
	env.subscribe(0, 0) // ann has premium
	decide := func(s Overrides, v testRequest) Reason {
		if s.LinkTo != "" {
			v.link.Redeemed = append(v.link.Redeemed, HypotheticalLink())
		}
		alone := OverridesOnly(env.policy.Operators(), env.policy.Now, s)
		over := env.policy.WithOverrides(s)
		r := env.request(v)
		reason := over.Decide(t.Context(), r).Reason
		if r.Site.Rules == nil {
			return reason
		}
		if other := alone.Decide(t.Context(), env.request(v)); other.Reason != reason {
			t.Errorf("%+v %+v: with a store %v, alone %v", s, v, reason, other.Reason)
		}
		return reason
	}
	page := func(user string) testRequest { return testRequest{path: "/articles/a1", reader: Reader{UserID: user}} }
	for _, test := range []struct {
		name string
		s    Overrides
		v    testRequest
		want Reason
	}{
		{"who has it in the store", Overrides{Grants: true}, page("ann"), ReasonNotEntitled},
		{"who has it by supposition", Overrides{Grants: true, SKUs: []string{"x", "premium"}}, page("nobody"), ReasonEntitled},
		{"who has something else", Overrides{Grants: true, SKUs: []string{"x"}}, page("nobody"), ReasonNotEntitled},
		{"nobody", Overrides{Grants: true, SKUs: []string{"premium"}}, testRequest{path: "/articles/a1"}, ReasonLoginRequired},
		{"a link to this page", Overrides{LinkTo: "https://news.example/articles/a1"}, testRequest{path: "/articles/a1"}, ReasonSignedLink},
		{"a link to another page", Overrides{LinkTo: "https://news.example/articles/a2"}, testRequest{path: "/articles/a1"}, ReasonLoginRequired},
		{"a link where links open nothing", Overrides{LinkTo: "https://news.example/account"}, testRequest{path: "/account"}, ReasonLoginRequired},
	} {
		if got := decide(test.s, test.v); got != test.want {
			t.Errorf("%s: %v, want %v", test.name, got, test.want)
		}
	}
	// Without a supposition it decides by the store.
	if got := env.policy.WithOverrides(Overrides{}).Decide(t.Context(), env.request(page("ann"))).Reason; got != ReasonEntitled {
		t.Errorf("nothing supposed: %v", got)
	}
	// It spends nothing, whatever it is asked.
	env.newLink(keys.LinkClaims{ID: "counted", MaxUses: 1})
	supposing := env.policy.WithOverrides(Overrides{Grants: true})
	decision := Decision{Reason: ReasonSignedLink, Link: LinkUse{Issuer: env.site.Issuer(), ID: "counted", Spend: true, MaxUses: 1, ExpiresAt: time.Now().Unix()}}
	if got := supposing.Redeem(t.Context(), env.request(page("ann")), decision, "id"); got.Allow() {
		t.Errorf("it redeems a link: %+v", got)
	}
}
