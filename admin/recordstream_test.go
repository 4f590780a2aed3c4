package admin_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func recordsImport(kind string) string { return "/management/records/" + kind + "/import" }
func recordsExport(kind string) string { return "/management/records/" + kind + "/export" }

// importRecords imports rows of a kind as a vendor.
func (b *fixture) importRecords(vendor, kind, query, rows string) streamed {
	b.Helper()
	var done streamed
	b.send(vendor, http.MethodPost, recordsImport(kind)+query, rows, http.Header{"Content-Type": {"application/x-ndjson"}}).want(http.StatusOK, &done)
	return done
}

func (b *fixture) exportRecords(vendor, kind string) string {
	b.Helper()
	return b.callAs(vendor, http.MethodGet, recordsExport(kind), "").want(http.StatusOK, nil).body
}

// siteRows are the records of a small site with some rows that cannot be stored, by kind, and
// what the import says of them.
var siteRows = []struct{ kind, rows, created, wrong string }{
	{"users", `{"slug":"ann","full_name":"Ann","email":"ann@example.com"}
{"slug":"bob","is_active":false,"extra":{"legacy":1}}
{"full_name":"nobody"}
{"slug":"eve","email":"not an address"}`, "2", "3 slug, 4 email"},
	{"profiles", `{"slug":"abc","full_name":"The ABC","country":"SE","is_provider":true}
{"slug":"ann","type":"personal","owner":"ann"}
{"slug":"no slug"}
{"slug":"eve","type":"personal","owner":"eve"}
{"slug":"abc","price":1}`, "2", "3 slug, 4 owner, 5 price"},
	{"plans", `{"slug":"gold","profile":"abc","title":"Gold","is_active":true,"skus":["premium"],"period_amount":1200}
{"slug":"tin","profile":"nowhere","title":"Tin"}
{"slug":"lead","profile":"abc","title":"Lead","period_type":"often"}`, "1", "2 profile, 3 period_type"},
	{"roles", `{"profile":"abc","user":"ann","role":"manager"}
{"profile":"ann","user":"ann","role":"manager","ends_at":"2030-01-31"}

{"profile":"abc","user":"eve","role":"manager"}
{"profile":"abc","user":"bob","role":"emperor"}
{"profile":"abc","user":"bob","role":"manager","role":"contributor"}
not JSON`, "2", "4 user, 5 role_description, 6 , 7 "},
	{"subscriptions", `{"profile":"ann","plan":"gold","created_at":"2026-01-01","ends_at":"2027-01-01","auto_renew":true}
{"profile":"ann","plan":"gold","created_at":"2027-01-01T00:00:00Z","ends_at":"2026-01-01T00:00:00Z"}
{"profile":"ann","plan":"lead","created_at":"2026-01-01","ends_at":"2027-01-01"}
{"profile":"ann","plan":"gold","created_at":"soon","ends_at":"2027-01-01"}`, "1", "2 ends_at, 3 plan, 4 created_at"},
}

// A site moves: its rows make records, and each row that cannot be stored is named by its line
// and field. What is exported can be imported elsewhere, and is the same there.
func TestRecordStreams(t *testing.T) {
	b := newFixture(t, true)
	for _, site := range siteRows {
		dry := b.importRecords("acme", site.kind, "?dryRun=true", site.rows)
		if text := b.exportRecords("acme", site.kind); text != "" {
			t.Errorf("%s: a dry run stored %s", site.kind, text)
		}
		done := b.importRecords("acme", site.kind, "", site.rows)
		for _, result := range []streamed{dry, done} {
			var wrong []string
			for _, e := range result.Errors {
				wrong = append(wrong, fmt.Sprintf("%d %s", e.Line, e.Field))
				if e.Message == "" {
					t.Errorf("%s: line %d has no message", site.kind, e.Line)
				}
			}
			if got := strings.Join(wrong, ", "); got != site.wrong || fmt.Sprint(result.Created) != site.created || result.Failed != len(wrong) {
				t.Errorf("%s: %+v, wrong are %q, want %q", site.kind, result, got, site.wrong)
			}
		}
		again := b.importRecords("acme", site.kind, "", site.rows)
		if again.Created+again.Changed != 0 || again.Unchanged != done.Created {
			t.Errorf("%s: a second import of the file is %+v", site.kind, again)
		}
	}
	for _, site := range siteRows {
		text := b.exportRecords("acme", site.kind)
		moved := b.importRecords("other", site.kind, "", text)
		if moved.Failed != 0 || moved.Created != strings.Count(text, "\n") || moved.Created == 0 {
			t.Errorf("%s: importing the export is %+v: %s", site.kind, moved, text)
		}
		if there := b.exportRecords("other", site.kind); there != text {
			t.Errorf("%s: exported were\n%s, and then\n%s", site.kind, text, there)
		}
	}
	b.send("acme", http.MethodPost, recordsImport("roles"), "x", http.Header{"Content-Type": {"text/csv"}}).refused(http.StatusUnsupportedMediaType, "unsupported_media_type", "")
}

