package admin

import (
	"bufio"
	"cmp"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"reflect"

	"github.com/danielgtaylor/huma/v2"

	"github.com/gatefold/gatefold/policy/store"
)

const (
	// exportPage is the number of records per read.
	exportPage = 1000
)

// StreamResult is the answer to an import of grants that is sent as one stream.
type StreamResult struct {
	StreamProgress
	Removed  int64 `json:"removed" doc:"The number of grants removed because the stream does not have them." example:"0"`
	Replaced bool  `json:"replaced" doc:"Whether the list was made equal to the stream. False if that was not asked for, or a row was refused." example:"false"`
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
			"(`userId`, `publisherUserId` or `email`, the first that the row has) and the `sku`. " + timesLeft + "\n\n" +
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

// importStream imports the rows of the body, in the memory of one batch.
func (a *api) importStream(ctx context.Context, b *bulk) error {
	list := b.r.PathValue("id")
	if _, err := a.Store.List(ctx, b.Vendor, list); err != nil {
		return err
	}
	replace, err1 := b.queryFlag("replaceList")
	dry, err2 := b.queryFlag("dryRun")
	if err := cmp.Or(err1, err2); err != nil {
		return err
	}
	rows, end, err := beginStream[store.ImportRow](ctx, b, list, dry, func(ctx context.Context, id string) (store.Import, error) {
		return a.Store.GrantImport(ctx, b.Vendor, list, id)
	})
	if err != nil {
		return err
	}
	defer end()
	i := &grantImport{streamImport: rows, call: b.call, list: list, replace: replace}
	i.target = importTarget[store.ImportRow]{
		parse:   func(raw []byte) store.ImportRow { return a.rows.row(raw, list) },
		refused: func(err *store.FieldError) store.ImportRow { return store.ImportRow{Refused: err} },
		errors: func(_ context.Context, rows []store.ImportRow) ([]store.RowError, error) {
			batch := store.ImportBatch{Rows: rows}
			return batch.RowErrors(list), nil
		},
		store: func(ctx context.Context, rows []store.ImportRow, position int64, chain []byte) (store.ImportResult, error) {
			batch := store.ImportBatch{ID: i.answer.ImportID, Position: position, Rows: rows, Chain: chain, DryRun: dry}
			return b.store.ImportGrants(ctx, b.Vendor, list, batch)
		},
	}
	if err := i.run(ctx, ReadGrants(b, b.bodyFormat())); err != nil {
		return i.explain(err)
	}
	if err := i.finish(ctx); err != nil {
		return i.explain(err)
	}
	b.w.Header().Set("Content-Type", "application/json")
	return json.NewEncoder(b.w).Encode(StreamResult{StreamProgress: i.answer, Removed: i.removed, Replaced: i.replaced})
}

// grantImport is an import of grants in progress.
type grantImport struct {
	*streamImport[store.ImportRow]
	call     *call
	list     string
	replace  bool // the list is made equal to the stream
	removed  int64
	replaced bool
}

// finish finishes the import, and removes what the stream did not have.
func (i *grantImport) finish(ctx context.Context) error {
	if i.dry {
		if i.replace && i.answer.Failed == 0 {
			stored, err := i.call.store.CountGrants(ctx, i.call.Vendor, i.list)
			i.removed = max(0, stored-i.answer.Changed-i.answer.Unchanged)
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
		i.removed, i.replaced, done = known.Removed, known.Replaced, known.Finished
	}
	return nil
}
