package store

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/gatefold/gatefold/policy/store/engine"
)

// Bounds of one batch of an import. They bound the memory of a commit, and how long
// it holds up other writers.
const (
	// MaxImportRows is the maximum number of rows of a batch.
	MaxImportRows = 5000
	// MaxImportBytes is the maximum size of the stored grants of a batch, in bytes.
	MaxImportBytes = 32 << 20
	// MaxImportIDSize is the maximum length of the id of an import, in bytes.
	MaxImportIDSize = 128
)

// maxImportPosition keeps positions exact in floating point, as in JavaScript.
const maxImportPosition = 1 << 53

// ImportBatch is the next part of an import of grants into one access list.
type ImportBatch struct {
	// ID identifies the import. The client chooses it, and uses it for every batch:
	// printable ASCII without spaces and slashes.
	ID string
	// Position is the number of rows of the import before this batch.
	Position int64
	Rows     []ImportRow
	// Chain is stored and returned in Import. The caller may use it to identify all
	// rows up to the end of this batch.
	Chain []byte
	// DryRun returns what the batch would do, and stores nothing. ID and Position are
	// ignored.
	DryRun bool
}

// ImportRow is one row of an import.
type ImportRow struct {
	Grant Grant
	// Refused, unless nil, is an error that the caller found in the row. The row is
	// counted and reported, and changes no grant.
	Refused *FieldError
	// NoStart and NoEnd report that the row has a status, and null as the start or the end
	// of the grant. Without them a row that has no such time leaves that of a grant.
	NoStart bool `json:",omitempty"`
	NoEnd   bool `json:",omitempty"`

	// keepStatus: the row has no status, and does not change that of a grant.
	keepStatus bool
}

// ImportResult is the result of a batch.
type ImportResult struct {
	// Position is the position of the next batch.
	Position int64
	// Created, Changed and Unchanged are numbers of grants.
	Created, Changed, Unchanged int
	// Replayed reports that the batch was stored before; this is its result then.
	Replayed bool
	// Errors has one entry for each row that was refused.
	Errors []RowError
	// Changes are the changes that a dry run would make to grants.
	Changes []RowChange
}

// RowChange is what a row would change.
type RowChange struct {
	// Row is the row's index in its batch, from zero.
	Row int
	// Grant is the id of the grant, and Fields are the names of the members that
	// differ from it.
	Grant  string
	Fields []string
}

// RowError is the error of one row of a batch.
type RowError struct {
	// Row is the row's index in its batch, from zero.
	Row     int    `json:"row"`
	Field   string `json:"field,omitempty"`
	Problem string `json:"message"`
}

// Import is the progress of an import.
type Import struct {
	// Position is the position of the next batch.
	Position int64 `json:"position"`
	// Created, Changed, Unchanged and Failed add up to Position.
	Created   int64 `json:"created"`
	Changed   int64 `json:"changed,omitempty"`
	Unchanged int64 `json:"unchanged,omitempty"`
	Failed    int64 `json:"failed"`
	// Removed is the number of grants that were removed because the file does not have
	// them.
	Removed int64 `json:"removed,omitempty"`
	// StartedAt is when the first batch was stored. It is zero for an import that an
	// earlier version began, which can be neither finished as a replacement nor undone.
	StartedAt time.Time `json:"startedAt,omitzero"`
	// Finished reports that the client sent all rows; Replaced that the list was made
	// equal to the file then.
	Finished bool `json:"finished,omitempty"`
	Replaced bool `json:"replaced,omitempty"`
	// Undone is the result of undoing the import, nil if that has not begun.
	Undone *UndoneImport `json:"undone,omitempty"`

	// Steps is the number of steps in the log, see importlog.go.
	Steps uint64 `json:"steps,omitempty"`
	// Cleared is the last grant that finishing the import has looked at, and Unmarked
	// reports that the import has no markers any more.
	Cleared  string `json:"cleared,omitempty"`
	Unmarked bool   `json:"unmarked,omitempty"`

	// Last is the newest batch, for clients that did not receive the answer to it.
	Last ImportedBatch `json:"last"`
	// Chain is the chain of the newest batch.
	Chain []byte `json:"chain,omitempty"`
	// UpdatedAt is when the newest batch was stored. The import is kept for
	// Retention after that.
	UpdatedAt time.Time `json:"updatedAt"`
}

// ImportedBatch is a stored batch.
type ImportedBatch struct {
	Position  int64      `json:"position"`
	Rows      int        `json:"rows"`
	Created   int        `json:"created"`
	Changed   int        `json:"changed,omitempty"`
	Unchanged int        `json:"unchanged,omitempty"`
	Digest    []byte     `json:"digest"`
	Errors    []RowError `json:"errors,omitempty"`
}

