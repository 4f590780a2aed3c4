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

	"github.com/gatefold/gatefold/policy"
)

// Bounds of one batch of an import: what one commit writes, and with it how
// long other writers wait and how much memory it takes.
const (
	// MaxImportRows is how many rows a batch may have.
	MaxImportRows = 5000
	// MaxImportBytes is how much the grants of a batch may take as they are stored.
	MaxImportBytes = 32 << 20
	// MaxImportIDSize is how many bytes the id of an import may have.
	MaxImportIDSize = 128
)

// maxImportPosition keeps positions exact for clients that count in floating
// point, as JavaScript does.
const maxImportPosition = 1 << 53

// ImportBatch is the next part of an import of grants into one access list.
type ImportBatch struct {
	// ID names the import. The client chooses it, and the same for every batch:
	// printable ASCII without spaces and slashes.
	ID string
	// Position is how many rows of the import come before this batch.
	Position int64
	Rows     []ImportRow
	// Chain, if the caller wants it back in Import, stands for all rows of the
	// import up to the end of this batch.
	Chain []byte
}

// ImportRow is one row of an import.
type ImportRow struct {
	Grant Grant
	// Refused, when not nil, says what the caller found wrong with the row. It is
	// counted and reported, and no grant is made of it.
	Refused *FieldError
}

// ImportResult is what a batch did.
type ImportResult struct {
	// Position is how many rows of the import are done: where the next batch
	// begins.
	Position int64
	// Created is how many grants were made.
	Created int
	// Replayed: the batch had been stored before, and this is what it did then.
	Replayed bool
	// Errors has one entry for each row of which no grant was made.
	Errors []RowError
}

// RowError says what is wrong with one row of a batch.
type RowError struct {
	// Row is the row's index in its batch, from zero.
	Row     int    `json:"row"`
	Field   string `json:"field,omitempty"`
	Problem string `json:"message"`
}

// Import is how far an import has come.
type Import struct {
	// Position is how many rows are done: where the next batch begins.
	Position int64 `json:"position"`
	// Created and Failed add up to Position.
	Created int64 `json:"created"`
	Failed  int64 `json:"failed"`
	// Last is the newest batch. A client that never got the answer to it learns
	// here what was wrong with its rows.
	Last ImportedBatch `json:"last"`
	// Chain is that of the newest batch.
	Chain []byte `json:"chain,omitempty"`
	// UpdatedAt is when that batch was stored. An import is known for Retention
	// after that.
	UpdatedAt time.Time `json:"updatedAt"`
}

// ImportedBatch is a batch that was stored.
type ImportedBatch struct {
	Position int64      `json:"position"`
	Rows     int        `json:"rows"`
	Created  int        `json:"created"`
	Digest   []byte     `json:"digest"`
	Errors   []RowError `json:"errors,omitempty"`
}

// ImportError says that a batch does not continue its import. Nothing was stored.
type ImportError struct {
	// Position is where the import stands.
	Position int64
	Problem  string
}

func (e *ImportError) Error() string { return e.Problem }

// importAttempts is how often a batch is tried when others write the same import
// at the same time. Each time somebody else's batch was stored, so a second try
// all but always has its answer.
const importAttempts = 3

// CreateGrants stores the grants of a batch in one commit, together with how far
// the import has come. So a batch whose answer was lost can be sent again: it
// creates nothing twice, and is answered as it was then.
//
// A row that is wrong is reported and does not stop the others. An *ImportError
// says that the batch is not the next one, ErrNotFound that there is no such
// list, a *FieldError what is wrong with the batch as a whole.
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

// GrantImport returns how far an import into an access list has come, or
// ErrNotFound where nobody has begun one of that id.
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

// importOf returns an import, the zero one if it is not known, and its bytes as
// they are stored.
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

// answer says whether a batch was stored before, and then what it did.
func (i *Import) answer(batch ImportBatch, digest []byte) (result ImportResult, replayed bool, err error) {
	last := i.Last
	switch {
	case batch.Position == i.Position:
		return ImportResult{}, false, nil
	case batch.Position > i.Position:
		return ImportResult{}, false, &ImportError{i.Position, fmt.Sprintf("rows are missing: the import stands at position %d; continue there", i.Position)}
	case batch.Position != last.Position || len(batch.Rows) != last.Rows:
		return ImportResult{}, false, &ImportError{i.Position, fmt.Sprintf("these rows were imported before: the import stands at position %d; continue there", i.Position)}
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

// check checks what is not of a single row.
func (b *ImportBatch) check() error {
	if err := checkImportID(b.ID); err != nil {
		return err
	}
	switch {
	case b.Position < 0 || b.Position > maxImportPosition:
		return &FieldError{"position", "must be how many rows come before the batch"}
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
	// It stands in a path: nothing there that paths are cleaned of.
	bad := func(c rune) bool { return c <= ' ' || c >= 0x7f || c == '/' || c == '\\' }
	if id[0] == '.' || strings.ContainsFunc(id, bad) {
		return &FieldError{"importId", "must be printable ASCII without spaces and slashes, and not begin with a dot"}
	}
	return nil
}

// RowErrors fills in the defaults of every row, for an import into a list, and
// says what is wrong with those that cannot be stored.
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

// The errors of a batch are stored with it, 5,000 at the most, and have to fit
// in one value whatever a client calls its fields.
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

// digest tells a batch that comes again from another one at its position. It is
// made of what came in, and not of what was found wrong with it: of a row with
// two faults either may be the one that is named.
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

// importWrites returns what a batch writes, and whose decisions it makes stale.
func (s *Store) importWrites(vendor, list string, batch ImportBatch, rowErrors []RowError) (*engine.Batch, policy.Invalidation, error) {
	now := s.timestamp()
	// In order, so that grants are listed in the order of their rows. That an id
	// is in use is not checked for each: 80 of its bits are random.
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
		stored, err := encode(grant)
		if err != nil {
			return nil, policy.Invalidation{}, err
		}
		if size += len(stored); size > MaxImportBytes {
			return nil, policy.Invalidation{}, &FieldError{"grants", "are too large together: send fewer in one batch"}
		}
		writes.Puts = append(writes.Puts, engine.Put{Key: key(prefixGrant, list, grant.ID), Value: stored})
		for _, k := range grant.index() {
			writes.Puts = append(writes.Puts, engine.Put{Key: k, Value: []byte{}})
		}
		grant.addTo(&change, vendor)
	}
	slices.Sort(change.Stripes)
	change.Stripes = slices.Compact(change.Stripes)
	return writes, change, nil
}
