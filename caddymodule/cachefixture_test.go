package caddymodule

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/gatefold/gatefold/caddymodule/pagecache"
	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store"
)

// cacheRules keep the pages of articles, and public pages.
const cacheRules = `
		identify jwt {
			issuer self
			cookie reader
		}
		rule /articles/{publisherContentId} entitled premium {publisherContentId} {
			cache
		}
		rule /short {
			any
			cache 5s
		}
		rule /uncached any
		rule /account authenticated {
			cache
		}
		rule / any {
			cache
		}
`

// cacheSite is a site with a page cache before an origin that a test defines.
type cacheSite struct {
	*testSite
	mu       sync.Mutex
	requests []*http.Request
	serve    http.HandlerFunc
	upstream string // the URL of the origin
}

// newCacheSite runs a site whose origin answers as serve does. Without one it answers each
// request with another page, which is fresh for a minute.
func newCacheSite(t testing.TB, serve http.HandlerFunc, options ...string) *cacheSite {
	t.Helper()
	s := &cacheSite{serve: serve}
	if serve == nil {
		s.serve = func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Cache-Control", "max-age=60")
			fmt.Fprintf(w, "page %d of %s", s.count(), r.URL.Path)
		}
	}
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.requests = append(s.requests, r.Clone(t.Context()))
		serve := s.serve
		s.mu.Unlock()
		w.Header().Set("Date", clock.Now().UTC().Format(http.TimeFormat))
		serve(w, r)
	}))
	t.Cleanup(origin.Close)
	s.testSite = newTestSiteWith(t, "", "rule / any", "")
	s.upstream = origin.URL
	s.load(s.cached(origin.URL, cacheRules, options...))
	return s
}

// cached returns a configuration with a page cache.
func (s *cacheSite) cached(origin, rules string, options ...string) string {
	return s.siteOf("\tgatefold {\n" + rules + "\n\t}\n\tgatefold_cache {\n\t\tmemory 8MiB\n\t\tmax_size 64KiB\n\t\tcache_status\n\t\t" + strings.Join(options, "\n\t\t") +
		"\n\t}\n\treverse_proxy " + strings.TrimPrefix(origin, "http://"))
}

// count returns the number of requests that reached the origin.
func (s *cacheSite) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.requests)
}

// last returns the last request at the origin.
func (s *cacheSite) last() *http.Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests[len(s.requests)-1]
}

func (s *cacheSite) answerWith(serve http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.serve = serve
}

// settle waits until what was stored so far is found.
func (s *cacheSite) settle() {
	s.Helper()
	pageCaches.Range(func(_, pooled any) bool {
		pooled.(*pooledCache).cache.Wait()
		return true
	})
}

// fetch requests a page and waits until it is stored, if it is.
func (s *cacheSite) fetch(path string, headers ...string) answer {
	s.Helper()
	got := s.get(path, headers...)
	s.settle()
	return got
}

// is expects what became of a request, by Cache-Status.
func (a answer) is(want string) answer {
	a.t.Helper()
	if got := a.Header.Get("Cache-Status"); !strings.HasPrefix(got, "gatefold; "+want) {
		a.t.Fatalf("Cache-Status is %q, want %s; status %d %q", got, want, a.StatusCode, a.body)
	}
	return a
}

// says expects a body.
func (a answer) says(status int, body string) answer {
	a.t.Helper()
	if a.StatusCode != status || a.body != body {
		a.t.Fatalf("status %d %q, want %d %q", a.StatusCode, a.body, status, body)
	}
	return a
}

// One stored page serves every entitled reader, and the decision is made first: a reader
// without a subscription is refused though the page is in memory, and so is one whose
// subscription ends.
func TestCacheServesEntitledReaders(t *testing.T) {
	s := newCacheSite(t, nil)
	name, value := s.subscriber()
	s.fetch("/articles/1", name, value).is("fwd=uri-miss").says(200, "page 1 of /articles/1")
	got := s.get("/articles/1", name, value).is("hit").says(200, "page 1 of /articles/1")
	if control := got.Header.Get("Cache-Control"); control != "private, max-age=60" {
		t.Errorf("a gated page from memory has Cache-Control %q", control)
	}
	s.get("/articles/1").denied(401, "login_required")
	s.fetch("/").is("fwd=uri-miss")
	s.get("/").is("hit")
	s.get("/uncached").says(200, "page 3 of /uncached")
	if s.get("/uncached"); s.count() != 4 {
		t.Errorf("the origin had %d requests, want 4", s.count())
	}
	other := s.get("/articles/1", "Authorization", "Bearer "+s.token("another"))
	other.denied(403, "not_entitled")
}

