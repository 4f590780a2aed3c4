package caddymodule

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/gatefold/gatefold/admin"
	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy"
)

const meterRules = `
		identify jwt {
			issuer self
			cookie reader
		}
		time_zone Europe/Stockholm
		rule /articles/{publisherContentId} {
			entitled premium
			metered registered 3 per month authenticated
			metered strangers 2 per month anonymous
		}
		rule / any
`

// meterBrowser is an anonymous reader's browser, which keeps the cookie of the meter unless it
// blocks cookies.
type meterBrowser struct {
	*testSite
	cookie string
	blocks bool
}

// open navigates to a page, and follows the redirects of the gate.
func (b *meterBrowser) open(path string, headers ...string) answer {
	b.Helper()
	for range 5 {
		sent := append(append([]string{}, navigation...), headers...)
		if b.cookie != "" && !b.blocks {
			sent = append(sent, "Cookie", b.cookie)
		}
		got := b.get(path, sent...)
		for _, cookie := range got.Cookies() {
			if !cookie.HttpOnly || cookie.Path != "/" || cookie.SameSite != http.SameSiteLaxMode || cookie.MaxAge <= 0 || cookie.MaxAge > 31*24*3600+3600 {
				b.Errorf("the cookie is %v", cookie)
			}
			b.cookie = cookie.Name + "=" + cookie.Value
		}
		if got.StatusCode != http.StatusSeeOther {
			return got
		}
		got.keptFromCaches("no-store")
		path = got.Header.Get("Location")
	}
	b.Fatalf("%s is redirected again and again", path)
	return answer{}
}

// refused expects the page of a denial.
func (a answer) refused(status int, code string) answer {
	a.t.Helper()
	if a.StatusCode != status || !strings.Contains(a.body, code) {
		a.t.Fatalf("status %d %s, want %d %s", a.StatusCode, a.body, status, code)
	}
	return a
}

func (s *testSite) viewsOf(user string) []policy.MeterView {
	s.Helper()
	views, err := s.running().Store.MeterViews(s.Context(), defaultVendor, policy.MeterReader{Site: defaultVendor, Meter: "registered", UserID: user})
	if err != nil {
		s.Fatal(err)
	}
	return views
}

// A stranger opens two articles, as often as they like, and no third. Then they log in and have
// three more on their account. Nothing that strangers read is written to the store.
func TestMeterLadderAtTheGate(t *testing.T) {
	s := newTestSite(t, meterRules)
	b := &meterBrowser{testSite: s}
	page := b.open("/articles/a1?utm=x").page()
	if control := page.Header.Get("Cache-Control"); !strings.Contains(control, "private") {
		t.Errorf("a metered page is %q", control)
	}
	b.open("/articles/a1").page()
	if got := b.get("/articles/a1", "Cookie", b.cookie).page(); len(got.Cookies()) != 0 {
		t.Errorf("a page that was read sets a cookie: %v", got.Cookies())
	}
	b.get("/articles/a1/photo.jpg", "Cookie", b.cookie, "Sec-Fetch-Dest", "image").page()
	b.get("/articles/a2", "Cookie", b.cookie, "Sec-Purpose", "prefetch").denied(http.StatusUnauthorized, "login_required")
	copied := b.cookie
	b.open("/articles/a2").page()
	b.open("/articles/a3").refused(http.StatusForbidden, "meter_used_up")
	b.get("/articles/a3", "Cookie", b.cookie).denied(http.StatusForbidden, "meter_used_up")
	b.get("/articles/a3", "Cookie", copied).page() // as in a private window
	b.get("/articles/a3", "Cookie", b.cookie[:len(b.cookie)-1]+"x").denied(http.StatusUnauthorized, "login_required")
	b.get("/articles/a3", "Cookie", b.cookie+"; "+copied).denied(http.StatusUnauthorized, "login_required") // two of one name

	bearer := s.bearer("ann")
	for _, path := range []string{"/articles/a3", "/articles/a4", "/articles/a5", "/articles/a4"} {
		s.get(path, bearer...).page()
	}
	s.get("/articles/a6", bearer...).denied(http.StatusForbidden, "meter_used_up")
	if views := s.viewsOf("ann"); len(views) != 3 {
		t.Errorf("%d views are stored", len(views))
	}
	if views := s.viewsOf(""); len(views) != 0 {
		t.Errorf("%d views of strangers are stored", len(views))
	}
	name, value := s.subscriber()
	s.get("/articles/a6", name, value).page()

	decision := s.explain(admin.ExplainRequest{URL: s.site + "/articles/a6", UserID: "ann"}).Decision
	if m := decision.Meter; decision.Reason != "meter_used_up" || m == nil || m.Used != 3 || m.Limit != 3 || m.Name != "registered" {
		t.Errorf("explain: %+v", decision)
	}
	decision = s.explain(admin.ExplainRequest{URL: s.site + "/articles/a6"}).Decision
	if m := decision.Meter; decision.Reason != "metered" || m == nil || !m.Counts || !m.Cookie {
		t.Errorf("explain of a stranger: %+v", decision)
	}
	if views := s.viewsOf("ann"); len(views) != 3 {
		t.Errorf("explain counted: %d", len(views))
	}
	clock.Advance(32 * 24 * time.Hour)
	b.open("/articles/a3").page()
}

