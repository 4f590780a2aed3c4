package admin

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"net/http"
	"strconv"

	"github.com/gatefold/gatefold/policy/store"
)

const (
	// maxStreamBatch bounds the rows that are stored in one step, in bytes of
	// JSON.
	maxStreamBatch = 8 << 20
	// maxStreamErrors bounds the errors in a response.
	maxStreamErrors = 1000
)

// StreamProgress is how far an import has come that is sent as one stream.
type StreamProgress struct {
	ImportID string `json:"importId" doc:"The import's id. It is the same when the stream is sent again with its Idempotency-Key."`
	Position int64  `json:"position" doc:"The number of rows." example:"0"`
	ImportCounts
	Failed     int64       `json:"failed" doc:"The number of refused rows." example:"0"`
	Errors     []LineError `json:"errors" doc:"The first 1,000 refused rows."`
	MoreErrors int64       `json:"moreErrors" doc:"The number of omitted entries."`
}

// LineError is the reason why a row of a stream was refused.
type LineError struct {
	Line    int    `json:"line" doc:"The line on which the row begins, from one."`
	Field   string `json:"field,omitempty" doc:"The invalid field; absent when the whole row is invalid." example:"endsAt"`
	Message string `json:"message" doc:"The error, for people." example:"expected length >= 1"`
}

// importTarget is what the rows of a stream are stored as. R is a row; errors are noted in
// it.
type importTarget[R any] struct {
	parse   func(raw []byte) R
	refused func(*store.FieldError) R
	// errors returns the errors of rows that an earlier stream stored.
	errors func(ctx context.Context, rows []R) ([]store.RowError, error)
	// store stores the rows after a position.
	store func(ctx context.Context, rows []R, position int64, chain []byte) (store.ImportResult, error)
}

// streamImport is an import in progress, in the memory of one batch.
type streamImport[R any] struct {
	api    *api
	target importTarget[R]
	dry    bool // nothing is stored
	known  store.Import
	chain  hash.Hash // over all rows so far
	answer StreamProgress
	// stored is called after each batch; it may be nil.
	stored func() error

	rows  []R
	lines []int
	bytes int
}

// beginStream returns an import, which continues the one with the call's Idempotency-Key.
// The caller must call end. Known returns the progress of an import, or ErrNotFound.
func beginStream[R any](
	ctx context.Context, b *bulk, place string, dry bool, known func(ctx context.Context, id string) (store.Import, error),
) (i *streamImport[R], end func(), err error) {
	key, problem := idempotencyKey(b.r.Header)
	if problem != nil {
		return nil, nil, problem
	}
	if key == "" || dry { // a dry run is no import that could be continued
		key = rand.Text()
	}
	i = &streamImport[R]{api: b.api, dry: dry, chain: sha256.New()}
	i.answer = StreamProgress{ImportID: "stream-" + onceID(b.Name, key), Errors: []LineError{}}
	flight := b.Vendor + "\x00" + place + "\x00" + i.answer.ImportID
	if !b.api.inFlight.begin(flight) {
		return nil, nil, inProgress()
	}
	if i.known, err = known(ctx, i.answer.ImportID); err != nil && !errors.Is(err, store.ErrNotFound) {
		b.api.inFlight.end(flight)
		return nil, nil, err
	}
	return i, func() { b.api.inFlight.end(flight) }, nil
}

// run imports all rows of the body.
func (i *streamImport[R]) run(ctx context.Context, rows func(func(Row, error) bool)) error {
	for row, err := range rows {
		if err != nil {
			return newProblem(http.StatusBadRequest, err.Error())
		}
		if err := i.add(ctx, row); err != nil {
			return err
		}
	}
	if err := i.flush(ctx); err != nil {
		return err
	}
	if i.answer.Position < i.known.Position {
		return reusedKey()
	}
	return nil
}

// add collects a row. It flushes at the size limits, and where the earlier stream
// ended.
func (i *streamImport[R]) add(ctx context.Context, row Row) error {
	if i.bytes+len(row.Value) > maxStreamBatch {
		if err := i.flush(ctx); err != nil {
			return err
		}
	}
	var taken R
	if row.Err != nil {
		taken = i.target.refused(&store.FieldError{Problem: row.Err.Error()})
		fmt.Fprintf(i.chain, "%s\n", row.Err)
	} else {
		taken = i.target.parse(row.Value)
		i.chain.Write(row.Value)
		i.chain.Write([]byte{'\n'})
	}
	i.rows, i.lines, i.bytes = append(i.rows, taken), append(i.lines, row.Line), i.bytes+len(row.Value)
	if len(i.rows) == store.MaxImportRows || i.answer.Position+int64(len(i.rows)) == i.known.Position {
		return i.flush(ctx)
	}
	return nil
}

// flush stores the collected rows, unless the earlier stream did.
func (i *streamImport[R]) flush(ctx context.Context) error {
	if len(i.rows) == 0 {
		return nil
	}
	chain := i.chain.Sum(nil)
	result := store.ImportResult{Position: i.answer.Position + int64(len(i.rows))}
	switch {
	case result.Position <= i.known.Position:
		var err error
		if result.Errors, err = i.target.errors(ctx, i.rows); err != nil {
			return err
		}
		if result.Position == i.known.Position {
			if string(chain) != string(i.known.Chain) {
				return reusedKey()
			}
			i.answer.ImportCounts = ImportCounts{Created: i.known.Created, Changed: i.known.Changed, Unchanged: i.known.Unchanged}
		}
	default:
		var err error
		if result, err = i.store(ctx, chain); err != nil {
			return err
		}
	}
	for _, e := range result.Errors {
		if len(i.answer.Errors) == maxStreamErrors {
			i.answer.MoreErrors++
			continue
		}
		i.answer.Errors = append(i.answer.Errors, LineError{Line: i.lines[e.Row], Field: e.Field, Message: e.Problem})
	}
	i.answer.Position = result.Position
	i.answer.Created += int64(result.Created)
	i.answer.Changed += int64(result.Changed)
	i.answer.Unchanged += int64(result.Unchanged)
	i.answer.Failed += int64(len(result.Errors))
	clear(i.rows)
	i.rows, i.lines, i.bytes = i.rows[:0], i.lines[:0], 0
	if i.stored == nil {
		return nil
	}
	return i.stored()
}

// store stores a batch as soon as a slot is free.
func (i *streamImport[R]) store(ctx context.Context, chain []byte) (store.ImportResult, error) {
	select {
	case i.api.rows.slots <- struct{}{}:
		defer func() { <-i.api.rows.slots }()
	case <-ctx.Done():
		return store.ImportResult{}, ctx.Err()
	}
	return i.target.store(ctx, i.rows, i.answer.Position, chain)
}

// explain adds the progress of the import to an error.
func (i *streamImport[R]) explain(err error) error {
	err = importError(err)
	p, ok := errors.AsType[*Problem](err)
	if !ok || p.Status != http.StatusBadRequest {
		return err
	}
	extended := *p
	extended.Detail = fmt.Sprintf("%s; %d rows are stored: to continue, send the whole stream again with the same Idempotency-Key", p.Detail, i.answer.Position)
	return &extended
}

// queryFlag returns the value of a boolean query parameter.
func (b *bulk) queryFlag(name string) (bool, error) {
	text := b.r.URL.Query().Get(name)
	on, err := strconv.ParseBool(cmp.Or(text, "false"))
	if err != nil {
		return false, invalidAt("query."+name, "must be true or false")
	}
	return on, nil
}
