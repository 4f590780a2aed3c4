package store_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store"
	"github.com/gatefold/gatefold/policy/store/engine"
)

// found returns the readers of the grants that a query finds, over all of its pages.
func (b *fixture) found(query store.GrantQuery) string {
	b.Helper()
	var readers []string
	for {
		grants, next, more, err := b.FindGrants(b.Context(), vendor, query)
		b.ok(err)
		for _, g := range grants {
			readers = append(readers, g.UserID)
		}
		if !more {
			return strings.Join(readers, " ")
		}
		query.From = next
	}
}

// A reader calls: what do they have, and by which purchase or import? Grants are found in
// all lists, page by page.
func TestFindGrants(t *testing.T) {
	b := newFixture(t)
	list, err := b.CreateList(t.Context(), vendor, store.AccessList{Name: "Partners"})
	b.ok(err)
	b.importFile("jan", 100, false, "a premium", "b archive p1", "c premium")
	b.grant(store.Grant{UserID: "d", Email: "Reader@Example.com", SKU: "archive", ExtraFields: map[string]string{"campaign": "autumn"}})
	_, err = b.CreateGrant(t.Context(), vendor, list.ID, store.Grant{UserID: "a", Email: "reader@example.com", SKU: "archive", Status: store.StatusInactive})
	b.ok(err)
	b.importFile("feb", 2, false, "c premium - note", "e archive")
	for name, test := range map[string]struct {
		query store.GrantQuery
		want  string
	}{
		"all":              {store.GrantQuery{}, "a a b c d e"}, //nolint:dupword // a has two grants
		"user":             {store.GrantQuery{UserID: "a"}, "a a"},
		"user in a list":   {store.GrantQuery{UserID: "a", List: list.ID}, "a"},
		"e-mail":           {store.GrantQuery{Email: "READER@example.com"}, "a d"},
		"sku":              {store.GrantQuery{SKU: "archive"}, "a b d e"},
		"sku in a list":    {store.GrantQuery{SKU: "archive", List: store.DefaultList}, "b d e"},
		"sku and status":   {store.GrantQuery{SKU: "archive", Status: store.StatusInactive}, "a"},
		"purchase":         {store.GrantQuery{PublisherPurchaseID: "p1"}, "b"},
		"another purchase": {store.GrantQuery{PublisherPurchaseID: "p"}, ""},
		"extra field":      {store.GrantQuery{ExtraFields: map[string]string{"campaign": "autumn"}}, "d"},
		"other value":      {store.GrantQuery{ExtraFields: map[string]string{"campaign": ""}}, ""},
		"first import":     {store.GrantQuery{List: store.DefaultList, Import: "jan"}, "a b c"},
		"import and sku":   {store.GrantQuery{List: store.DefaultList, Import: "feb", SKU: "archive"}, "e"},
		"second import":    {store.GrantQuery{List: store.DefaultList, Import: "feb"}, "c e"},
	} {
		for _, limit := range []int{1, 2, 100} {
			test.query.Limit = limit
			if got := b.found(test.query); got != test.want {
				t.Errorf("%s, %d a page: %q, want %q", name, limit, got, test.want)
			}
		}
	}
	for _, query := range []store.GrantQuery{{List: "src_none"}, {List: store.DefaultList, Import: "none"}} {
		_, _, _, err := b.FindGrants(t.Context(), vendor, query) //nolint:dogsled // only the error counts
		b.is(err, store.ErrNotFound)
	}
	_, _, _, err = b.FindGrants(t.Context(), vendor, store.GrantQuery{Import: "jan"}) //nolint:dogsled // only the error counts
	b.names(err, "list")
	for _, query := range []store.GrantQuery{{Page: store.Page{From: "x"}}, {List: store.DefaultList, Import: "jan", Page: store.Page{From: "x"}}} {
		_, _, _, err = b.FindGrants(t.Context(), vendor, query)
		b.names(err, "from")
	}
}