// ImportError is returned for a batch that does not continue its import. Nothing was
// stored.
type ImportError struct {
	// Position is the position at which the import continues.
	Position int64
	Problem  string
}

func (e *ImportError) Error() string { return e.Problem }

// importAttempts bounds the attempts to store a batch when imports into the same list
// are stored concurrently. Of these, one succeeds in each round.
const importAttempts = 20

// ImportGrants stores the rows of a batch in one commit, together with the progress of
// the import. A row whose key (see Grant.rowKey) a grant of the list has changes that
// grant, unless an earlier row of the import did; any other row creates one. A batch that
// is sent again changes nothing, and has the same result.
//
// A row with an error is reported and does not affect the others. ImportGrants
// returns an *ImportError when the batch is not the next one, ErrNotFound when there
// is no such list, and a *FieldError for the batch as a whole.
func (w Writer) ImportGrants(ctx context.Context, vendor, list string, batch ImportBatch) (ImportResult, error) {
	if err := batch.check(); err != nil {
		return ImportResult{}, err
	}
	rowErrors := batch.RowErrors(list)
	digest, err := batch.digest()
	if err != nil {
		return ImportResult{}, err
	}
	if err := w.complete(ctx, vendor, &grantIndex); err != nil {
		return ImportResult{}, err
	}
	for range importAttempts {
		result, err := w.importBatch(ctx, vendor, list, &batch, rowErrors, digest)
		if !errors.Is(err, ErrConflict) {
			return result, err
		}
	}
	return ImportResult{}, ErrConflict
}

// importBatch is one attempt of ImportGrants.
func (w Writer) importBatch(ctx context.Context, vendor, list string, batch *ImportBatch, rowErrors []RowError, digest []byte) (ImportResult, error) {
	plan := importPlan{batch: batch, list: list, now: w.timestamp(), errors: rowErrors}
	if !batch.DryRun {
		known, stored, err := w.importOf(ctx, vendor, list, batch.ID)
		if err != nil {
			return ImportResult{}, err
		}
		if result, replayed, err := known.answer(batch.Position, len(batch.Rows), digest); err != nil || replayed {
			return result, err
		}
		if known.UpdatedAt.IsZero() {
			known.StartedAt = plan.now
		}
		plan.known, plan.stored, plan.tag = known, stored, importTag(list, batch.ID, known.StartedAt)
	}
	if err := w.engine.View(ctx, vendor, plan.read); err != nil {
		return ImportResult{}, err
	}
	writes, change, err := plan.writes(vendor)
	if err != nil || batch.DryRun {
		return plan.result, err
	}
	progress, err := encode(plan.known.with(plan.result, digest, batch.Chain, plan.now, batch.Position, len(batch.Rows)))
	if err != nil {
		return ImportResult{}, err
	}
	k := importKey(list, batch.ID)
	writes.Checks = append(writes.Checks, engine.Check{Key: k, Value: plan.stored})
	writes.Puts = append(writes.Puts, engine.Put{Key: k, Value: progress, Expires: plan.now.Add(Retention)})
	return plan.result, w.commit(ctx, vendor, writes, change)
}

// GrantImport returns the progress of an import into an access list, or ErrNotFound.
func (s *Store) GrantImport(ctx context.Context, vendor, list, id string) (Import, error) {
	if checkImportID(id) != nil {
		return Import{}, ErrNotFound
	}
	known, _, err := s.importOf(ctx, vendor, list, id)
	if err == nil && known.UpdatedAt.IsZero() {
		err = ErrNotFound
	}
	return known, err
}

func importKey(list, id string) []byte { return key(prefixImport, list, id) }

// importOf returns an import, the zero one if there is none, and its stored bytes.
func (s *Store) importOf(ctx context.Context, vendor, list, id string) (Import, []byte, error) {
	var known Import
	stored, err := s.get(ctx, vendor, importKey(list, id), &known)
	if errors.Is(err, ErrNotFound) {
		return Import{}, nil, nil
	}
	if err == nil && !s.now().Before(known.UpdatedAt.Add(Retention)) {
		return Import{}, stored, nil
	}
	return known, stored, err
}

