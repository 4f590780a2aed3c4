package admin

import (
	"context"
	"errors"
	"net/http"
	"reflect"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-jose/go-jose/v4/json"

	"github.com/gatefold/gatefold/policy/store"
)

const (
	// maxImportBody bounds a batch, in bytes: 5,000 rows of 3 KiB.
	maxImportBody = 16 << 20
	// importReadTimeout bounds the time to receive and store a batch.
	importReadTimeout = 2 * time.Minute
	// parallelImports bounds the batches in memory; more would only wait for
	// each other's commits.
	parallelImports = 2
)

// ImportBatch is one batch of an import. The server reads its rows one by one, so
// that a refused row does not fail the others.
type ImportBatch struct {
	ImportID string      `json:"importId" minLength:"1" maxLength:"128" doc:"The import's id, equal in all of its batches." example:"subscribers-2027-01"`
	Position int64       `json:"position" minimum:"0" doc:"The number of rows of the import before this batch." example:"0"`
	Grants   []GrantBody `json:"grants" minItems:"1" maxItems:"5000" doc:"The rows. A row with the key of a grant of the list changes it: the publisherPurchaseId or, without one, the reader (userId, publisherUserId or email, the first that it has) and the sku."`
	DryRun   bool        `json:"dryRun,omitempty" doc:"Answers what the batch would do, and stores nothing." example:"false"`
}

// ImportResult is the answer to an ImportBatch.
type ImportResult struct {
	Position int64 `json:"position" doc:"The number of processed rows: the position of the next batch." example:"0"`
	ImportCounts
	Replayed bool        `json:"replayed" doc:"Whether the batch had been stored before; nothing was changed again."`
	Errors   []RowError  `json:"errors" doc:"The refused rows."`
	Changes  []RowChange `json:"changes,omitempty" doc:"Of a dry run: the changes of grants."`
}

// ImportCounts are the numbers of rows by their effect.
type ImportCounts struct {
	Created   int64 `json:"created" doc:"The number of records created." example:"5000"`
	Changed   int64 `json:"changed" doc:"The number of records changed." example:"12"`
	Unchanged int64 `json:"unchanged" doc:"The number of rows that a record agrees with already." example:"4988"`
}

// RowChange is what a row would change.
type RowChange struct {
	Row    int      `json:"row" doc:"The index of the row in the batch, from zero."`
	Grant  string   `json:"grant" doc:"The grant's id." example:"grant_01kb2m3q4r5s6t7v8w9x0y1z2a"`
	Fields []string `json:"fields" doc:"The names of the members that differ." example:"[\"endsAt\"]"`
}

// RowError is the reason why a row of a batch was refused.
type RowError struct {
	Row     int    `json:"row" doc:"The index of the row in the batch, from zero."`
	Field   string `json:"field,omitempty" doc:"The invalid field; absent when the whole row is invalid." example:"endsAt"`
	Message string `json:"message" doc:"The error, for people." example:"expected length >= 1"`
}

func wireRowErrors(rows []store.RowError) []RowError {
	wire := make([]RowError, len(rows))
	for i, row := range rows {
		wire[i] = RowError{Row: row.Row, Field: row.Field, Message: row.Problem}
	}
	return wire
}

// ImportState is the progress of an import.
type ImportState struct {
	Position int64 `json:"position" doc:"The number of processed rows: the position of the next batch." example:"0"`
	ImportCounts
	Removed  int64     `json:"removed" doc:"The number of grants removed because the file does not have them." example:"0"`
	Failed   int64     `json:"failed" doc:"The number of refused rows." example:"0"`
	Finished bool      `json:"finished" doc:"Whether the import is finished." example:"true"`
	Undone   *Undone   `json:"undone,omitempty" doc:"The result of undoing the import, if that has begun."`
	Last     LastBatch `json:"last" doc:"The newest batch, for clients that missed its response."`
}

