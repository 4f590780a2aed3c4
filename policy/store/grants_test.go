package store_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store"
)

func at(text string) *time.Time {
	moment, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		panic(err)
	}
	return &moment
}

func TestGrantsAreChecked(t *testing.T) {
	b := newFixture(t)
	many := make(map[string]string)
	for i := range 65 {
		many[fmt.Sprint(i)] = "x"
	}
	long := strings.Repeat("x", 256)
	for name, test := range map[string]struct {
		grant store.Grant
		field string
	}{
		"no sku":                  {store.Grant{UserID: "u"}, "sku"},
		"no reader":               {store.Grant{SKU: "s"}, "userId"},
		"status":                  {store.Grant{UserID: "u", SKU: "s", Status: "ON"}, "status"},
		"ends before it starts":   {store.Grant{UserID: "u", SKU: "s", StartsAt: at("2027-01-02T00:00:00Z"), EndsAt: at("2027-01-01T00:00:00Z")}, "endsAt"},
		"ends as it starts":       {store.Grant{UserID: "u", SKU: "s", StartsAt: at("2027-01-01T00:00:00Z"), EndsAt: at("2027-01-01T00:00:00Z")}, "endsAt"},
		"less than a millisecond": {store.Grant{UserID: "u", SKU: "s", StartsAt: at("2027-01-01T00:00:00.0001Z"), EndsAt: at("2027-01-01T00:00:00.0009Z")}, "endsAt"},
		"e-mail without at":       {store.Grant{Email: "no-at-sign", SKU: "s"}, "email"},
		"two at":                  {store.Grant{Email: "a@b@c", SKU: "s"}, "email"},
		"space in e-mail":         {store.Grant{Email: "a b@c", SKU: "s"}, "email"},
		"nothing before at":       {store.Grant{Email: "@c", SKU: "s"}, "email"},
		"long sku":                {store.Grant{UserID: "u", SKU: long}, "sku"},
		"long user":               {store.Grant{UserID: long, SKU: "s"}, "userId"},
		"NUL in user":             {store.Grant{UserID: "u\x00v", SKU: "s"}, "userId"},
		"bad UTF-8":               {store.Grant{UserID: "u\xff", SKU: "s"}, "userId"},
		"long publisher user":     {store.Grant{PublisherUserID: long, SKU: "s"}, "publisherUserId"},
		"long notes":              {store.Grant{UserID: "u", SKU: "s", Notes: strings.Repeat("x", 4097)}, "notes"},
		"too many extra fields":   {store.Grant{UserID: "u", SKU: "s", ExtraFields: many}, "extraFields"},
		"long extra field":        {store.Grant{UserID: "u", SKU: "s", ExtraFields: map[string]string{"a": strings.Repeat("x", 2048)}}, "extraFields"},
		"long address":            {store.Grant{UserID: "u", SKU: "s", BillingAddress: &store.Address{Street: strings.Repeat("x", 1025)}}, "billingAddress"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := b.CreateGrant(t.Context(), vendor, store.DefaultList, test.grant)
			inner := *b
			inner.T = t
			inner.names(err, test.field)
		})
	}
	_, err := b.CreateGrant(t.Context(), vendor, "src_none", store.Grant{UserID: "u", SKU: "s"})
	b.is(err, store.ErrNotFound)
	if grants, err := b.ListGrants(t.Context(), vendor, store.DefaultList, store.Page{}); err != nil || len(grants) != 0 {
		t.Errorf("stored were %v, %v", grants, err)
	}
	// Notes may have lines.
	b.grant(store.Grant{UserID: "u", SKU: "s", Notes: "one\n\ttwo\r\n"})
}

