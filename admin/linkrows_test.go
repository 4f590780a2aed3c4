package admin_test

import (
	"bufio"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gatefold/gatefold/keys"
)

// readerRows writes the rows of a newsletter's readers.
func readerRows(out io.Writer, n int) error {
	rows := bufio.NewWriter(out)
	for i := range n {
		fmt.Fprintf(rows, `{"url":"https://news.example/articles/hello?utm_source=mail","userId":"reader-%d","maxUses":3,"expiresIn":"14d","meta":{"campaign":"2026-48"}}`+"\n", i)
	}
	return rows.Flush()
}

// A newsletter has 20,000 readers. One call makes their links as a stream: neither the rows
// nor the links are in memory at once.
func TestNewsletterAsAStream(t *testing.T) {
	const readers = 20_000
	b := newFixture(t, false)
	server := b.serve()
	heap := func() int64 {
		var stats runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&stats)
		return int64(stats.HeapAlloc)
	}
	body, rows := io.Pipe()
	go func() { _ = rows.CloseWithError(readerRows(rows, readers)) }()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+bulkPath, body)
	if err != nil {
		t.Fatal(err)
	}
	request.Header = http.Header{"X-Test-Vendor": {"acme"}, "Content-Type": {"application/x-ndjson"}, "Idempotency-Key": {"newsletter"}}
	before, begun, most := heap(), time.Now(), int64(0)
	response, err := server.Client().Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	ring, err := b.keyring.Ring(t.Context(), "acme")
	if err != nil {
		t.Fatal(err)
	}
	checked, count := time.Since(begun), 0
	ids := make(map[string]bool, readers)
	for lines := bufio.NewScanner(response.Body); lines.Scan(); count++ {
		var link bulkLink
		if err := json.Unmarshal(lines.Bytes(), &link); err != nil || link.Row != count || link.UserID != fmt.Sprint("reader-", count) || ids[link.TokenID] {
			t.Fatalf("row %d is %s, %v", count, lines.Bytes(), err)
		}
		ids[link.TokenID] = true
		if count%5000 == 2500 {
			most = max(most, heap()-before)
			claims, err := keys.VerifyLink(link.Token, keys.VendorIssuer("acme"), ring.KeySet(), b.clock)
			if err != nil || claims.MaxUses != 3 || string(claims.Meta) != `{"campaign":"2026-48"}` || !strings.HasSuffix(link.SignedURL, "&token="+link.Token) {
				t.Errorf("link %d is %+v, %v", count, claims, err)
			}
		}
	}
	t.Logf("%d links: the rows are checked after %v, the links made after %v, with %.1f MiB more on the heap", count, checked.Round(time.Millisecond), time.Since(begun).Round(time.Millisecond), float64(most)/(1<<20))
	if response.StatusCode != http.StatusOK || count != readers {
		t.Fatalf("%d, %d links", response.StatusCode, count)
	}
	if most > 24<<20 { // ids takes some, and the compressed rows 1
		t.Errorf("the heap grew by %d bytes", most)
	}
	stored := b.links()
	for _, id := range stored {
		delete(ids, id)
	}
	if len(stored) != readers || len(ids) != 0 {
		t.Errorf("%d links are stored, and %d were sent that are not", len(stored), len(ids))
	}
}

// A row is wrong: its line is named, as are those of others, and no link is made.
func TestRowsOfLinksAreCheckedFirst(t *testing.T) {
	b := newFixture(t, false)
	server := b.serve()
	many := strings.Repeat(`{"sku":"s"}`+"\n", 300)
	for name, c := range map[string]struct {
		kind, body string
		status     int
		want       []string
	}{
		"a field":       {"application/x-ndjson", many + `{"sku":"s","expiresIn":"9y"}` + "\n", 422, []string{`"body.line[301].expiresIn"`}},
		"several":       {"application/x-ndjson", "{}\n\n" + `{"sku":"s","price":1}` + "\n{\n" + `{"url":"ftp://x/"}`, 422, []string{`"body.line[1].url"`, `"body.line[3].price"`, `"body.line[4]"`, `"body.line[5].url"`}},
		"a number":      {"text/csv", "sku,maxUses\ns,3\ns,many\n", 422, []string{`"body.line[3]"`, "maxUses: must be a whole number"}},
		"a lifetime":    {"text/csv", "sku,expiresIn\ns,3600\ns,14d\ns,0\n", 422, []string{`"body.line[4].expiresIn"`}},
		"a column":      {"text/csv", "sku,price\ns,3\n", 400, []string{"price", "publisherContentId", "meta."}},
		"a column, too": {"text/csv", "sku,sku\ns,s\n", 400, []string{"twice"}},
		"a quote":       {"text/csv", "sku\n\"s\n", 400, []string{"does not end"}},
		"no rows":       {"application/x-ndjson", "\n\n", 422, []string{"has no rows"}},
		"too many":      {"application/x-ndjson", strings.Repeat(`{"sku":"s"}`+"\n", 100_001), 422, []string{"more than 100000 rows"}},
		"too much":      {"application/x-ndjson", strings.Repeat(`{"sku":"s"}`+strings.Repeat(" ", 1000)+"\n", 33<<10), 413, []string{"32 MiB"}},
		"all wrong":     {"application/x-ndjson", strings.Repeat("{}\n", 500), 422, []string{`"body.line[100].url"`}},
	} {
		response, answer, err := stream(t, server, http.MethodPost, bulkPath, c.kind, "", strings.NewReader(c.body))
		if err != nil || response.StatusCode != c.status {
			t.Errorf("%s: %v, %v: %s", name, response, err, answer)
			continue
		}
		for _, want := range c.want {
			if !strings.Contains(string(answer), want) {
				t.Errorf("%s: no %s in %s", name, want, answer)
			}
		}
		if strings.Contains(string(answer), "line[101]") {
			t.Errorf("%s: the answer has more than 100 errors", name)
		}
	}
	if stored := b.links(); len(stored) != 0 {
		t.Errorf("%d links were made", len(stored))
	}
}