// Undone is the result of undoing an import, or a removal of many grants.
type Undone struct {
	Removed  int64 `json:"removed" doc:"The number of created grants that were removed." example:"5000"`
	Restored int64 `json:"restored" doc:"The number of changed or removed grants that are as before." example:"12"`
	Kept     int64 `json:"kept" doc:"The number of grants that were changed or removed afterwards, and were left as they are." example:"0"`
	Done     bool  `json:"done" doc:"Whether everything is undone. If not, repeat the call." example:"true"`
}

func wireImport(known store.Import) ImportState {
	return ImportState{
		Position:     known.Position,
		ImportCounts: ImportCounts{Created: known.Created, Changed: known.Changed, Unchanged: known.Unchanged},
		Removed:      known.Removed, Failed: known.Failed, Finished: known.Finished, Undone: (*Undone)(known.Undone),
		Last: LastBatch{Position: known.Last.Position, Rows: known.Last.Rows, Errors: wireRowErrors(known.Last.Errors)},
	}
}

// importError returns the problem of a batch or a step that does not fit its import, and
// other errors as they are.
func importError(err error) error {
	if behind, ok := errors.AsType[*store.ImportError](err); ok {
		return newProblem(http.StatusConflict, behind.Problem)
	}
	return err
}

// LastBatch is the newest batch of an import.
type LastBatch struct {
	Position int64      `json:"position" doc:"The number of rows before the batch." example:"0"`
	Rows     int        `json:"rows" doc:"The number of rows." example:"5000"`
	Errors   []RowError `json:"errors" doc:"The refused rows."`
}

func (a *api) registerImports() {
	tags := []string{"Grants"}
	rows := a.rows
	content := map[string]*huma.MediaType{}
	register(a, huma.Operation{
		OperationID: "import-grants", Method: http.MethodPost, Path: grantsPath + "/batch", Tags: tags, Security: needs("grants:write"),
		Summary: "Creates or changes many grants atomically",
		Description: "A row whose key a grant of the list has changes that grant, unless an earlier row of the import did; any other row creates a grant. " +
			timesLeft + " A repeated batch changes nothing and has the same response.",
		RequestBody: &huma.RequestBody{Required: true, Content: content},
		// The rows are validated one by one.
		SkipValidateBody: true,
		MaxBodyBytes:     maxImportBody, BodyReadTimeout: importReadTimeout,
		Middlewares: huma.Middlewares{rows.wait},
		Metadata:    map[string]any{repetitionKey: repeatCall},
	}, func(ctx context.Context, c *call, in *struct {
		ListPath
		RawBody []byte `contentType:"application/json"`
	},
	) (*body[ImportResult], error) {
		batch, err := rows.read(in.RawBody, in.ID)
		if err != nil {
			return nil, err
		}
		result, err := c.store.ImportGrants(ctx, c.Vendor, in.ID, batch)
		return &body[ImportResult]{Body: ImportResult{
			Position: result.Position, ImportCounts: importCounts(&result), Replayed: result.Replayed, Errors: wireRowErrors(result.Errors),
			Changes: wireAll(result.Changes, func(c store.RowChange) RowChange { return RowChange(c) }),
		}}, importError(err)
	})
	// Huma describes RawBody as arbitrary bytes.
	content["application/json"] = &huma.MediaType{
		Schema: rows.registry.Schema(reflect.TypeFor[ImportBatch](), true, "ImportBatch"),
	}
	a.registerImportSteps(tags)
}

func importCounts(result *store.ImportResult) ImportCounts {
	return ImportCounts{Created: int64(result.Created), Changed: int64(result.Changed), Unchanged: int64(result.Unchanged)}
}

// newImportRows returns a reader of rows.
func newImportRows(registry huma.Registry) *importRows {
	return &importRows{
		registry: registry,
		schema:   registry.Schema(reflect.TypeFor[GrantBody](), true, "GrantBody"),
		slots:    make(chan struct{}, parallelImports),
	}
}

// importRows reads and validates rows of grants.
type importRows struct {
	registry huma.Registry
	schema   *huma.Schema // of a row
	slots    chan struct{}
}

