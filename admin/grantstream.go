package admin

import (
	"bufio"
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"reflect"
	"strconv"

	"github.com/danielgtaylor/huma/v2"

	"github.com/gatefold/gatefold/policy/store"
)

const (
	// maxStreamBatch bounds the rows that are stored in one step, in bytes of
	// JSON.
	maxStreamBatch = 8 << 20
	// maxStreamErrors bounds the errors in a response.
	maxStreamErrors = 1000
	// exportPage is the number of grants per read.
	exportPage = 1000
)

// StreamResult is the answer to an import that is sent as one stream.
type StreamResult struct {
	ImportID string `json:"importId" doc:"The import's id, for get-grant-import."`
	Position int64  `json:"position" doc:"The number of rows." example:"0"`
	ImportCounts
	Removed    int64       `json:"removed" doc:"The number of grants removed because the stream does not have them." example:"0"`
	Replaced   bool        `json:"replaced" doc:"Whether the list was made equal to the stream. False if that was not asked for, or a row was refused." example:"false"`
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

func (a *api) registerGrantStreams() {
	tags := []string{"Grants"}
	schemas := a.huma.OpenAPI().Components.Schemas
	text := func() *huma.MediaType { return &huma.MediaType{Schema: &huma.Schema{Type: huma.TypeString}} }
	flag := func(name, description string) *huma.Param {
		return &huma.Param{Name: name, In: "query", Description: description, Schema: &huma.Schema{Type: huma.TypeBoolean}}
	}
	list := &huma.Param{Name: "id", In: "path", Description: "The access list.", Schema: &huma.Schema{Type: huma.TypeString}, Example: "src_default"}
	operation := huma.Operation{
		OperationID: "import-grant-stream", Method: http.MethodPost, Path: grantsPath + "/import", Tags: tags, Security: needs("grants:write"),
		Summary: "Creates or changes a grant by each row of a stream of any length",
		Description: "A row whose key a grant of the list has changes that grant; any other row creates one. The key is the `publisherPurchaseId` or, without one, the reader " +
			"(`userId`, `publisherUserId` or `email`, the first that the row has) and the `sku`. A row without `status` leaves that of a grant.\n\n" +
			"A row is a grant as in create-grant: a JSON object per line, or a record of a CSV file whose header names the fields " +
			"(`deliveryAddress.city` for those of an address). Times may be dates (`2027-01-31`): the first moment of the day in UTC. Invalid rows are reported and skipped.\n\n" +
			"With an Idempotency-Key, an interrupted stream can be sent again from its beginning: stored rows are not stored twice, and the response is " +
			"that of an uninterrupted stream. A different stream with the same key is refused.",
		Parameters: []*huma.Param{
			list,
			flag("replaceList", "At the end of the stream, removes the grants of the list that it does not have, except for those created since it began. If a row was refused, nothing is removed."),
			flag("dryRun", "Answers what the stream would do, and stores nothing."),
		},
		RequestBody: &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{
			typeNDJSON: {Schema: a.rows.schema}, typeCSV: text(),
		}},
		Responses: map[string]*huma.Response{"200": {
			Description: "The result of the import",
			Content:     map[string]*huma.MediaType{"application/json": {Schema: schemas.Schema(reflect.TypeFor[StreamResult](), true, "StreamResult")}},
		}},
	}
	describeOnce(&operation)
	a.stream(operation, []string{typeNDJSON, "application/ndjson", "application/jsonl", typeCSV}, a.importStream)
	a.stream(huma.Operation{
		OperationID: "export-grants", Method: http.MethodGet, Path: grantsPath + "/export", Tags: tags, Security: needs("grants:read"),
		Summary: "Streams all grants of an access list in order of creation, for a later import",
		Description: "The Accept header selects JSON (one object per line) or CSV. A grant that changes during the stream appears in its old or its new state. " +
			"A response that is cut short is incomplete.",
		Parameters: []*huma.Param{list},
		Responses: map[string]*huma.Response{"200": {
			Description: "The grants",
			Content: map[string]*huma.MediaType{
				typeNDJSON: {Schema: schemas.Schema(reflect.TypeFor[Grant](), true, "Grant")}, typeCSV: text(),
			},
		}},
	}, nil, a.exportGrants)
}

// exportGrants streams the grants of a list in the memory of one page.
func (a *api) exportGrants(ctx context.Context, b *bulk) error {
	format, err := b.answerFormat()
	if err != nil {
		return err
	}
	list := b.r.PathValue("id")
	page := store.Page{Limit: exportPage}
	grants, err := a.Store.ListGrants(ctx, b.Vendor, list, page)
	if err != nil {
		return err
	}
	b.begin(format, "grants")
	out := bufio.NewWriter(b.w)
	write := newGrantWriter(out, format)
	for {
		for i := range grants {
			if err := write.grant(wireGrant(grants[i])); err != nil {
				return err
			}
		}
		if err := errors.Join(write.flush(), out.Flush(), b.flush()); err != nil {
			return err
		}
		if len(grants) < exportPage {
			return nil
		}
		page.From = grants[len(grants)-1].ID
		if grants, err = a.Store.ListGrants(ctx, b.Vendor, list, page); err != nil {
			return err
		}
	}
}

// grantWriter writes grants as rows of a format.
type grantWriter struct {
	json  *json.Encoder
	table *csv.Writer
}

func newGrantWriter(out io.Writer, format string) *grantWriter {
	if format == FormatNDJSON {
		return &grantWriter{json: json.NewEncoder(out)}
	}
	table := csv.NewWriter(out)
	_ = table.Write(GrantColumns()) // flush returns the error
	return &grantWriter{table: table}
}

