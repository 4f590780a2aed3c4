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
	RecordBills         = "bills"
	RecordTransactions  = "transactions"
	RecordFulfilments   = "fulfilments"
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
	// Record is a *Profile, *User, *Plan, *Role, *Subscription, *Bill, *Transaction or
	// *Fulfilment, as the kind of the import needs.
	Record any
	// Keep, unless nil, gives next, which is to replace old, what the row leaves as it is.
	// Both have the type of Record.
	Keep func(next, old any)
	// Refused, unless nil, is an error that the caller found in the row. The row is counted
	// and reported, and changes nothing.
	Refused *FieldError
}

// recordKind is how the rows of a kind are written and read.
type recordKind struct {
	prefix byte
	// batch stores the rows without an error; rows has their indexes.
	batch func(t *transaction, b *RecordBatch, rows []int) (MembersImported, error)
	// decode returns the record of a stored value, nil for one that is not exported.
	decode func(k, stored []byte) (any, error)
}

// newRecordKind returns the recordKind of a kind. Importing returns how a batch is imported;
// exported reports whether a record is exported, and may be nil.
func newRecordKind[T any](k *kind[T], importing func(t *transaction, b *RecordBatch, rows []MemberRow[T]) *memberImport[T], exported func(*T) bool) recordKind {
	return recordKind{
		prefix: k.prefix,
		batch: func(t *transaction, b *RecordBatch, rows []int) (MembersImported, error) {
			members := make([]MemberRow[T], len(rows))
			for i, at := range rows {
				members[i].Record = *b.Rows[at].Record.(*T)
				if keep := b.Rows[at].Keep; keep != nil {
					members[i].Keep = func(next, old *T) { keep(next, old) }
				}
			}
			return importing(t, b, members).batch(t, members)
		},
		decode: func(key, stored []byte) (any, error) {
			record := new(T)
			if err := decode(key, stored, record); err != nil || exported != nil && !exported(record) {
				return nil, err
			}
			return record, nil
		},
	}
}

// always is an import that is the same for every batch.
func always[T any](m *memberImport[T]) func(*transaction, *RecordBatch, []MemberRow[T]) *memberImport[T] {
	return func(*transaction, *RecordBatch, []MemberRow[T]) *memberImport[T] { return m }
}

// recordKinds are the kinds by name.
var recordKinds = map[string]recordKind{
	RecordProfiles: newRecordKind(profileKind, always(profileImport), nil),
	RecordUsers:    newRecordKind(userKind, always(userImport), nil),
	RecordPlans:    newRecordKind(planKind, always(planImport), nil),
	RecordRoles: newRecordKind(roleKind, func(t *transaction, b *RecordBatch, rows []MemberRow[Role]) *memberImport[Role] {
		return roleImport(rows, t.now, b.Operator)
	}, func(r *Role) bool { return r.Type != "" && r.GrantKey == "" }),
	RecordSubscriptions: newRecordKind(subscriptionKind, always(subscriptionImport), func(s *Subscription) bool {
		return s.GrantKey == "" && s.RequestKey == ""
	}),
	RecordBills:        newRecordKind(billKind, always(&memberImport[Bill]{kind: billKind}), nil),
	RecordTransactions: newRecordKind(transactionKind, always(&memberImport[Transaction]{kind: transactionKind}), nil),
	RecordFulfilments:  newRecordKind(fulfilmentKind, always(&memberImport[Fulfilment]{kind: fulfilmentKind}), nil),
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

// put stores the rows of the batch.
func (b *RecordBatch) put(t *transaction, into *recordKind) (ImportResult, error) {
	result := ImportResult{Position: b.Position + int64(len(b.Rows))}
	var rows []int
	for i := range b.Rows {
		if refused := b.Rows[i].Refused; refused != nil {
			result.Errors = append(result.Errors, newRowError(i, refused))
			continue
		}
		rows = append(rows, i)
	}
	imported, err := into.batch(t, b, rows)
	if err != nil {
		return result, err
	}
	for _, outcome := range imported.Outcomes {
		switch outcome {
		case RowCreated:
			result.Created++
		case RowChanged:
			result.Changed++
		case RowUnchanged:
			result.Unchanged++
		case RowRefused: // counted by its error
		}
	}
	for _, refused := range imported.Errors {
		refused.Row = rows[refused.Row]
		result.Errors = append(result.Errors, refused)
	}
	slices.SortFunc(result.Errors, func(a, b RowError) int { return a.Row - b.Row })
	return result, nil
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