// An import and an export need the scopes of their records.
func TestRecordStreamScopes(t *testing.T) {
	b := newFixture(t, false)
	for _, site := range siteRows {
		scope := "accounts"
		if site.kind == "plans" || site.kind == "subscriptions" {
			scope = "subscriptions"
		}
		for _, other := range []string{"grants:write", "webhooks:write", scope + ":read"} {
			b.send("acme", http.MethodPost, recordsImport(site.kind), site.rows, http.Header{"Content-Type": {"application/x-ndjson"}, "X-Test-Scope": {other}}).
				refused(http.StatusForbidden, "forbidden", "")
		}
		b.send("acme", http.MethodGet, recordsExport(site.kind), "", http.Header{"X-Test-Scope": {scope + ":write"}}).refused(http.StatusForbidden, "forbidden", "")
		b.send("acme", http.MethodGet, recordsExport(site.kind), "", http.Header{"X-Test-Scope": {scope + ":read"}}).want(http.StatusOK, nil)
	}
}

func userRows(from, to int) string {
	var rows strings.Builder
	for i := from; i < to; i++ {
		if i%4000 == 3999 {
			rows.WriteString("{\"slug\":\"\"}\n")
			continue
		}
		fmt.Fprintf(&rows, "{\"slug\":\"reader-%07d\"}\n", i)
	}
	return rows.String()
}

// The connection breaks in the middle of a stream. Sent again with its key, the stream goes on
// where it was, and its answer is that of one that was not interrupted. Another stream with
// the key is refused.
func TestRecordStreamResumes(t *testing.T) {
	b := newFixture(t, false)
	server := b.serve()
	rows := userRows(0, 12_000)
	broken := io.MultiReader(strings.NewReader(rows[:len(rows)*2/3]), brokenReader{})
	if _, answer, err := stream(t, server, http.MethodPost, recordsImport("users"), "application/x-ndjson", "move-1", broken); err == nil && strings.Contains(string(answer), `"position":12000`) {
		t.Fatalf("the broken stream was answered %s", answer)
	}
	var again streamed
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		response, answer, err := stream(t, server, http.MethodPost, recordsImport("users"), "application/x-ndjson", "move-1", strings.NewReader(rows))
		if err != nil {
			t.Fatal(err)
		}
		if response.StatusCode == http.StatusConflict && time.Now().Before(deadline) {
			continue // the server notices a disconnect with delay
		}
		if err := json.Unmarshal(answer, &again); err != nil || response.StatusCode != http.StatusOK {
			t.Fatalf("%v, %s", err, answer)
		}
		break
	}
	if again.Position != 12_000 || again.Created != 11_997 || again.Unchanged != 0 || again.Failed != 3 || again.Errors[0].Line != 4000 || again.Errors[2].Line != 12_000 {
		t.Errorf("the stream that was sent again: %+v", again)
	}
	response, answer, err := stream(t, server, http.MethodPost, recordsImport("users"), "application/x-ndjson", "move-1", strings.NewReader(strings.Replace(rows, "reader-0000001", "reader-x", 1)))
	if err != nil || response.StatusCode != http.StatusUnprocessableEntity || !strings.Contains(string(answer), "idempotency_key_reused") {
		t.Errorf("another stream with the key: %v, %v, %s", response, err, answer)
	}
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, errors.New("the connection is gone") }

// progress is a line of a response with the progress.
type progress struct {
	streamed
	Finished bool
	Problem  *problem
}

