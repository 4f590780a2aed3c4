package pagecache

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

var manyPages = flag.Int("pages", 20_000, "stored pages of TestManyPages")

// Very many pages of 2 KiB stay within the memory that is set for them, by the process's own
// account, and they are found again. What a hit takes and the collector's share are logged:
// docs/performance.md has them for a million pages. Times are not judged, and the process's memory
// not with the race detector, which takes as much again: `make test` runs it without as well.
func TestManyPages(t *testing.T) {
	const size, perPage = 2 << 10, 4 << 10
	before := residentBytes(t)
	memory := max(int64(*manyPages)*perPage, MinMemory)
	w := newWorld(t, memory)
	target := Target{Vendor: "acme", Site: "news", Host: "news.example"}
	header := fields("Content-Type", "text/html; charset=utf-8", "Cache-Control", "max-age=60", "Etag", `"1"`, "Date", w.now.Format(http.TimeFormat), "Vary", "Accept-Encoding")
	body := []byte(strings.Repeat("x", size))
	put := func(i int) error {
		one := target
		one.Path = "/articles/" + strconv.Itoa(i)
		key, _ := appendKey(nil, &one, 0, nil, nil)
		return w.index.put(&page{status: 200, header: header, body: [][]byte{body}, life: lifetime{fresh: time.Minute}, stored: w.now, slots: slotsOf(&one, nil), key: w.index.variant(key, 0)})
	}
	collector, all := collectorTime()
	request := httptest.NewRequest(http.MethodGet, "http://news.example/", nil)
	response := &discard{header: http.Header{}}
	random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // the same requests in every run
	var q Request
	ask := func(i int) bool {
		clear(response.header)
		q = Request{Target: target, Stored: true, Caller: &caller{}, Result: new(Result)}
		q.Target.Path = "/articles/" + strconv.Itoa(i)
		request.Header["Cache-Control"] = []string{"only-if-cached"}
		return w.Serve(response, request, &q) == nil && q.Result.What == Hit
	}
	costs := map[int]time.Duration{}
	for i := range *manyPages {
		if err := put(i); err != nil {
			t.Fatalf("page %d: %v", i, err)
		}
		if (i+1)%1000 == 0 {
			w.index.found.Wait()
		}
		if i+1 == *manyPages/100 || i+1 == *manyPages/10 || i+1 == *manyPages {
			w.index.found.Wait()
			costs[i+1] = medianCost(func() { ask(random.IntN(i + 1)) })
		}
	}
	found := 0
	for i := range *manyPages {
		if ask(i) {
			found++
		}
	}
	stats, resident := w.Stats(), residentBytes(t)-before
	gc, total := collectorTime()
	if found < *manyPages*99/100 { // ristretto drops a few of those that come at once
		t.Errorf("%d of %d pages are found again", found, *manyPages)
	}
	if stats.Bytes > memory || !raceDetector && resident > memory+memory/10+(16<<20) {
		t.Errorf("%d pages take %d bytes, and the process %d more than before, want at most %d", stats.Pages, stats.Bytes, resident, memory)
	}
	t.Logf("%d pages: %d MiB of %d, the process has %d MiB more; the collector took %.2f %% of the processor time; the median hit took %v",
		found, stats.Bytes>>20, memory>>20, resident>>20, 100*(gc-collector)/(total-all), costs)
}

// medianCost returns the median of 10,001 calls.
func medianCost(do func()) time.Duration {
	took := make([]time.Duration, 10_001)
	for i := range took {
		began := time.Now()
		do()
		took[i] = time.Since(began)
	}
	slices.Sort(took)
	return took[len(took)/2]
}

// collectorTime returns the processor time of the collector and of the process, in seconds,
// without what was idle.
func collectorTime() (collector, all float64) {
	runtime.GC()
	samples := []metrics.Sample{{Name: "/cpu/classes/gc/total:cpu-seconds"}, {Name: "/cpu/classes/gc/pause:cpu-seconds"}, {Name: "/cpu/classes/total:cpu-seconds"}, {Name: "/cpu/classes/idle:cpu-seconds"}}
	metrics.Read(samples)
	return samples[0].Value.Float64(), samples[2].Value.Float64() - samples[3].Value.Float64()
}

// residentBytes returns the resident memory of this process.
func residentBytes(t *testing.T) int64 {
	t.Helper()
	debug.FreeOSMemory() // garbage of the test itself, which the race detector multiplies
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0 // where there is none, the cache's own account is judged alone
	}
	var size, resident int64
	if _, err := fmt.Sscan(string(text), &size, &resident); err != nil {
		t.Fatal(err)
	}
	return resident * int64(os.Getpagesize())
}
