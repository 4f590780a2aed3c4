package store

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"time"

	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store/engine"
)

// The log of an import, or of a removal of many grants, has what it changed, in steps of
// bounded size. It is kept for Retention after the last change, for undoing it.

// loggedGrant is a grant that an import changed.
type loggedGrant struct {
	List string `json:"list"`
	ID   string `json:"id"`
	// Digest identifies the record that the import wrote; it is absent if the import
	// removed the grant.
	Digest []byte `json:"digest,omitempty"`
	// Before is the earlier record; it is absent if the import created the grant.
	Before json.RawMessage `json:"before,omitempty"`
}

type importLog []loggedGrant

// maxLogStep bounds a step of the log, in bytes of JSON. A step has at least one grant.
const maxLogStep = 256 << 10

func grantDigest(stored []byte) []byte {
	digest := sha256.Sum256(stored)
	return digest[:12]
}

func logKey(list, tag string, step uint64) []byte {
	return binary.BigEndian.AppendUint64(keyPrefix(prefixImportLog, list, tag), step)
}

// addPuts adds the steps of the log to a batch, and returns the number of the next step.
func (l importLog) addPuts(batch *engine.Batch, list, tag string, step uint64, now time.Time) (uint64, error) {
	for len(l) > 0 && tag != "" {
		n, size := 0, 0
		for ; n < len(l); n++ {
			size += len(l[n].List) + len(l[n].ID) + len(l[n].Before) + 64
			if n > 0 && size > maxLogStep {
				break
			}
		}
		stored, err := encode(l[:n])
		if err != nil {
			return step, err
		}
		batch.Puts = append(batch.Puts, engine.Put{Key: logKey(list, tag, step), Value: stored, Expires: now.Add(Retention)})
		l, step = l[n:], step+1
	}
	return step, nil
}

// UndoneImport is the result of undoing an import, or a removal of many grants.
type UndoneImport struct {
	// Removed is the number of created grants that were removed, Restored that of
	// changed and removed ones that are as before.
	Removed  int64 `json:"removed"`
	Restored int64 `json:"restored"`
	// Kept is the number of grants that were changed or removed afterwards, or whose
	// list was: they are as they were before undoing.
	Kept int64 `json:"kept"`
	Done bool  `json:"done"`
}

// UndoImport undoes the next step of an import into an access list, and returns the
// progress. The caller repeats it until the result is Done. It returns ErrNotFound when
// there is no such import.
func (w Writer) UndoImport(ctx context.Context, vendor, list, id string) (UndoneImport, error) {
	if checkImportID(id) != nil {
		return UndoneImport{}, ErrNotFound
	}
	for range importAttempts {
		undone, err := w.undoStep(ctx, vendor, list, id)
		if !errors.Is(err, ErrConflict) {
			return undone, err
		}
	}
	return UndoneImport{}, ErrConflict
}

// undoStep is one attempt of UndoImport.
func (w Writer) undoStep(ctx context.Context, vendor, list, id string) (UndoneImport, error) {
	known, stored, err := w.importOf(ctx, vendor, list, id)
	switch {
	case err != nil:
		return UndoneImport{}, err
	case known.UpdatedAt.IsZero():
		return UndoneImport{}, ErrNotFound
	case known.StartedAt.IsZero():
		return UndoneImport{}, &ImportError{known.Position, "the import was made by an earlier version, which kept no record of its changes"}
	}
	if known.Undone == nil {
		known.Undone = new(UndoneImport)
	}
	undone := known.Undone
	if undone.Done {
		return *undone, nil
	}
	tag := importTag(list, id, known.StartedAt)
	u := undoing{vendor: vendor, batch: &engine.Batch{Deletes: [][]byte{openKey(list, tag)}}, undone: undone}
	prefix := keyPrefix(prefixImportLog, list, tag)
	if err := w.engine.View(ctx, vendor, func(snapshot engine.Snapshot) error { return u.read(snapshot, prefix) }); err != nil {
		return UndoneImport{}, err
	}
	known.UpdatedAt = w.timestamp()
	progress, err := encode(known)
	if err != nil {
		return UndoneImport{}, err
	}
	k := importKey(list, id)
	u.batch.Checks = append(u.batch.Checks, engine.Check{Key: k, Value: stored})
	u.batch.Puts = append(u.batch.Puts, engine.Put{Key: k, Value: progress, Expires: known.UpdatedAt.Add(Retention)})
	return *undone, w.commit(ctx, vendor, u.batch, u.change)
}

// undoing collects the writes of one step of undoing.
type undoing struct {
	vendor string
	batch  *engine.Batch
	change policy.Invalidation
	undone *UndoneImport
}

// read undoes the first step of a log.
func (u *undoing) read(snapshot engine.Snapshot, prefix []byte) error {
	var log importLog
	for entry, err := range snapshot.Scan(prefix, nil) {
		switch {
		case err != nil:
			return err
		case log != nil:
			return u.restoreAll(snapshot, log) // there are further steps
		}
		if err := decode(entry.Key, entry.Value, &log); err != nil {
			return err
		}
		u.batch.Deletes = append(u.batch.Deletes, append([]byte(nil), entry.Key...))
	}
	u.undone.Done = true
	return u.restoreAll(snapshot, log)
}

func (u *undoing) restoreAll(snapshot engine.Snapshot, log importLog) error {
	lists := make(map[string]bool)
	keys := make([][]byte, 0, len(log))
	for i := range log {
		keys = append(keys, key(prefixGrant, log[i].List, log[i].ID))
	}
	if err := engine.Prefetch(snapshot, keys...); err != nil {
		return err
	}
	for i := range log {
		list := log[i].List
		present, looked := lists[list]
		if !looked {
			_, _, err := listIn(snapshot, list)
			if err != nil && !errors.Is(err, ErrNotFound) {
				return err
			}
			present = err == nil
			lists[list] = present
			if present && list != DefaultList {
				u.batch.Checks = append(u.batch.Checks, engine.Check{Key: key(prefixList, list), Present: true})
			}
		}
		if !present {
			u.undone.Kept++
			continue
		}
		if err := u.restore(snapshot, &log[i]); err != nil {
			return err
		}
	}
	return nil
}

// restore undoes the change of one grant, unless it was changed afterwards.
func (u *undoing) restore(snapshot engine.Snapshot, logged *loggedGrant) error {
	var current, before Grant
	k := key(prefixGrant, logged.List, logged.ID)
	stored, err := getIn(snapshot, k, &current)
	gone := errors.Is(err, ErrNotFound)
	if err != nil && !gone {
		return err
	}
	if gone {
		stored = nil
	}
	if gone != (logged.Digest == nil) || !gone && string(grantDigest(stored)) != string(logged.Digest) {
		u.undone.Kept++
		return nil
	}
	u.batch.Checks = append(u.batch.Checks, engine.Check{Key: k, Value: stored})
	if !gone {
		u.batch.Deletes = append(u.batch.Deletes, current.index()...)
		current.addTo(&u.change, u.vendor)
	}
	if logged.Before == nil {
		u.undone.Removed++
		u.batch.Deletes = append(u.batch.Deletes, k)
		return nil
	}
	if err := decode(k, logged.Before, &before); err != nil {
		return err
	}
	u.undone.Restored++
	// The same bytes, so that an earlier import of the grant can be undone as well.
	u.batch.Puts = append(u.batch.Puts, engine.Put{Key: k, Value: logged.Before})
	for _, at := range before.index() {
		u.batch.Puts = append(u.batch.Puts, engine.Put{Key: at, Value: []byte{}})
	}
	before.addTo(&u.change, u.vendor)
	return nil
}
