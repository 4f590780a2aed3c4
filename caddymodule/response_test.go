package caddymodule

import (
	"bufio"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// No shared cache stores a private page, whatever the origin's caching headers are.
// Public pages are unchanged.
func TestCachingHeaders(t *testing.T) {
	s := newTestSite(t, standardRules)
	s.origin.Handle(func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header.Set("Cache-Control", `public, max-age=600, S-MaxAge=86400, stale-while-revalidate=30, no-cache="X-A, X-B"`)
		header.Set("Surrogate-Control", "max-age=86400")
		header.Set("CDN-Cache-Control", "max-age=86400")
		header.Set("Cloudflare-CDN-Cache-Control", "max-age=86400")
		header.Set("Vary", "Accept-Encoding")
		if r.Header.Get("If-None-Match") != "" {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		fmt.Fprint(w, "origin saw")
	})
	name, bearer := s.subscriber()
	for _, headers := range [][]string{{name, bearer}, {name, bearer, "If-None-Match", `"x"`}} {
		got := s.get("/articles/hello", headers...)
		if want := `private, max-age=600, stale-while-revalidate=30, no-cache="X-A, X-B"`; got.Header.Get("Cache-Control") != want {
			t.Errorf("%d: Cache-Control is %q, want %q", got.StatusCode, got.Header.Get("Cache-Control"), want)
		}
		for _, gone := range []string{"Surrogate-Control", "Cdn-Cache-Control", "Cloudflare-Cdn-Cache-Control"} {
			if got.Header.Get(gone) != "" {
				t.Errorf("%d: %s is %q", got.StatusCode, gone, got.Header.Get(gone))
			}
		}
		if vary := strings.Join(got.Header.Values("Vary"), ", "); vary != "Accept-Encoding, Cookie, Authorization" {
			t.Errorf("%d: Vary is %q", got.StatusCode, vary)
		}
	}
	public := s.get("/public/x", name, bearer)
	if !strings.HasPrefix(public.Header.Get("Cache-Control"), "public, max-age=600, S-MaxAge") || public.Header.Get("Surrogate-Control") == "" || public.Header.Get("Vary") != "Accept-Encoding" {
		t.Errorf("a public page was touched: %v", public.Header)
	}
	s.origin.Handle(nil)
	if got := s.get("/articles/hello", name, bearer); got.Header.Get("Cache-Control") != "private" {
		t.Errorf("where the origin says nothing: %q", got.Header.Get("Cache-Control"))
	}
}

// Streamed responses are not buffered.
func TestStreamsAreNotBuffered(t *testing.T) {
	s := newTestSite(t, standardRules)
	proceed := make(chan struct{})
	s.origin.Handle(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprint(w, "data: one\n")
		w.(http.Flusher).Flush()
		<-proceed
		fmt.Fprint(w, "data: two\n")
	})
	name, bearer := s.subscriber()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.site+"/articles/live", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set(name, bearer)
	response, err := browser.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	lines := bufio.NewReader(response.Body)
	first, err := lines.ReadString('\n')
	close(proceed)
	second, _ := lines.ReadString('\n')
	if err != nil || first != "data: one\n" || second != "data: two\n" {
		t.Errorf("got %q and %q, %v", first, second, err)
	}
	if got := response.Header.Get("Cache-Control"); got != "private" {
		t.Errorf("Cache-Control is %q", got)
	}
}