// A search by sku or purchase reads the grants that it finds, and not the others.
func TestFindReadsTheIndex(t *testing.T) {
	b := newFixture(t)
	var rows []string
	for i := range 25_000 {
		rows = append(rows, fmt.Sprintf("u%d premium p%d", i, i))
	}
	b.importFile("many", 5000, false, append(rows, "rare archive")...)
	for _, query := range []store.GrantQuery{{SKU: "archive"}, {PublisherPurchaseID: "p24999"}, {UserID: "u24998"}} {
		grants, _, more, err := b.FindGrants(t.Context(), vendor, query)
		if err != nil || len(grants) != 1 || more {
			t.Errorf("%+v: %d grants at once, more %v, %v", query, len(grants), more, err)
		}
	}
	// A search without an index is bounded, and says that there may be more.
	grants, _, more, err := b.FindGrants(t.Context(), vendor, store.GrantQuery{ExtraFields: map[string]string{"x": "y"}})
	if err != nil || len(grants) != 0 || !more {
		t.Errorf("without an index: %d grants, more %v, %v", len(grants), more, err)
	}
}

// A database of an earlier version has no index by sku and by row key. It is built in
// steps, which may be interrupted; until then a search reads all grants.
func TestGrantsOfEarlierVersions(t *testing.T) {
	b := newFixture(t)
	var rows []string
	for i := range 2500 {
		rows = append(rows, fmt.Sprintf("u%04d premium", i))
	}
	b.importFile("one", 5000, false, append(rows, "rare archive")...)
	b.forgetIndex()
	if got := b.found(store.GrantQuery{SKU: "archive"}); got != "rare" {
		t.Errorf("without the index: %q", got)
	}
	// A search by creation is right, too, whatever else it selects, and the next one after a
	// position. An import waits: without the index it would double grants.
	for _, list := range []string{"", store.DefaultList} {
		for want, query := range map[string]store.GrantQuery{"rare u2499": {}, "rare": {SKU: "archive"}, "u2499 u2498": {SKU: "premium"}} {
			query.List, query.Order, query.Limit = list, store.NewestFirst, 1
			first, next, _, err := b.FindGrants(t.Context(), vendor, query)
			b.ok(err)
			query.From = next
			second, _, _, err := b.FindGrants(t.Context(), vendor, query)
			b.ok(err)
			got := ""
			for _, g := range append(first, second...) {
				got += " " + g.UserID
			}
			if got != " "+want {
				t.Errorf("the newest of %q with %+v are%s, want %s", list, query, got, want)
			}
		}
	}
	b.forgetIndex()
	batch := store.ImportBatch{ID: "two", Rows: []store.ImportRow{row("u0000 premium")}}
	_, err := b.ImportGrants(t.Context(), vendor, store.DefaultList, batch)
	b.is(err, store.ErrIndexBuilding)
	b.ok(b.BuildIndexes(t.Context()))
	// With the index an import doubles nothing.
	if got := b.importFile("two", 5000, false, "u0000 premium", "u2499 premium - note", "new premium"); got != "1 1 1 0" {
		t.Errorf("the first import: %s", got)
	}
	grants, _, more, err := b.FindGrants(t.Context(), vendor, store.GrantQuery{SKU: "archive"})
	if err != nil || len(grants) != 1 || more {
		t.Errorf("with the index: %d grants, more %v, %v", len(grants), more, err)
	}
	// The sweep builds it as well, even if an earlier one was interrupted.
	b.forgetIndex()
	b.is(b.interrupted(1).indexed(), errCut)
	if _, err := b.Sweep(t.Context()); err != nil || b.count("Is") != 2502 || b.count("Ik") != 2502 || b.count("It") != 2502 || b.count("IS") != 2502 {
		t.Errorf("swept: %v, %d, %d, %d and %d entries", err, b.count("Is"), b.count("Ik"), b.count("It"), b.count("IS"))
	}
	// A search by creation does not wait for the sweep.
	b.forgetIndex()
	grants, _, _, err = b.FindGrants(t.Context(), vendor, store.GrantQuery{Created: store.Created{Order: store.NewestFirst}, Page: store.Page{Limit: 1}})
	if err != nil || len(grants) != 1 || grants[0].UserID != "new" {
		t.Errorf("the newest is %v, %v", grants, err)
	}
}

