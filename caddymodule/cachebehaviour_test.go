package caddymodule

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// 200 readers at a cold page cost the origin one request, and each gets the page.
func TestCacheCollapses(t *testing.T) {
	const readers = 200
	var s *cacheSite
	arrived := make(chan struct{})
	s = newCacheSite(t, func(w http.ResponseWriter, r *http.Request) {
		<-arrived
		page("page")(w, r)
	})
	name, value := s.subscriber()
	results := make(chan answerOrError, readers)
	for range readers {
		go func() { results <- s.try("/articles/1", name, value) }()
	}
	s.waitFor("all readers to wait", func() bool { return s.cacheOf().Stats().Waiting == readers })
	close(arrived)
	for range readers {
		if got := <-results; got.err != nil || got.body != "page" {
			t.Fatalf("%+v", got)
		}
	}
	if s.count() != 1 {
		t.Errorf("the origin had %d requests, want 1", s.count())
	}
}

// The reader for whom a page was asked first leaves: the others get it, and it is stored.
func TestCacheLeaderLeaves(t *testing.T) {
	asked, reply := make(chan struct{}), make(chan struct{})
	s := newCacheSite(t, func(w http.ResponseWriter, r *http.Request) {
		close(asked)
		<-reply
		page("page")(w, r)
	})
	first := make(chan error, 1)
	leave := make(chan struct{})
	go func() { first <- s.tryUntil("/", leave) }()
	<-asked
	second := make(chan answerOrError, 1)
	go func() { second <- s.try("/") }()
	s.waitFor("both to wait", func() bool { return s.cacheOf().Stats().Waiting == 2 })
	close(leave)
	if err := <-first; err == nil {
		t.Error("the first reader did not leave")
	}
	close(reply)
	if got := <-second; got.body != "page" {
		t.Errorf("the second reader got %+v", got)
	}
	s.settle()
	s.get("/").is("hit")
}

// A slow reader of a page that is just being fetched does not slow the fetch: another one
// gets all of it meanwhile.
func TestCacheSlowReader(t *testing.T) {
	body := strings.Repeat("0123456789abcdef", 3<<10) // 48 KiB
	s := newCacheSite(t, page(body))
	slow := s.open("/")
	defer slow.Close()
	if got := s.fetch("/"); got.body != body {
		t.Errorf("the other reader got %d bytes, want %d", len(got.body), len(body))
	}
	s.get("/").is("hit")
}

// A body that is larger than what is stored reaches every reader whole, in memory that does
// not grow with it.
func TestCacheLargeBody(t *testing.T) {
	const size = 5 << 20
	s := newCacheSite(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Cache-Control", "max-age=60")
		part := make([]byte, 32<<10)
		for range size / len(part) { // chunked: the length is not known in advance
			if _, err := w.Write(part); err != nil {
				return
			}
		}
	})
	results := make(chan answerOrError, 3)
	for range 3 {
		go func() { results <- s.try("/") }()
	}
	for range 3 {
		if got := <-results; got.err != nil || len(got.body) != size {
			t.Errorf("%d bytes, want %d: %v", len(got.body), size, got.err)
		}
	}
	s.settle()
	if stats := s.cacheOf().Stats(); stats.Pages != 0 || stats.FillBytes != 0 {
		t.Errorf("%+v, want nothing stored and nothing kept", stats)
	}
}

// While the origin is down, entitled readers read on, for stale_if_error; others are refused
// as ever.
func TestCacheStaleIfError(t *testing.T) {
	s := newCacheSite(t, nil, "stale_if_error 10m")
	name, value := s.subscriber()
	s.fetch("/articles/1", name, value)
	for what, down := range map[string]http.HandlerFunc{
		"error":  func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(502) },
		"broken": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	} {
		s.answerWith(down)
		clock.Advance(2 * time.Minute)
		got := s.fetch("/articles/1", name, value).is("fwd=stale; detail=origin_error").says(200, "page 1 of /articles/1")
		if age := got.Header.Get("Age"); age == "" || age == "0" {
			t.Errorf("%s: a stale page has Age %q", what, age)
		}
		s.get("/articles/1").denied(401, "login_required")
	}
	clock.Advance(10 * time.Minute)
	if got := s.get("/articles/1", name, value); got.StatusCode != 502 {
		t.Errorf("after stale_if_error the page is %d %q", got.StatusCode, got.body)
	}
}

