package pagetest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/gatefold/gatefold/policy/paywall"
)

// wall is a paywall with everything, whose main colour cannot be read on white.
func wall(t *testing.T, template string) *paywall.Paywall {
	t.Helper()
	p := &paywall.Paywall{
		ID: "main", Version: 1, Currency: "EUR", Headline: "Read on with The Acme", MainColor: "#ffcc00", Features: []string{"All articles", "The e-paper, every morning"}, ShowLoginButton: true,
		Settings: paywall.Settings{
			Template: template, LoginFields: &paywall.LoginFields{Name: true, Phone: true}, Styling: &paywall.Styling{DropShadow: true},
			DisplayOptions: &paywall.DisplayOptions{EnableGift: true, EnableCompany: true, EnableLoginButton: true},
		},
		Subscriptions: []paywall.Subscription{
			{ID: "a", SKU: "a", Title: "Digital, monthly", Price: "12.90", DiscountPrice: "2.90", PeriodText: "month", Tag: "popular", Selected: true, Description: "<p>Cancel <b>when you like</b>.</p>"},
			{ID: "b", SKU: "b", Title: "Digital, yearly", Price: "119", PeriodText: "year", Tag: "best-value", Features: []string{"Two months free"}, ReadMoreLink: "https://news.example/more"},
			{ID: "c", SKU: "c", Title: "Weekend", Price: "24.90", PeriodText: "month", ButtonText: "Buy now"},
		},
		SinglePurchase: &paywall.SinglePurchase{Enabled: true, Description: "One article, yours to keep."},
		PaymentMethods: paywall.Methods,
	}
	if err := paywall.Check(p); err != nil {
		t.Fatal(err)
	}
	return p
}

// arabic returns the texts with a language that is written from the right.
func arabic(t *testing.T) *paywall.Texts {
	t.Helper()
	all, err := paywall.BuiltIn().With(Arabic(t))
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// site serves the pages as the gate does, and keeps what else the browser asked for.
type site struct {
	*httptest.Server
	mu    sync.Mutex
	other []string
}

func newSite(t *testing.T) *site {
	t.Helper()
	s, texts := new(site), arabic(t)
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		query := r.URL.Query()
		if r.URL.Path != "/page" {
			if r.URL.Path != "/favicon.ico" {
				s.mu.Lock()
				defer s.mu.Unlock()
				s.other = append(s.other, r.URL.Path)
			}
			http.NotFound(w, r)
			return
		}
		var configured *paywall.Paywall
		if template := query.Get("template"); template != "" {
			configured = wall(t, template)
		}
		page, view := paywall.Compile(configured, ""), &paywall.View{
			Language: texts.For([]string{query.Get("lang")}), Reason: query.Get("reason"), Site: "The Acme", Home: "/", Login: "/login?client=news", Identified: query.Get("reason") == "not_entitled",
			Checkout: func(item paywall.Item) string { return "/checkout/" + item.Kind + "/" + item.SKU }, Code: "7KQ2M4XN",
		}
		if view.Reason == "meter_used_up" {
			view.Meter = &paywall.Meter{Used: 3, Limit: 3, Resets: time.Date(2027, 2, 1, 0, 0, 0, 0, time.UTC)}
		}
		var body bytes.Buffer
		if err := page.Render(&body, view); err != nil {
			t.Error(err)
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Content-Security-Policy", page.Policy(view))
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = w.Write(body.Bytes())
	}))
	t.Cleanup(s.Close)
	return s
}