// A client that asks for the progress has a line after each step, while it still sends rows.
func TestRecordStreamProgress(t *testing.T) {
	b := newFixture(t, false)
	server := b.serve()
	reader, writer := io.Pipe()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+recordsImport("users"), reader)
	if err != nil {
		t.Fatal(err)
	}
	request.Header = http.Header{"X-Test-Vendor": {"acme"}, "Content-Type": {"application/x-ndjson"}, "Accept": {"application/x-ndjson"}}
	answered := make(chan *http.Response, 1)
	go func() {
		response, err := server.Client().Do(request)
		if err != nil {
			t.Error(err)
		}
		answered <- response
	}()
	if _, err := io.WriteString(writer, userRows(0, 5000)); err != nil {
		t.Fatal(err)
	}
	response := <-answered
	if response == nil {
		t.FailNow()
	}
	defer response.Body.Close()
	lines := bufio.NewReader(response.Body)
	next := func() (line progress) {
		t.Helper()
		text, err := lines.ReadBytes('\n')
		if err != nil || json.Unmarshal(text, &line) != nil {
			t.Fatalf("%v: %s", err, text)
		}
		return line
	}
	if line := next(); line.Position != 5000 || line.Failed != 1 || line.Finished {
		t.Errorf("after the first step: %+v", line)
	}
	if _, err := io.WriteString(writer, userRows(5000, 6000)); err != nil {
		t.Fatal(err)
	}
	_ = writer.Close()
	if line := next(); line.Position != 6000 || line.Finished {
		t.Errorf("after the second step: %+v", line)
	}
	if line := next(); line.Position != 6000 || line.Created != 5999 || !line.Finished || line.Problem != nil {
		t.Errorf("the result: %+v", line)
	}
	if rest, err := io.ReadAll(lines); err != nil || len(rest) > 0 {
		t.Errorf("after the result: %q, %v", rest, err)
	}
}

// manyRecords is the number of rows of TestRecordsByTheMillion.
var manyRecords = flag.Int("records.rows", 20_000, "the rows of each stream of TestRecordsByTheMillion")

// recordSource generates rows as they are read, and notes the memory in use meanwhile.
type recordSource struct {
	row        func(i int) string
	next, rows int
	buffered   []byte
	peak       atomic.Uint64
}

func (s *recordSource) Read(p []byte) (int, error) {
	if len(s.buffered) == 0 {
		if s.next == s.rows {
			return 0, io.EOF
		}
		for range min(1000, s.rows-s.next) {
			s.buffered = append(append(s.buffered, s.row(s.next)...), '\n')
			s.next++
		}
		if s.next%5_000 < 1000 {
			s.peak.Store(max(s.peak.Load(), memoryInUse()))
		}
	}
	n := copy(p, s.buffered)
	s.buffered = append(s.buffered[:0], s.buffered[n:]...)
	return n, nil
}

// A site moves with all its profiles, users, roles and subscriptions, a stream for each. Memory
// does not grow with them.
func TestRecordsByTheMillion(t *testing.T) {
	b := newFixture(t, false)
	server := b.serve()
	b.importRecords("acme", "plans", "", `{"slug":"gold","profile":"acme","title":"Gold","is_active":true}`)
	for _, kind := range []struct {
		name string
		row  func(i int) string
	}{
		{"users", func(i int) string { return fmt.Sprintf(`{"slug":"user-%07d"}`, i) }},
		{"profiles", func(i int) string { return fmt.Sprintf(`{"slug":"profile-%07d","full_name":"Profile %d"}`, i, i) }},
		{"roles", func(i int) string {
			return fmt.Sprintf(`{"profile":"profile-%07d","user":"user-%07d","role":"manager"}`, i, i)
		}},
		{"subscriptions", func(i int) string {
			return fmt.Sprintf(`{"profile":"profile-%07d","plan":"gold","created_at":"2026-01-01","ends_at":"2030-01-01"}`, i)
		}},
	} {
		began := time.Now()
		source := &recordSource{row: kind.row, rows: *manyRecords}
		response, answer, err := stream(t, server, http.MethodPost, recordsImport(kind.name), "application/x-ndjson", "", source)
		if err != nil || response.StatusCode != http.StatusOK || !strings.Contains(string(answer), fmt.Sprintf(`"created":%d,`, *manyRecords)) {
			t.Fatalf("%s: %v, %v: %s", kind.name, response, err, answer)
		}
		imported := time.Since(began)
		if peak := source.peak.Load(); peak == 0 || peak > importMemory {
			t.Errorf("%s: an import of %d rows had %d MiB in use", kind.name, *manyRecords, peak>>20)
		}
		began = time.Now()
		rows := countLines(t, server, recordsExport(kind.name))
		stored := *manyRecords
		if rows != stored {
			t.Errorf("%s: exported %d rows", kind.name, rows)
		}
		t.Logf("%s: %d rows imported in %.1f s with at most %d MiB in use, exported in %.1f s", kind.name, *manyRecords, imported.Seconds(), source.peak.Load()>>20, time.Since(began).Seconds())
	}
}

// countLines returns the number of lines of a response, which is not kept.
func countLines(t *testing.T, server *httptest.Server, path string) (lines int) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("X-Test-Vendor", "acme")
	response, err := server.Client().Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	scanner := bufio.NewScanner(response.Body)
	for scanner.Scan() {
		lines++
	}
	if scanner.Err() != nil {
		t.Fatal(scanner.Err())
	}
	return lines
}
