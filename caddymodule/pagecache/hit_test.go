package pagecache

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// discard is a response writer that keeps its header.
type discard struct{ header http.Header }

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) Write(b []byte) (int, error) { return len(b), nil }
func (d *discard) WriteHeader(int)             {}

// hit returns a function that serves a stored page of a size.
func hit(t testing.TB, size int) func() {
	t.Helper()
	w := newWorld(t, MinMemory)
	target := Target{Vendor: "acme", Site: "news", Host: "news.example", Path: "/a/1"}
	key, _ := appendKey(nil, &target, 0, nil, nil)
	header := fields("Content-Type", "text/html; charset=utf-8", "Cache-Control", "max-age=60", "Etag", `"1"`, "Date", w.now.Format(http.TimeFormat), "Vary", "Accept-Encoding", "Content-Length", fmt.Sprint(size))
	err := w.index.put(&page{
		status: 200, header: header, body: [][]byte{make([]byte, size)}, life: lifetime{fresh: time.Minute}, stored: w.now, slots: slotsOf(&target, nil), key: w.index.variant(key, 0),
	})
	if err != nil {
		t.Fatal(err)
	}
	w.index.found.Wait()
	response, request := &discard{header: http.Header{}}, httptest.NewRequest(http.MethodGet, "http://news.example/a/1", nil)
	var result Result
	return func() {
		clear(response.header)
		q := Request{Target: target, Stored: true, Result: &result}
		if err := w.Serve(response, request, &q); err != nil || q.Result.What != Hit {
			t.Fatal(q.Result, err)
		}
	}
}

// A hit copies no body: what it allocates does not depend on the size of the page.
func TestHitAllocates(t *testing.T) {
	for _, size := range []int{1 << 10, 16 << 10, 64 << 10} {
		if got := testing.AllocsPerRun(1000, hit(t, size)); got > 4 {
			t.Errorf("a hit of %d bytes makes %v allocations, want at most 4", size, got)
		}
	}
}

// A scan of many pages does not push out those that are asked for often, and what is stored
// stays within the memory.
func TestScanKeepsHotPages(t *testing.T) {
	w := newWorld(t, MinMemory)
	body := []byte(strings.Repeat("x", 8<<10))
	put := func(name string) {
		_ = w.index.put(&page{status: 200, body: [][]byte{body}, key: []byte(name)})
	}
	const hot = 100
	ask := func() (found int) {
		for i := range hot {
			name := fmt.Sprint("hot ", i)
			if e, ok := w.index.get([]byte(name)); ok {
				e.release()
				found++
				continue
			}
			put(name)
		}
		return found
	}
	for range 50 {
		ask()
		w.index.found.Wait()
	}
	for i := range 20_000 {
		put(fmt.Sprint("scanned ", i))
		if i%20 == 0 {
			ask()
		}
		if stats := w.Stats(); stats.Bytes > stats.MaxBytes {
			t.Fatalf("%+v", stats)
		}
	}
	w.index.found.Wait()
	// Admission and eviction go by samples.
	if found := ask(); found < hot*3/4 {
		t.Errorf("%d of %d hot pages are left after the scan", found, hot)
	}
}

func BenchmarkHit(b *testing.B) {
	for _, size := range []int{1 << 10, 16 << 10} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			serve := hit(b, size)
			b.ReportAllocs()
			for b.Loop() {
				serve()
			}
		})
	}
}