// start returns a tab of a Chromium that prefers a dark page or a light one, and what its
// console says.
func start(t *testing.T, dark bool) (tab context.Context, console func() []string) {
	t.Helper()
	program, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatal("Chromium is missing: run `make test`, or `.ci/chromium <folder>` and put the folder on the path")
	}
	scheme := "preferredColorScheme=1"
	if dark {
		scheme = "preferredColorScheme=0"
	}
	// Chromium may write to its folder for a moment after its end.
	profile, err := os.MkdirTemp("", "pagetest")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(profile) })
	bounded, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	t.Cleanup(cancel)
	allocator, end := chromedp.NewExecAllocator(bounded, append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(program), chromedp.NoSandbox, chromedp.NoFirstRun,
		chromedp.Flag("disable-dev-shm-usage", true), chromedp.Flag("no-proxy-server", true), chromedp.Flag("blink-settings", scheme), chromedp.UserDataDir(profile))...)
	t.Cleanup(end)
	tab, closeTab := chromedp.NewContext(allocator)
	t.Cleanup(closeTab)
	if err := chromedp.Do(tab); err != nil {
		t.Fatalf("Chromium does not start: %v", err)
	}
	var mu sync.Mutex
	var lines []string
	err = chromedp.Listen(tab, func(event any) {
		kind := fmt.Sprintf("%T", event)
		if strings.HasSuffix(kind, ".EventEntryAdded") || strings.HasSuffix(kind, ".EventExceptionThrown") || strings.HasSuffix(kind, ".EventConsoleAPICalled") {
			text, _ := json.Marshal(event)
			// The status of the page itself, and the icon that a browser looks for.
			if !bytes.Contains(text, []byte("status of 401")) && !bytes.Contains(text, []byte("favicon.ico")) {
				mu.Lock()
				defer mu.Unlock()
				lines = append(lines, string(text))
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return tab, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(lines)
	}
}

func evaluate[T any](t *testing.T, tab context.Context, script string) T { //nolint:revive // the tab is the browser's
	t.Helper()
	value, err := chromedp.Run(tab, chromedp.Evaluate[T](script, chromedp.EvalAwaitPromise))
	if err != nil {
		t.Fatal(err)
	}
	return value
}

// Each page is without a violation of WCAG 2.2 AA, fits a phone of 320 px, asks for nothing
// else, and says nothing in the console: as each template, on phone and desktop, by day and
// by night, in three languages and from right to left.
func TestPageInChromium(t *testing.T) {
	axe := AxeCore(t)
	s := newSite(t)
	for name, dark := range map[string]bool{"light": false, "dark": true} {
		t.Run(name, func(t *testing.T) {
			tab, console := start(t, dark)
			for _, template := range []string{"BOXES", "ARTICLE", "LOGIN", ""} {
				for _, language := range []string{"en", "sv", "fr", "ar"} {
					for _, reason := range []string{"meter_used_up", "not_entitled"} {
						page := fmt.Sprintf("%s/page?template=%s&lang=%s&reason=%s", s.URL, template, language, reason)
						for _, width := range []int64{320, 1280} {
							if err := chromedp.Do(tab, chromedp.EmulateViewport(width, 900), chromedp.Navigate(page)); err != nil {
								t.Fatalf("%s: %v", page, err)
							}
							if wide := evaluate[int64](t, tab, "document.documentElement.scrollWidth"); wide > width {
								t.Errorf("%s is %d px wide on a screen of %d", page, wide, width)
							}
							evaluate[bool](t, tab, axe+"\n;true")
							if found := evaluate[string](t, tab, Violations("document")); found != "[]" {
								t.Errorf("%s at %d px: %s", page, width, found)
							}
						}
						if style := evaluate[string](t, tab, "getComputedStyle(document.querySelector('h1')).fontWeight"); style != "700" {
							t.Errorf("%s: the policy refuses the style", page)
						}
					}
				}
			}
			if lines := console(); len(lines) > 0 {
				t.Errorf("the console says %s", strings.Join(lines, "\n"))
			}
		})
	}
	if len(s.other) > 0 {
		t.Errorf("the browser asked for %s", s.other)
	}
}

// The keyboard alone reaches everything: the login first, then each link, field and button.
// The arrows choose an offer of the list, and its button is the one that is shown.
func TestPageByKeyboard(t *testing.T) {
	s := newSite(t)
	tab, _ := start(t, false)
	for _, template := range []string{"BOXES", "ARTICLE", "LOGIN"} {
		if err := chromedp.Do(tab, chromedp.Navigate(s.URL+"/page?reason=login_required&template="+template)); err != nil {
			t.Fatal(err)
		}
		wanted := evaluate[int](t, tab, `[...document.querySelectorAll("a, button, input:not([type=hidden]):not([type=radio])")].filter(e => e.offsetParent).length + (document.querySelector("[type=radio]") ? 1 : 0)`)
		var reached []string
		for range wanted {
			if err := chromedp.Do(tab, chromedp.KeyEvent("\t")); err != nil {
				t.Fatal(err)
			}
			if name := evaluate[string](t, tab, `(e => e.id || e.getAttribute("href") || e.localName)(document.activeElement)`); name != "body" {
				reached = append(reached, name)
			}
		}
		if len(reached) != wanted || template != "LOGIN" && reached[0] != "/login?client=news" {
			t.Errorf("%s: %d of %d are reached: %v", template, len(reached), wanted, reached)
		}
		if template != "ARTICLE" {
			continue
		}
		shown := `[...document.querySelectorAll(".go")].filter(e => e.offsetParent).map(e => e.querySelector("a").getAttribute("href")).join()`
		if got := evaluate[string](t, tab, shown); got != "/checkout/subscription/a" {
			t.Errorf("the buttons are %s", got)
		}
		evaluate[bool](t, tab, `document.getElementById("o1").focus(), true`)
		if err := chromedp.Do(tab, chromedp.KeyEvent("\u0301")); err != nil { // the arrow down, see package kb
			t.Fatal(err)
		}
		if got := evaluate[string](t, tab, shown); got != "/checkout/subscription/b" {
			t.Errorf("after an arrow the buttons are %s", got)
		}
	}
}