// A browser that blocks cookies and a program without them get no page, and are not sent in a
// circle. The way back leads to no other site.
func TestMeterNeedsItsCookie(t *testing.T) {
	s := newTestSite(t, meterRules)
	b := &meterBrowser{testSite: s, blocks: true}
	told := b.open("/articles/a1").refused(http.StatusForbidden, "meter_cookie_missing")
	if !strings.Contains(told.body, "cookie") {
		t.Errorf("%s", told.body)
	}
	program := s.get("/articles/a1")
	program.denied(http.StatusUnauthorized, "login_required")
	s.origin.WantNone(t)
	if len(program.Cookies()) != 1 {
		t.Errorf("the cookies are %v", program.Cookies())
	}
	cookie := program.Cookies()[0].Name + "=" + program.Cookies()[0].Value
	for next, want := range map[string]string{
		"/articles/a1?x=1": "/articles/a1?x=1", "//evil.example/": "/", "https://evil.example/": "/", "/\\evil.example": "/", "/.gatefold/meter?next=/": "/", "": "/",
	} {
		way := "/.gatefold/meter?meter=strangers&next=" + url.QueryEscape(next)
		if got := s.get(way, "Cookie", cookie); got.StatusCode != http.StatusSeeOther || got.Header.Get("Location") != want {
			t.Errorf("%s: %d to %s", next, got.StatusCode, got.Header.Get("Location"))
		}
	}
	s.get("/.gatefold/meter?meter=other&next=/", "Cookie", cookie).denied(http.StatusForbidden, "meter_cookie_missing")
	// What only a link preview or a HEAD asks for sets no cookie.
	for _, got := range []answer{
		s.get("/articles/a1", "User-Agent", "Twitterbot/1.0"), s.do(http.MethodHead, "/articles/a1"), s.get("/articles/a1", "Sec-Fetch-Dest", "image"),
	} {
		if len(got.Cookies()) != 0 || got.StatusCode != http.StatusUnauthorized {
			t.Errorf("%d, %v", got.StatusCode, got.Cookies())
		}
	}
}

