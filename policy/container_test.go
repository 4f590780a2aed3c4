package policy

import (
	"errors"
	"testing"
	"time"

	"github.com/gatefold/gatefold/keys"
)

// Ann has the premium pass. What is in it she has as well, from the moment at
// which it is put in until it is taken out; Bob never has.
func TestGrantOfACollectionIncludesItsMembers(t *testing.T) {
	env := newTestEnv(t)
	env.records.grant(fakeGrant{Grant: Grant{ID: "g1", SKU: "pass"}, userID: "ann"})
	visits := func(want Reason) Decision {
		env.want(testRequest{reader: bob}, ReasonNotEntitled)
		env.waitForCaches()
		return env.want(testRequest{reader: ann}, want)
	}
	visits(ReasonNotEntitled)
	visits(ReasonNotEntitled)
	env.records.setContainers("a1", "bundle", "pass")
	for range 2 {
		decision := visits(ReasonEntitled)
		if decision.SKU != "pass" || decision.Grant != "g1" {
			t.Errorf("let in by %s, %s", decision.SKU, decision.Grant)
		}
	}
	env.want(testRequest{reader: ann, path: "/articles/a2"}, ReasonNotEntitled)
	env.records.setContainers("a1", "bundle")
	visits(ReasonNotEntitled)
	// A sku that the rule names may be in a collection itself.
	env.records.setContainers("premium", "pass")
	visits(ReasonEntitled)
	env.want(testRequest{reader: ann, path: "/articles/a2"}, ReasonEntitled)
	// The other vendor's pass of this name holds nothing.
	env.site = NewSite("other", "news", env.site.Rules, PathOptions{}, env.keys)
	env.want(testRequest{reader: ann}, ReasonNotEntitled)
}

// What a rule names itself comes first: it says by what the reader is let in.
func TestNamedSKUPrecedesCollections(t *testing.T) {
	env := newTestEnv(t)
	env.records.setContainers("premium", "pass")
	env.records.grant(fakeGrant{Grant: Grant{ID: "g1", SKU: "pass"}, userID: "ann"})
	env.records.grant(fakeGrant{Grant: Grant{ID: "g2", SKU: "a1"}, userID: "ann"})
	if decision := env.want(testRequest{reader: ann}, ReasonEntitled); decision.SKU != "a1" || decision.Grant != "g2" {
		t.Errorf("let in by %s, %s", decision.SKU, decision.Grant)
	}
}

// The times of a grant hold for all that is in its sku, to the millisecond, and
// the decision says until when it holds.
func TestGrantPeriodAppliesToCollectionMembers(t *testing.T) {
	env := newTestEnv(t)
	env.records.setContainers("a1", "pass")
	env.records.grant(fakeGrant{Grant: Grant{ID: "g1", SKU: "pass", StartsAt: start*1000 + 1000, EndsAt: start*1000 + 2000}, userID: "ann"})
	if decision := env.want(testRequest{reader: ann}, ReasonNotEntitled); decision.Until != start*1000+1000 {
		t.Errorf("holds until %d", decision.Until)
	}
	env.advance(time.Second)
	if decision := env.want(testRequest{reader: ann}, ReasonEntitled); decision.Until != start*1000+2000 {
		t.Errorf("holds until %d", decision.Until)
	}
	env.advance(time.Second)
	env.want(testRequest{reader: ann}, ReasonNotEntitled)
}

// Where it cannot be read what a sku is in, who might have it is not let in, and
// not told that she has it not; who has it by its own name is.
func TestUnreadableCollections(t *testing.T) {
	env := newTestEnv(t)
	env.records.grant(fakeGrant{Grant: Grant{ID: "g1", SKU: "pass"}, userID: "ann"})
	env.records.containersDown = errDown
	decision := env.want(testRequest{reader: ann}, ReasonStoreUnavailable)
	if !errors.Is(decision.Err, ErrUnavailable) || !errors.Is(decision.Err, errDown) {
		t.Errorf("the error is %v", decision.Err)
	}
	// Bob has nothing, in whatever it may be.
	env.want(testRequest{reader: bob}, ReasonNotEntitled)
	env.want(testRequest{}, ReasonLoginRequired)
	env.subscribe(0, 0)
	env.want(testRequest{reader: ann}, ReasonEntitled)
	env.records.containersDown = nil
	env.records.revoke("g1")
	env.want(testRequest{reader: ann}, ReasonNotEntitled)
}

// A link opens what it names, and not what is in that: it is a link to a page.
func TestLinkDoesNotOpenCollectionMembers(t *testing.T) {
	env := newTestEnv(t)
	env.records.setContainers("a1", "pass")
	env.want(testRequest{link: linkEvidence(env.newLink(keys.LinkClaims{SKU: "pass"}))}, ReasonLinkOtherResource)
	env.want(testRequest{link: linkEvidence(env.newLink(keys.LinkClaims{ID: "link_2", SKU: "a1"}))}, ReasonSignedLink)
}

// Collections are read once, until one changes.
func TestContainersAreCached(t *testing.T) {
	env := newTestEnv(t)
	env.records.grant(fakeGrant{Grant: Grant{ID: "g1", SKU: "pass"}, userID: "ann"})
	reads := func() int {
		before := env.records.readCount()
		env.decide(testRequest{reader: ann})
		env.waitForCaches()
		return env.records.readCount() - before
	}
	if first, second := reads(), reads(); first != 3 || second != 0 { // her grants, premium, a1
		t.Errorf("%d reads, then %d", first, second)
	}
	env.records.setContainers("a1", "pass")
	if third, fourth := reads(), reads(); third != 3 || fourth != 0 {
		t.Errorf("%d reads after a change, then %d", third, fourth)
	}
}
