package store_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store"
	"github.com/gatefold/gatefold/policy/store/engine"
)

// row is a row of a file: user, sku, purchase and notes, separated by spaces; a dash is
// nothing.
func row(text string) store.ImportRow {
	field := append(strings.Fields(strings.ReplaceAll(text, "-", "\x00")), "\x00", "\x00", "\x00")
	for i := range field {
		field[i] = strings.ReplaceAll(field[i], "\x00", "")
	}
	return store.ImportRow{Grant: store.Grant{UserID: field[0], SKU: field[1], PublisherPurchaseID: field[2], Notes: field[3]}}
}

// importFile imports a file into the default list, in batches of a size, and finishes it. It
// returns the counts as "created changed unchanged removed".
func (b *fixture) importFile(id string, size int, replace bool, rows ...string) string {
	b.Helper()
	b.clock = b.clock.Add(time.Second)
	position := 0
	for part := range slices.Chunk(rows, size) {
		batch := store.ImportBatch{ID: id, Position: int64(position)}
		for _, text := range part {
			batch.Rows = append(batch.Rows, row(text))
		}
		_, err := b.ImportGrants(b.Context(), vendor, store.DefaultList, batch)
		b.ok(err)
		position += len(part)
	}
	known := b.finish(id, replace)
	return fmt.Sprint(known.Created, known.Changed, known.Unchanged, known.Removed)
}

func (b *fixture) finish(id string, replace bool) store.Import {
	b.Helper()
	for {
		known, err := b.FinishImport(b.Context(), vendor, store.DefaultList, id, replace)
		b.ok(err)
		if known.Finished {
			return known
		}
	}
}

// grantRows shows the grants of the default list as rows, sorted.
func (b *fixture) grantRows() string {
	b.Helper()
	var rows []string
	for from := ""; ; {
		grants, err := b.ListGrants(b.Context(), vendor, store.DefaultList, store.Page{Limit: 1000, From: from})
		b.ok(err)
		for _, g := range grants {
			rows = append(rows, strings.TrimRight(strings.Join([]string{g.UserID, g.SKU, g.PublisherPurchaseID, g.Notes, strings.TrimPrefix(g.Status, store.StatusActive)}, " "), " "))
			from = g.ID
		}
		if len(grants) < 1000 {
			slices.Sort(rows)
			return strings.Join(rows, "; ")
		}
	}
}

func (b *fixture) undo(list, id string) store.UndoneImport {
	b.Helper()
	for {
		undone, err := b.UndoImport(b.Context(), vendor, list, id)
		b.ok(err)
		if undone.Done {
			return undone
		}
	}
}

// A publisher corrects a file and imports it again, whatever the sizes of the batches:
// what changed is changed, and nothing is doubled.
func TestCorrectedFileIsImportedAgain(t *testing.T) {
	for _, size := range []int{1, 2, 100} {
		b := newFixture(t)
		if got := b.importFile("monday", size, false, "u1 premium", "u2 premium", "- - p1 x", "u3 premium p3"); got != "3 0 0 0" {
			t.Fatalf("%d: the first file: %s", size, got)
		}
		if got := b.importFile("again", size, false, "u1 premium", "u2 premium", "u3 premium p3"); got != "0 0 3 0" {
			t.Errorf("%d: the same file again: %s", size, got)
		}
		// The order of p3 moves to another reader, u2 gets a note, u4 is new.
		if got := b.importFile("tuesday", size, false, "u1 premium", "u2 premium - note", "u9 archive p3", "u4 premium"); got != "1 2 1 0" {
			t.Errorf("%d: the corrected file: %s", size, got)
		}
		if got := b.grantRows(); got != "u1 premium; u2 premium  note; u4 premium; u9 archive p3" {
			t.Errorf("%d: the list has %s", size, got)
		}
		// The reader who lost the order lost its access.
		if left := b.skus(policy.Reader{UserID: "u3"}); left != "" {
			t.Errorf("%d: u3 still has %s", size, left)
		}
		if got := b.skus(policy.Reader{UserID: "u9"}); got != "archive+" {
			t.Errorf("%d: u9 has %s", size, got)
		}
	}
}

