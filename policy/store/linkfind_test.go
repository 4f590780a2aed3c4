package store_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store"
)

// links returns the skus of the links that a query finds, over all of its pages.
func (b *fixture) links(query store.LinkQuery) string {
	b.Helper()
	var found []string
	for {
		links, next, more, err := b.FindLinks(b.Context(), vendor, keys.VendorIssuer(vendor), query)
		b.ok(err)
		for _, l := range links {
			found = append(found, l.Claims.SKU)
		}
		if !more {
			return strings.Join(found, " ")
		}
		query.From = next
	}
}

func TestFindLinks(t *testing.T) {
	b := newFixture(t)
	b.link(keys.LinkClaims{SKU: "a", URL: "https://n.example/articles/1", Subject: "u1", Meta: json.RawMessage(`{"campaign":"autumn","n":7}`)})
	used := b.link(keys.LinkClaims{SKU: "b", URL: "https://n.example/articles/2", MaxUses: 1, Meta: json.RawMessage(`{"campaign":"autumn","n":"8"}`)})
	revoked := b.link(keys.LinkClaims{SKU: "c", PublisherContentID: "hello", Subject: "u1"})
	b.link(keys.LinkClaims{SKU: "d", URL: "https://n.example/other", ExpiresAt: b.clock.Unix() + 2})
	b.ok(b.redeem(used, "one"))
	revoked, err := b.RevokeLink(t.Context(), vendor, revoked.Claims.Issuer, revoked.Claims.ID)
	b.ok(err)
	b.clock = b.clock.Add(5 * time.Second)
	for name, test := range map[string]struct {
		query store.LinkQuery
		want  string
	}{
		"all":           {store.LinkQuery{}, "a b c d"},
		"user":          {store.LinkQuery{UserID: "u1"}, "a c"},
		"sku":           {store.LinkQuery{SKU: "d"}, "d"},
		"content":       {store.LinkQuery{PublisherContentID: "hello"}, "c"},
		"url":           {store.LinkQuery{URL: "https://n.example/articles/2"}, "b"},
		"part of a url": {store.LinkQuery{URL: "https://n.example/articles/"}, ""},
		"urls":          {store.LinkQuery{URL: "https://n.example/articles/*"}, "a b"},
		"meta":          {store.LinkQuery{Meta: map[string]string{"campaign": "autumn"}}, "a b"},
		"number":        {store.LinkQuery{Meta: map[string]string{"campaign": "autumn", "n": "7"}}, "a"},
		"no such meta":  {store.LinkQuery{Meta: map[string]string{"x": ""}}, ""},
		"active":        {store.LinkQuery{Status: store.LinkActive}, "a"},
		"used up":       {store.LinkQuery{Status: store.LinkUsedUp}, "b"},
		"revoked":       {store.LinkQuery{Status: store.LinkRevoked}, "c"},
		"revoked then":  {store.LinkQuery{RevokedAt: revoked.RevokedAt}, "c"},
		"expired":       {store.LinkQuery{Status: store.LinkExpired}, "d"},
	} {
		for _, limit := range []int{1, 2, 100} {
			test.query.Limit = limit
			if got := b.links(test.query); got != test.want {
				t.Errorf("%s, %d a page: %q, want %q", name, limit, got, test.want)
			}
		}
	}
}

// A database of an earlier version has no index of links. Until it is built, a search reads
// all links, and finds the same.
func TestLinksOfEarlierVersions(t *testing.T) {
	b := newFixture(t)
	for i := range 1500 {
		b.link(keys.LinkClaims{SKU: fmt.Sprint("s", i%500), Subject: fmt.Sprint("u", i%500), URL: fmt.Sprint("https://n.example/", i)})
	}
	query := store.LinkQuery{UserID: "u7", Page: store.Page{Limit: 2}}
	if got := b.links(query); got != "s7 s7 s7" { //nolint:dupword // three links
		t.Errorf("with the index: %s", got)
	}
	b.forgetIndex()
	if got := b.links(query); got != "s7 s7 s7" { //nolint:dupword // three links
		t.Errorf("without: %s", got)
	}
	b.is(b.interrupted(3).indexed(), errCut)
	if _, err := b.Sweep(t.Context()); err != nil || b.count("~a") != 1500 || b.count("~u") != 1500 {
		t.Errorf("swept: %v, %d and %d entries", err, b.count("~a"), b.count("~u"))
	}
	if got := b.links(query); got != "s7 s7 s7" { //nolint:dupword // three links
		t.Errorf("with the index built: %s", got)
	}
	// It expires with the links.
	b.clock = b.clock.Add(2 * store.Retention)
	for range 3 {
		_, err := b.Sweep(t.Context())
		b.ok(err)
	}
	if b.count("S") != 0 || b.count("~a") != 0 || b.count("~u") != 0 {
		t.Errorf("%d links and %d entries are left", b.count("S"), b.count("~a")+b.count("~u"))
	}
}