// wait is a middleware that takes a slot before the body is read.
func (i *importRows) wait(ctx huma.Context, next func(huma.Context)) {
	select {
	case i.slots <- struct{}{}:
		defer func() { <-i.slots }()
		next(ctx)
	case <-ctx.Context().Done():
	}
}

// read reads a batch. It returns an error for the batch as a whole; errors of rows
// are noted in the rows.
func (i *importRows) read(raw []byte, list string) (store.ImportBatch, error) {
	var batch store.ImportBatch
	var members map[string]json.RawMessage
	if err := json.Unmarshal(raw, &members); err != nil || members == nil {
		return batch, unreadable()
	}
	var rows []json.RawMessage
	for name, to := range map[string]any{"importId": &batch.ID, "position": &batch.Position, "grants": &rows} {
		value, given := members[name]
		if !given {
			return batch, invalid(name, "is required")
		}
		if string(value) == "null" || json.Unmarshal(value, to) != nil {
			return batch, invalid(name, "has the wrong type")
		}
		delete(members, name)
	}
	if value, given := members["dryRun"]; given {
		if json.Unmarshal(value, &batch.DryRun) != nil {
			return batch, invalid("dryRun", "has the wrong type")
		}
		delete(members, "dryRun")
	}
	for name := range members {
		return batch, invalid(name, "unexpected property")
	}
	if len(rows) > store.MaxImportRows {
		return batch, invalid("grants", "must be at most 5000: send several batches")
	}
	batch.Rows = make([]store.ImportRow, len(rows))
	for n, row := range rows {
		batch.Rows[n] = i.row(row, list)
	}
	return batch, nil
}

// timesLeft describes what a row of an import leaves as it is.
const timesLeft = "A row without status leaves that of a grant, and one without endsAt or startsAt leaves its end and its start in the future: " +
	"null, or an empty field of a CSV file, removes these times if the row names the status too."

const unreadableRow = "cannot be read: a name comes twice, or a value does not fit its field"

// row reads a row as create-grant reads its body.
func (i *importRows) row(raw json.RawMessage, list string) store.ImportRow {
	refused := func(err *store.FieldError) store.ImportRow { return store.ImportRow{Refused: err} }
	var value any
	if err := json.Unmarshal(raw, &value); err != nil {
		return refused(&store.FieldError{Problem: unreadableRow})
	}
	if raw = completeDates(value, raw, "startsAt", "endsAt"); raw == nil {
		return refused(&store.FieldError{Problem: unreadableRow})
	}
	found := new(huma.ValidateResult)
	huma.Validate(i.registry, i.schema, huma.NewPathBuffer(nil, 0), huma.ModeWriteToServer, value, found)
	if len(found.Errors) > 0 {
		return refused(firstError(found.Errors))
	}
	var fields GrantBody
	if err := json.Unmarshal(raw, &fields); err != nil {
		return refused(&store.FieldError{Problem: unreadableRow})
	}
	wanted, err := fields.grant(list)
	if err != nil {
		return refused(&store.FieldError{Field: "source", Problem: "must equal the access list of the path"})
	}
	sent := namedIn(raw)
	opens := sent.value("status")
	return store.ImportRow{Grant: wanted, NoStart: opens && sent.null("startsAt"), NoEnd: opens && sent.null("endsAt")}
}

// completeDates returns a row whose dates without a time in some fields are times: the first
// moment of the day in UTC. Value is the decoded row.
func completeDates(value any, raw json.RawMessage, names ...string) json.RawMessage {
	fields, _ := value.(map[string]any)
	completed := false
	for _, name := range names {
		text, _ := fields[name].(string)
		if _, err := time.Parse(time.DateOnly, text); err == nil {
			fields[name], completed = text+"T00:00:00Z", true
		}
	}
	if !completed {
		return raw
	}
	raw, err := json.Marshal(fields)
	if err != nil {
		return nil
	}
	return raw
}
