package store_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store"
)

// as returns what writes on behalf of a named actor.
func (b *fixture) as(name string) store.Writer {
	return b.As(store.Actor{Name: name, Operation: "test"})
}

// audit returns the log, the newest entry first.
func (b *fixture) audit(query store.AuditQuery) []store.AuditEntry {
	b.Helper()
	entries, _, more, err := b.Audit(b.Context(), vendor, query)
	b.ok(err)
	if more {
		b.Fatal("there are more entries than a page has")
	}
	return entries
}

// Every kind of write says who made it, of what, and what it was before.
func TestAuditTellsOfEveryWrite(t *testing.T) {
	b := newFixture(t)
	ctx, w := t.Context(), b.as("ann")
	list, err := w.CreateList(ctx, vendor, store.AccessList{Name: "Partners"})
	b.ok(err)
	grant, err := w.CreateGrant(ctx, vendor, list.ID, store.Grant{UserID: "u1", SKU: "premium"})
	b.ok(err)
	b.clock = b.clock.Add(time.Second)
	_, err = w.UpdateGrant(ctx, vendor, list.ID, grant.ID, func(g *store.Grant) error {
		g.SKU = "gold"
		return nil
	})
	b.ok(err)
	b.ok(w.DeleteGrant(ctx, vendor, list.ID, grant.ID, nil))
	claims := keys.LinkClaims{Issuer: keys.VendorIssuer(vendor), ID: "link_1", SKU: "s", ExpiresAt: b.clock.Unix() + 60}
	_, err = w.CreateLink(ctx, vendor, claims)
	b.ok(err)
	_, err = w.RevokeLink(ctx, vendor, claims.Issuer, claims.ID)
	b.ok(err)
	rule := policy.Rule{Rank: 7, Path: "/a", Allow: policy.Allow{Operator: "any"}}
	b.ok(w.ReplaceRules(ctx, vendor, "news", []policy.Rule{rule}, policy.StandardOperators()))
	rule.Path = "/b"
	b.ok(w.ReplaceRules(ctx, vendor, "news", []policy.Rule{rule}, policy.StandardOperators()))
	b.ok(w.ReplaceRules(ctx, vendor, "news", nil, policy.StandardOperators()))

	var told []string
	for _, entry := range slices.Backward(b.audit(store.AuditQuery{})) {
		if entry.Actor != "ann" || entry.Operation != "test" || len(entry.Records) != 1 || entry.More != 0 || entry.At.IsZero() {
			t.Fatalf("an entry is %+v", entry)
		}
		record := entry.Records[0]
		told = append(told, fmt.Sprintf("%s %s %s -> %s", record.Kind, record.ID, record.Before, record.After))
	}
	for i, want := range []string{
		"access-list [" + list.ID + `]  -> {"createdAt":"2026-11-23T12:00:00Z","excludeFromStats":false,"id":"` + list.ID + `","name":"Partners"`,
		"grant [" + list.ID + " " + grant.ID + `]  -> {"createdAt"`,
		`{"sku":"premium","updatedAt":"2026-11-23T12:00:00Z"} -> {"sku":"gold","updatedAt":"2026-11-23T12:00:01Z"}`,
		`"sku":"gold"`,
		"signed-link [gatefold:" + vendor + ` link_1]  -> {"claims"`,
		"signed-link [gatefold:" + vendor + ` link_1]  -> {"revokedAt":"2026-11-23T12:00:01Z"}`,
		`rule [news 7]  -> {`,
		`rule [news 7] {"path":"/a"} -> {"path":"/b"}`,
		`rule [news 7] {`,
	} {
		if i >= len(told) || !strings.Contains(told[i], want) {
			t.Errorf("entry %d is not about %s: %q", i, want, told)
		}
	}
	if len(told) != 9 || !strings.HasSuffix(told[3], "-> ") || !strings.HasSuffix(told[8], "-> ") {
		t.Errorf("%d entries, of which two are removals: %q", len(told), told)
	}
}

// The log says that a key was made, and nothing of the key.
func TestAuditKeepsSecrets(t *testing.T) {
	b := newFixture(t)
	sealer, err := keys.NewSealer([]byte("a secret for this test"))
	b.ok(err)
	info, err := store.NewKeyring(b.Store, sealer).Rotate(t.Context(), b.as("ann"), vendor)
	b.ok(err)
	entries := b.audit(store.AuditQuery{Kind: "signing-key", Record: info.ID})
	if len(entries) != 1 || len(entries[0].Records) != 1 {
		t.Fatalf("the log tells %+v", entries)
	}
	if after := string(entries[0].Records[0].After); strings.Contains(after, "sealed") || !strings.Contains(after, info.ID) {
		t.Errorf("the log shows the key %s", after)
	}
}