// A campaign was withdrawn by mistake. Its links are given back with the uses that they
// have left; a link that was revoked before stays revoked.
func TestRevokedLinksAreGivenBack(t *testing.T) {
	b := newFixture(t)
	issuer := keys.VendorIssuer(vendor)
	meta := json.RawMessage(`{"campaign":"autumn"}`)
	counted := b.link(keys.LinkClaims{SKU: "counted", MaxUses: 2, Meta: meta})
	early := b.link(keys.LinkClaims{SKU: "early", Meta: meta})
	b.link(keys.LinkClaims{SKU: "other"})
	for i := range 700 {
		b.link(keys.LinkClaims{SKU: fmt.Sprint("s", i), Meta: meta})
	}
	b.ok(b.redeem(counted, "one"))
	_, err := b.RevokeLink(t.Context(), vendor, issuer, early.Claims.ID)
	b.ok(err)
	b.clock = b.clock.Add(time.Second)
	stamp := b.versions.Link(vendor, issuer, counted.Claims.ID)
	each := func(query store.LinkQuery, step func(store.LinkQuery) (int, string, bool, error)) (total int) {
		t.Helper()
		for more := true; more; {
			var n int
			var err error
			n, query.From, more, err = step(query)
			b.ok(err)
			total += n
		}
		return total
	}
	at := b.clock
	campaign := store.LinkQuery{Meta: map[string]string{"campaign": "autumn"}}
	revoked := each(campaign, func(q store.LinkQuery) (int, string, bool, error) {
		return b.RevokeLinks(t.Context(), vendor, issuer, q, at)
	})
	if revoked != 701 || b.versions.Link(vendor, issuer, counted.Claims.ID) == stamp {
		t.Errorf("revoked %d links", revoked)
	}
	b.is(b.redeem(counted, "two"), policy.ErrLinkRevoked)
	stamp = b.versions.Link(vendor, issuer, counted.Claims.ID)
	restored := each(store.LinkQuery{RevokedAt: at}, func(q store.LinkQuery) (int, string, bool, error) {
		return b.RestoreLinks(t.Context(), vendor, issuer, q)
	})
	if restored != 701 || b.versions.Link(vendor, issuer, counted.Claims.ID) == stamp {
		t.Errorf("restored %d links", restored)
	}
	b.ok(b.redeem(counted, "two"))
	b.is(b.redeem(counted, "three"), policy.ErrLinkUsedUp)
	if got := b.links(store.LinkQuery{Status: store.LinkRevoked}); got != "early" {
		t.Errorf("revoked are %q", got)
	}
	_, _, _, err = b.RevokeLinks(t.Context(), vendor, issuer, store.LinkQuery{Status: store.LinkActive}, at) //nolint:dogsled // only the error counts
	b.names(err, "url")
}

// A single link is given back, whichever key signed it, and the audit log says by whom.
func TestRevokedLinkIsGivenBack(t *testing.T) {
	b := newFixture(t)
	issuer := keys.VendorIssuer(vendor)
	link := b.link(keys.LinkClaims{SKU: "s"})
	w := b.Store.As(store.Actor{Name: "ada", Operation: "restore-signed-link"})
	for range 2 {
		_, err := b.RevokeLink(t.Context(), vendor, issuer, link.Claims.ID)
		b.ok(err)
		back, err := w.RestoreLink(t.Context(), vendor, issuer, link.Claims.ID)
		if err != nil || !back.RevokedAt.IsZero() || back.Claims.SKU != "s" {
			t.Errorf("given back is %+v, %v", back, err)
		}
		if kept, err := b.Link(t.Context(), vendor, issuer, link.Claims.ID); err != nil || kept.Revoked {
			t.Errorf("stored is %+v, %v", kept, err)
		}
		b.clock = b.clock.Add(time.Second)
	}
	if again, err := w.RestoreLink(t.Context(), vendor, issuer, link.Claims.ID); err != nil || !again.RevokedAt.IsZero() {
		t.Errorf("a link that is not revoked: %+v, %v", again, err)
	}
	entries, _, _, err := b.Audit(t.Context(), vendor, store.AuditQuery{Actor: "ada"})
	if err != nil || len(entries) != 2 || !strings.Contains(string(entries[0].Records[0].Before), "revokedAt") || entries[0].Records[0].After != nil {
		t.Errorf("the audit log has %+v, %v", entries, err)
	}
	_, err = w.RestoreLink(t.Context(), vendor, issuer, "none")
	b.is(err, store.ErrNotFound)
	// A publisher's link that was revoked before its first use.
	b.ok(b.RevokePublished(t.Context(), vendor, "news.example", "j1"))
	if _, err := w.RestoreLink(t.Context(), vendor, "news.example", "j1"); err != nil {
		t.Error(err)
	}
	_, err = b.Link(t.Context(), vendor, "news.example", "j1")
	b.is(err, store.ErrNotFound)
}
