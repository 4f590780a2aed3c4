package caddymodule

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/keys/keystest"
)

// wantUses fails the test unless so many uses of a link are counted.
func (s *testSite) wantUses(id string, want int64, when string) {
	s.Helper()
	if got := s.uses(id); got != want {
		s.Errorf("%s: %d uses, want %d", when, got, want)
	}
}

// navigation are the headers of a browser's navigation.
var navigation = []string{"Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document", "Sec-Fetch-Site", "cross-site", "Accept", "text/html,*/*;q=0.8"}

// A reader opens a gift while the origin fails: with an error, by closing the connection, and
// in the middle of the answer before its body. None of them is a use, for a program and for a
// browser alike, and the next try gets the page.
func TestOriginThatFailsSpendsNoUse(t *testing.T) {
	s := newTestSite(t, standardRules)
	abort := func(w http.ResponseWriter, header string) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		_, _ = conn.Write([]byte(header))
		_ = conn.Close()
	}
	failures := map[string]http.HandlerFunc{
		"an error":  func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no page", http.StatusInternalServerError) },
		"not found": http.NotFound,
		"no answer": func(w http.ResponseWriter, _ *http.Request) { abort(w, "") },
		"a header alone": func(w http.ResponseWriter, _ *http.Request) {
			abort(w, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n")
		},
		"half of a header": func(w http.ResponseWriter, _ *http.Request) { abort(w, "HTTP/1.1 200 OK\r\nContent-") },
	}
	for name, failure := range failures {
		t.Run(name, func(t *testing.T) {
			link, id := s.link(keys.LinkClaims{MaxUses: 1})
			clean := s.get(link, navigation...)
			cookie := clean.linkCookie()
			s.origin.Handle(failure)
			request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.site+strings.TrimPrefix(link, s.site), nil)
			if err != nil {
				t.Fatal(err)
			}
			for _, header := range [][2]string{{"User-Agent", "podcasts/1"}, {"Cookie", cookie}} {
				request.Header.Set(header[0], header[1])
				response, err := browser.Do(request)
				if err == nil {
					_ = response.Body.Close()
				}
				if err == nil && len(response.Cookies()) > 0 {
					t.Errorf("%s: a cookie is set by %d", header[0], response.StatusCode)
				}
				s.wantUses(id, 0, name)
			}
			s.origin.Handle(nil)
			s.get("/articles/hello", "Cookie", cookie).page()
			s.wantUses(id, 1, "delivered")
		})
	}
}

// A browser that keeps no cookies, and a mail scanner that opens links like a browser, spend
// nothing. The reader who comes after them with cookies gets the page, once for all times that
// they open the link.
func TestUseIsCountedWhenTheCookieComesBack(t *testing.T) {
	s := newTestSite(t, standardRules)
	link, id := s.link(keys.LinkClaims{MaxUses: 1})
	for range 3 {
		clean := s.get(link, append(navigation, "User-Agent", "Mozilla/5.0 (scanner)")...)
		if clean.StatusCode != http.StatusSeeOther || clean.Header.Get("Location") != "/articles/hello" {
			t.Fatalf("%d %v", clean.StatusCode, clean.Header)
		}
		s.get("/articles/hello").denied(http.StatusUnauthorized, "login_required")
	}
	s.origin.WantNone(t)
	s.wantUses(id, 0, "without cookies")

	pending := s.get(link, navigation...).linkCookie()
	s.do(http.MethodHead, "/articles/hello", "Cookie", pending).status(http.StatusOK)
	s.get("/articles/hello", "Cookie", pending, "Sec-Purpose", "prefetch").denied(http.StatusUnauthorized, "login_required")
	s.wantUses(id, 0, "before the page")
	opened := s.get("/articles/hello", "Cookie", pending).page()
	s.wantUses(id, 1, "with the page")
	for _, cookie := range []string{pending, opened.linkCookie()} {
		s.get("/articles/hello/photo.jpg", "Cookie", cookie, "Sec-Fetch-Dest", "image").page()
		s.do(http.MethodHead, "/articles/hello", "Cookie", cookie).status(http.StatusOK)
		s.get(link, append(navigation, "Cookie", cookie)...)
	}
	s.wantUses(id, 1, "opened again")
	s.get(link, navigation...).status(http.StatusForbidden)

	// A browser that does not come back in time is a new one.
	link, id = s.link(keys.LinkClaims{MaxUses: 1})
	pending = s.get(link, navigation...).linkCookie()
	clock.Advance(pendingFor)
	s.get("/articles/hello", "Cookie", pending).denied(http.StatusUnauthorized, "login_required")
	s.wantUses(id, 0, "too late")
}

