package admin_test

import (
	"fmt"
	"io"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatefold/gatefold/policy/store"
)

// rowSource generates rows as they are read.
type rowSource struct {
	next, rows int
	buffered   []byte
	// peak is the maximum of memory in use, in bytes.
	peak atomic.Uint64
}

func (s *rowSource) Read(p []byte) (int, error) {
	if len(s.buffered) == 0 {
		if s.next == s.rows {
			return 0, io.EOF
		}
		for range min(1000, s.rows-s.next) {
			s.buffered = fmt.Appendf(s.buffered, "{\"userId\":\"reader-%07d\",\"email\":\"reader%07d@example.org\",\"sku\":\"premium\",\"poId\":\"monthly\",\"endsAt\":\"2030-01-01T00:00:00Z\"}\n", s.next, s.next)
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

func memoryInUse() uint64 {
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapInuse
}

const (
	// fewGrants and manyGrants are the sizes whose times are compared. The test
	// also passed with 1,000,000 grants.
	fewGrants  = 500
	manyGrants = 10_000
	// importMemory bounds the memory of an import.
	importMemory = 160 << 20
)

// A publisher imports all subscribers in one stream. Memory does not grow with it,
// and reading a grant by id or a page of a hundred takes the same time as in a
// small list.
func TestGrantsByTheMillion(t *testing.T) {
	b := newFixture(t, false)
	server := b.serve()
	began := time.Now()
	source := &rowSource{rows: fewGrants}
	b.streamAll(source)
	readFew, pageFew := b.timeReads(fewGrants)
	runtime.GC()
	source = &rowSource{next: fewGrants, rows: fewGrants + manyGrants}
	response, answer, err := stream(t, server, http.MethodPost, importPath, "application/x-ndjson", "", source)
	if err != nil || response.StatusCode != http.StatusOK || !strings.Contains(string(answer), fmt.Sprintf(`"created":%d`, manyGrants)) {
		t.Fatalf("%v, %v: %s", response, err, answer)
	}
	imported := time.Since(began)
	if peak := source.peak.Load(); peak == 0 || peak > importMemory {
		t.Errorf("an import of %d rows had %d MiB in use", manyGrants, peak>>20)
	}
	readMany, pageMany := b.timeReads(fewGrants + manyGrants)
	if readMany > time.Millisecond {
		t.Errorf("a grant is read in %v", readMany)
	}
	// Noise is far below a factor of ten; a linear cost would be a factor of
	// twenty.
	if readMany > 10*readFew+100*time.Microsecond || pageMany > 10*pageFew+time.Millisecond {
		t.Errorf("among few a grant is read in %v and a page in %v, among many in %v and %v", readFew, pageFew, readMany, pageMany)
	}
	began = time.Now()
	response, answer, err = stream(t, server, http.MethodGet, exportPath, "", "", nil)
	if err != nil || response.StatusCode != http.StatusOK || strings.Count(string(answer), "\n") != fewGrants+manyGrants {
		t.Errorf("exported %d rows, %v", strings.Count(string(answer), "\n"), err)
	}
	t.Logf("imported in %v with at most %d MiB in use, exported in %v; a grant is read in %v (%v), a page in %v (%v)",
		imported, source.peak.Load()>>20, time.Since(began), readMany, readFew, pageMany, pageFew)
}

func (b *fixture) streamAll(source *rowSource) {
	b.Helper()
	rows, err := io.ReadAll(source)
	if err != nil {
		b.Fatal(err)
	}
	b.send("acme", http.MethodPost, importPath, string(rows), http.Header{"Content-Type": {"application/x-ndjson"}}).want(http.StatusOK, nil)
}

// timeReads returns the times to read a grant by id, and a page of a hundred, all
// over the list.
func (b *fixture) timeReads(total int) (read, page time.Duration) {
	b.Helper()
	var ids []string
	for from := ""; len(ids) < total/100; {
		grants, err := b.store.ListGrants(b.Context(), "acme", store.DefaultList, store.Page{Limit: 1000, From: from})
		if err != nil || len(grants) == 0 {
			b.Fatalf("%d grants, %v", len(grants), err)
		}
		for i := 0; i < len(grants); i += 100 {
			ids = append(ids, grants[i].ID)
		}
		from = grants[len(grants)-1].ID
	}
	var reads, pages []time.Duration
	for i := range 200 {
		id := ids[i*7919%len(ids)]
		began := time.Now()
		if _, err := b.store.Grant(b.Context(), "acme", store.DefaultList, id); err != nil {
			b.Fatal(err)
		}
		reads = append(reads, time.Since(began))
		began = time.Now()
		if _, err := b.store.ListGrants(b.Context(), "acme", store.DefaultList, store.Page{Limit: 100, From: id}); err != nil {
			b.Fatal(err)
		}
		pages = append(pages, time.Since(began))
	}
	// The median of the faster half excludes other load on the machine.
	slices.Sort(reads)
	slices.Sort(pages)
	return reads[50], pages[50]
}
