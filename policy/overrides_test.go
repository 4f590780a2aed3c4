package policy

import (
	"testing"
	"time"

	"github.com/gatefold/gatefold/keys"
)

// With overrides a reader is decided by the given grants and link, and not by those of
// the store.
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
			t.Errorf("%+v %+v: with a store %v, without %v", s, v, reason, other.Reason)
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
		{"granted in the store only", Overrides{Grants: true}, page("ann"), ReasonNotEntitled},
		{"granted by the overrides", Overrides{Grants: true, SKUs: []string{"x", "premium"}}, page("other"), ReasonEntitled},
		{"another sku granted by the overrides", Overrides{Grants: true, SKUs: []string{"x"}}, page("other"), ReasonNotEntitled},
		{"an anonymous reader", Overrides{Grants: true, SKUs: []string{"premium"}}, testRequest{path: "/articles/a1"}, ReasonLoginRequired},
		{"a link to this page", Overrides{LinkTo: "https://news.example/articles/a1"}, testRequest{path: "/articles/a1"}, ReasonSignedLink},
		{"a link to another page", Overrides{LinkTo: "https://news.example/articles/a2"}, testRequest{path: "/articles/a1"}, ReasonLoginRequired},
		{"a link where the rule accepts none", Overrides{LinkTo: "https://news.example/account"}, testRequest{path: "/account"}, ReasonLoginRequired},
	} {
		if got := decide(test.s, test.v); got != test.want {
			t.Errorf("%s: %v, want %v", test.name, got, test.want)
		}
	}
	// Without overrides the store decides.
	if got := env.policy.WithOverrides(Overrides{}).Decide(t.Context(), env.request(page("ann"))).Reason; got != ReasonEntitled {
		t.Errorf("without overrides: %v", got)
	}
	// It never redeems a link.
	env.newLink(keys.LinkClaims{ID: "counted", MaxUses: 1})
	overridden := env.policy.WithOverrides(Overrides{Grants: true})
	decision := Decision{Reason: ReasonSignedLink, Link: LinkUse{Issuer: env.site.Issuer(), ID: "counted", Spend: true, MaxUses: 1, ExpiresAt: time.Now().Unix()}}
	if got := overridden.Redeem(t.Context(), env.request(page("ann")), decision, "id"); got.Allow() {
		t.Errorf("a link was redeemed: %+v", got)
	}
}