// forgetIndex removes what an earlier version would not have written.
func (b *fixture) forgetIndex() {
	b.Helper()
	batch := &engine.Batch{Deletes: [][]byte{[]byte("g"), []byte("gt"), []byte("~")}}
	b.ok(b.records.View(b.Context(), vendor, func(snapshot engine.Snapshot) error {
		for _, prefix := range []string{"Is", "Ik", "It", "IS", "~"} {
			for entry, err := range snapshot.Scan([]byte(prefix), nil) {
				b.ok(err)
				batch.Deletes = append(batch.Deletes, append([]byte(nil), entry.Key...))
			}
		}
		return nil
	}))
	_, err := b.records.Commit(b.Context(), vendor, batch)
	b.ok(err)
}

var errCut = errors.New("the process was killed")

// cutEngine fails after some commits.
type cutEngine struct {
	engine.Engine
	left int
}

func (e *cutEngine) Commit(ctx context.Context, partition string, batch *engine.Batch) (engine.Committed, error) {
	if e.left--; e.left < 0 {
		return engine.Committed{}, errCut
	}
	return e.Engine.Commit(ctx, partition, batch)
}

type cutStore struct {
	*fixture
	store *store.Store
}

// interrupted returns a store over the same database that fails after some commits.
func (b *fixture) interrupted(commits int) cutStore {
	return cutStore{b, store.New(&cutEngine{b.engine, commits}, b.versions, b.now)}
}

func (c cutStore) indexed() error {
	_, err := c.store.Sweep(c.Context())
	return err
}

// All grants of a campaign are removed, and given back. The next decision counts it.
func TestRemoveGrantsAndGiveBack(t *testing.T) {
	b := newFixture(t)
	var rows []string
	for i := range 1200 {
		rows = append(rows, fmt.Sprintf("u%04d trial", i))
	}
	b.importFile("one", 5000, false, append(rows, "payer premium")...)
	before := b.grantRows()
	reader := policy.Reader{UserID: "u0007"}
	stamp := b.versions.Reader(vendor, &reader)
	id, query, removed := b.NewRemovalID(), store.GrantQuery{SKU: "trial"}, int64(0)
	for more := true; more; {
		var n int64
		var err error
		n, query.From, more, err = b.RemoveGrants(t.Context(), vendor, id, query)
		b.ok(err)
		removed += n
	}
	if removed != 1200 || b.grantRows() != "payer premium" || b.versions.Reader(vendor, &reader) == stamp || b.skus(reader) != "" {
		t.Errorf("removed %d, left %.100s", removed, b.grantRows())
	}
	stamp = b.versions.Reader(vendor, &reader)
	undone := b.undo(store.RemovedGrants, id)
	if undone.Restored != 1200 || undone.Kept != 0 || b.grantRows() != before || b.versions.Reader(vendor, &reader) == stamp || b.skus(reader) != "trial+" {
		t.Errorf("undone: %+v", undone)
	}
	if got := b.found(store.GrantQuery{SKU: "trial", List: store.DefaultList, UserID: "u0007"}); got != "u0007" {
		t.Errorf("what was given back is found as %q", got)
	}
	for _, query := range []store.GrantQuery{{}, {Status: store.StatusActive}} {
		_, _, _, err := b.RemoveGrants(t.Context(), vendor, b.NewRemovalID(), query)
		b.names(err, "list")
	}
	// After its retention a removal cannot be undone.
	b.clock = b.clock.Add(store.Retention + time.Hour)
	_, err := b.UndoImport(t.Context(), vendor, store.RemovedGrants, id)
	b.is(err, store.ErrNotFound)
}