// status expects a status.
func (a answer) status(want int) {
	a.t.Helper()
	if a.StatusCode != want {
		a.t.Errorf("status %d, want %d", a.StatusCode, want)
	}
}

// A podcast app asks with HEAD, then for the episode, and for its parts as the listener moves
// on; a download manager fetches eight parts at once. Each is one use for half an hour.
func TestDeviceIsOneUse(t *testing.T) {
	s := newTestSite(t, standardRules)
	link, id := s.link(keys.LinkClaims{MaxUses: 2})
	app := []string{"User-Agent", "AppleCoreMedia/1.0"}
	s.do(http.MethodHead, link, app...).status(http.StatusOK) // with nothing of the page
	s.wantUses(id, 0, "HEAD")
	s.get(link, app...).page()
	for _, part := range []string{"bytes=0-1", "bytes=2-"} {
		s.get(link, append(app, "Range", part)...).page()
	}
	s.do(http.MethodHead, link, app...).status(http.StatusOK)
	s.wantUses(id, 1, "the app")

	var parts sync.WaitGroup
	for i := range 8 {
		parts.Go(func() { s.get(link, "User-Agent", "downloads/1", "Range", fmt.Sprintf("bytes=%d-", i)).page() })
	}
	parts.Wait()
	s.wantUses(id, 2, "the download manager")
	s.get(link, "User-Agent", "another").denied(http.StatusForbidden, "link_used_up")
	s.get(link, app...).page()
	clock.Advance(defaultDeviceWindow)
	s.get(link, app...).denied(http.StatusForbidden, "link_used_up")
	s.do(http.MethodHead, link, app...).status(http.StatusUnauthorized)
	s.wantUses(id, 2, "at the end")
}

