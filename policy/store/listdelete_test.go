package store_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store"
	"github.com/gatefold/gatefold/policy/store/engine"
)

// failingEngine fails commits from a certain one on.
type failingEngine struct {
	engine.Engine
	left int
}

func (f *failingEngine) Commit(ctx context.Context, partition string, batch *engine.Batch) (engine.Committed, error) {
	if f.left--; f.left < 0 {
		return engine.Committed{}, errors.New("the power is gone")
	}
	return f.Engine.Commit(ctx, partition, batch)
}

// manyGrants fills a list with grants to one reader each.
func (b *fixture) manyGrants(list string, n int) {
	b.Helper()
	for at := 0; at < n; at += store.MaxImportRows {
		rows := make([]store.ImportRow, min(store.MaxImportRows, n-at))
		for i := range rows {
			rows[i].Grant = store.Grant{UserID: fmt.Sprint("u", at+i), SKU: "premium"}
		}
		_, err := b.ImportGrants(b.Context(), vendor, list, store.ImportBatch{ID: "many", Position: int64(at), Rows: rows})
		b.ok(err)
	}
}

// All grants of a removed list end at once. After a crash before their records are
// removed, they still give nothing, are not found, and are removed by the next sweep.
func TestListEndsWithAllItsGrants(t *testing.T) {
	const grants = 1800
	for _, commits := range []int{1, 2, 3, 100} {
		t.Run(fmt.Sprint(commits, " commits"), func(t *testing.T) {
			b := newFixture(t)
			list, err := b.CreateList(t.Context(), vendor, store.AccessList{Name: "Partners"})
			b.ok(err)
			b.manyGrants(list.ID, grants)
			kept, err := b.CreateGrant(t.Context(), vendor, store.DefaultList, store.Grant{UserID: "u7", SKU: "gold"})
			b.ok(err)
			page, err := b.ListGrants(t.Context(), vendor, list.ID, store.Page{Limit: 1000})
			b.ok(err)
			last := page[len(page)-1]
			stamp := b.versions.Shared()

			cut := store.New(&failingEngine{b.engine, commits}, b.versions, b.now).As(store.Actor{})
			b.ok(cut.DeleteList(t.Context(), vendor, list.ID, nil))
			if b.versions.Shared() == stamp {
				t.Error("what the list gave is still had, as far as memory knows")
			}
			for _, user := range []string{"u0", "u7", last.UserID, fmt.Sprint("u", grants-1)} {
				records, err := b.ReaderRecords(t.Context(), vendor, policy.Reader{UserID: user})
				found := records.Grants
				b.ok(err)
				for _, grant := range found {
					if grant.ID != kept.ID {
						t.Errorf("%s still has %+v", user, grant)
					}
				}
			}
			for name, query := range map[string]store.GrantQuery{
				"all": {}, "of a user": {UserID: last.UserID}, "of a sku": {SKU: "premium"}, "by creation": {Created: store.Created{Order: store.NewestFirst}},
			} {
				query.Limit = 2 * grants
				found, _, _, err := b.FindGrants(t.Context(), vendor, query)
				b.ok(err)
				for i := range found {
					if found[i].ID != kept.ID {
						t.Fatalf("the listing of grants %s has %+v", name, found[i])
					}
				}
			}
			_, err = b.List(t.Context(), vendor, list.ID)
			b.is(err, store.ErrNotFound)
			_, err = b.Grant(t.Context(), vendor, list.ID, last.ID)
			b.is(err, store.ErrNotFound)
			_, err = b.UpdateGrant(t.Context(), vendor, list.ID, last.ID, func(*store.Grant) error { return nil })
			b.is(err, store.ErrNotFound)
			_, err = b.ListGrants(t.Context(), vendor, list.ID, store.Page{})
			b.is(err, store.ErrNotFound)
			_, err = b.CreateGrant(t.Context(), vendor, list.ID, store.Grant{UserID: "u", SKU: "s"})
			b.is(err, store.ErrNotFound)
			b.is(b.DeleteList(t.Context(), vendor, list.ID, nil), store.ErrNotFound)

			removed, err := b.Sweep(t.Context())
			if want := max(grants-500*(commits-1), 0); err != nil || removed != want {
				t.Errorf("swept %d, %v, want %d", removed, err, want)
			}
			if removed, err := b.Sweep(t.Context()); err != nil || removed != 0 {
				t.Errorf("swept %d more, %v", removed, err)
			}
			// Only the grant of the other list is left, with its five entries in the index.
			left := 0
			b.ok(b.engine.View(t.Context(), vendor, func(snapshot engine.Snapshot) error {
				for _, prefix := range []string{"G", "I", "l"} {
					for _, err := range snapshot.Scan([]byte(prefix), nil) {
						left++
						b.ok(err)
					}
				}
				return nil
			}))
			if left != 6 {
				t.Errorf("%d records are left", left)
			}
		})
	}
}

func TestDefaultListStays(t *testing.T) {
	b := newFixture(t)
	b.is(b.DeleteList(t.Context(), vendor, store.DefaultList, nil), store.ErrBuiltIn)
	list, err := b.CreateList(t.Context(), vendor, store.AccessList{Name: "x"})
	b.ok(err)
	refused := errors.New("not this one")
	b.is(b.DeleteList(t.Context(), vendor, list.ID, func(store.AccessList) error { return refused }), refused)
	_, err = b.List(t.Context(), vendor, list.ID)
	b.ok(err)
}