// A grant matches by any identifier that it carries, and counts once.
func TestGrantMatchesByAnyIdentifier(t *testing.T) {
	b := newFixture(t)
	b.grant(store.Grant{UserID: "u", PublisherUserID: "p", Email: "Reader@Example.COM", SKU: "all"})
	b.grant(store.Grant{PublisherUserID: "p", SKU: "by-publisher"})
	b.grant(store.Grant{UserID: "u2", SKU: "other"})
	for _, test := range []struct {
		reader policy.Reader
		want   string
	}{
		{policy.Reader{UserID: "u"}, "all+"},
		{policy.Reader{UserID: "x", PublisherUserID: "p"}, "all+ by-publisher+"},
		{policy.Reader{UserID: "x", Email: "reader@example.com"}, "all+"},
		{policy.Reader{UserID: "u", PublisherUserID: "p", Email: "reader@example.com"}, "all+ by-publisher+"},
		{policy.Reader{UserID: "p"}, ""},
		{policy.Reader{UserID: "U"}, ""},
		{policy.Reader{UserID: "u\x00src"}, ""},
		{policy.Reader{UserID: ""}, ""},
		{policy.Reader{UserID: "u2"}, "other+"},
	} {
		if got := b.skus(test.reader); got != test.want {
			t.Errorf("%+v has %q, want %q", test.reader, got, test.want)
		}
	}
}

func TestGrantWindowIsHalfOpen(t *testing.T) {
	b := newFixture(t)
	starts, ends := at("2027-01-01T00:00:00Z"), at("2027-02-01T01:00:00+01:00")
	b.grant(store.Grant{UserID: "u", SKU: "s", StartsAt: starts, EndsAt: ends})
	b.grant(store.Grant{UserID: "epoch", SKU: "s", EndsAt: at("1970-01-01T00:00:00Z")})
	b.grant(store.Grant{UserID: "before", SKU: "s", EndsAt: at("1969-12-31T00:00:00Z")})
	counts := func(user string, moment time.Time) bool {
		t.Helper()
		records, err := b.ReaderRecords(t.Context(), vendor, policy.Reader{UserID: user})
		grants := records.Grants
		b.ok(err)
		_, _, ok := policy.NewEntitlements(grants).Has("s", moment.UnixMilli())
		found, err := b.GrantsOf(t.Context(), vendor, policy.Reader{UserID: user})
		b.ok(err)
		if found[0].Counts(moment) != ok {
			t.Errorf("Counts says %v, the decision %v", !ok, ok)
		}
		return ok
	}
	for moment, want := range map[time.Time]bool{
		starts.Add(-time.Millisecond): false, *starts: true,
		ends.Add(-time.Millisecond): true, *ends: false,
	} {
		if got := counts("u", moment); got != want {
			t.Errorf("at %v it counts: %v", moment, got)
		}
	}
	if counts("epoch", b.clock) || counts("before", b.clock) {
		t.Error("a grant that ended at the epoch counts for ever")
	}
}

// A grant is moved to another reader: the first one has lost it, and both are
// stale.
func TestUpdateMovesAGrant(t *testing.T) {
	b := newFixture(t)
	g := b.grant(store.Grant{UserID: "a", Email: "a@example.com", SKU: "s"})
	a, other := policy.Reader{UserID: "a"}, policy.Reader{UserID: "b"}
	stampA, stampB := b.versions.Reader(vendor, &a), b.versions.Reader(vendor, &other)
	b.clock = b.clock.Add(time.Minute)
	updated, err := b.UpdateGrant(t.Context(), vendor, store.DefaultList, g.ID, func(g *store.Grant) error {
		*g = store.Grant{UserID: "b", SKU: "s2", ID: "grant_forged", Source: "src_forged"}
		return nil
	})
	b.ok(err)
	if updated.ID != g.ID || updated.Source != g.Source || !updated.CreatedAt.Equal(g.CreatedAt) || !updated.UpdatedAt.After(g.UpdatedAt) {
		t.Errorf("updated is %+v", updated)
	}
	if got := b.skus(a) + "|" + b.skus(policy.Reader{UserID: "x", Email: "a@example.com"}) + "|" + b.skus(other); got != "||s2+" {
		t.Errorf("the readers have %q", got)
	}
	if b.versions.Reader(vendor, &a) == stampA || b.versions.Reader(vendor, &other) == stampB {
		t.Error("a reader is not invalidated")
	}
	_, err = b.UpdateGrant(t.Context(), vendor, store.DefaultList, "grant_none", func(*store.Grant) error { return nil })
	b.is(err, store.ErrNotFound)
	_, err = b.UpdateGrant(t.Context(), vendor, store.DefaultList, g.ID, func(g *store.Grant) error {
		g.SKU = ""
		return nil
	})
	b.names(err, "sku")
}

