package store

import (
	"bytes"
	"cmp"
	"context"
	"errors"

	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store/engine"
)

const (
	// finishStep is how many grants or markers one step of finishing an import looks
	// at, so that other writes are not held up.
	finishStep = 500
	// finishSteps is how many steps one call of FinishImport makes.
	finishSteps = 10
	// maxFinishBytes bounds the grants of a step, in bytes.
	maxFinishBytes = 4 << 20
)

// FinishImport ends an import whose rows were all sent. With replace it removes the
// grants of the list that the import neither wrote nor found as its file has them, except
// for those that were created since it began. It works in steps: the caller repeats it
// until the returned import is Finished.
//
// It returns an *ImportError for an import that cannot replace the list: rows of it were
// refused, it has none, or it was finished before without replacing.
func (w Writer) FinishImport(ctx context.Context, vendor, list, id string, replace bool) (Import, error) {
	if checkImportID(id) != nil {
		return Import{}, ErrNotFound
	}
	var known Import
	for done := 0; done < finishSteps && !known.Finished; {
		var err error
		known, err = w.finishStep(ctx, vendor, list, id, replace)
		if err != nil && !errors.Is(err, ErrConflict) {
			return known, err
		}
		done++
	}
	return known, nil
}

// mayFinish returns why an import cannot be finished.
func (i *Import) mayFinish(replace bool) error {
	problem := ""
	switch {
	case i.UpdatedAt.IsZero():
		return ErrNotFound
	case i.Undone != nil:
		problem = "the import was undone: choose another import id"
	case !replace && i.Cleared != "" && !i.Replaced:
		problem = "the import is being finished as a replacement of the list: continue that"
	case !replace || i.Replaced:
	case i.Failed > 0:
		problem = "rows were refused, and nothing was removed: correct the file, and import it under another import id"
	case i.Unmarked && i.Cleared == "" || i.StartedAt.IsZero():
		problem = "the import was finished without replacing the list, or begun by an earlier version: choose another import id"
	}
	if problem == "" {
		return nil
	}
	return &ImportError{i.Position, problem}
}

// finishing collects the writes of one step.
type finishing struct {
	list, vendor, tag string
	known             *Import
	batch             *engine.Batch
	change            policy.Invalidation
	log               importLog
}

func (w Writer) finishStep(ctx context.Context, vendor, list, id string, replace bool) (Import, error) {
	known, stored, err := w.importOf(ctx, vendor, list, id)
	if err != nil {
		return known, err
	}
	if err := known.mayFinish(replace); err != nil || known.Finished && (known.Replaced || !replace) {
		return known, err
	}
	f := finishing{list: list, vendor: vendor, tag: importTag(list, id, known.StartedAt), known: &known, batch: new(engine.Batch)}
	err = w.engine.View(ctx, vendor, func(snapshot engine.Snapshot) error {
		if _, _, err := listIn(snapshot, list); err != nil {
			return err
		}
		if replace {
			if ended, err := f.clear(snapshot); err != nil || !ended {
				return err
			}
		}
		return f.unmark(snapshot, replace)
	})
	if err != nil {
		return known, err
	}
	known.UpdatedAt = w.timestamp()
	if known.Steps, err = f.log.addPuts(f.batch, list, f.tag, known.Steps, known.UpdatedAt); err != nil {
		return known, err
	}
	progress, err := encode(known)
	if err != nil {
		return known, err
	}
	k := importKey(list, id)
	f.batch.Checks = append(f.batch.Checks, engine.Check{Key: k, Value: stored})
	f.batch.Puts = append(f.batch.Puts, engine.Put{Key: k, Value: progress, Expires: known.UpdatedAt.Add(Retention)})
	return known, w.commit(ctx, vendor, f.batch, f.change)
}

// clear removes the next grants that the file does not have. Ended reports that there are
// no more.
func (f *finishing) clear(snapshot engine.Snapshot) (ended bool, err error) {
	prefix, marks := keyPrefix(prefixGrant, f.list), keyPrefix(prefixImportMark, f.list, f.tag)
	after := func(prefix []byte) []byte {
		if f.known.Cleared == "" {
			return nil
		}
		return append(bytes.Clone(prefix), f.known.Cleared...)
	}
	var page []candidate
	size := 0
	for entry, err := range snapshot.Scan(prefix, after(prefix)) {
		if err != nil {
			return false, err
		}
		c := candidate{stored: bytes.Clone(entry.Value)}
		if err := decode(entry.Key, c.stored, &c.grant); err != nil {
			return false, err
		}
		page, size = append(page, c), size+len(c.stored)
		if len(page) == finishStep || size > maxFinishBytes {
			break
		}
	}
	if len(page) == 0 {
		f.known.Cleared = cmp.Or(f.known.Cleared, "-") // before all ids
		return true, nil
	}
	last := page[len(page)-1].grant.ID
	marked := make(map[string]bool)
	for entry, err := range snapshot.Scan(marks, after(marks)) {
		if err != nil {
			return false, err
		}
		id := string(entry.Key[len(marks):])
		if id > last {
			break
		}
		marked[id] = true
	}
	for i := range page {
		if g := &page[i].grant; !marked[g.ID] && g.Import != f.tag && !g.CreatedAt.After(f.known.StartedAt) {
			f.removeGrant(&page[i])
		}
	}
	f.known.Cleared = last
	return false, nil
}

// removeGrant adds the removal of a grant.
func (f *finishing) removeGrant(c *candidate) {
	k := key(prefixGrant, c.grant.Source, c.grant.ID)
	f.batch.Checks = append(f.batch.Checks, engine.Check{Key: k, Value: c.stored})
	f.batch.Deletes = append(append(f.batch.Deletes, k), c.grant.index()...)
	c.grant.addTo(&f.change, f.vendor)
	f.log = append(f.log, loggedGrant{List: c.grant.Source, ID: c.grant.ID, Before: c.stored})
	f.known.Removed++
}

// unmark removes the next markers of the import, and finishes it after the last one.
func (f *finishing) unmark(snapshot engine.Snapshot, replace bool) error {
	f.known.Unmarked = true
	n := 0
	for entry, err := range snapshot.Scan(keyPrefix(prefixImportMark, f.list, f.tag), nil) {
		if err != nil {
			return err
		}
		f.batch.Deletes = append(f.batch.Deletes, bytes.Clone(entry.Key))
		if n++; n == 4*finishStep {
			return nil
		}
	}
	f.batch.Deletes = append(f.batch.Deletes, openKey(f.list, f.tag))
	f.known.Finished, f.known.Replaced = true, replace
	return nil
}

// countPage is how many grants CountGrants counts in one view.
const countPage = 20_000

// CountGrants returns the number of grants of an access list.
func (s *Store) CountGrants(ctx context.Context, vendor, list string) (total int64, err error) {
	prefix := keyPrefix(prefixGrant, list)
	var after []byte
	for page := countPage; page == countPage; {
		page = 0
		err := s.engine.View(ctx, vendor, func(snapshot engine.Snapshot) error {
			for entry, err := range snapshot.Scan(prefix, after) {
				if err != nil {
					return err
				}
				after = append(after[:0:0], entry.Key...)
				if page++; page == countPage {
					break
				}
			}
			return ctx.Err()
		})
		if err != nil {
			return total, err
		}
		total += int64(page)
	}
	return total, nil
}
