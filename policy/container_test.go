package policy

import (
	"errors"
	"testing"
	"time"

	"github.com/gatefold/gatefold/keys"
)

// A grant of a collection includes its members, from the write that adds a member until
// the write that removes it.
func TestGrantOfACollectionIncludesItsMembers(t *testing.T) {
	env := newTestEnv(t)
	env.records.grant(fakeGrant{Grant: Grant{ID: "g1", SKU: "pass"}, userID: "ann"})
	decide := func(want Reason) Decision {
		env.want(testRequest{reader: bob}, ReasonNotEntitled)
		env.waitForCaches()
		return env.want(testRequest{reader: ann}, want)
	}
	decide(ReasonNotEntitled)
	decide(ReasonNotEntitled)
	env.records.setContainers("a1", "bundle", "pass")
	for range 2 {
		decision := decide(ReasonEntitled)
		if decision.SKU != "pass" || decision.Grant != "g1" {
			t.Errorf("entitled by sku %s, grant %s", decision.SKU, decision.Grant)
		}
	}
	env.want(testRequest{reader: ann, path: "/articles/a2"}, ReasonNotEntitled)
	env.records.setContainers("a1", "bundle")
	decide(ReasonNotEntitled)
	// A sku that the rule names may itself be a member.
	env.records.setContainers("premium", "pass")
	decide(ReasonEntitled)
	env.want(testRequest{reader: ann, path: "/articles/a2"}, ReasonEntitled)
	// Collections belong to a vendor.
	env.site = NewSite("other", "news", env.site.Rules, PathOptions{}, env.keys)
	env.want(testRequest{reader: ann}, ReasonNotEntitled)
}

// A grant of a sku that the rule names is reported rather than a grant of its
// collection.
func TestNamedSKUPrecedesCollections(t *testing.T) {
	env := newTestEnv(t)
	env.records.setContainers("premium", "pass")
	env.records.grant(fakeGrant{Grant: Grant{ID: "g1", SKU: "pass"}, userID: "ann"})
	env.records.grant(fakeGrant{Grant: Grant{ID: "g2", SKU: "a1"}, userID: "ann"})
	if decision := env.want(testRequest{reader: ann}, ReasonEntitled); decision.SKU != "a1" || decision.Grant != "g2" {
		t.Errorf("entitled by sku %s, grant %s", decision.SKU, decision.Grant)
	}
}

// The period of a collection's grant applies to the members, to the millisecond, and
// bounds the decision.
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

// If collections cannot be read, a reader with other grants is neither allowed nor
// denied. A grant of the sku itself is sufficient.
func TestUnreadableCollections(t *testing.T) {
	env := newTestEnv(t)
	env.records.grant(fakeGrant{Grant: Grant{ID: "g1", SKU: "pass"}, userID: "ann"})
	env.records.containersDown = errDown
	decision := env.want(testRequest{reader: ann}, ReasonStoreUnavailable)
	if !errors.Is(decision.Err, ErrUnavailable) || !errors.Is(decision.Err, errDown) {
		t.Errorf("the error is %v", decision.Err)
	}
	// Without any grant the collections do not matter.
	env.want(testRequest{reader: bob}, ReasonNotEntitled)
	env.want(testRequest{}, ReasonLoginRequired)
	env.subscribe(0, 0)
	env.want(testRequest{reader: ann}, ReasonEntitled)
	env.records.containersDown = nil
	env.records.revoke("g1")
	env.want(testRequest{reader: ann}, ReasonNotEntitled)
}

// A link to a collection's sku does not open the pages of its members.
func TestLinkDoesNotOpenCollectionMembers(t *testing.T) {
	env := newTestEnv(t)
	env.records.setContainers("a1", "pass")
	env.want(testRequest{link: linkEvidence(env.newLink(keys.LinkClaims{SKU: "pass"}))}, ReasonLinkOtherResource)
	env.want(testRequest{link: linkEvidence(env.newLink(keys.LinkClaims{ID: "link_2", SKU: "a1"}))}, ReasonSignedLink)
}

// Collections are read again only after a change.
func TestContainersAreCached(t *testing.T) {
	env := newTestEnv(t)
	env.records.grant(fakeGrant{Grant: Grant{ID: "g1", SKU: "pass"}, userID: "ann"})
	reads := func() int {
		before := env.records.readCount()
		env.decide(testRequest{reader: ann})
		env.waitForCaches()
		return env.records.readCount() - before
	}
	if first, second := reads(), reads(); first != 3 || second != 0 { // grants, premium, a1
		t.Errorf("%d reads, then %d, want 3 and 0", first, second)
	}
	env.records.setContainers("a1", "pass")
	if third, fourth := reads(), reads(); third != 3 || fourth != 0 {
		t.Errorf("%d reads after a change, then %d", third, fourth)
	}
}