// What the origin forbids to be used stale is not.
func TestCacheStaleForbidden(t *testing.T) {
	for _, control := range []string{"max-age=60, must-revalidate", "max-age=60, proxy-revalidate", "s-maxage=60", "max-age=60, stale-if-error=0"} {
		s := newCacheSite(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Cache-Control", control)
			_, _ = io.WriteString(w, "page")
		})
		s.fetch("/")
		s.get("/").is("hit")
		s.answerWith(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) })
		clock.Advance(2 * time.Minute)
		if got := s.get("/"); got.StatusCode != 503 {
			t.Errorf("%s: the page is %d", control, got.StatusCode)
		}
	}
}

// An expired page is used while one fetch asks for it again.
func TestCacheStaleWhileRevalidate(t *testing.T) {
	var s *cacheSite
	s = newCacheSite(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Cache-Control", "max-age=60, stale-while-revalidate=30")
		fmt.Fprintf(w, "page %d", s.count())
	})
	s.fetch("/").says(200, "page 1")
	clock.Advance(70 * time.Second)
	s.fetch("/").is("hit; ttl=-10").says(200, "page 1")
	s.get("/").is("hit; ttl=60").says(200, "page 2")
	clock.Advance(3 * time.Minute)
	s.fetch("/").is("fwd=uri-miss").says(200, "page 3")
}

// An expired page is confirmed by the origin, by its validators, and is fresh again.
func TestCacheRevalidates(t *testing.T) {
	s := newCacheSite(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=60")
		w.Header().Set("ETag", `"1"`)
		if r.Header.Get("If-None-Match") == `"1"` {
			w.Header().Set("X-Confirmed", "yes")
			w.WriteHeader(304)
			return
		}
		_, _ = io.WriteString(w, "page")
	})
	s.fetch("/")
	clock.Advance(2 * time.Minute)
	got := s.fetch("/").is("fwd=stale; fwd-status=304").says(200, "page")
	if got.Header.Get("X-Confirmed") != "yes" {
		t.Error("the header of the confirmation is missing")
	}
	got = s.get("/").is("hit; ttl=60").says(200, "page")
	if got.Header.Get("X-Confirmed") != "yes" || got.Header.Get("Age") != "0" || s.count() != 2 {
		t.Errorf("after the confirmation: %v, %d requests", got.Header, s.count())
	}
	s.get("/", "If-None-Match", `"1"`).is("hit").says(304, "")
	s.get("/", "If-None-Match", `"2"`).is("hit").says(200, "page")
	s.get("/articles/x", "If-None-Match", `"1"`).denied(401, "login_required")
}

// Concurrent readers of many pages get the page of their URL, while pages are evicted.
func TestCacheEvicts(t *testing.T) {
	filler := strings.Repeat("x", 20<<10)
	s := newCacheSite(t, func(w http.ResponseWriter, r *http.Request) { page(r.URL.Path+filler)(w, r) })
	var wait sync.WaitGroup
	failed := make(chan string, 8)
	for worker := range 8 {
		wait.Go(func() {
			for i := range 150 {
				path := fmt.Sprint("/", (i*7+worker*31)%600)
				if got := s.try(path); got.err == nil && got.body != path+filler {
					failed <- path
					return
				}
			}
		})
	}
	wait.Wait()
	close(failed)
	for path := range failed {
		t.Errorf("%s got another page", path)
	}
	if stats := s.cacheOf().Stats(); stats.Bytes > stats.MaxBytes || stats.Evicted+stats.Refused == 0 {
		t.Errorf("%+v", stats)
	}
}
