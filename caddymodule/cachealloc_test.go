//go:build !race

package caddymodule

import (
	"net/http"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// sink is a client's connection that keeps nothing of a body.
type sink struct {
	header http.Header
	wrote  int
}

func (s *sink) Header() http.Header { return s.header }
func (s *sink) WriteHeader(int)     {}
func (s *sink) Write(b []byte) (int, error) {
	s.wrote += len(b)
	return len(b), nil
}

// pageFromMemory returns a function that makes the gate and the cache answer a subscriber's
// request with a page from memory, and checks that they do.
func pageFromMemory(tb testing.TB, size int) func() {
	tb.Helper()
	s := newCacheSite(tb, page(string(make([]byte, size))))
	name, value := s.subscriber()
	s.fetch("/articles/1", name, value, "Accept", "text/html")
	gate, cache := s.app().gates.list()[0], s.app().caches.list()[0]
	cache.CacheStatus = false // as by default
	origin := caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error {
		tb.Fatal("the origin is asked")
		return nil
	})
	behind := caddyhttp.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error { return cache.ServeHTTP(w, r, origin) })
	to := &sink{header: http.Header{}}
	serve := hotRequestTo(tb, s.site+"/articles/1", []string{name, value}, func(_ http.ResponseWriter, r *http.Request) error {
		clear(to.header)
		to.wrote = 0
		return gate.ServeHTTP(to, r, behind)
	})
	return func() {
		if serve(); to.wrote != size {
			tb.Fatalf("%d bytes, want %d", to.wrote, size)
		}
	}
}

// A page from memory costs few allocations, whatever its size: those of the gate, of the
// decision about a private page, and of its header.
func TestPageFromMemoryAllocates(t *testing.T) {
	for _, size := range []int{1 << 10, 16 << 10, 60 << 10} {
		if got := testing.AllocsPerRun(1000, pageFromMemory(t, size)); got > 10 {
			t.Errorf("a page of %d bytes costs %v allocations, want at most 10", size, got)
		}
	}
}

func BenchmarkPageFromMemory(b *testing.B) {
	serve := pageFromMemory(b, 16<<10)
	b.ReportAllocs()
	for b.Loop() {
		serve()
	}
}