// The origin fails, has no such page, breaks off or redirects. No view is spent, of a reader
// and of a stranger alike; the page that is there at last is one.
func TestFailedPageSpendsNoView(t *testing.T) {
	s := newTestSite(t, meterRules)
	b := &meterBrowser{testSite: s}
	b.get("/articles/a1") // has the cookie now
	b.cookie = func() string { c := b.get("/articles/a1").Cookies()[0]; return c.Name + "=" + c.Value }()
	bearer := s.bearer("ann")
	for name, failure := range map[string]http.HandlerFunc{
		"an error":  func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no page", http.StatusInternalServerError) },
		"not found": http.NotFound,
		"redirects": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/articles/a1-with-a-name", http.StatusFound)
		},
		"breaks off": func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err == nil {
				_, _ = conn.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"))
				_ = conn.Close()
			}
		},
	} {
		s.origin.Handle(failure)
		for _, headers := range [][]string{bearer, {"Cookie", b.cookie}} {
			request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.site+"/articles/a1", nil)
			if err != nil {
				t.Fatal(err)
			}
			request.Header.Set(headers[0], headers[1])
			if response, err := browser.Do(request); err == nil {
				_ = response.Body.Close()
				if len(response.Cookies()) > 0 {
					t.Errorf("%s: %d sets a cookie", name, response.StatusCode)
				}
			}
		}
	}
	if views := s.viewsOf("ann"); len(views) != 0 {
		t.Errorf("%d views were spent", len(views))
	}
	s.origin.Handle(nil)
	s.get("/articles/a1", bearer...).page()
	if views := s.viewsOf("ann"); len(views) != 1 {
		t.Errorf("%d views, want 1", len(views))
	}
}

// Pages and denials say how much is left: by placeholders, in the words of the paywall, and in
// the metrics.
func TestMeterIsShown(t *testing.T) {
	s := newTestSiteWith(t, "", meterRules, "header >X-Meter \"{http.gatefold.meter.name} {http.gatefold.meter.used}/{http.gatefold.meter.limit} {http.gatefold.meter.left} {http.gatefold.meter.resets}\"")
	bearer := s.bearer("ann")
	now := clock.Now().In(mustZone(t, "Europe/Stockholm"))
	resets := time.Date(now.Year(), now.Month()+1, 1, 0, 0, 0, 0, now.Location()).UTC().Format(time.RFC3339)
	for i, want := range []string{"registered 1/3 2 ", "registered 2/3 1 ", "registered 3/3 0 ", "registered 3/3 0 "} {
		got := s.get("/articles/a"+string(rune('1'+i)), bearer...)
		if shown := got.Header.Get("X-Meter"); shown != want+resets {
			t.Errorf("article %d: %q, want %q", i+1, shown, want+resets)
		}
	}
	told := s.get("/articles/a9", append(bearer, "Accept", "text/html", "Accept-Language", "sv")...)
	if told.StatusCode != http.StatusForbidden || !strings.Contains(told.body, "Du har läst 3 av 3 fria artiklar.") {
		t.Errorf("%d %s", told.StatusCode, told.body)
	}
	if shown := s.get("/", bearer...).Header.Get("X-Meter"); strings.Trim(shown, " /") != "" {
		t.Errorf("a page without a meter: %q", shown)
	}
}

func mustZone(t *testing.T, name string) *time.Location {
	t.Helper()
	zone, err := timeZone(name)
	if err != nil {
		t.Fatal(err)
	}
	return zone
}

// A gift and a licence open pages before the meter, and spend nothing of it.
func TestLinksComeBeforeTheMeter(t *testing.T) {
	s := newTestSite(t, meterRules)
	link, id := s.link(keys.LinkClaims{SKU: "premium", MaxUses: 1})
	bearer := s.bearer("ann")
	s.get(link, bearer...).page()
	if s.uses(id) != 1 || len(s.viewsOf("ann")) != 0 {
		t.Errorf("%d uses, %d views", s.uses(id), len(s.viewsOf("ann")))
	}
}

func TestTimeZoneOfASite(t *testing.T) {
	for _, name := range []string{"Local", "Mars/Olympus", "../etc/passwd"} {
		if _, err := timeZone(name); err == nil || !strings.Contains(err.Error(), "Europe/Stockholm") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if zone, err := timeZone(""); err != nil || zone != time.UTC {
		t.Errorf("the default is %v, %v", zone, err)
	}
}
