package store

import (
	"context"

	"github.com/gatefold/gatefold/policy/store/engine"
)

// RemovedGrants takes the place of an access list in the path of a removal of many
// grants, which is kept and undone like an import.
const RemovedGrants = "removals"

// removeStep is how many grants one step of a removal removes, so that other writes are
// not held up.
const removeStep = 500

// NewRemovalID returns a new id for RemoveGrants.
func (s *Store) NewRemovalID() string { return newID("removal_", s.now()) }

// RemoveGrants removes the next grants that a query selects, as a part of the removal of
// an id, and returns how many it removed. More reports that there may be further ones: the
// caller continues after next. UndoImport with RemovedGrants as the list gives the grants
// back, for Retention.
//
// The query must have a condition besides a status. A grant that is changed concurrently
// returns ErrConflict, and nothing of the step is removed.
func (w Writer) RemoveGrants(ctx context.Context, vendor, id string, query GrantQuery) (removed int64, next string, more bool, err error) {
	if err := checkImportID(id); err != nil {
		return 0, "", false, err
	}
	if !query.Narrow() {
		return 0, "", false, &FieldError{"list", "is required, or another condition: all grants of a vendor are not removed at once"}
	}
	query.Limit = removeStep
	found, next, more, err := w.findGrants(ctx, vendor, &query)
	if err != nil {
		return 0, "", false, err
	}
	removal, stored, err := w.importOf(ctx, vendor, RemovedGrants, id)
	switch {
	case err != nil:
		return 0, "", false, err
	case removal.Undone != nil:
		return 0, "", false, &ImportError{Problem: "the removal was undone: begin another one"}
	case removal.UpdatedAt.IsZero():
		removal.StartedAt = w.timestamp()
	case len(found) == 0:
		return 0, next, more, nil
	}
	f := finishing{vendor: vendor, known: &removal, batch: new(engine.Batch)}
	for i := range found {
		f.removeGrant(&found[i].candidate)
	}
	removal.UpdatedAt, removal.Finished = w.timestamp(), !more
	tag := importTag(RemovedGrants, id, removal.StartedAt)
	if removal.Steps, err = f.log.addPuts(f.batch, RemovedGrants, tag, removal.Steps, removal.UpdatedAt); err != nil {
		return 0, "", false, err
	}
	progress, err := encode(removal)
	if err != nil {
		return 0, "", false, err
	}
	k := importKey(RemovedGrants, id)
	// First, so that the audit log shows grants as well.
	f.batch.Puts = append([]engine.Put{{Key: k, Value: progress, Expires: removal.UpdatedAt.Add(Retention)}}, f.batch.Puts...)
	f.batch.Checks = append(f.batch.Checks, engine.Check{Key: k, Value: stored})
	return int64(len(found)), next, more, w.commit(ctx, vendor, f.batch, f.change)
}
