package policy

import (
	"errors"
	"testing"
	"time"

	"github.com/gatefold/gatefold/keys"
)

// Ann has the premium pass. What is in it she has as well, from the moment at
// which it is put in until it is taken out; Bob never has.
func TestWhatIsInACollectionIsHad(t *testing.T) {
	w := newWorld(t)
	w.records.grant(fakeGrant{Grant: Grant{ID: "g1", SKU: "pass"}, userID: "ann"})
	visits := func(want Reason) Decision {
		w.want(visit{reader: bob}, ReasonNotEntitled)
		w.settle()
		return w.want(visit{reader: ann}, want)
	}
	visits(ReasonNotEntitled)
	visits(ReasonNotEntitled)
	w.records.collect("a1", "bundle", "pass")
	for range 2 {
		decision := visits(ReasonEntitled)
		if decision.SKU != "pass" || decision.Grant != "g1" {
			t.Errorf("let in by %s, %s", decision.SKU, decision.Grant)
		}
	}
	w.want(visit{reader: ann, path: "/articles/a2"}, ReasonNotEntitled)
	w.records.collect("a1", "bundle")
	visits(ReasonNotEntitled)
	// A sku that the rule names may be in a collection itself.
	w.records.collect("premium", "pass")
	visits(ReasonEntitled)
	w.want(visit{reader: ann, path: "/articles/a2"}, ReasonEntitled)
	// The other vendor's pass of this name holds nothing.
	w.site = NewSite("other", "news", w.site.Rules, PathOptions{}, w.keys)
	w.want(visit{reader: ann}, ReasonNotEntitled)
}

// What a rule names itself comes first: it says by what the reader is let in.
func TestOwnSKUComesFirst(t *testing.T) {
	w := newWorld(t)
	w.records.collect("premium", "pass")
	w.records.grant(fakeGrant{Grant: Grant{ID: "g1", SKU: "pass"}, userID: "ann"})
	w.records.grant(fakeGrant{Grant: Grant{ID: "g2", SKU: "a1"}, userID: "ann"})
	if decision := w.want(visit{reader: ann}, ReasonEntitled); decision.SKU != "a1" || decision.Grant != "g2" {
		t.Errorf("let in by %s, %s", decision.SKU, decision.Grant)
	}
}

// The times of a grant hold for all that is in its sku, to the millisecond, and
// the decision says until when it holds.
func TestTimesHoldForWhatIsInACollection(t *testing.T) {
	w := newWorld(t)
	w.records.collect("a1", "pass")
	w.records.grant(fakeGrant{Grant: Grant{ID: "g1", SKU: "pass", StartsAt: start*1000 + 1000, EndsAt: start*1000 + 2000}, userID: "ann"})
	if decision := w.want(visit{reader: ann}, ReasonNotEntitled); decision.Until != start*1000+1000 {
		t.Errorf("holds until %d", decision.Until)
	}
	w.wait(time.Second)
	if decision := w.want(visit{reader: ann}, ReasonEntitled); decision.Until != start*1000+2000 {
		t.Errorf("holds until %d", decision.Until)
	}
	w.wait(time.Second)
	w.want(visit{reader: ann}, ReasonNotEntitled)
}

// Where it cannot be read what a sku is in, who might have it is not let in, and
// not told that she has it not; who has it by its own name is.
func TestCollectionsCannotBeRead(t *testing.T) {
	w := newWorld(t)
	w.records.grant(fakeGrant{Grant: Grant{ID: "g1", SKU: "pass"}, userID: "ann"})
	w.records.containersDown = errDown
	decision := w.want(visit{reader: ann}, ReasonStoreUnavailable)
	if !errors.Is(decision.Err, ErrUnavailable) || !errors.Is(decision.Err, errDown) {
		t.Errorf("the error is %v", decision.Err)
	}
	// Bob has nothing, in whatever it may be.
	w.want(visit{reader: bob}, ReasonNotEntitled)
	w.want(visit{}, ReasonLoginRequired)
	w.subscribe(0, 0)
	w.want(visit{reader: ann}, ReasonEntitled)
	w.records.containersDown = nil
	w.records.revoke("g1")
	w.want(visit{reader: ann}, ReasonNotEntitled)
}

// A link opens what it names, and not what is in that: it is a link to a page.
func TestLinkOpensNoMembers(t *testing.T) {
	w := newWorld(t)
	w.records.collect("a1", "pass")
	w.want(visit{link: carries(w.newLink(keys.LinkClaims{SKU: "pass"}))}, ReasonLinkOtherResource)
	w.want(visit{link: carries(w.newLink(keys.LinkClaims{ID: "link_2", SKU: "a1"}))}, ReasonSignedLink)
}

// Collections are read once, until one changes.
func TestCollectionsAreReadOnce(t *testing.T) {
	w := newWorld(t)
	w.records.grant(fakeGrant{Grant: Grant{ID: "g1", SKU: "pass"}, userID: "ann"})
	reads := func() int {
		before := w.records.readCount()
		w.decide(visit{reader: ann})
		w.settle()
		return w.records.readCount() - before
	}
	if first, second := reads(), reads(); first != 3 || second != 0 { // her grants, premium, a1
		t.Errorf("%d reads, then %d", first, second)
	}
	w.records.collect("a1", "pass")
	if third, fourth := reads(), reads(); third != 3 || fourth != 0 {
		t.Errorf("%d reads after a change, then %d", third, fourth)
	}
}