// answer returns the result of a batch of rows at a position that was stored before.
func (i *Import) answer(position int64, rows int, digest []byte) (result ImportResult, replayed bool, err error) {
	last := i.Last
	switch {
	case i.Undone != nil:
		return ImportResult{}, false, &ImportError{i.Position, "the import was undone: choose another import id"}
	case position == i.Position && (i.Replaced || i.Cleared != ""):
		return ImportResult{}, false, &ImportError{i.Position, "the import is finished: choose another import id for more rows"}
	case position == i.Position:
		return ImportResult{}, false, nil
	case position > i.Position:
		return ImportResult{}, false, &ImportError{i.Position, fmt.Sprintf("rows are missing: the import is at position %d; continue there", i.Position)}
	case position != last.Position || rows != last.Rows:
		return ImportResult{}, false, &ImportError{i.Position, fmt.Sprintf("these rows were imported before: the import is at position %d; continue there", i.Position)}
	case !slices.Equal(digest, last.Digest):
		return ImportResult{}, false, &ImportError{i.Position, "other rows were imported at this position: choose another import id for another import"}
	}
	return ImportResult{
		Position: i.Position, Created: last.Created, Changed: last.Changed, Unchanged: last.Unchanged, Replayed: true, Errors: last.Errors,
	}, true, nil
}

// with returns the import after a batch of rows at a position.
func (i *Import) with(result ImportResult, digest, chain []byte, now time.Time, position int64, rows int) Import {
	next := *i
	next.Position, next.Chain, next.UpdatedAt, next.Finished = result.Position, chain, now, false
	next.Created += int64(result.Created)
	next.Changed += int64(result.Changed)
	next.Unchanged += int64(result.Unchanged)
	next.Failed += int64(len(result.Errors))
	next.Last = ImportedBatch{
		Position: position, Rows: rows, Created: result.Created, Changed: result.Changed, Unchanged: result.Unchanged,
		Digest: digest, Errors: result.Errors,
	}
	return next
}

// check checks the batch without its rows.
func (b *ImportBatch) check() error {
	if err := checkImportID(b.ID); err != nil && !b.DryRun {
		return err
	}
	switch {
	case b.Position < 0 || b.Position > maxImportPosition:
		return &FieldError{"position", "must be the number of rows before the batch"}
	case len(b.Rows) == 0:
		return &FieldError{"grants", "are none: a batch has at least one row"}
	case len(b.Rows) > MaxImportRows:
		return &FieldError{"grants", fmt.Sprintf("are more than %d: send them in several batches", MaxImportRows)}
	}
	return nil
}

func checkImportID(id string) error {
	if id == "" || len(id) > MaxImportIDSize {
		return &FieldError{"importId", fmt.Sprintf("must have 1 to %d bytes", MaxImportIDSize)}
	}
	// It is a path segment: cleaning a path must not change it.
	bad := func(c rune) bool { return c <= ' ' || c >= 0x7f || c == '/' || c == '\\' }
	if id[0] == '.' || strings.ContainsFunc(id, bad) {
		return &FieldError{"importId", "must be printable ASCII without spaces and slashes, and not begin with a dot"}
	}
	return nil
}

// RowErrors fills in the defaults of every row, for an import into a list, and
// returns the errors of rows that cannot be stored.
func (b *ImportBatch) RowErrors(list string) []RowError {
	var rowErrors []RowError
	for i := range b.Rows {
		row := &b.Rows[i]
		row.Grant.Source = list
		row.keepStatus = row.keepStatus || row.Grant.Status == ""
		err := row.Refused
		if err == nil {
			if failed := row.Grant.normalize(); !errors.As(failed, &err) && failed != nil {
				err = &FieldError{"", failed.Error()}
			}
		}
		if err != nil {
			rowErrors = append(rowErrors, newRowError(i, err))
		}
	}
	return rowErrors
}

// The errors of a batch are stored with it. These bounds let up to 5,000 fit in one
// value, whatever the client's field names.
const (
	maxRowErrorField   = 48
	maxRowErrorProblem = 96
)

func newRowError(row int, err *FieldError) RowError {
	field := strings.Map(func(c rune) rune {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '.', c == '_', c == '-':
			return c
		}
		return '?'
	}, err.Field)
	return RowError{Row: row, Field: field[:min(len(field), maxRowErrorField)], Problem: strings.ToValidUTF8(err.Problem[:min(len(err.Problem), maxRowErrorProblem)], "")}
}

// digest identifies the rows of a batch. It does not cover their errors: of several
// in a row any may be reported.
func (b *ImportBatch) digest() ([]byte, error) {
	hash := sha256.New()
	encoder := json.NewEncoder(hash)
	for i := range b.Rows {
		if err := encoder.Encode(&b.Rows[i]); err != nil {
			return nil, fmt.Errorf("encoding a grant: %w", err)
		}
	}
	return hash.Sum(nil), nil
}
