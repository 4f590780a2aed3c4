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

	"github.com/gatefold/gatefold/policy"
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
}

// ImportRow is one row of an import.
type ImportRow struct {
	Grant Grant
	// Refused, unless nil, is an error that the caller found in the row. The row is
	// counted and reported, and creates no grant.
	Refused *FieldError
}

// ImportResult is the result of a batch.
type ImportResult struct {
	// Position is the position of the next batch.
	Position int64
	// Created is the number of grants created.
	Created int
	// Replayed reports that the batch was stored before; this is its result then.
	Replayed bool
	// Errors has one entry for each row that created no grant.
	Errors []RowError
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
	// Created and Failed add up to Position.
	Created int64 `json:"created"`
	Failed  int64 `json:"failed"`
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
	Position int64      `json:"position"`
	Rows     int        `json:"rows"`
	Created  int        `json:"created"`
	Digest   []byte     `json:"digest"`
	Errors   []RowError `json:"errors,omitempty"`
}

// ImportError is returned for a batch that does not continue its import. Nothing was
// stored.
type ImportError struct {
	// Position is the position at which the import continues.
	Position int64
	Problem  string
}

func (e *ImportError) Error() string { return e.Problem }

// importAttempts bounds the attempts to store a batch when the same import is written
// concurrently. The second attempt usually finds the batch stored.
const importAttempts = 3

// CreateGrants stores the grants of a batch in one commit, together with the progress
// of the import. A batch that is sent again creates nothing, and has the same result.
//
// A row with an error is reported and does not affect the others. CreateGrants
// returns an *ImportError when the batch is not the next one, ErrNotFound when there
// is no such list, and a *FieldError for the batch as a whole.
func (w Writer) CreateGrants(ctx context.Context, vendor, list string, batch ImportBatch) (ImportResult, error) {
	if err := batch.check(); err != nil {
		return ImportResult{}, err
	}
	rowErrors := batch.RowErrors(list)
	digest, err := batch.digest()
	if err != nil {
		return ImportResult{}, err
	}
	for range importAttempts {
		if _, err := w.List(ctx, vendor, list); err != nil {
			return ImportResult{}, err
		}
		known, stored, err := w.importOf(ctx, vendor, list, batch.ID)
		if err != nil {
			return ImportResult{}, err
		}
		if result, replayed, err := known.answer(batch, digest); err != nil || replayed {
			return result, err
		}
		result := ImportResult{
			Position: batch.Position + int64(len(batch.Rows)),
			Created:  len(batch.Rows) - len(rowErrors), Errors: rowErrors,
		}
		writes, change, err := w.importWrites(vendor, list, batch, rowErrors)
		if err != nil {
			return ImportResult{}, err
		}
		now := w.timestamp()
		progress, err := encode(known.with(batch, result, digest, now))
		if err != nil {
			return ImportResult{}, err
		}
		k := importKey(list, batch.ID)
		writes.Checks = append(writes.Checks, engine.Check{Key: k, Value: stored})
		writes.Puts = append(writes.Puts, engine.Put{Key: k, Value: progress, Expires: now.Add(Retention)})
		if err := w.commit(ctx, vendor, writes, change); !errors.Is(err, ErrConflict) {
			return result, err
		}
	}
	return ImportResult{}, ErrConflict
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

// answer returns the result of a batch that was stored before.
func (i *Import) answer(batch ImportBatch, digest []byte) (result ImportResult, replayed bool, err error) {
	last := i.Last
	switch {
	case batch.Position == i.Position:
		return ImportResult{}, false, nil
	case batch.Position > i.Position:
		return ImportResult{}, false, &ImportError{i.Position, fmt.Sprintf("rows are missing: the import is at position %d; continue there", i.Position)}
	case batch.Position != last.Position || len(batch.Rows) != last.Rows:
		return ImportResult{}, false, &ImportError{i.Position, fmt.Sprintf("these rows were imported before: the import is at position %d; continue there", i.Position)}
	case !slices.Equal(digest, last.Digest):
		return ImportResult{}, false, &ImportError{i.Position, "other rows were imported at this position: choose another import id for another import"}
	}
	return ImportResult{Position: i.Position, Created: last.Created, Replayed: true, Errors: last.Errors}, true, nil
}

// with returns the import after a batch.
func (i *Import) with(batch ImportBatch, result ImportResult, digest []byte, now time.Time) Import {
	return Import{
		Position: result.Position,
		Created:  i.Created + int64(result.Created), Failed: i.Failed + int64(len(result.Errors)),
		Last: ImportedBatch{
			Position: batch.Position, Rows: len(batch.Rows), Created: result.Created, Digest: digest, Errors: result.Errors,
		},
		Chain:     batch.Chain,
		UpdatedAt: now,
	}
}

// check checks the batch without its rows.
func (b *ImportBatch) check() error {
	if err := checkImportID(b.ID); err != nil {
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

// importWrites returns what a batch writes, and what that invalidates.
func (s *Store) importWrites(vendor, list string, batch ImportBatch, rowErrors []RowError) (*engine.Batch, policy.Invalidation, error) {
	now := s.timestamp()
	// Sorted, so that grants are listed in the order of their rows. Ids need no check
	// for uniqueness: 80 of their bits are random.
	ids := make([]string, len(batch.Rows))
	for i := range ids {
		ids[i] = newID("grant_", now)
	}
	slices.Sort(ids)

	writes := new(engine.Batch)
	if list != DefaultList {
		writes.Checks = append(writes.Checks, engine.Check{Key: key(prefixList, list), Present: true})
	}
	var change policy.Invalidation
	size := 0
	for i := range batch.Rows {
		if len(rowErrors) > 0 && rowErrors[0].Row == i {
			rowErrors = rowErrors[1:]
			continue
		}
		grant := batch.Rows[i].Grant
		grant.ID, grant.CreatedAt, grant.UpdatedAt = ids[i], now, now
		first := len(writes.Puts)
		if err := grant.addPuts(writes); err != nil {
			return nil, policy.Invalidation{}, err
		}
		if size += len(writes.Puts[first].Value); size > MaxImportBytes {
			return nil, policy.Invalidation{}, &FieldError{"grants", "are too large together: send fewer in one batch"}
		}
		grant.addTo(&change, vendor)
	}
	slices.Sort(change.Stripes)
	change.Stripes = slices.Compact(change.Stripes)
	return writes, change, nil
}
