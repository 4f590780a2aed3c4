package caddymodule

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// A page is in the cache for those who may have it, and is cut for those who may not. Neither
// response is ever the other's, in whatever order they are asked for.
func TestCacheAndTeaserOfOnePage(t *testing.T) {
	s := newCacheSite(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Cache-Control", "max-age=60")
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = io.WriteString(w, articlePage)
	})
	rules := strings.Replace(cacheRules, "\t\t\tcache\n", "\t\t\tcache\n\t\t\tteaser cut\n", 1)
	s.load(s.cached(s.upstream, rules))
	name, value := s.subscriber()
	teaser := func(path string) {
		t.Helper()
		got := s.fetch(path, "Accept", browserAccept)
		assert.Equal(t, http.StatusOK, got.StatusCode)
		assert.Contains(t, got.body, "gatefold-wall")
		assert.NotContains(t, got.body, "SECRET")
		assert.Equal(t, "no-store", got.Header.Get("Cache-Control"))
	}
	whole := func(path string) {
		t.Helper()
		assert.Equal(t, articlePage, s.fetch(path, "Accept", browserAccept, name, value).body)
	}
	for range 2 {
		teaser("/articles/1")
		whole("/articles/1")
		whole("/articles/2")
		teaser("/articles/2")
	}
	stored := s.count()
	whole("/articles/1")
	whole("/articles/2")
	assert.Equal(t, stored, s.count(), "the whole pages come from the cache")
}
