package caddymodule

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gatefold/gatefold/keys"
)

// A reader opens a gift in an app whose browser drops cookies. The clean URL says so, and not
// that they must log in; nothing is spent. It says so for a minute, and to no other browser.
func TestBrowserThatKeepsNoCookiesIsTold(t *testing.T) {
	s := newTestSite(t, standardRules+"\n\t\tdeny {\n\t\t\tlogin https://id.example.com/login\n\t\t}\n")
	link, id := s.link(keys.LinkClaims{MaxUses: 1})
	app := append([]string{"User-Agent", "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148 [FBAN/FBIOS]"}, navigation...)
	other := append([]string{"User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"}, navigation...)
	login := func(path string, headers ...string) {
		t.Helper()
		if got := s.get(path, headers...); got.StatusCode != http.StatusSeeOther || !strings.HasPrefix(got.Header.Get("Location"), "https://id.example.com/login?next=") {
			t.Errorf("%d %v", got.StatusCode, got.Header)
		}
	}
	login("/articles/hello", app...)
	for range 2 {
		s.get(link, app...).status(http.StatusSeeOther)
		told := s.get("/articles/hello", app...)
		if told.StatusCode != http.StatusForbidden || !strings.Contains(told.body, "link_cookie_missing") || !strings.Contains(told.body, "allow cookies") || told.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%d %s", told.StatusCode, told.body)
		}
	}
	login("/articles/hello", other...)
	login("/articles/other", app...)
	login("/articles/hello?page=2", app...)
	s.get("/articles/hello", "User-Agent", app[1]).denied(http.StatusUnauthorized, "login_required") // a script
	// Who has a link cookie keeps cookies.
	second, _ := s.link(keys.LinkClaims{URL: s.site + "/articles/second"})
	login("/articles/hello", append(app, "Cookie", s.get(second, app...).linkCookie())...)
	name, bearer := s.subscriber()
	s.get("/articles/hello", append(app, name, bearer)...).page()
	s.origin.Last(t)
	clock.Advance(cookieDueFor - time.Second)
	s.get("/articles/hello", app...).status(http.StatusForbidden)
	clock.Advance(time.Second)
	login("/articles/hello", app...)
	s.origin.WantNone(t)
	s.wantUses(id, 0, "without cookies")
	s.get("/articles/hello", append(app, "Cookie", s.get(link, app...).linkCookie())...).page()
	s.wantUses(id, 1, "with cookies")
}

// Behind a proxy that appends to X-Forwarded-For, its first address is what the client states.
// A stranger who states a subscriber's address, and has their podcast app, is not the
// subscriber's program: each of their requests spends a use of its own. So do programs whose
// address is unknown, which would all be one.
func TestStatedAddressIsNoDevice(t *testing.T) {
	s := newTestSiteWith(t, behindCDN, standardRules, "")
	link, id := s.link(keys.LinkClaims{MaxUses: 3})
	app := []string{"User-Agent", "PodcastApp/7", "X-Forwarded-For"}
	subscriber := append(slices.Clone(app), "203.0.113.9")
	for range 3 {
		s.get(link, subscriber...).page()
	}
	s.wantUses(id, 1, "the subscriber's program")
	stranger := append(slices.Clone(app), "203.0.113.9, 198.51.100.1")
	s.get(link, stranger...).page()
	s.get(link, stranger...).page()
	s.wantUses(id, 3, "the stranger's requests")
	s.get(link, stranger...).denied(http.StatusForbidden, "link_used_up")
	s.get(link, subscriber...).page()
	s.wantUses(id, 3, "the subscriber's program, again")
}
