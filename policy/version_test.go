package policy

import (
	"slices"
	"testing"
)

// Domains are stale unless the invalidation excludes it: after an event of an older
// node, and after joining with a change of domains.
func TestBumpInvalidatesDomains(t *testing.T) {
	rest, all, reader := Invalidation{Shared: true, SameDomains: true}, Invalidation{Shared: true}, Invalidation{Stripes: []uint16{1}}
	join := func(changes ...Invalidation) (joined Invalidation) {
		for _, change := range changes {
			joined.Join(change)
		}
		return joined
	}
	old, err := DecodeInvalidation([]byte{3, 1})
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		change Invalidation
		stale  bool
	}{
		"a reader": {reader, false}, "rules": {rest, false}, "all": {all, true}, "an older node's": {old, true},
		"rules and all": {join(rest, all), true}, "all and rules": {join(all, rest), true}, "all, rules, a reader": {join(all, rest, reader), true},
		"rules and a reader": {join(rest, reader), false}, "a reader and rules": {join(reader, rest), false}, "a reader and all": {join(reader, all), true},
		"nothing": {join(), false},
	} {
		v := new(Versions)
		v.Bump(test.change)
		if got := v.Domains() != 0; got != test.stale {
			t.Errorf("%s: stale %v", name, got)
		}
		if got := v.Shared() != 0; got != test.change.Shared {
			t.Errorf("%s: shared values are stale: %v", name, got)
		}
	}
}

// Nodes send each other stripes, so their numbers must not change between releases.
// Each part of an identifier is hashed with its boundaries.
func TestStripeIsStable(t *testing.T) {
	if got := Stripe(KindUserID, "acme", "ann"); got != 23578 {
		t.Errorf("the stripe of Ann is %d", got)
	}
	seen := map[uint16]string{}
	for name, stripe := range map[string]uint16{
		"user":                       Stripe(KindUserID, "acme", "ann"),
		"another vendor's":           Stripe(KindUserID, "acm", "eann"),
		"e-mail":                     Stripe(KindEmail, "acme", "ann"),
		"publisher's":                Stripe(KindPublisherUserID, "acme", "ann"),
		"link":                       Stripe(KindLink, "acme", "gatefold:acme", "l1"),
		"link with another boundary": Stripe(KindLink, "acme", "gatefold:acmel", "1"),
		"link in one":                Stripe(KindLink, "acme", "gatefold:acmel1"),
	} {
		if other, taken := seen[stripe]; taken {
			t.Errorf("%s and %s share stripe %d", name, other, stripe)
		}
		seen[stripe] = name
	}
}

// Similar identifiers have different stripes.
func TestStripesAreSpread(t *testing.T) {
	seen := map[uint16]int{}
	for i := range stripes {
		seen[Stripe(KindUserID, "acme", string([]byte{'u', byte(i >> 8), byte(i)}))]++
	}
	// A random function reaches 63 % of the stripes.
	if len(seen) < stripes/2 {
		t.Errorf("%d users have only %d stripes", stripes, len(seen))
	}
	for stripe, n := range seen {
		if n > 16 {
			t.Errorf("%d users share stripe %d", n, stripe)
		}
	}
}

func TestBump(t *testing.T) {
	stamps := func(v *Versions) []uint64 {
		return []uint64{
			v.Shared(),
			v.Reader("acme", &ann),
			v.Reader("acme", &bob),
			v.Reader("other", &ann),
			v.Reader("acme", &Reader{Email: ann.Email}),
			v.Link("acme", "gatefold:acme", "l1"),
			v.Link("acme", "gatefold:acme", "l2"),
		}
	}
	of := func(kind Kind, parts ...string) (c Invalidation) { c.Add(kind, "acme", parts...); return c }
	for _, c := range []struct {
		name   string
		change Invalidation
		want   []bool
	}{
		{"nothing", Invalidation{}, []bool{false, false, false, false, false, false, false}},
		{"rules", Invalidation{Shared: true}, []bool{true, true, true, true, true, true, true}},
		{"Ann by user id", of(KindUserID, "ann"), []bool{false, true, false, false, false, false, false}},
		{"Ann by e-mail", of(KindEmail, "ann@example.org"), []bool{false, true, false, false, true, false, false}},
		{"Ann by the publisher's id", of(KindPublisherUserID, "p-ann"), []bool{false, true, false, false, false, false, false}},
		{"a link", of(KindLink, "gatefold:acme", "l1"), []bool{false, false, false, false, false, true, false}},
		{"no identifier", of(KindUserID, ""), []bool{false, false, false, false, false, false, false}},
	} {
		v := new(Versions)
		before := stamps(v)
		v.Bump(c.change)
		stale := make([]bool, len(before))
		for i, after := range stamps(v) {
			stale[i] = after != before[i]
		}
		if !slices.Equal(stale, c.want) {
			t.Errorf("%s invalidates %v, want %v", c.name, stale, c.want)
		}
	}
}

// A revocation between the read of the grants and their caching makes the cached value
// stale, because the versions are loaded before the read.
func TestRevocationDuringARead(t *testing.T) {
	env := newTestEnv(t)
	env.subscribe(0, 0)
	env.records.afterRead = func() { env.records.revoke("g1") }
	// The grant was read before the revocation: this answer may still be given.
	env.want(testRequest{reader: ann}, ReasonEntitled)
	env.waitForCaches()
	env.want(testRequest{reader: ann}, ReasonNotEntitled)
}