func TestDeletedGrantIsGone(t *testing.T) {
	b := newFixture(t)
	reader := policy.Reader{UserID: "u"}
	g := b.grant(store.Grant{UserID: "u", Email: "u@example.com", SKU: "s"})
	stamp := b.versions.Reader(vendor, &reader)
	b.ok(b.DeleteGrant(t.Context(), vendor, store.DefaultList, g.ID, nil))
	if got := b.skus(reader) + b.skus(policy.Reader{UserID: "x", Email: "u@example.com"}); got != "" {
		t.Errorf("the reader has %s", got)
	}
	if b.versions.Reader(vendor, &reader) == stamp {
		t.Error("nothing became stale")
	}
	b.is(b.DeleteGrant(t.Context(), vendor, store.DefaultList, g.ID, nil), store.ErrNotFound)
	_, err := b.Grant(t.Context(), vendor, store.DefaultList, g.ID)
	b.is(err, store.ErrNotFound)
	if b.DeleteGrant(t.Context(), vendor, "src_other", g.ID, nil) == nil {
		t.Error("a grant was removed from a list in which it does not stand")
	}
}

// The versions are bumped after the commit: a reader that loads them before reading the store
// can never keep what is older than an acknowledged write.
func TestStampBeforeReadIsNeverFresh(t *testing.T) {
	b := newFixture(t)
	reader := policy.Reader{UserID: "u"}
	for range 50 {
		stamp := b.versions.Reader(vendor, &reader)
		before := b.skus(reader)
		b.grant(store.Grant{UserID: "u", SKU: "s"})
		if after := b.skus(reader); after != before && b.versions.Reader(vendor, &reader) == stamp {
			t.Fatal("a stale answer carries the stamp of a fresh one")
		}
	}
}

func TestGrantPages(t *testing.T) {
	b := newFixture(t)
	var want []string
	for i := range 7 {
		want = append(want, b.grant(store.Grant{UserID: fmt.Sprint(i), SKU: "s"}).ID)
	}
	var got []string
	for from, more := "", true; more; {
		page, err := b.ListGrants(t.Context(), vendor, store.DefaultList, store.Page{Limit: 3, From: from})
		b.ok(err)
		for _, g := range page {
			got, from = append(got, g.ID), g.ID
		}
		more = len(page) == 3
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("the pages hold %v, want %v", got, want)
	}
	if page, err := b.ListGrants(t.Context(), vendor, store.DefaultList, store.Page{Limit: -1, From: want[5]}); err != nil || len(page) != 1 {
		t.Errorf("%v, %v", page, err)
	}
	_, err := b.ListGrants(t.Context(), vendor, "src_none", store.Page{})
	b.is(err, store.ErrNotFound)
}

// Nothing of one vendor is there for another.
func TestVendorsAreApart(t *testing.T) {
	b := newFixture(t)
	g := b.grant(store.Grant{UserID: "u", SKU: "s"})
	records, err := b.ReaderRecords(t.Context(), "other", policy.Reader{UserID: "u"})
	grants := records.Grants
	if err != nil || len(grants) != 0 {
		t.Errorf("another vendor finds %v, %v", grants, err)
	}
	_, err = b.Grant(t.Context(), "other", store.DefaultList, g.ID)
	b.is(err, store.ErrNotFound)
	b.is(b.DeleteGrant(t.Context(), "other", store.DefaultList, g.ID, nil), store.ErrNotFound)
	if vendors, err := b.Vendors(t.Context()); err != nil || fmt.Sprint(vendors) != "[acme]" {
		t.Errorf("the vendors are %v, %v", vendors, err)
	}
}
