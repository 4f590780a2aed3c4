package policy

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/gatefold/gatefold/keys"
)

// A grant counts at startsAt, and not at endsAt.
func TestGrantPeriodIsHalfOpen(t *testing.T) {
	for _, c := range []struct {
		from, to, now int64
		ok            bool
		until         int64
	}{
		{100, 200, 99, false, 100},
		{100, 200, 100, true, 200},
		{100, 200, 199, true, 200},
		{100, 200, 200, false, never},
		{0, 200, math.MinInt64, false, 0},
		{0, 200, 199, true, 200},
		{100, 0, 100, true, never},
		{0, 0, 1, true, never},
		{200, 200, 200, false, never}, // empty
		{200, 100, 150, false, never}, // ends before it starts
		{-200, -100, -150, true, -100},
	} {
		e := NewEntitlements([]Grant{{ID: "g", SKU: "premium", Active: true, StartsAt: c.from, EndsAt: c.to}})
		_, until, ok := e.Has("premium", c.now)
		if ok != c.ok || until != c.until {
			t.Errorf("[%d, %d) at %d: %t until %d", c.from, c.to, c.now, ok, until)
		}
		counts := false
		e.Each(c.now, func(string, string, int64, int64) bool { counts = true; return true })
		if counts != c.ok {
			t.Errorf("[%d, %d) at %d: Each and Has differ", c.from, c.to, c.now)
		}
	}
}

func TestGrantWithoutEffect(t *testing.T) {
	for name, grant := range map[string]Grant{
		"the grant or its list is not ACTIVE": {ID: "g", SKU: "premium"},
		"no sku":                              {ID: "g", Active: true},
		"another sku":                         {ID: "g", SKU: "premium ", Active: true},
		"a sku in another case":               {ID: "g", SKU: "Premium", Active: true},
	} {
		if _, _, ok := NewEntitlements([]Grant{grant}).Has("premium", 1); ok {
			t.Errorf("%s: the reader has premium", name)
		}
	}
	if _, _, ok := NewEntitlements([]Grant{{ID: "g", Active: true}}).Has("", 1); ok {
		t.Error("a grant without a sku gives the empty sku")
	}
	var none *Entitlements
	if _, until, ok := none.Has("premium", 1); ok || until != never {
		t.Error("nil entitlements include premium")
	}
	none.Each(1, func(string, string, int64, int64) bool { t.Error("nil entitlements include a grant"); return true })
}

func TestEachIsInOrderAndStops(t *testing.T) {
	e := NewEntitlements([]Grant{
		{ID: "g3", SKU: "c", Active: true},
		{ID: "g1", SKU: "a", Active: true, EndsAt: 9},
		{ID: "g2", SKU: "b", Active: true, StartsAt: 5},
		{ID: "g0", SKU: "b", Active: true, StartsAt: 6},
	})
	var got string
	e.Each(5, func(sku, grant string, from, to int64) bool {
		got += fmt.Sprint(sku, grant, from, to == never, " ")
		return sku != "b"
	})
	if want := "ag10 false bg25 true "; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestEntitlementsEqualALinearScan compares Has with a scan of the grants, and checks
// until at every later moment.
func TestEntitlementsEqualALinearScan(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		var grants []Grant
		for i := range random.IntN(6) {
			grants = append(grants, Grant{
				ID: fmt.Sprint("g", i), SKU: []string{"a", "b"}[random.IntN(2)], Active: random.IntN(8) > 0,
				StartsAt: int64(random.IntN(10)), EndsAt: int64(random.IntN(10)),
			})
		}
		e := NewEntitlements(grants)
		type answer struct {
			grant string
			ok    bool
		}
		var answers [12]answer
		for now := range answers {
			var best *Grant
			for i, g := range grants {
				counts := g.SKU == "a" && g.Active && g.StartsAt <= int64(now) && (g.EndsAt == 0 || int64(now) < g.EndsAt)
				if counts && (best == nil || endOf(g) > endOf(*best) || endOf(g) == endOf(*best) && g.ID < best.ID) {
					best = &grants[i]
				}
			}
			if best != nil {
				answers[now] = answer{best.ID, true}
			}
		}
		for now := range answers {
			grant, until, ok := e.Has("a", int64(now))
			if (answer{grant, ok}) != answers[now] {
				t.Fatalf("%+v at %d: %s, %t, want %+v", grants, now, grant, ok, answers[now])
			}
			if until <= int64(now) {
				t.Fatalf("%+v at %d: until %d, which is in the past", grants, now, until)
			}
			for later := now; later < len(answers) && int64(later) < until; later++ {
				if answers[later] != answers[now] {
					t.Fatalf("%+v at %d: until %d, but at %d it is %+v", grants, now, until, later, answers[later])
				}
			}
		}
	}
}

func endOf(g Grant) int64 { return cmp.Or(g.EndsAt, never) }

// One matching identifier is sufficient, and a change by any of them invalidates cached
// grants.
func TestGrantMatchesByAnyIdentifier(t *testing.T) {
	for name, g := range map[string]fakeGrant{
		"user id":           {userID: "ann"},
		"publisher user id": {publisherUserID: "p-ann"},
		"e-mail":            {email: "ann@example.org"},
		"one of three":      {userID: "someone", publisherUserID: "p-someone", email: "ann@example.org"},
	} {
		env := newTestEnv(t)
		g.ID, g.SKU = "g", "premium"
		env.want(testRequest{reader: ann}, ReasonNotEntitled)
		env.waitForCaches()
		env.records.grant(g)
		if decision := env.decide(testRequest{reader: ann}); decision.Reason != ReasonEntitled || decision.Grant != "g" || decision.SKU != "premium" {
			t.Errorf("by %s: %s", name, decision.Reason)
		}
		env.waitForCaches()
		env.records.revoke("g")
		env.want(testRequest{reader: ann}, ReasonNotEntitled)
	}
}

// Anyone may be able to register another person's address at the issuer, so an
// unverified address must not match grants.
func TestUnverifiedEmailIdentifiesNoReader(t *testing.T) {
	env := newTestEnv(t)
	env.records.grant(fakeGrant{Grant: Grant{ID: "g", SKU: "premium"}, email: "ann@example.org"})
	for _, verified := range []bool{false, true} {
		reader, err := env.policy.Reader(context.Background(), env.verifier(), env.readerToken(keys.ReaderClaims{
			UserID: "u1", Email: "Ann@Example.org", EmailVerified: verified,
		}), env.now())
		must(t, err)
		if decision := env.decide(testRequest{reader: reader}); decision.Allow() != verified {
			t.Errorf("verified: %t: %s", verified, decision.Reason)
		}
	}
}

// Only ASCII letters are folded: other addresses that differ in case may be different
// mailboxes.
func TestLowerEmail(t *testing.T) {
	for address, want := range map[string]string{
		"":                        "",
		"ann@example.org":         "ann@example.org",
		"Ann.B@EXAMPLE.org":       "ann.b@example.org",
		"AZaz09[`{@x":             "azaz09[`{@x",
		"\u212Aim@example.org":    "\u212Aim@example.org", // the Kelvin sign
		"\u0130an@example.org":    "\u0130an@example.org", // dotted capital I
		"\u0131an@example.org":    "\u0131an@example.org",
		"M\u00DCLLER@example.org": "m\u00DCller@example.org",
		"stra\u00DFe@x":           "stra\u00DFe@x",
		"A\xffB":                  "a\xffb",
	} {
		if got := LowerEmail(address); got != want {
			t.Errorf("%q: %q, want %q", address, got, want)
		}
	}
}
