package store_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/gatefold/gatefold/policy/store"
)

// imported imports rows of one kind as one batch at a position.
func (b *fixture) imported(kind, id string, position int64, records ...any) store.ImportResult {
	b.Helper()
	batch := store.RecordBatch{ID: id, Position: position, Chain: fmt.Append(nil, id, position, len(records))}
	for _, record := range records {
		if refused, ok := record.(*store.FieldError); ok {
			batch.Rows = append(batch.Rows, store.RecordRow{Refused: refused})
			continue
		}
		batch.Rows = append(batch.Rows, store.RecordRow{Record: record})
	}
	result, err := b.ImportRecords(b.Context(), vendor, kind, batch)
	b.ok(err)
	return result
}

func shownImport(r store.ImportResult) string {
	text := fmt.Sprintf("%d: %d+%d+%d", r.Position, r.Created, r.Changed, r.Unchanged)
	for _, e := range r.Errors {
		text += fmt.Sprintf(" %d %s", e.Row, e.Field)
	}
	return text
}

// exported shows all exported records of a kind, read in pages of two.
func (b *fixture) exported(kind string, show func(any) string) string {
	b.Helper()
	var all []string
	for after := []byte(nil); ; {
		page, next, err := b.ExportRecords(b.Context(), vendor, kind, after, 2)
		b.ok(err)
		for _, record := range page {
			all = append(all, show(record))
		}
		if after = next; next == nil {
			return strings.Join(all, " ")
		}
	}
}

// A site moves here: its rows make records, rows that are sent again change nothing, a row
// that cannot be stored is named, and the next ones are stored all the same.
func TestRecordImport(t *testing.T) {
	onBoth(t, func(b *fixture) {
		b.equal(shownImport(b.imported(store.RecordProfiles, "p", 0,
			&store.Profile{Slug: "abc"}, &store.Profile{Slug: "not a slug"}, &store.Profile{Slug: "zoo", FullName: "The Zoo"}, &store.FieldError{Field: "x", Problem: "is wrong"},
		)), "4: 2+0+0 1 slug 3 x")
		b.equal(shownImport(b.imported(store.RecordUsers, "u", 0, &store.User{Slug: "ann"}, &store.User{Slug: "bob"})), "2: 2+0+0")
		b.equal(shownImport(b.imported(store.RecordPlans, "l", 0,
			&store.Plan{Slug: "gold", Provider: "abc", Title: "Gold"}, &store.Plan{Slug: "tin", Provider: "nobody", Title: "Tin"})), "2: 1+0+0 1 profile")

		rows := []any{
			&store.Role{Profile: "zoo", User: "ann", Type: "manager"}, &store.Role{Profile: "zoo", User: "eve", Type: "manager"},
			&store.Role{Profile: "zoo", User: "bob", Type: "stranger"}, &store.Role{Profile: "abc", User: "bob", Type: "contributor"},
		}
		b.equal(shownImport(b.imported(store.RecordRoles, "r", 0, rows...)), "4: 2+0+0 1 user 2 role_description")
		// The response was lost, and the batch is sent again.
		b.equal(shownImport(b.imported(store.RecordRoles, "r", 0, rows...)), "4: 2+0+0 1 user 2 role_description")
		progress, err := b.RecordImport(b.Context(), vendor, store.RecordRoles, "r")
		b.ok(err)
		if progress.Position != 4 || progress.Created != 2 || progress.Failed != 2 {
			b.Errorf("the progress is %+v", progress)
		}
		// Another import of the same file changes nothing; a changed row changes one.
		rows[3] = &store.Role{Profile: "abc", User: "bob", Type: "manager"}
		b.equal(shownImport(b.imported(store.RecordRoles, "again", 0, rows...)), "4: 0+1+1 1 user 2 role_description")
		_, err = b.ImportRecords(b.Context(), vendor, store.RecordRoles, store.RecordBatch{
			ID: "r", Position: 9, Rows: []store.RecordRow{{Record: rows[0]}}, Chain: []byte("x"),
		})
		if err == nil || !strings.Contains(err.Error(), "position 4") {
			b.Errorf("a batch behind a gap is answered %v", err)
		}
	})
}

// A dry run says what would happen, and stores nothing. A row for a subscription that waits
// accepts it, and the same file twice makes no second subscription.
func TestSubscriptionImport(t *testing.T) {
	onBoth(t, func(b *fixture) {
		b.world("abc zoo", "", "abc/gold")
		start := b.timeNow()
		waiting, err := b.CreateSubscription(b.Context(), vendor, store.Subscription{Profile: "zoo", Plan: "gold", StartsAt: start, EndsAt: start.Add(time.Hour), GrantKey: "hash"})
		b.ok(err)
		show := func(record any) string {
			s := record.(*store.Subscription)
			return fmt.Sprintf("%s/%s/%d", s.Profile, s.Plan, s.EndsAt.Sub(start)/time.Hour)
		}
		b.equal(b.exported(store.RecordSubscriptions, show), "")
		rows := func() []any {
			return []any{
				&store.Subscription{Profile: "zoo", Plan: "gold", StartsAt: start, EndsAt: start.Add(2 * time.Hour)},
				&store.Subscription{Profile: "abc", Plan: "gold", StartsAt: start, EndsAt: start.Add(3 * time.Hour)},
				&store.Subscription{Profile: "abc", Plan: "gold", StartsAt: start.Add(3 * time.Hour), EndsAt: start},
				&store.Subscription{Profile: "abc", Plan: "lead", StartsAt: start, EndsAt: start.Add(time.Hour)},
			}
		}
		batch := store.RecordBatch{DryRun: true}
		for _, record := range rows() {
			batch.Rows = append(batch.Rows, store.RecordRow{Record: record})
		}
		dry, err := b.ImportRecords(b.Context(), vendor, store.RecordSubscriptions, batch)
		b.ok(err)
		b.equal(shownImport(dry), "4: 1+1+0 2 ends_at 3 plan")
		b.equal(b.exported(store.RecordSubscriptions, show), "")
		b.equal(shownImport(b.imported(store.RecordSubscriptions, "s", 0, rows()...)), "4: 1+1+0 2 ends_at 3 plan")
		b.equal(shownImport(b.imported(store.RecordSubscriptions, "t", 0, rows()...)), "4: 0+0+2 2 ends_at 3 plan")
		b.equal(b.exported(store.RecordSubscriptions, show), "abc/gold/3 zoo/gold/2")
		accepted, err := b.SubscriptionRecord(b.Context(), vendor, "zoo", "gold")
		b.ok(err)
		if accepted.ID != waiting.ID || accepted.GrantKey != "" {
			b.Errorf("the subscription that waited is %+v", accepted)
		}
		b.world("", "", "zoo/free")
		b.equal(shownImport(b.imported(store.RecordPlans, "l", 0, &store.Plan{Slug: "gold", Provider: "zoo", Title: "Mine"})), "1: 0+0+0 0 profile")
	})
}