// A file has several rows of one reader and sku, for example one for each year. They are
// several grants, also when the file is imported again, and whichever batch has them.
func TestRowsWithOneKeyArePairedWithGrants(t *testing.T) {
	for _, size := range []int{1, 2, 3, 100} {
		b := newFixture(t)
		rows := []string{"u s - first", "u s - second", "v s", "u s - third"}
		if got := b.importFile("one", size, false, rows...); got != "4 0 0 0" {
			t.Fatalf("%d: %s", size, got)
		}
		if got := b.importFile("two", size, true, rows...); got != "0 0 4 0" {
			t.Errorf("%d: again: %s", size, got)
		}
		if got := b.importFile("three", size, true, "u s - third", "u s - fourth", "v s"); !strings.HasSuffix(got, " 1") {
			t.Errorf("%d: one less: %s", size, got)
		}
		if got := b.grantRows(); got != "u s  fourth; u s  third; v s" {
			t.Errorf("%d: the list has %s", size, got)
		}
	}
}

// A support agent took a reader's access by the status. A file that has no status does
// not give it back; one that has does.
func TestImportKeepsStatus(t *testing.T) {
	b := newFixture(t)
	b.importFile("one", 100, false, "u s")
	grants, err := b.ListGrants(t.Context(), vendor, store.DefaultList, store.Page{})
	b.ok(err)
	_, err = b.UpdateGrant(t.Context(), vendor, store.DefaultList, grants[0].ID, func(g *store.Grant) error { g.Status = store.StatusInactive; return nil })
	b.ok(err)
	if got := b.importFile("two", 100, false, "u s - note"); got != "0 1 0 0" || b.grantRows() != "u s  note INACTIVE" {
		t.Errorf("%s: %s", got, b.grantRows())
	}
	named := row("u s - note")
	named.Grant.Status = store.StatusActive
	_, err = b.ImportGrants(t.Context(), vendor, store.DefaultList, store.ImportBatch{ID: "three", Rows: []store.ImportRow{named}})
	if b.ok(err); b.grantRows() != "u s  note" {
		t.Errorf("a named status: %s", b.grantRows())
	}
}

// The list becomes equal to the file: what the file does not have is removed, at any size
// of batches, and the next decision is made without it. What was added since the import
// began stays.
func TestReplaceList(t *testing.T) {
	b := newFixture(t)
	var all, half []string
	for i := range 1400 {
		all = append(all, fmt.Sprintf("u%04d s", i))
		if i%2 == 0 {
			half = append(half, all[i])
		}
	}
	b.importFile("all", 5000, false, all...)
	gone := policy.Reader{UserID: "u0001"}
	stamp := b.versions.Reader(vendor, &gone)
	b.clock = b.clock.Add(time.Second)
	batch := store.ImportBatch{ID: "half"}
	for _, text := range half {
		batch.Rows = append(batch.Rows, row(text))
	}
	_, err := b.ImportGrants(t.Context(), vendor, store.DefaultList, batch)
	b.ok(err)
	late := b.grant(store.Grant{UserID: "late", SKU: "s"})
	known := b.finish("half", true)
	if known.Removed != 700 || known.Unchanged != 700 || !known.Replaced {
		t.Errorf("finished as %+v", known)
	}
	if want := strings.Join(append([]string{late.UserID + " s"}, half...), "; "); b.grantRows() != want {
		t.Errorf("the list has %.200s", b.grantRows())
	}
	if b.versions.Reader(vendor, &gone) == stamp || b.skus(gone) != "" {
		t.Error("a removed reader is not stale")
	}
	// Finishing again changes nothing, and no markers are left.
	if again := b.finish("half", true); again.Removed != 700 || b.count("m") != 0 {
		t.Errorf("again: %+v, %d markers", again, b.count("m"))
	}
	_, err = b.ImportGrants(t.Context(), vendor, store.DefaultList, store.ImportBatch{ID: "half", Position: 700, Rows: []store.ImportRow{row("x s")}})
	if _, refused := errors.AsType[*store.ImportError](err); !refused {
		t.Errorf("more rows after the end: %v", err)
	}
	// The removal can be undone.
	if undone := b.undo(store.DefaultList, "half"); undone.Restored != 700 || undone.Removed+undone.Kept != 0 || b.skus(gone) != "s+" {
		t.Errorf("undone: %+v", undone)
	}
}

