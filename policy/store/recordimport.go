package store

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/gatefold/gatefold/policy/store/engine"
)

// The kinds of records that are imported and exported as rows.
const (
	RecordProfiles      = "profiles"
	RecordUsers         = "users"
	RecordPlans         = "plans"
	RecordRoles         = "roles"
	RecordSubscriptions = "subscriptions"
)

// RecordBatch is the next part of an import of records of one kind.
type RecordBatch struct {
	// ID identifies the import, see ImportBatch.
	ID string
	// Position is the number of rows of the import before this batch.
	Position int64
	Rows     []RecordRow
	// Chain identifies all rows up to the end of this batch, and is returned in Import.
	Chain []byte
	// DryRun returns what the batch would do, and stores nothing. ID, Position and Chain are
	// ignored.
	DryRun bool
	// Operator lets rows take the last manager from a profile.
	Operator bool
}

// RecordRow is one row of an import of records.
type RecordRow struct {
	// Record is a *Profile, *User, *Plan, *Role or *Subscription, as the kind of the import
	// needs.
	Record any
	// Refused, unless nil, is an error that the caller found in the row. The row is counted
	// and reported, and changes nothing.
	Refused *FieldError
}

// recordKind is how rows of a kind are written and read.
type recordKind struct {
	prefix byte
	// needs returns the keys that put reads, so that they are read together.
	needs func(record any) [][]byte
	put   func(t *transaction, record any, operator bool) error
	path  func(record any) []string
	// decode returns the record of a stored value, nil for one that is not exported.
	decode func(k, stored []byte) (any, error)
}

// newRecordKind returns the recordKind of a kind. Needs adds the keys of the records to which
// a record refers, exported reports whether a stored record is exported; both may be nil.
func newRecordKind[T any](k *kind[T], needs func(*T) [][]byte, exported func(*T) bool, put func(t *transaction, next *T, operator bool) error) recordKind {
	return recordKind{
		prefix: k.prefix,
		needs: func(record any) (keys [][]byte) {
			if needs != nil {
				keys = needs(record.(*T))
			}
			return append(keys, k.key(k.path(record.(*T))...))
		},
		put: func(t *transaction, record any, operator bool) error {
			next := *record.(*T) // the transaction may be repeated
			if put != nil {
				return put(t, &next, operator)
			}
			return k.put(t, &next)
		},
		path: func(record any) []string { return k.path(record.(*T)) },
		decode: func(key, stored []byte) (any, error) {
			record := new(T)
			if err := decode(key, stored, record); err != nil || exported != nil && !exported(record) {
				return nil, err
			}
			return record, nil
		},
	}
}

// recordKinds are the kinds by name.
var recordKinds = map[string]recordKind{
	RecordProfiles: newRecordKind(profileKind, nil, nil, nil),
	RecordUsers:    newRecordKind(userKind, nil, nil, nil),
	RecordPlans:    newRecordKind(planKind, nil, nil, putPlan),
	RecordRoles: newRecordKind(roleKind,
		func(r *Role) [][]byte { return [][]byte{profileKind.key(r.Profile), userKind.key(r.User)} },
		func(r *Role) bool { return r.Type != "" && r.GrantKey == "" }, nil),
	RecordSubscriptions: newRecordKind(subscriptionKind,
		func(s *Subscription) [][]byte {
			s.ID = subscriptionID(s.Profile, s.Plan, s.StartsAt)
			return [][]byte{profileKind.key(s.Profile), planKind.key(s.Plan)}
		},
		func(s *Subscription) bool { return s.GrantKey == "" && s.RequestKey == "" }, nil),
}

// putPlan refuses a row that would give a plan to another provider, which would keep its
// subscribers.
func putPlan(t *transaction, next *Plan, _ bool) error {
	old, err := planKind.get(t, next.Slug)
	if err == nil && old != nil && old.Provider != next.Provider {
		err = &FieldError{"profile", "is another one than the plan has: a plan stays with its provider"}
	}
	if err != nil {
		return err
	}
	return planKind.put(t, next)
}

// ImportRecords stores the rows of a batch in one commit, together with the progress of the
// import. A row replaces the record with its key, or creates one. A batch that is sent again
// changes nothing.
//
// A row with an error is reported and does not affect the others. ImportRecords returns an
// *ImportError when the batch is not the next one, and a *FieldError for the batch as a whole.
func (w Writer) ImportRecords(ctx context.Context, vendor, kind string, batch RecordBatch) (ImportResult, error) {
	if err := batch.check(); err != nil {
		return ImportResult{}, err
	}
	into := recordKinds[kind]
	for range importAttempts {
		result, err := w.importRecords(ctx, vendor, kind, &into, &batch)
		if !errors.Is(err, ErrConflict) {
			return result, err
		}
	}
	return ImportResult{}, ErrConflict
}

func (b *RecordBatch) check() error {
	switch {
	case b.DryRun:
	case checkImportID(b.ID) != nil:
		return checkImportID(b.ID)
	case b.Position < 0 || b.Position > maxImportPosition:
		return &FieldError{"position", "must be the number of rows before the batch"}
	}
	if len(b.Rows) == 0 || len(b.Rows) > MaxImportRows {
		return &FieldError{"rows", fmt.Sprintf("must be from 1 to %d in a batch", MaxImportRows)}
	}
	return nil
}

func recordImportKey(kind, id string) []byte { return key(prefixRecordImport, kind, id) }

