package pagecache

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// serveFrom serves a request from an origin that answers as respond does.
func (w *world) serveFrom(t *testing.T, target Target, respond func(http.ResponseWriter) error) Result {
	t.Helper()
	q := Request{
		Target: target, Stored: true, Result: new(Result),
		Caller: &caller{fetch: func(_ context.Context, _ Anonymous, to http.ResponseWriter) error { return respond(to) }},
	}
	_ = w.Serve(&discard{http.Header{}}, httptest.NewRequest(http.MethodGet, "http://news.example/", nil), &q)
	w.Wait()
	return *q.Result
}

func sends(name, value string) func(http.ResponseWriter) error {
	return func(to http.ResponseWriter) error {
		to.Header().Set(name, value)
		_, err := to.Write([]byte("page"))
		return err
	}
}

// What is stored of a page is found by its URL, for its vendor and its site alone, and counted
// by site until it is removed.
func TestFindIsOfOneSite(t *testing.T) {
	w := newWorld(t, MinMemory)
	target := func(vendor, site, host, path, query string) Target {
		return Target{Vendor: vendor, Site: site, Host: host, Path: path, Query: query}
	}
	for _, one := range []Target{
		target("acme", "news", "news.example", "/a", ""), target("acme", "news", "news.example", "/a", "page=2"), target("acme", "news", "www.news.example", "/a", ""),
		target("acme", "news", "news.example", "/a/b", ""), target("acme", "shop", "news.example", "/a", ""), target("other", "news", "news.example", "/a", ""),
		{Vendor: "acme", Site: "news", Host: "news.example", Path: "/index.php", Received: "/a"},
	} {
		w.serveFrom(t, one, sends("Cache-Control", "max-age=60"))
	}
	for name, test := range map[string]struct {
		page  Target
		exact bool
		want  int
	}{
		"path":           {target("acme", "news", "", "/a", ""), false, 4},
		"host":           {target("acme", "news", "news.example", "/a", ""), false, 3},
		"query":          {target("acme", "news", "news.example", "/a", "page=2"), false, 1},
		"no query":       {target("acme", "news", "news.example", "/a", ""), true, 2},
		"another vendor": {target("other", "news", "", "/a", ""), false, 1},
		"no such vendor": {target("none", "news", "", "/a", ""), false, 0},
		"rewritten":      {target("acme", "news", "", "/index.php", ""), false, 1},
	} {
		found, more, err := w.Find(t.Context(), &test.page, test.exact, 100)
		if err != nil || len(found) != test.want || more != 0 {
			t.Errorf("%s: %d are found and %d more, want %d: %v", name, len(found), more, test.want, err)
		}
		for _, one := range found {
			if one.Target.Vendor != test.page.Vendor || one.Target.Site != test.page.Site || one.Bytes != 4 || one.State != Fresh || one.Fresh != time.Minute {
				t.Errorf("%s: %+v", name, one)
			}
		}
	}
	if found, more, _ := w.Find(t.Context(), &Target{Vendor: "acme", Site: "news", Path: "/a"}, false, 1); len(found) != 1 || more != 3 {
		t.Errorf("with a limit of 1, %d are found and %d more", len(found), more)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := w.Find(gone, &Target{}, false, 1); !errors.Is(err, context.Canceled) {
		t.Errorf("for a client that left: %v", err)
	}
	pages, bytes := w.SiteStats("acme", "news")
	others, _ := w.SiteStats("other", "news")
	none, _ := w.SiteStats("acme", "none")
	if pages != 5 || bytes < 5*(unit+entryCost) || others != 1 || none != 0 {
		t.Errorf("%d pages with %d bytes, %d of another vendor, %d of no site", pages, bytes, others, none)
	}
	w.index.found.Clear()
	w.index.found.Wait()
	if pages, bytes := w.SiteStats("acme", "news"); pages != 0 || bytes != 0 {
		t.Errorf("%d pages with %d bytes are left", pages, bytes)
	}
}

// A page whose header is longer than its body is stored, whatever the two lengths are: the
// first block holds all of the header.
func TestSmallPagesAreStored(t *testing.T) {
	w := newWorld(t, MinMemory)
	for header := range 40 {
		for body := range 40 {
			_, _, err := w.index.entries.put(&page{
				status: 200, header: fields("X-Long", strings.Repeat("h", 37*header)), body: [][]byte{make([]byte, 41*body)}, key: []byte("key"),
			})
			if err != nil {
				t.Fatalf("a header of %d bytes and a body of %d: %v", 37*header, 41*body, err)
			}
		}
	}
}

// What would become of a request is what becomes of it, with why.
func TestExpect(t *testing.T) {
	w := newWorld(t, MinMemory)
	page := Target{Vendor: "acme", Site: "news", Host: "news.example", Path: "/a"}
	expect := func(method string, followed bool, want Result, stored bool) {
		t.Helper()
		got, found, err := w.Expect(t.Context(), method, &page, followed)
		if err != nil || got != want || (found != nil) != stored {
			t.Errorf("%s: %v, stored %v, %v; want %v", method, got, found != nil, err, want)
		}
	}
	expect(http.MethodGet, true, Result{Miss, WhyNone}, false)
	w.serveFrom(t, page, sends("Cache-Control", "max-age=60"))
	expect(http.MethodGet, true, Result{Hit, WhyNone}, true)
	expect(http.MethodGet, false, Result{Pass, WhyStore}, false)
	expect(http.MethodPost, true, Result{Pass, WhyMethod}, false)
	w.now = w.now.Add(2 * time.Minute)
	expect(http.MethodHead, true, Result{Miss, WhyNone}, true)
	for why, header := range map[Why][2]string{
		WhyPrivate: {"Cache-Control", "private"}, WhySetCookie: {"Set-Cookie", "a=1"}, WhyVary: {"Vary", "User-Agent"}, WhyNoStore: {"Cache-Control", "no-store"}, WhyFreshness: {"X", "x"},
	} {
		page.Path = "/" + string(why)
		respond := sends(header[0], header[1])
		if header[0] == "Vary" {
			respond = func(to http.ResponseWriter) error {
				to.Header().Set("Cache-Control", "max-age=60")
				return sends("Vary", "User-Agent")(to)
			}
		}
		if got := w.serveFrom(t, page, respond); got.Why != why {
			t.Fatalf("the request: %v, want %s", got, why)
		}
		expect(http.MethodGet, true, Result{Pass, why}, false)
		if got := w.serveFrom(t, page, respond); got != (Result{Pass, WhyMarked}) {
			t.Errorf("the next request: %v", got)
		}
		w.now = w.now.Add(markFor)
		expect(http.MethodGet, true, Result{Miss, WhyNone}, false)
	}
}