// count counts the entries whose keys begin with a prefix.
func (b *fixture) count(prefix string) (n int) {
	b.Helper()
	b.ok(b.records.View(b.Context(), vendor, func(snapshot engine.Snapshot) error {
		for _, err := range snapshot.Scan([]byte(prefix), nil) {
			b.ok(err)
			n++
		}
		return nil
	}))
	return n
}

// A row was refused: a typing error must not take a reader's access, so nothing is
// removed.
func TestReplaceNeedsEveryRow(t *testing.T) {
	b := newFixture(t)
	b.importFile("one", 100, false, "u s", "v s")
	b.clock = b.clock.Add(time.Second)
	_, err := b.ImportGrants(t.Context(), vendor, store.DefaultList, store.ImportBatch{ID: "two", Rows: []store.ImportRow{row("u s"), row("v -")}})
	b.ok(err)
	if _, err = b.FinishImport(t.Context(), vendor, store.DefaultList, "two", true); err == nil || b.grantRows() != "u s; v s" {
		t.Errorf("%v: %s", err, b.grantRows())
	}
	if _, err = b.FinishImport(t.Context(), vendor, store.DefaultList, "none", true); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("an unknown import: %v", err)
	}
	// One that was finished without replacing has no markers any more.
	b.importFile("three", 100, false, "u s")
	if _, err = b.FinishImport(t.Context(), vendor, store.DefaultList, "three", true); err == nil || b.grantRows() != "u s; v s" {
		t.Errorf("%v: %s", err, b.grantRows())
	}
}

// An import of the wrong file is undone: created grants go, changed and removed ones are
// as before. What support changed since stays.
func TestUndoImport(t *testing.T) {
	b := newFixture(t)
	var rows []string
	for i := range 600 {
		rows = append(rows, fmt.Sprintf("u%03d s - %s", i, strings.Repeat("x", 1000)))
	}
	b.importFile("right", 5000, false, append(rows, "kept s", "gone s")...)
	before := b.grantRows()
	wrong := []string{"new s", "kept s - wrong", "newer s"}
	for i := range 300 {
		wrong = append(wrong, fmt.Sprintf("u%03d s - wrong", i))
	}
	if got := b.importFile("wrong", 100, true, wrong...); got != "2 301 0 301" {
		t.Fatalf("the wrong file: %s", got)
	}
	steps := b.count("Y")
	grants, err := b.ListGrants(t.Context(), vendor, store.DefaultList, store.Page{Limit: 1000})
	b.ok(err)
	for _, g := range grants {
		if g.UserID == "kept" {
			_, err := b.UpdateGrant(t.Context(), vendor, store.DefaultList, g.ID, func(g *store.Grant) error { g.Notes = "by hand"; return nil })
			b.ok(err)
		}
	}
	fresh := policy.Reader{UserID: "new"}
	stamp := b.versions.Reader(vendor, &fresh)
	undone := b.undo(store.DefaultList, "wrong")
	if undone.Removed != 2 || undone.Restored != 601 || undone.Kept != 1 || steps < 3 {
		t.Errorf("undone %+v in %d steps", undone, steps)
	}
	if want := strings.Replace(before, "kept s;", "kept s  by hand;", 1); b.grantRows() != want {
		t.Errorf("the list has %.300s", b.grantRows())
	}
	if b.versions.Reader(vendor, &fresh) == stamp || b.skus(fresh) != "" {
		t.Error("an undone reader is not stale")
	}
	if again := b.undo(store.DefaultList, "wrong"); again != undone {
		t.Errorf("again: %+v", again)
	}
	// The import before it can be undone as well, as its grants have their bytes again.
	if first := b.undo(store.DefaultList, "right"); first.Removed != 601 || first.Kept != 1 || b.grantRows() != "kept s  by hand" {
		t.Errorf("the first import: %+v, %.200s", first, b.grantRows())
	}
	_, err = b.UndoImport(t.Context(), vendor, store.DefaultList, "none")
	b.is(err, store.ErrNotFound)
	_, err = b.ImportGrants(t.Context(), vendor, store.DefaultList, store.ImportBatch{ID: "wrong", Position: 303, Rows: []store.ImportRow{row("x s")}})
	if _, refused := errors.AsType[*store.ImportError](err); !refused {
		t.Errorf("more rows of an undone import: %v", err)
	}
}

