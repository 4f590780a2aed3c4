package admin_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

const batchPath = defaultPath + "/batch"

type imported struct {
	Position, Created int
	Replayed          bool
	Errors            []struct {
		Row            int
		Field, Message string
	}
}

// Invalid rows are reported and skipped.
func TestImportReportsInvalidRows(t *testing.T) {
	b := newFixture(t, false)
	var done imported
	b.call(http.MethodPost, batchPath, `{"importId":"one","position":0,"grants":[
		{"userId":"a","sku":"s"},
		{"userId":"b"},
		{"userId":"c","sku":"s","endsAt":"soon"},
		{"userId":"d","sku":"s","price":1},
		{"sku":"s"},
		{"userId":"e","sku":"s","sku":"t"},
		7,
		{"userId":"f","sku":"s","source":"src_other"},
		{"userId":"g","sku":"s","startsAt":"2027-01-02T00:00:00Z","endsAt":"2027-01-01T00:00:00Z"},
		{"userId":"h","sku":"s","status":"INACTIVE"}
	]}`).want(http.StatusOK, &done)
	if done.Position != 10 || done.Created != 2 || done.Replayed {
		t.Errorf("done is %+v", done)
	}
	var reported []string
	for _, e := range done.Errors {
		if e.Message == "" {
			t.Errorf("row %d is wrong for no reason", e.Row)
		}
		if e.Row == 2 && e.Message != "must be a time such as 2027-01-31T12:00:00Z, or a date such as 2027-01-31" {
			t.Errorf("row 2: %s", e.Message)
		}
		reported = append(reported, fmt.Sprintf("%d %s", e.Row, e.Field))
	}
	if got, want := strings.Join(reported, ", "), "1 sku, 2 endsAt, 3 price, 4 userId, 5 , 6 , 7 source, 8 endsAt"; got != want {
		t.Errorf("the bad rows are %q, want %q", got, want)
	}
	var grants []record
	b.call(http.MethodGet, defaultPath, "").want(http.StatusOK, &grants)
	if len(grants) != 2 {
		t.Errorf("%d grants were made", len(grants))
	}
}

// The response to a batch was lost. Sent again, the batch has the same response
// and creates nothing; a batch out of order is refused.
func TestImportBatchIsIdempotent(t *testing.T) {
	b := newFixture(t, false)
	batch := func(position int, users ...string) string {
		var rows []string
		for _, user := range users {
			rows = append(rows, fmt.Sprintf(`{"userId":%q,"sku":"s"}`, user))
		}
		return fmt.Sprintf(`{"importId":"one","position":%d,"grants":[%s,{"sku":""}]}`, position, strings.Join(rows, ","))
	}
	statePath := defaultPath + "/imports/one"
	b.call(http.MethodGet, statePath, "").refused(http.StatusNotFound, "not_found", "")
	var first, again imported
	b.call(http.MethodPost, batchPath, batch(0, "a", "b")).want(http.StatusOK, &first)
	b.clock = b.clock.Add(time.Second)
	b.call(http.MethodPost, batchPath, batch(0, "a", "b")).want(http.StatusOK, &again)
	if !again.Replayed || again.Created != 2 || again.Position != 3 || len(again.Errors) != 1 || first.Replayed {
		t.Errorf("first %+v, again %+v", first, again)
	}
	b.call(http.MethodPost, batchPath, batch(0, "a", "c")).refused(http.StatusConflict, "conflict", "")
	b.call(http.MethodPost, batchPath, batch(4, "d")).refused(http.StatusConflict, "conflict", "")
	b.call(http.MethodPost, batchPath, batch(1, "d")).refused(http.StatusConflict, "conflict", "")
	b.call(http.MethodPost, batchPath, batch(3, "d")).want(http.StatusOK, nil)
	var state struct{ Position, Created, Failed int }
	b.call(http.MethodGet, statePath, "").want(http.StatusOK, &state)
	if state.Position != 5 || state.Created != 3 || state.Failed != 2 {
		t.Errorf("the import is at %+v", state)
	}
	var grants []record
	b.call(http.MethodGet, defaultPath, "").want(http.StatusOK, &grants)
	if len(grants) != 3 {
		t.Errorf("%d grants were made", len(grants))
	}
	b.callAs("other", http.MethodGet, statePath, "").refused(http.StatusNotFound, "not_found", "")
	// An import expires, and its id may be used again.
	b.clock = b.clock.Add(31 * 24 * time.Hour)
	b.call(http.MethodGet, statePath, "").refused(http.StatusNotFound, "not_found", "")
	b.call(http.MethodPost, batchPath, batch(0, "z")).want(http.StatusOK, nil)
}

func TestImportBadBatches(t *testing.T) {
	b := newFixture(t, false)
	rows := strings.TrimSuffix(strings.Repeat(`{"userId":"u","sku":"s"},`, 5001), ",")
	for name, test := range map[string]struct {
		body, location string
		status         int
		code           string
	}{
		"too many rows":   {`{"importId":"x","position":0,"grants":[` + rows + `]}`, "body.grants", 422, "validation_failed"},
		"no rows":         {`{"importId":"x","position":0,"grants":[]}`, "body.grants", 422, "validation_failed"},
		"no id":           {`{"position":0,"grants":[{}]}`, "body.importId", 422, "validation_failed"},
		"empty id":        {`{"importId":"","position":0,"grants":[{}]}`, "body.importId", 422, "validation_failed"},
		"id of a path":    {`{"importId":"../x","position":0,"grants":[{}]}`, "body.importId", 422, "validation_failed"},
		"bad position":    {`{"importId":"x","position":-1,"grants":[{}]}`, "body.position", 422, "validation_failed"},
		"position a text": {`{"importId":"x","position":"0","grants":[{}]}`, "body.position", 422, "validation_failed"},
		"rows an object":  {`{"importId":"x","position":0,"grants":{}}`, "body.grants", 422, "validation_failed"},
		"unknown field":   {`{"importId":"x","position":0,"grants":[{}],"dryrun":true}`, "body.dryrun", 422, "validation_failed"},
		"not JSON":        {`{"importId":`, "", 400, "bad_request"},
		"null":            {`null`, "", 400, "bad_request"},
		"too large":       {`{"importId":"x","position":0,"grants":["` + strings.Repeat("x", 16<<20) + `"]}`, "", 413, "too_large"},
	} {
		t.Run(name, func(t *testing.T) {
			got := b.call(http.MethodPost, batchPath, test.body)
			got.t = t
			got.refused(test.status, test.code, test.location)
		})
	}
	b.call(http.MethodPost, listsPath+"/src_none/grants/batch", `{"importId":"x","position":0,"grants":[{"userId":"u","sku":"s"}]}`).refused(http.StatusNotFound, "not_found", "")
	if got := b.call(http.MethodGet, defaultPath, "").want(http.StatusOK, nil); strings.TrimSpace(got.body) != "[]" {
		t.Errorf("a grant was made: %s", got.body)
	}
}