// A table of a mail program comes in, and one goes out.
func TestLinksOfATable(t *testing.T) {
	b := newFixture(t, false)
	table := "\ufeffuserId,url,maxUses,expiresIn,meta.campaign,meta.issue\nu1,https://news.example/a,2,14d,may,7\n\"'=u2\",https://news.example/b,,3600,,\n"
	header := http.Header{"Content-Type": {"text/csv"}, "Accept": {"text/csv"}}
	got := b.send("acme", http.MethodPost, bulkPath, table, header).want(http.StatusOK, nil)
	records, err := csv.NewReader(strings.NewReader(got.body)).ReadAll()
	if err != nil || len(records) != 3 {
		t.Fatalf("%v: %v", err, records)
	}
	ring, err := b.keyring.Ring(t.Context(), "acme")
	if err != nil {
		t.Fatal(err)
	}
	first, err1 := keys.VerifyLink(records[1][4], keys.VendorIssuer("acme"), ring.KeySet(), b.clock)
	second, err2 := keys.VerifyLink(records[2][4], keys.VendorIssuer("acme"), ring.KeySet(), b.clock)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	if first.Subject != "u1" || first.URL != "https://news.example/a" || first.MaxUses != 2 || first.ExpiresAt-first.IssuedAt != 14*86400 || string(first.Meta) != `{"campaign":"may","issue":"7"}` {
		t.Errorf("the first link is %+v", first)
	}
	if second.Subject != "=u2" || second.MaxUses != 0 || second.ExpiresAt-second.IssuedAt != 3600 || second.Meta != nil {
		t.Errorf("the second link is %+v", second)
	}
}

// The connection breaks while links are sent. The same stream with the same key completes it,
// with the same links; another one is refused.
func TestNewsletterAfterDisconnect(t *testing.T) {
	b := newFixture(t, false)
	var rows strings.Builder
	if err := readerRows(&rows, 1000); err != nil {
		t.Fatal(err)
	}
	ctx, leave := context.WithCancel(t.Context())
	request := httptest.NewRequestWithContext(ctx, http.MethodPost, bulkPath, strings.NewReader(rows.String()))
	request.Header = http.Header{"X-Test-Vendor": {"acme"}, "Content-Type": {"application/x-ndjson"}, "Idempotency-Key": {"k"}}
	caller := leavingWriter{httptest.NewRecorder(), leave}
	func() {
		defer func() { _ = recover() }() // net/http aborts a response in this way
		b.handler.ServeHTTP(caller, request)
	}()
	received, left := readLinks(t, caller.Body.String()), b.links()
	if len(received) != 250 || len(left) != 250 {
		t.Fatalf("%d links were received, and %d were made", len(received), len(left))
	}
	server := b.serve()
	again := func(body string) (int, string) {
		response, answer, err := stream(t, server, http.MethodPost, bulkPath, "application/x-ndjson", "k", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		return response.StatusCode, string(answer)
	}
	if status, answer := again(strings.Replace(rows.String(), "reader-17", "reader-18", 1)); status != http.StatusUnprocessableEntity || !strings.Contains(answer, "idempotency_key_reused") {
		t.Errorf("other rows give %d %s", status, answer)
	}
	b.clock = b.clock.Add(time.Hour)
	status, answer := again(rows.String())
	links := readLinks(t, answer)
	if status != http.StatusOK || len(links) != 1000 {
		t.Fatalf("%d, %d links", status, len(links))
	}
	for i, link := range received {
		if links[i].TokenID != link.TokenID || links[i].ExpiresAt != link.ExpiresAt || links[i].UserID != link.UserID {
			t.Errorf("link %d was %+v, and is %+v", i, link, links[i])
		}
	}
	if stored := b.links(); len(stored) != 1000 || !slices.Equal(stored[:len(left)], left) {
		t.Errorf("%d links are stored", len(stored))
	}
}