func (g *grantWriter) grant(grant Grant) error {
	if g.json != nil {
		return g.json.Encode(grant)
	}
	encoded, err := json.Marshal(grant)
	if err != nil {
		return err
	}
	record, err := GrantRecord(encoded)
	if err != nil {
		return err
	}
	return g.table.Write(record)
}

func (g *grantWriter) flush() error {
	if g.table == nil {
		return nil
	}
	g.table.Flush()
	return g.table.Error()
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

// importStream imports the rows of the body, in the memory of one batch.
func (a *api) importStream(ctx context.Context, b *bulk) error {
	list := b.r.PathValue("id")
	if _, err := a.Store.List(ctx, b.Vendor, list); err != nil {
		return err
	}
	key, problem := idempotencyKey(b.r.Header)
	if problem != nil {
		return problem
	}
	if key == "" {
		key = rand.Text()
	}
	replace, err1 := b.queryFlag("replaceList")
	dry, err2 := b.queryFlag("dryRun")
	if err := cmp.Or(err1, err2); err != nil {
		return err
	}
	if dry {
		key = rand.Text() // a dry run is no import that could be continued
	}
	i := &streamImport{api: a, call: b.call, list: list, replace: replace, dry: dry, chain: sha256.New()}
	i.answer = StreamResult{ImportID: "stream-" + onceID(b.Name, key), Errors: []LineError{}}
	flight := b.Vendor + "\x00" + list + "\x00" + i.answer.ImportID
	if !a.inFlight.begin(flight) {
		return inProgress()
	}
	defer a.inFlight.end(flight)
	known, err := a.Store.GrantImport(ctx, b.Vendor, list, i.answer.ImportID)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	i.known = known
	if err := i.run(ctx, b); err != nil {
		return i.explain(err)
	}
	b.w.Header().Set("Content-Type", "application/json")
	return json.NewEncoder(b.w).Encode(i.answer)
}

// streamImport is an import in progress.
type streamImport struct {
	api  *api
	call *call
	list string
	// replace: the list is made equal to the stream. dry: nothing is stored.
	replace, dry bool
	known        store.Import // the progress before this stream
	chain        hash.Hash    // over all rows so far
	answer       StreamResult
	rows         []store.ImportRow
	lines        []int
	bytes        int
}

func (i *streamImport) run(ctx context.Context, b *bulk) error {
	for row, err := range ReadGrants(b, b.bodyFormat()) {
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
	return i.finish(ctx)
}

// finish finishes the import, and removes what the stream did not have.
func (i *streamImport) finish(ctx context.Context) error {
	if i.dry {
		if i.replace && i.answer.Failed == 0 {
			stored, err := i.call.store.CountGrants(ctx, i.call.Vendor, i.list)
			i.answer.Removed = max(0, stored-i.answer.Changed-i.answer.Unchanged)
			return err
		}
		return nil
	}
	if i.answer.Position == 0 {
		if i.replace {
			return newProblem(http.StatusConflict, "The stream has no rows, and nothing was removed: to remove all grants of a list, remove the list.")
		}
		return nil
	}
	for done := false; !done; {
		known, err := i.call.store.FinishImport(ctx, i.call.Vendor, i.list, i.answer.ImportID, i.replace && i.answer.Failed == 0)
		if err != nil {
			return err
		}
		i.answer.Removed, i.answer.Replaced, done = known.Removed, known.Replaced, known.Finished
	}
	return nil
}

// add collects a row. It flushes at the size limits, and where the earlier stream
// ended.
func (i *streamImport) add(ctx context.Context, row Row) error {
	if i.bytes+len(row.Value) > maxStreamBatch {
		if err := i.flush(ctx); err != nil {
			return err
		}
	}
	var taken store.ImportRow
	if row.Err != nil {
		taken.Refused = &store.FieldError{Problem: row.Err.Error()}
		fmt.Fprintf(i.chain, "%s\n", row.Err)
	} else {
		taken.Grant, taken.Refused = i.api.rows.row([]byte(row.Value), i.list)
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
func (i *streamImport) flush(ctx context.Context) error {
	if len(i.rows) == 0 {
		return nil
	}
	batch := store.ImportBatch{ID: i.answer.ImportID, Position: i.answer.Position, Rows: i.rows, Chain: i.chain.Sum(nil), DryRun: i.dry}
	result := store.ImportResult{Position: batch.Position + int64(len(i.rows))}
	switch {
	case result.Position <= i.known.Position:
		result.Errors = batch.RowErrors(i.list)
		if result.Position == i.known.Position {
			if string(batch.Chain) != string(i.known.Chain) {
				return reusedKey()
			}
			i.answer.ImportCounts = ImportCounts{Created: i.known.Created, Changed: i.known.Changed, Unchanged: i.known.Unchanged}
		}
	default:
		var err error
		if result, err = i.store(ctx, batch); err != nil {
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
	return nil
}

// store stores a batch as soon as a slot is free.
func (i *streamImport) store(ctx context.Context, batch store.ImportBatch) (store.ImportResult, error) {
	select {
	case i.api.rows.slots <- struct{}{}:
		defer func() { <-i.api.rows.slots }()
	case <-ctx.Done():
		return store.ImportResult{}, ctx.Err()
	}
	return i.call.store.ImportGrants(ctx, i.call.Vendor, i.list, batch)
}

// explain adds the progress of the import to an error.
func (i *streamImport) explain(err error) error {
	err = importError(err)
	p, ok := errors.AsType[*Problem](err)
	if !ok || p.Status != http.StatusBadRequest {
		return err
	}
	extended := *p
	extended.Detail = fmt.Sprintf("%s; %d rows are stored: to continue, send the whole stream again with the same Idempotency-Key", p.Detail, i.answer.Position)
	return &extended
}