// RecordImport returns the progress of an import of records, or ErrNotFound.
func (s *Store) RecordImport(ctx context.Context, vendor, kind, id string) (Import, error) {
	var known Import
	if checkImportID(id) != nil {
		return known, ErrNotFound
	}
	_, err := s.get(ctx, vendor, recordImportKey(kind, id), &known)
	if err == nil && !s.now().Before(known.UpdatedAt.Add(Retention)) {
		return Import{}, ErrNotFound
	}
	return known, err
}

// importRecords is one attempt of ImportRecords.
func (w Writer) importRecords(ctx context.Context, vendor, kind string, into *recordKind, batch *RecordBatch) (result ImportResult, err error) {
	t := &transaction{vendor: vendor, now: w.timestamp(), cells: map[string]*cell{}}
	progress := recordImportKey(kind, batch.ID)
	var known Import
	replayed := false
	err = w.engine.View(ctx, vendor, func(snapshot engine.Snapshot) error {
		t.snapshot = snapshot
		if !batch.DryRun {
			stored, err := t.load(progress)
			if err == nil && stored != nil {
				err = decode(progress, stored, &known)
			}
			if err != nil {
				return err
			}
			if !known.UpdatedAt.IsZero() && !t.now.Before(known.UpdatedAt.Add(Retention)) {
				known = Import{}
			}
			if result, replayed, err = known.answer(batch.Position, len(batch.Rows), batch.Chain); err != nil || replayed {
				return err
			}
		}
		if err := engine.Prefetch(snapshot, batch.needs(into)...); err != nil {
			return err
		}
		result, err = batch.put(t, into)
		return err
	})
	if err != nil || replayed || batch.DryRun {
		return result, err
	}
	if known.UpdatedAt.IsZero() {
		known.StartedAt = t.now
	}
	next, err := encode(known.with(result, batch.Chain, batch.Chain, t.now, batch.Position, len(batch.Rows)))
	if err != nil {
		return result, err
	}
	t.set(progress, next, t.now.Add(Retention))
	writes := t.batch()
	// The progress is the summary of the audit entry, which comes last.
	slices.SortStableFunc(writes.Puts, func(a, b engine.Put) int {
		return cmp.Compare(flag(1, bytes.Equal(a.Key, progress)), flag(1, bytes.Equal(b.Key, progress)))
	})
	return result, w.commit(ctx, vendor, writes, t.change)
}

// needs returns the keys that the rows of the batch read.
func (b *RecordBatch) needs(into *recordKind) (keys [][]byte) {
	for i := range b.Rows {
		if b.Rows[i].Refused == nil {
			keys = append(keys, into.needs(b.Rows[i].Record)...)
		}
	}
	return keys
}

// put writes the rows of the batch.
func (b *RecordBatch) put(t *transaction, into *recordKind) (ImportResult, error) {
	result := ImportResult{Position: b.Position + int64(len(b.Rows))}
	size := 0
	for i := range b.Rows {
		row := &b.Rows[i]
		refused := row.Refused
		if refused == nil {
			written, err := into.write(t, row.Record, b.Operator, &result)
			if err != nil && !rowError(err, &refused) {
				return result, err
			}
			if size += written; size > MaxImportBytes {
				return result, &FieldError{"rows", "are too large together: send fewer in one batch"}
			}
		}
		if refused != nil {
			result.Errors = append(result.Errors, newRowError(i, refused))
		}
	}
	return result, nil
}

// write writes the record of a row, and counts it. It returns the size of what it wrote.
func (k *recordKind) write(t *transaction, record any, operator bool, result *ImportResult) (int, error) {
	at := key(k.prefix, k.path(record)...)
	before, err := t.load(at)
	if err != nil {
		return 0, err
	}
	if err := k.put(t, record, operator); err != nil {
		return 0, err
	}
	after := t.cell(at).value
	switch {
	case before == nil:
		result.Created++
	case bytes.Equal(before, after):
		result.Unchanged++
		return 0, nil
	default:
		result.Changed++
	}
	return len(after), nil
}

// rowErrors are the errors of other records that refuse a row, with their texts.
var rowErrors = map[error]string{
	ErrExists: "there is such a record already", ErrReserved: "is the name of a record that was removed, and is not free yet",
}

// rowError reports whether an error concerns one row only, and sets it.
func rowError(err error, refused **FieldError) bool {
	// An error of the engine may be joined to that of the row.
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		if list := joined.Unwrap(); len(list) == 1 {
			err = list[0]
		}
	}
	if field, ok := err.(*FieldError); ok { //nolint:errorlint // see above
		*refused = field
		return true
	}
	for known, text := range rowErrors {
		if err == known { //nolint:errorlint // see above
			*refused = &FieldError{Problem: text}
			return true
		}
	}
	return false
}

// ExportRecords returns a page of the records of a kind in the order of their keys: pointers to
// what a RecordRow has. After is what the page before returned as next, nil for the first page.
// Next is nil after the last page. Invitations and requests are left out: their keys are not
// stored, so nothing could accept them elsewhere.
func (s *Store) ExportRecords(ctx context.Context, vendor, kind string, after []byte, limit int) (found []any, next []byte, err error) {
	from := recordKinds[kind]
	err = s.engine.View(ctx, vendor, func(snapshot engine.Snapshot) error {
		found, next = nil, nil
		read := 0
		for entry, err := range snapshot.Scan([]byte{from.prefix}, after) {
			if err != nil {
				return err
			}
			record, err := from.decode(entry.Key, entry.Value)
			if err != nil {
				return err
			}
			if record != nil {
				found = append(found, record)
			}
			if read++; read == limit {
				next = bytes.Clone(entry.Key)
				return nil
			}
		}
		return nil
	})
	return found, next, err
}
