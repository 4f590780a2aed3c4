package admin_test

import (
	"bufio"
	"flag"
	"fmt"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gatefold/gatefold/policy/store"
)

// manyReaders is the number of readers of TestManyReadersAreListedAndFound, with a record and a
// grant each.
var manyReaders = flag.Int("readers.rows", 20_000, "the readers of TestManyReadersAreListedAndFound")

// wholeMemory bounds the memory that a whole list takes, whatever its length.
const wholeMemory = 64 << 20

// anonymousMemory returns the memory of the process without mapped files, in bytes, or that in
// use by the heap where the kernel does not say.
func anonymousMemory() uint64 {
	status, _ := os.ReadFile("/proc/self/status")
	for text := range strings.SplitSeq(string(status), "\n") {
		if kilobytes, found := strings.CutPrefix(text, "RssAnon:"); found {
			n, _ := strconv.ParseUint(strings.TrimSpace(strings.TrimSuffix(kilobytes, "kB")), 10, 64)
			return n << 10
		}
	}
	return memoryInUse()
}

// All grants of a list are sent without limit, in memory that does not grow with them, and a
// reader among all is found by e-mail address, by the beginning of it or of a name.
func TestManyReadersAreListedAndFound(t *testing.T) {
	b := newFixture(t, false)
	server := b.serve()
	for kind, row := range map[string]func(i int) string{
		recordsImport("users"): func(i int) string {
			return fmt.Sprintf(`{"slug":"user-%07d","email":"reader%07d@example.org","full_name":"Name %07d"}`, i, i, i)
		},
		importPath: func(i int) string {
			return fmt.Sprintf(`{"userId":"user-%07d","email":"reader%07d@example.org","sku":"premium"}`, i, i)
		},
	} {
		began := time.Now()
		response, answer, err := stream(t, server, http.MethodPost, kind, "application/x-ndjson", "", &recordSource{row: row, rows: *manyReaders})
		if err != nil || response.StatusCode != http.StatusOK || !strings.Contains(string(answer), fmt.Sprintf(`"created":%d,`, *manyReaders)) {
			t.Fatalf("%s: %v, %v: %s", kind, response, err, answer)
		}
		t.Logf("%s: %d rows in %.1f s", kind, *manyReaders, time.Since(began).Seconds())
	}
	began := time.Now()
	if _, err := b.store.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Logf("the indexes are built in %.1f s, as after an upgrade", time.Since(began).Seconds())
	for _, path := range []string{defaultPath, "/management/grants?sort=-createdAt"} {
		runtime.GC()
		before, peak, rows, began := anonymousMemory(), uint64(0), 0, time.Now()
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+path, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("X-Test-Vendor", "acme")
		response, err := server.Client().Do(request)
		if err != nil {
			t.Fatal(err)
		}
		for lines := bufio.NewScanner(response.Body); lines.Scan(); rows++ {
			if rows%10_000 == 0 {
				peak = max(peak, anonymousMemory())
			}
		}
		_ = response.Body.Close()
		grown := int64(peak) - int64(before)
		t.Logf("%s: %d grants in %.1f s, memory grew by %d MiB", path, rows, time.Since(began).Seconds(), grown>>20)
		if rows != *manyReaders || grown > wholeMemory {
			t.Errorf("%s: %d lines, and memory grew by %d MiB", path, rows, grown>>20)
		}
	}
	// The first search builds the index of names, if an earlier version wrote the records.
	if _, err := b.store.FindReaders(t.Context(), "acme", "x", 0, 1); err != nil {
		t.Fatal(err)
	}
	for name, search := range map[string]func(i int) int{
		"a reader by e-mail address": func(i int) int {
			found, err := b.store.FindReaders(t.Context(), "acme", fmt.Sprintf("reader%07d@example.org", i), 0, 100)
			if err != nil {
				t.Fatal(err)
			}
			return len(found)
		},
		"a reader by the beginning of a name": func(i int) int {
			found, err := b.store.FindReaders(t.Context(), "acme", fmt.Sprintf("name %06d", i/10), 0, 100)
			if err != nil {
				t.Fatal(err)
			}
			return len(found)
		},
		"a page of readers by the beginning of an address": func(i int) int {
			found, err := b.store.FindReaders(t.Context(), "acme", fmt.Sprintf("reader%04d", i/1000), 0, 100)
			if err != nil {
				t.Fatal(err)
			}
			return len(found)
		},
		"grants by e-mail address": func(i int) int {
			found, _, _, err := b.store.FindGrants(t.Context(), "acme", store.GrantQuery{Email: fmt.Sprintf("reader%07d@example.org", i)})
			if err != nil {
				t.Fatal(err)
			}
			return len(found)
		},
		"the newest hundred grants": func(int) int {
			found, _, _, err := b.store.FindGrants(t.Context(), "acme", store.GrantQuery{SKU: "premium", Created: store.Created{Order: store.NewestFirst}})
			if err != nil {
				t.Fatal(err)
			}
			return len(found)
		},
	} {
		var times []time.Duration
		for i := range 200 {
			began := time.Now()
			if found := search(i * 7919 % *manyReaders); found == 0 || found > 100 {
				t.Fatalf("%s: %d found", name, found)
			}
			times = append(times, time.Since(began))
		}
		slices.Sort(times)
		t.Logf("%s: %v, the slowest of 200 %v", name, times[100], times[199])
	}
}
