package caddymodule

import (
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/gatefold/gatefold/policy"
)

// A page that the origin does not have any more, or must not be kept any more, is not used
// stale while the origin fails later.
func TestCacheGone(t *testing.T) {
	for name, gone := range map[string]http.HandlerFunc{
		"404":      http.NotFound,
		"410":      func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusGone) },
		"private":  page("private", "Cache-Control", "private"),
		"no-store": page("no-store", "Cache-Control", "no-store"),
	} {
		t.Run(name, func(t *testing.T) {
			s := newCacheSite(t, nil)
			s.fetch("/a").is("fwd=uri-miss")
			s.get("/a").is("hit")
			clock.Advance(61 * time.Second)
			s.answerWith(gone)
			s.fetch("/a")
			s.answerWith(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
			clock.Advance(2 * time.Minute)
			if got := s.get("/a"); got.StatusCode != http.StatusServiceUnavailable {
				t.Errorf("status %d %q, want 503", got.StatusCode, got.body)
			}
		})
	}
}

// A file that was deleted is not found, although its page may be used stale: file_server
// returns an error for it, which is no failure.
func TestCacheFileDeleted(t *testing.T) {
	s := newCacheSite(t, nil)
	root := t.TempDir()
	file := filepath.Join(root, "a.txt")
	if err := os.WriteFile(file, []byte("a page"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.load(s.siteOf("\troot * " + root + "\n\tgatefold {\n\t\trule / any {\n\t\t\tcache 1m\n\t\t}\n\t}\n\tgatefold_cache {\n\t\tmemory 8MiB\n\t\tmax_size 64KiB\n\t\tcache_status\n\t}\n\tfile_server\n\thandle_errors {\n\t\trespond \"the site's {err.status_code}\"\n\t}"))
	s.fetch("/a.txt").says(200, "a page")
	s.get("/a.txt").is("hit")
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	clock.Advance(61 * time.Second)
	s.get("/a.txt").says(404, "the site's 404")
}

// A page whose path is rewritten before the cache is purged by the path that readers know,
// and by the one that the origin knows.
func TestCachePurgeRewritten(t *testing.T) {
	for _, purge := range []policy.PagePurge{{Paths: []string{"/fr/a"}}, {Prefixes: []string{"/fr"}}, {Paths: []string{"/a"}}} {
		s := newCacheSite(t, nil)
		s.load(s.siteOf("\troute {\n\t\tgatefold {\n\t\t\trule / any {\n\t\t\t\tcache\n\t\t\t}\n\t\t}\n\t\turi strip_prefix /fr\n\t\tgatefold_cache {\n\t\t\tmemory 8MiB\n\t\t\tmax_size 64KiB\n\t\t\tcache_status\n\t\t}\n\t\treverse_proxy " + s.upstream[len("http://"):] + "\n\t}"))
		s.fetch("/fr/a").is("fwd=uri-miss").says(200, "page 1 of /a")
		s.get("/fr/a").is("hit")
		s.purge(s.running().Store, purge)
		s.fetch("/fr/a").is("fwd=uri-miss").says(200, "page 2 of /a")
	}
}