// A page that is fetched for one reader is fetched without them: nothing that identifies a
// reader or that is not in the page's key reaches the origin.
func TestCacheFetchIsAnonymous(t *testing.T) {
	s := newCacheSite(t, nil, "headers Accept-Language")
	name, value := s.subscriber()
	link, _ := s.link(keys.LinkClaims{URL: s.site + "/articles/2"})
	path := strings.TrimPrefix(link, s.site)
	s.get(path, "User-Agent", "podcasts", "Cookie", "session=1", "X-Forwarded-Host", "evil.example", "Forwarded", "for=9.9.9.9", "X-Original-Url", "/evil", "X-Secret", "1",
		"Origin", "https://evil.example", "Rsc", "1", "Next-Action", "1", "Accept-Language", "de", "Referer", "https://x.example/", "X-Request-Id", "abc", name, value)
	r := s.last()
	allowed := []string{"Accept", "Accept-Encoding", "Accept-Language", "User-Agent", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"}
	for name, values := range r.Header {
		if !slices.Contains(allowed, name) {
			t.Errorf("the origin got %s: %q", name, values)
		}
	}
	for name, want := range map[string]string{
		"User-Agent": "gatefold", "X-Forwarded-For": "192.0.2.1", "X-Forwarded-Host": "127.0.0.1:" + s.port, "X-Forwarded-Proto": "http", "Accept-Language": "de",
		"Accept": "*/*", "Accept-Encoding": "identity",
	} {
		if got := r.Header.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if r.URL.RawQuery != "" || r.Host != "127.0.0.1:"+s.port {
		t.Errorf("the origin was asked for %s at %s", r.URL, r.Host)
	}
}

// The stored pages survive a reload, and their memory is free when the last configuration
// that uses them is gone.
func TestCacheSurvivesReload(t *testing.T) {
	s := newCacheSite(t, nil)
	s.fetch("/a").is("fwd=uri-miss")
	before := s.cacheOf()
	s.load(s.cached(s.upstream, cacheRules+"\n\t\trule /new any"))
	s.get("/a").is("hit").says(200, "page 1 of /a")
	if s.cacheOf() != before {
		t.Error("a reload with the same settings made another cache")
	}
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	if stats := before.Stats(); stats.Pages != 0 {
		t.Errorf("%d pages are left after the last configuration", stats.Pages)
	}
}

// cacheOf returns the only cache.
func (s *cacheSite) cacheOf() (cache *pagecache.Cache) {
	pageCaches.Range(func(_, pooled any) bool {
		cache = pooled.(*pooledCache).cache
		return false
	})
	return cache
}

// token signs a token of a reader.
func (s *testSite) token(user string) string {
	return s.reader(keys.ReaderClaims{UserID: user})
}

// answerOrError is the result of a request that another goroutine made.
type answerOrError struct {
	status int
	header http.Header
	body   string
	err    error
}

// try requests a page. Unlike get it may be called in any goroutine.
func (s *cacheSite) try(path string, headers ...string) answerOrError {
	request, err := http.NewRequestWithContext(s.Context(), http.MethodGet, s.site+path, nil)
	if err != nil {
		return answerOrError{err: err}
	}
	for i := 0; i+1 < len(headers); i += 2 {
		request.Header.Add(headers[i], headers[i+1])
	}
	response, err := browser.Do(request)
	if err != nil {
		return answerOrError{err: err}
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return answerOrError{response.StatusCode, response.Header, string(body), err}
}

// revokeAll removes all grants of the test's subscriber.
func (s *cacheSite) revokeAll() {
	s.Helper()
	found, err := s.running().Store.GrantsOf(s.Context(), defaultVendor, policy.Reader{UserID: "subscriber"})
	if err != nil || len(found) == 0 {
		s.Fatal(found, err)
	}
	for _, grant := range found {
		if err := s.running().Store.As(store.Actor{}).DeleteGrant(s.Context(), defaultVendor, store.DefaultList, grant.Grant.ID, nil); err != nil {
			s.Fatal(err)
		}
	}
}

// tryUntil requests a page, and leaves once a channel is closed.
func (s *cacheSite) tryUntil(path string, leave <-chan struct{}) error {
	ctx, cancel := context.WithCancel(s.Context())
	defer cancel()
	go func() {
		<-leave
		cancel()
	}()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.site+path, nil)
	if err != nil {
		return err
	}
	response, err := browser.Do(request)
	if err == nil {
		_ = response.Body.Close()
	}
	return err
}

// open requests a page, and reads nothing of it.
func (s *cacheSite) open(path string) net.Conn {
	s.Helper()
	conn, err := net.Dial("tcp", "127.0.0.1:"+s.port)
	if err == nil {
		_, err = io.WriteString(conn, "GET "+path+" HTTP/1.1\r\nHost: 127.0.0.1:"+s.port+"\r\nConnection: close\r\n\r\n")
	}
	if err != nil {
		s.Fatal(err)
	}
	return conn
}
