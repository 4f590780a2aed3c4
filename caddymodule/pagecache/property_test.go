package pagecache

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gatefold/gatefold/policy"
)

// world is a cache with an origin whose pages change, and what is known of them.
type world struct {
	*Cache
	now      time.Time
	versions *policy.Versions
	origin   map[string]*originPage
	down     bool
}

// originPage is a page of the origin.
type originPage struct {
	version      int
	since        map[int]time.Time // when each version was made
	private      bool
	fresh, stale int // seconds
	tag          string
	hardPurged   time.Time // the last purge of the page
	softPurged   time.Time
}

func newWorld(t testing.TB, memory int64) *world {
	w := &world{now: time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC), versions: new(policy.Versions), origin: map[string]*originPage{}}
	var err error
	w.Cache, err = New(Options{Memory: memory, MaxSize: 64 << 10, StaleIfError: time.Hour, Now: func() time.Time { return w.now }, Purges: w.versions})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	return w
}

func (w *world) respond(to http.ResponseWriter, path string) error {
	page := w.origin[path]
	if w.down {
		return errors.New("the origin is down")
	}
	header := to.Header()
	w.setFreshness(header, page)
	if page.private {
		header.Set("Cache-Control", "private")
	}
	header.Set("Cache-Tag", page.tag)
	header.Set("Etag", fmt.Sprintf(`"%d"`, page.version))
	fmt.Fprintf(to, "%s %d", path, page.version)
	return nil
}

func (w *world) setFreshness(header http.Header, page *originPage) {
	header.Set("Date", w.now.Format(http.TimeFormat))
	header.Set("Cache-Control", fmt.Sprintf("max-age=%d, stale-if-error=%d, stale-while-revalidate=%d", page.fresh, page.stale, page.stale))
}

// ask requests a page for a reader, and returns the response.
func (w *world) ask(path string, allowed bool) (*httptest.ResponseRecorder, Result, error) {
	response := httptest.NewRecorder()
	q := Request{
		Target: Target{Vendor: "acme", Site: "news", Host: "news.example", Path: path}, Stored: true, Result: new(Result),
		Caller: &caller{fetch: func(_ context.Context, asked Anonymous, to http.ResponseWriter) error {
			if tag := asked.Header.Get("If-None-Match"); tag == fmt.Sprintf(`"%d"`, w.origin[path].version) && !w.down && !w.origin[path].private {
				w.setFreshness(to.Header(), w.origin[path])
				to.WriteHeader(http.StatusNotModified)
				return nil
			}
			return w.respond(to, path)
		}, pass: func(to http.ResponseWriter) error { return w.respond(to, path) }, again: func() bool { return allowed }},
	}
	err := w.Serve(response, httptest.NewRequest(http.MethodGet, "http://news.example"+path, nil), &q)
	w.Wait()
	return response, *q.Result, err
}

// Whatever origin, readers, purges and clock do: a reader gets the current page, or one that
// was current within the declared times and was not purged since. A reader to whom access
// ended while a page was fetched gets nothing, and a page that became private is asked for by
// each reader.
func TestServedPagesWereAllowed(t *testing.T) {
	for seed := range uint64(60) {
		random := rand.New(rand.NewPCG(seed, 7))
		w := newWorld(t, MinMemory)
		for i := range 8 {
			path := fmt.Sprint("/a/", i)
			w.origin[path] = &originPage{since: map[int]time.Time{0: w.now}, fresh: random.IntN(60), stale: random.IntN(60), tag: fmt.Sprint("t", i%3)}
		}
		for step := range 400 {
			path := fmt.Sprint("/a/", random.IntN(8))
			page := w.origin[path]
			switch random.IntN(10) {
			case 0:
				page.version++
				page.since[page.version] = w.now
			case 1:
				w.now = w.now.Add(time.Duration(random.IntN(40_000)) * time.Millisecond)
			case 2:
				w.down = random.IntN(3) == 0
			case 3:
				w.purge(random, path)
			case 4:
				page.private = random.IntN(4) == 0
			default:
				allowed := random.IntN(5) > 0
				response, result, err := w.ask(path, allowed)
				if problem := w.judge(path, allowed, response, result, err); problem != "" {
					t.Fatalf("seed %d, step %d, %s: %s (%v)", seed, step, path, problem, result)
				}
			}
		}
	}
}

func (w *world) purge(random *rand.Rand, path string) {
	purge := policy.PagePurge{Site: "news", Soft: random.IntN(2) == 0}
	of := func(*originPage, string) bool { return true }
	switch random.IntN(4) {
	case 0:
		purge.Paths = []string{path}
		of = func(_ *originPage, other string) bool { return other == path }
	case 1:
		purge.Prefixes = []string{"/a"}
	case 2:
		tag := w.origin[path].tag
		purge.Tags = []string{tag}
		of = func(page *originPage, _ string) bool { return page.tag == tag }
	default:
		purge.All = true
	}
	var change policy.Invalidation
	change.AddPages("acme", &purge)
	w.versions.Bump(change)
	for other, page := range w.origin {
		if !of(page, other) {
			continue
		}
		// A page of this moment may have been fetched just before the purge.
		if w.now = w.now.Add(time.Millisecond); purge.Soft {
			page.softPurged = w.now
		} else {
			page.hardPurged = w.now
		}
		w.now = w.now.Add(time.Millisecond)
	}
}

// judge returns what is wrong with a response, or nothing.
func (w *world) judge(path string, allowed bool, response *httptest.ResponseRecorder, result Result, err error) string {
	page, body := w.origin[path], response.Body.String()
	if err != nil || body == "" {
		if !allowed || w.down {
			return ""
		}
		return fmt.Sprintf("no page: %v", err)
	}
	fromMemory := result.What == Hit || result.What == Stale
	if !allowed && !fromMemory && result.Why != WhyMarked { // such a request does not wait
		return "a page that was fetched reached a reader whose access had ended"
	}
	name, number, _ := strings.Cut(body, " ")
	version := -1
	_, _ = fmt.Sscan(number, &version)
	if name != path || version < 0 || version > page.version {
		return "another page: " + body
	}
	if version == page.version {
		return ""
	}
	if !fromMemory {
		return fmt.Sprintf("version %d is %s, and %d is current", version, result.What, page.version)
	}
	replaced := page.since[version+1]
	if page.hardPurged.After(replaced) {
		return fmt.Sprintf("version %d was purged", version)
	}
	bound := page.fresh
	if result.What == Stale || w.down {
		bound += page.stale
	}
	if result.What == Hit && page.softPurged.After(replaced) {
		return fmt.Sprintf("version %d was purged softly", version)
	}
	if w.now.Sub(replaced) > time.Duration(bound)*time.Second {
		return fmt.Sprintf("version %d was replaced %v ago, and may be used for %d s", version, w.now.Sub(replaced), bound)
	}
	return ""
}
