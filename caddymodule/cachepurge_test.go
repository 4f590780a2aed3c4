package caddymodule

import (
	"fmt"
	"io"
	"net/http"
	"testing"

	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store"
	"github.com/gatefold/gatefold/policy/store/redisengine"
)

// purge purges pages of the site.
func (s *testSite) purge(records *store.Store, purge policy.PagePurge) {
	s.Helper()
	purge.Site = defaultVendor
	if err := records.As(store.Actor{}).PurgePages(s.Context(), defaultVendor, &purge); err != nil {
		s.Fatal(err)
	}
}

// A page is purged by URL, prefix, tag and site, with all its variants; others stay. After
// a soft purge it is used while the origin fails, and asked for again otherwise.
func TestCachePurge(t *testing.T) {
	for name, test := range map[string]struct {
		purge policy.PagePurge
		stay  bool
	}{
		"url":           {policy.PagePurge{Paths: []string{"/news/a"}}, false},
		"spelling":      {policy.PagePurge{Paths: []string{"/NEWS/%61/"}}, false},
		"prefix":        {policy.PagePurge{Prefixes: []string{"/news"}}, false},
		"Cache-Groups":  {policy.PagePurge{Tags: []string{"group a"}}, false},
		"Surrogate-Key": {policy.PagePurge{Tags: []string{"key-b"}}, false},
		"Cache-Tag":     {policy.PagePurge{Tags: []string{"tag-c"}}, false},
		"site":          {policy.PagePurge{All: true}, false},
		"another":       {policy.PagePurge{Paths: []string{"/news"}, Tags: []string{"key"}}, true},
	} {
		t.Run(name, func(t *testing.T) {
			var s *cacheSite
			s = newCacheSite(t, func(w http.ResponseWriter, r *http.Request) {
				page(fmt.Sprint("page ", s.count()), "Cache-Groups", `"group a"`, "Surrogate-Key", "key-a key-b", "Cache-Tag", "tag-a, tag-c")(w, r)
			})
			s.fetch("/news/a").says(200, "page 1")
			s.fetch("/news/a?x=1").says(200, "page 2")
			s.fetch("/other").says(200, "page 3")
			s.purge(s.running().Store, test.purge)
			if test.stay {
				s.get("/news/a").is("hit")
				return
			}
			s.fetch("/news/a").is("fwd=uri-miss").says(200, "page 4")
			s.fetch("/news/a?x=1").is("fwd=uri-miss").says(200, "page 5")
			test.purge.Soft = true
			s.purge(s.running().Store, test.purge)
			s.answerWith(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) })
			s.fetch("/news/a").is("fwd=stale").says(200, "page 4") // a request beside this fetch would share its failure
			s.answerWith(page("new"))
			s.fetch("/news/a").is("fwd=uri-miss").says(200, "new")
			s.get("/news/a").is("hit").says(200, "new")
		})
	}
}

// A page is purged while it is fetched: what was asked for before is not stored, and a
// reader who comes after the purge does not wait for it.
func TestCachePurgeDuringFetch(t *testing.T) {
	asked, reply := make(chan struct{}, 1), make(chan struct{})
	s := newCacheSite(t, func(w http.ResponseWriter, r *http.Request) {
		asked <- struct{}{}
		<-reply
		page("old")(w, r)
	})
	first := make(chan answerOrError, 1)
	go func() { first <- s.try("/a") }()
	<-asked
	s.purge(s.running().Store, policy.PagePurge{Paths: []string{"/a"}})
	s.answerWith(page("new"))
	s.get("/a").is("fwd=uri-miss").says(200, "new")
	close(reply)
	if got := <-first; got.body != "old" {
		t.Errorf("the reader who came first got %+v", got)
	}
	s.settle()
	s.get("/a").is("hit").says(200, "new")
}

// newCachingRedisSite runs a site with a page cache over a Redis.
func newCachingRedisSite(t *testing.T) *redisSiteUnderTest {
	t.Helper()
	s := newRedisSite(t, "")
	s.load(fmt.Sprintf("{\n\tadmin off\n\tauto_https off\n\tgatefold {\n\t\tstore redis %s\n\t\tsecret {env.GATEFOLD_TEST_SECRET}\n\t}\n}\n\nhttp://127.0.0.1:%s {\n\tgatefold {\n\t\trule / {\n\t\t\tany\n\t\t\tcache\n\t\t}\n\t}\n\tgatefold_cache {\n\t\tmemory 8MiB\n\t\tmax_size 64KiB\n\t\tcache_status\n\t}\n\treverse_proxy %s\n}\n",
		s.redis.URL(), s.port, s.origin.URL[len("http://"):]))
	return s
}

// Another node purges a page, and this node hears of it by the feed; a feed that was lost
// drops every page.
func TestCachePurgeRedis(t *testing.T) {
	s := newCachingRedisSite(t)
	options, err := redisengine.ParseURLs([]string{s.redis.URL()})
	if err != nil {
		t.Fatal(err)
	}
	backend, err := redisengine.New(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = backend.Close() })
	other := store.New(backend, new(policy.Versions), now)
	served := 0
	s.origin.Handle(func(w http.ResponseWriter, _ *http.Request) {
		served++
		w.Header().Set("Cache-Control", "max-age=60")
		w.Header().Set("Cache-Tag", "t")
		_, _ = io.WriteString(w, fmt.Sprint("page ", served))
	})
	site := &cacheSite{testSite: s.testSite}
	site.fetch("/a").says(200, "page 1")
	site.get("/a").is("hit").says(200, "page 1")
	site.purge(other, policy.PagePurge{Tags: []string{"t"}})
	s.waitFor("the other node's purge", func() bool { return site.fetch("/a").body != "page 1" })
	site.get("/a").is("hit").says(200, "page 2")
	versions := s.shared().Versions
	before := versions.PagesVersion()
	site.purge(other, policy.PagePurge{Tags: []string{"another"}})
	s.waitFor("the feed", func() bool { return versions.PagesVersion() != before })
	site.get("/a").is("hit").says(200, "page 2")
	s.redis.Do("FLUSHALL")
	s.waitFor("the loss of the feed", func() bool { return site.get("/a").body != "page 2" })
}