// A refused write has no audit entry, and neither has a write of the gate itself.
func TestAuditOfNothing(t *testing.T) {
	b := newFixture(t)
	ctx, w := t.Context(), b.as("ann")
	_, err := w.CreateGrant(ctx, vendor, "src_none", store.Grant{UserID: "u", SKU: "s"})
	b.is(err, store.ErrNotFound)
	_, err = w.CreateGrant(ctx, vendor, store.DefaultList, store.Grant{UserID: "u"})
	b.names(err, "sku")
	_, err = b.CreateGrant(t.Context(), vendor, store.DefaultList, store.Grant{UserID: "u", SKU: "s"})
	b.ok(err)
	claims := keys.LinkClaims{Issuer: keys.VendorIssuer(vendor), ID: "link_1", SKU: "s", ExpiresAt: b.clock.Unix() + 60, MaxUses: 1}
	_, err = b.CreateLink(t.Context(), vendor, claims)
	b.ok(err)
	b.ok(b.Redeem(ctx, vendor, policy.Redemption{Issuer: claims.Issuer, LinkID: "link_1", ID: "r", MaxUses: 1, At: b.clock, ExpiresAt: b.clock.Add(time.Minute)}))
	if entries := b.audit(store.AuditQuery{}); len(entries) != 0 {
		t.Errorf("the log tells %+v", entries)
	}
}

// An import is one entry a batch, however many rows it has, and of one size.
func TestAuditOfAnImport(t *testing.T) {
	b := newFixture(t)
	rows := make([]store.ImportRow, 3000)
	for i := range rows {
		rows[i].Grant = store.Grant{UserID: fmt.Sprint("u", i), SKU: "s"}
	}
	_, err := b.as("ann").ImportGrants(t.Context(), vendor, store.DefaultList, store.ImportBatch{ID: "one", Rows: rows})
	b.ok(err)
	entries := b.audit(store.AuditQuery{})
	if len(entries) != 1 || entries[0].More != 3000 || len(entries[0].Records) != 1 {
		t.Fatalf("the log tells %+v", entries)
	}
	record := entries[0].Records[0]
	if record.Kind != "grant-import" || string(record.After) != `{"created":3000,"failed":0,"position":3000}` {
		t.Errorf("the log shows %s %s", record.Kind, record.After)
	}
	// Of many rules that change in one step, the entry shows some and counts the others.
	rules := make([]policy.Rule, 3000)
	for i := range rules {
		rules[i] = policy.Rule{Rank: i, Path: fmt.Sprint("/", i), Allow: policy.Allow{Operator: "any"}}
	}
	b.ok(b.as("ann").ReplaceRules(t.Context(), vendor, "news", rules, policy.StandardOperators()))
	entries = b.audit(store.AuditQuery{Kind: "rule"})
	if len(entries) != 1 || len(entries[0].Records) != 10 || entries[0].More != 2990 {
		t.Errorf("the log shows %d rules", len(entries[0].Records))
	}
}

func TestAuditQueries(t *testing.T) {
	b := newFixture(t)
	began := b.clock
	for i := range 25 {
		_, err := b.as([]string{"ann", "bob"}[i%2]).CreateList(t.Context(), vendor, store.AccessList{Name: fmt.Sprint(i)})
		b.ok(err)
		b.clock = b.clock.Add(time.Hour)
	}
	for name, c := range map[string]struct {
		query store.AuditQuery
		want  int
	}{
		"all":           {store.AuditQuery{}, 25},
		"of Bob":        {store.AuditQuery{Actor: "bob"}, 12},
		"of another":    {store.AuditQuery{Actor: "eve"}, 0},
		"of operation":  {store.AuditQuery{Operation: "test"}, 25},
		"another":       {store.AuditQuery{Operation: "other"}, 0},
		"kind":          {store.AuditQuery{Kind: "access-list"}, 25},
		"other kind":    {store.AuditQuery{Kind: "grant"}, 0},
		"since":         {store.AuditQuery{Since: began.Add(20 * time.Hour)}, 5},
		"until":         {store.AuditQuery{Until: began.Add(3 * time.Hour)}, 3},
		"since, until":  {store.AuditQuery{Since: began.Add(3 * time.Hour), Until: began.Add(5 * time.Hour)}, 2},
		"before all":    {store.AuditQuery{Until: began}, 0},
		"until 1970":    {store.AuditQuery{Until: time.Unix(0, 0)}, 0},
		"Bob's at noon": {store.AuditQuery{Actor: "bob", Since: began.Add(time.Hour), Until: began.Add(2 * time.Hour)}, 1},
	} {
		if got := b.audit(c.query); len(got) != c.want {
			t.Errorf("%s: %d entries, want %d", name, len(got), c.want)
		}
	}
	// Page by page, the newest first, each once.
	var seen []time.Time
	query := store.AuditQuery{Page: store.Page{Limit: 4}}
	for more := true; more; {
		var entries []store.AuditEntry
		var err error
		entries, query.From, more, err = b.Audit(t.Context(), vendor, query)
		b.ok(err)
		for _, entry := range entries {
			seen = append(seen, entry.At)
		}
	}
	if len(seen) != 25 || !slices.IsSortedFunc(seen, func(x, y time.Time) int { return y.Compare(x) }) {
		t.Errorf("page by page: %v", seen)
	}
	// Another vendor's log is another log, and after a year nothing is known.
	other, _, _, err := b.Audit(t.Context(), "other", store.AuditQuery{})
	if err != nil || len(other) != 0 {
		t.Errorf("another vendor reads %+v, %v", other, err)
	}
	b.clock = b.clock.Add(store.AuditRetention - 2*time.Hour)
	if got := b.audit(store.AuditQuery{}); len(got) != 2 {
		t.Errorf("%d entries are left", len(got))
	}
	b.clock = b.clock.Add(10 * time.Hour)
	if removed, err := b.Sweep(t.Context()); err != nil || removed != 25 {
		t.Errorf("swept %d, %v", removed, err)
	}
}