// A dry run counts and names what would change, and stores nothing.
func TestDryRun(t *testing.T) {
	b := newFixture(t)
	b.importFile("one", 100, false, "u s", "v s", "w s")
	before := b.bytes()
	result, err := b.ImportGrants(t.Context(), vendor, store.DefaultList, store.ImportBatch{
		DryRun: true, Rows: []store.ImportRow{row("u s"), row("v s - note"), row("x s"), row("y -")},
	})
	b.ok(err)
	if result.Created != 1 || result.Changed != 1 || result.Unchanged != 1 || len(result.Errors) != 1 ||
		len(result.Changes) != 1 || result.Changes[0].Row != 1 || fmt.Sprint(result.Changes[0].Fields) != "[notes]" {
		t.Errorf("the dry run: %+v", result)
	}
	if b.bytes() != before {
		t.Error("the dry run wrote")
	}
	if n, err := b.CountGrants(t.Context(), vendor, store.DefaultList); err != nil || n != 3 {
		t.Errorf("counted %d, %v", n, err)
	}
}

// While a file replaces the list, another import changes one of its grants. It stays, as
// the file has it.
func TestReplaceKeepsWhatAnotherImportChanged(t *testing.T) {
	b := newFixture(t)
	b.importFile("zero", 100, false, "gone s")
	b.clock = b.clock.Add(time.Second)
	batch := store.ImportBatch{ID: "replace", Rows: []store.ImportRow{row("u s"), row("v s")}}
	_, err := b.ImportGrants(t.Context(), vendor, store.DefaultList, batch)
	b.ok(err)
	if got := b.importFile("other", 100, false, "u s - note"); got != "0 1 0 0" {
		t.Errorf("the other import: %s", got)
	}
	if known := b.finish("replace", true); known.Removed != 1 || b.grantRows() != "u s  note; v s" {
		t.Errorf("%+v: %s", known, b.grantRows())
	}
	if b.count("m") != 0 {
		t.Errorf("%d markers are left", b.count("m"))
	}
}

// hookEngine calls a function before its next commit.
type hookEngine struct {
	engine.Engine
	before func()
}

func (e *hookEngine) Commit(ctx context.Context, partition string, batch *engine.Batch) (engine.Committed, error) {
	if before := e.before; before != nil {
		e.before = nil
		before()
	}
	return e.Engine.Commit(ctx, partition, batch)
}

// Two files with the same rows are imported at the same moment, on two nodes: one stores
// its batch after the other has looked for grants and before it commits. Every row is one
// grant.
func TestConcurrentImportsDoubleNothing(t *testing.T) {
	b := newFixture(t)
	b.importFile("zero", 100, false, "x s") // the index is complete
	hooked := &hookEngine{Engine: b.engine}
	node := store.New(hooked, b.versions, b.now).As(store.Actor{})
	hooked.before = func() { b.importFile("other", 100, false, "u s", "v s") }
	result, err := node.ImportGrants(t.Context(), vendor, store.DefaultList, store.ImportBatch{ID: "one", Rows: []store.ImportRow{row("u s"), row("v s - note")}})
	if err != nil || result.Created != 0 || result.Changed != 1 || result.Unchanged != 1 || b.grantRows() != "u s; v s  note; x s" {
		t.Errorf("%+v, %v: %s", result, err, b.grantRows())
	}
}