// Feed readers ask for HTML and keep no cookies: they get the page at once. A publisher's
// service worker passes the reader's click on, and is the browser.
func TestNavigationIsTold(t *testing.T) {
	s := newTestSite(t, standardRules)
	for name, test := range map[string]struct {
		headers []string
		status  int
	}{
		"a browser":               {navigation, http.StatusSeeOther},
		"a service worker":        {[]string{"Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "empty", "Sec-Fetch-Site", "cross-site"}, http.StatusSeeOther},
		"a browser on plain http": {[]string{"Accept", "text/html", "User-Agent", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36"}, http.StatusSeeOther},
		"Miniflux":                {[]string{"Accept", "text/html", "User-Agent", "Mozilla/5.0 (compatible; Miniflux/2.2.0; +https://miniflux.app)"}, http.StatusOK},
		"SimplePie":               {[]string{"Accept", "application/rss+xml,text/html;q=0.8", "User-Agent", "SimplePie/1.8.0 (Feed Parser)"}, http.StatusOK},
		"a script of the page":    {[]string{"Sec-Fetch-Mode", "cors", "Sec-Fetch-Dest", "empty", "Sec-Fetch-Site", "same-origin", "Accept", "text/html"}, http.StatusOK},
		"a frame":                 {[]string{"Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "iframe", "Sec-Fetch-Site", "cross-site"}, http.StatusUnauthorized},
		"another site's script":   {[]string{"Sec-Fetch-Mode", "cors", "Sec-Fetch-Dest", "empty", "Sec-Fetch-Site", "cross-site"}, http.StatusUnauthorized},
	} {
		link, id := s.link(keys.LinkClaims{MaxUses: 1})
		got := s.get(link, test.headers...)
		if got.StatusCode != test.status {
			t.Errorf("%s: status %d, want %d", name, got.StatusCode, test.status)
		}
		s.wantUses(id, map[int]int64{http.StatusOK: 1}[test.status], name)
	}
	// An uncounted link redirects a browser only as well.
	link, _ := s.link(keys.LinkClaims{})
	s.get(link, navigation...).status(http.StatusSeeOther)
	s.get(link, "Accept", "text/html", "User-Agent", "Mozilla/5.0 (compatible; Miniflux/2.2.0)").page()
}

// Many readers wait for a slow page with the last uses of a link. As many get it as the link
// allows; the others get a denial that has nothing of the page, its headers neither.
func TestLastUseGoesToOneOfManyWaiting(t *testing.T) {
	const uses, readers = 3, 12
	s := newTestSite(t, standardRules)
	link, id := s.link(keys.LinkClaims{MaxUses: uses})
	var waiting sync.WaitGroup
	waiting.Add(readers)
	s.origin.Handle(func(w http.ResponseWriter, _ *http.Request) {
		waiting.Done()
		waiting.Wait()
		w.Header().Set("X-Secret", "of the page")
		_, _ = w.Write([]byte("origin saw"))
		_ = http.NewResponseController(w).Flush()
		_, _ = w.Write(make([]byte, 1<<20))
	})
	answers := make(chan answer, readers)
	var all sync.WaitGroup
	for range readers {
		all.Go(func() { answers <- s.get(link) })
	}
	all.Wait()
	pages := 0
	for range readers {
		got := <-answers
		if got.StatusCode == http.StatusOK {
			pages++
			got.page()
			continue
		}
		got.denied(http.StatusForbidden, "link_used_up")
		if got.Header.Get("X-Secret") != "" || got.Header.Get("Set-Cookie") != "" {
			t.Errorf("the denial has %v", got.Header)
		}
	}
	if pages != uses {
		t.Errorf("%d pages, want %d", pages, uses)
	}
	s.wantUses(id, uses, "afterwards")
}

// The origin is down, and an error route serves the page from another one. No use is counted
// there, so that a counted link opens nothing; an error page has its own status, and a reader
// without a counted link still gets the page.
func TestErrorRouteServesNoPageWithoutAUse(t *testing.T) {
	backup := keystest.NewOrigin(t)
	s := newTestSiteWith(t, "", standardRules, `handle_errors 502 {
		@sorry header Accept sorry
		respond @sorry "we are sorry"
		reverse_proxy `+strings.TrimPrefix(backup.URL, "http://")+`
	}`)
	name, bearer := s.subscriber()
	link, id := s.link(keys.LinkClaims{MaxUses: 1})
	uncounted, _ := s.link(keys.LinkClaims{})
	s.origin.Close()
	backup.Handle(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") != "" {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err == nil {
				_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nFULL TEXT")
				_ = conn.Close()
			}
			return
		}
		w.Header().Set("X-Text", "FULL TEXT")
		_, _ = io.WriteString(w, "FULL TEXT")
	})
	for _, headers := range [][]string{nil, {"Connection", "Upgrade", "Upgrade", "websocket"}} {
		for range 3 {
			got := s.get(link, headers...)
			if text := fmt.Sprint(got.Header, got.body); got.StatusCode != http.StatusBadGateway || strings.Contains(text, "FULL TEXT") {
				t.Errorf("%v: %d %s", headers, got.StatusCode, text)
			}
		}
	}
	if got := s.get(link, "Accept", "sorry"); got.StatusCode != http.StatusBadGateway || got.body != "we are sorry" {
		t.Errorf("the error page: %d %q", got.StatusCode, got.body)
	}
	s.wantUses(id, 0, "without a page")
	for _, got := range []answer{s.get("/articles/hello", name, bearer), s.get(uncounted)} {
		if got.StatusCode != http.StatusOK || got.body != "FULL TEXT" {
			t.Errorf("without a counted link: %d %q", got.StatusCode, got.body)
		}
	}
}
