package admin

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"reflect"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/gatefold/gatefold/policy/store"
)

// recordsPath is where records are imported and exported, by kind.
const recordsPath = "/management/records"

// registerRecordStreams adds an import and an export for each kind of records.
func (a *api) registerRecordStreams() {
	for i := range rowKinds {
		a.registerRecordStream(&rowKinds[i])
	}
}

func (a *api) registerRecordStream(kind *rowKind) {
	tags := []string{"Records"}
	schemas := a.huma.OpenAPI().Components.Schemas
	schema := schemas.Schema(kind.row, true, kind.row.Name())
	result := schemas.Schema(reflect.TypeFor[StreamProgress](), true, "StreamProgress")
	reader := &recordReader{registry: schemas, schema: schema, kind: kind}
	operation := huma.Operation{
		OperationID: "import-" + kind.name, Method: http.MethodPost, Path: recordsPath + "/" + kind.name + "/import", Tags: tags, Security: needs(kind.scope + ":write"),
		Summary: "Creates or replaces one of the " + kind.name + " by each row of a stream of any length",
		Description: kind.about + "\n\n" +
			"A row is a JSON object on a line of its own, as the export of these records has it. Times may be dates (`2027-01-31`): the first moment of the day in UTC. " +
			"Invalid rows are reported and skipped.\n\n" +
			"With `Accept: " + typeNDJSON + "` the response has a line after every step of at most 5,000 rows, with the progress, and a last line with the result " +
			"and `finished`, or with a problem. Otherwise it has the result only.\n\n" +
			"With an Idempotency-Key, an interrupted stream can be sent again from its beginning: stored rows are not stored twice. " +
			"A different stream with the same key is refused.",
		Parameters: []*huma.Param{{
			Name: "dryRun", In: "query", Description: "Answers what the stream would do, and stores nothing.", Schema: &huma.Schema{Type: huma.TypeBoolean},
		}},
		RequestBody: &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{typeNDJSON: {Schema: schema}}},
		Responses: map[string]*huma.Response{"200": {
			Description: "The result of the import",
			Content: map[string]*huma.MediaType{
				"application/json": {Schema: result},
				typeNDJSON:         {Schema: schemas.Schema(reflect.TypeFor[StreamLine](), true, "StreamLine")},
			},
		}},
	}
	describeOnce(&operation)
	a.stream(operation, []string{typeNDJSON, "application/ndjson", "application/jsonl"}, func(ctx context.Context, b *bulk) error {
		return a.importRecords(ctx, b, reader)
	})
	a.stream(huma.Operation{
		OperationID: "export-" + kind.name, Method: http.MethodGet, Path: recordsPath + "/" + kind.name + "/export", Tags: tags, Security: needs(kind.scope + ":read"),
		Summary: "Streams all " + kind.name + ", one JSON object per line, for a later import",
		Description: "A record that changes during the stream appears in its old or its new state. Invitations and requests are left out: their keys are not stored, " +
			"so nothing could accept them elsewhere. A response that is cut short is incomplete.",
		Responses: map[string]*huma.Response{"200": {
			Description: "The records", Content: map[string]*huma.MediaType{typeNDJSON: {Schema: schema}},
		}},
	}, nil, func(ctx context.Context, b *bulk) error { return a.exportRecords(ctx, b, kind) })
}

// StreamLine is a line of the response to an import that sends its progress.
type StreamLine struct {
	StreamProgress
	Finished bool     `json:"finished" doc:"Whether this is the result: the last line." example:"true"`
	Problem  *Problem `json:"problem,omitempty" doc:"Why the import ended before the stream did: the last line. Rows up to the position are stored."`
}

// importRecords imports the rows of the body.
func (a *api) importRecords(ctx context.Context, b *bulk, reader *recordReader) error {
	dry, err := b.queryFlag("dryRun")
	if err != nil {
		return err
	}
	kind := reader.kind.name
	i, end, err := beginStream[store.RecordRow](ctx, b, kind, dry, func(ctx context.Context, id string) (store.Import, error) {
		return a.Store.RecordImport(ctx, b.Vendor, kind, id)
	})
	if err != nil {
		return err
	}
	defer end()
	batch := func(rows []store.RecordRow) store.RecordBatch {
		return store.RecordBatch{ID: i.answer.ImportID, Rows: rows, DryRun: dry, Operator: b.Unlimited}
	}
	i.target = importTarget[store.RecordRow]{
		parse:   reader.row,
		refused: func(err *store.FieldError) store.RecordRow { return store.RecordRow{Refused: err} },
		errors: func(ctx context.Context, rows []store.RecordRow) ([]store.RowError, error) {
			again := batch(rows)
			again.DryRun = true
			result, err := b.store.ImportRecords(ctx, b.Vendor, kind, again)
			return result.Errors, err
		},
		store: func(ctx context.Context, rows []store.RecordRow, position int64, chain []byte) (store.ImportResult, error) {
			next := batch(rows)
			next.Position, next.Chain = position, chain
			return b.store.ImportRecords(ctx, b.Vendor, kind, next)
		},
	}
	if strings.Contains(b.r.Header.Get("Accept"), "ndjson") {
		return i.runWithProgress(ctx, b)
	}
	if err := i.run(ctx, readNDJSON(b, ndjsonRecord)); err != nil {
		return i.explain(err)
	}
	b.w.Header().Set("Content-Type", "application/json")
	return json.NewEncoder(b.w).Encode(i.answer)
}

// runWithProgress imports the rows of the body and sends the progress after each batch. What
// refuses the import before its first row is a response of its own.
func (i *streamImport[R]) runWithProgress(ctx context.Context, b *bulk) error {
	// HTTP/1 servers else read the whole body before they send the first line.
	if err := b.control.EnableFullDuplex(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	out := json.NewEncoder(b.w)
	send := func(line StreamLine) error {
		if !b.started {
			b.begin(FormatNDJSON, "import")
		}
		line.StreamProgress = i.answer
		return cmp.Or(out.Encode(line), b.flush())
	}
	i.stored = func() error { return send(StreamLine{}) }
	err := i.run(ctx, readNDJSON(b, ndjsonRecord))
	switch {
	case err == nil:
		return send(StreamLine{Finished: true})
	case !b.started:
		return i.explain(err)
	}
	return send(StreamLine{Problem: i.api.problemOf(i.explain(err))})
}

// exportRecords streams the records of a kind in the memory of one page.
func (a *api) exportRecords(ctx context.Context, b *bulk, kind *rowKind) error {
	records, next, err := a.Store.ExportRecords(ctx, b.Vendor, kind.name, nil, exportPage)
	if err != nil {
		return err
	}
	b.begin(FormatNDJSON, kind.name)
	out := bufio.NewWriter(b.w)
	rows := json.NewEncoder(out)
	for {
		for _, record := range records {
			if err := rows.Encode(kind.wire(record)); err != nil {
				return err
			}
		}
		if err := cmp.Or(out.Flush(), b.flush()); err != nil || next == nil {
			return err
		}
		if records, next, err = a.Store.ExportRecords(ctx, b.Vendor, kind.name, next, exportPage); err != nil {
			return err
		}
	}
}
