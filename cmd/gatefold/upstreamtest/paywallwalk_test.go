package upstreamtest

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/gatefold/gatefold/policy/paywall/pagetest"
)

// walkSite is a site with each template of a paywall, a meter, and a page that the gate cuts.
const walkSite = "```caddyfile" + `
news.example.com {
	gatefold {
		identify oidc {
			issuer        https://id.example.com
			client_id     news
			client_secret {env.OIDC_SECRET}
		}
		rule /BOXES/{publisherContentId} entitled premium {publisherContentId}
		rule /ARTICLE/{publisherContentId} entitled premium {
			paywall article
		}
		rule /LOGIN/{publisherContentId} entitled premium {
			paywall login
		}
		rule /cut/{publisherContentId} entitled premium {
			teaser cut
		}
		rule /metered/{publisherContentId} {
			entitled premium
			metered strangers 3 per month anonymous
		}
		rule / any
		deny {
			paywall  boxes
			checkout /checkout/{kind}?sku={sku}&next={next}
			name     "The Acme"
			texts    /srv/texts.json
		}
	}
	reverse_proxy localhost:3000 {
		header_up X-Articles-Left {http.gatefold.meter.left}
		header_up X-Articles-Limit {http.gatefold.meter.limit}
	}
}
` + "```"

// startWalkOrigin starts the origin of walkSite. Its pages are without a fault of their own.
func startWalkOrigin(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/favicon.ico" {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		left := ""
		if limit := r.Header.Get("X-Articles-Limit"); limit != "" {
			left = "<p>" + r.Header.Get("X-Articles-Left") + " of " + limit + " left</p>"
		}
		fmt.Fprintf(w, `<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">
<title>The Acme</title></head><body><main><h1>The page</h1><p>The beginning.</p><!-- gatefold:premium --><p>SECRET-WALK</p>%s<!-- /gatefold:premium --></main></body></html>`, left)
	}))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

// look is how a reader's browser shows pages.
type look struct {
	width     int64
	dark      bool
	language  string
	direction string
}

// walker is a browser whose reader uses the keyboard alone.
type walker struct {
	*browser
	look         *look
	site, issuer string
	axe          string

	mu     sync.Mutex
	faults []string
}

// startWalker starts a browser with a look.
func startWalker(t *testing.T, l *look, site, issuer string) *walker {
	t.Helper()
	scheme := "preferredColorScheme=1"
	if l.dark {
		scheme = "preferredColorScheme=0"
	}
	b := startBrowser(t, chromedp.Flag("blink-settings", scheme), chromedp.Flag("accept-lang", l.language), chromedp.Flag("lang", l.language))
	w := &walker{look: l, site: site, issuer: issuer, axe: pagetest.AxeCore(t)}
	w.watch(b)
	return w
}

// watch keeps what the site's pages say in the console, and what they ask of other hosts.
func (w *walker) watch(b *browser) {
	w.browser = b
	w.do("the width", chromedp.EmulateViewport(w.look.width, 900))
	fault := func(format string, args ...any) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.faults = append(w.faults, fmt.Sprintf(format, args...))
	}
	err := chromedp.Listen(b.tab, func(event any) {
		switch e := event.(type) {
		case *log.EventEntryAdded:
			// The status of a refused page is an entry, and so is that the logout cleared the cache.
			if strings.HasPrefix(e.Entry.URL, w.site) && e.Entry.Level != log.EntryLevelInfo && !strings.Contains(e.Entry.Text, "status of 401") && !strings.Contains(e.Entry.Text, "status of 403") {
				fault("%s %s %s", e.Entry.Level, e.Entry.Text, e.Entry.URL)
			}
		case *runtime.EventExceptionThrown:
			fault("%+v", e.ExceptionDetails)
		case *runtime.EventConsoleAPICalled:
			fault("console.%s", e.Type)
		case *network.EventRequestWillBeSent:
			if strings.HasPrefix(e.DocumentURL, w.site) && !strings.HasPrefix(e.Request.URL, w.site) && !strings.HasPrefix(e.Request.URL, w.issuer) {
				fault("%s asks for %s", e.DocumentURL, e.Request.URL)
			}
		}
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

// next makes the walker another reader, with the same look.
func (w *walker) next() { w.watch(w.another()) }

func (w *walker) press(keys string) {
	w.t.Helper()
	w.do("pressing a key", chromedp.KeyEvent(keys))
}

// goes presses Tab until an element has the focus, and then Enter.
func (w *walker) goes(selector string) {
	w.t.Helper()
	w.focus(selector)
	w.press(kb.Enter)
}

func (w *walker) focus(selector string) {
	w.t.Helper()
	for range 40 {
		if w.evaluate(fmt.Sprintf("String(document.activeElement.matches(%q))", selector)) == "true" {
			return
		}
		w.press(kb.Tab)
	}
	w.t.Fatalf("the keyboard does not reach %s at %s", selector, w.evaluate("document.documentElement.outerHTML"))
}

// logsIn goes through the provider's pages by keyboard. The first field may be filled in.
func (w *walker) logsIn(name string) {
	w.t.Helper()
	w.at(w.issuer+"/interaction/", "Sign-in")
	if name != "" {
		w.focus("[name=login]")
		w.press(name)
		w.press(kb.Tab)
	}
	w.focus("[name=password]")
	w.press("x")
	w.press(kb.Enter)
	w.at(w.issuer+"/interaction/", "Authorize")
	w.goes("[type=submit]")
}

// inspect checks the page that the tab shows: its language and width, what axe-core finds, and
// that Tab reaches all that can be activated. It returns the text.
func (w *walker) inspect(name string, ours bool) string {
	w.t.Helper()
	name = fmt.Sprintf("%s (%+v)", name, *w.look)
	if ours {
		if got := w.evaluate(`document.documentElement.lang + " " + document.documentElement.dir`); got != w.look.language+" "+w.look.direction {
			w.t.Errorf("%s is %s", name, got)
		}
		if got := w.evaluate("getComputedStyle(document.body).backgroundColor"); (got == "rgb(15, 16, 18)") != w.look.dark {
			w.t.Errorf("%s has the ground %s", name, got)
		}
	}
	if wide, err := strconv.ParseInt(w.evaluate("String(document.documentElement.scrollWidth)"), 10, 64); err != nil || wide > w.look.width {
		w.t.Errorf("%s is %d pixels wide, %v", name, wide, err)
	}
	w.evaluate(w.axe + `;"loaded"`)
	found, err := chromedp.Run(w.tab, chromedp.Evaluate[string](pagetest.Violations("document"), chromedp.EvalAwaitPromise))
	if err != nil || found != "[]" {
		w.t.Errorf("%s: %s %v", name, found, err)
	}
	// Radio buttons of a group are one stop.
	const stops = `[...document.querySelectorAll("a[href], button, input:not([type=hidden])")].filter(e => e.offsetParent && (e.type !== "radio" || e.checked))`
	wanted := w.evaluate(`(stops => { stops.forEach((e, i) => e.dataset.stop = i); document.activeElement.blur(); return String(stops.length) })(` + stops + `)`)
	count, _ := strconv.Atoi(wanted)
	reached := map[string]bool{}
	for range count + 2 {
		w.press(kb.Tab)
		if stop := w.evaluate(`document.activeElement.dataset.stop || ""`); stop != "" {
			reached[stop] = true
		}
	}
	if len(reached) != count {
		w.t.Errorf("%s: Tab reaches %d of %d", name, len(reached), count)
	}
	return w.evaluate("document.body.innerText")
}

// activates presses Enter on each link and button of a page, and checks where it leads.
func (w *walker) activates(page string) {
	w.t.Helper()
	w.browser.open(page)
	links := strings.Fields(w.evaluate(`[...document.querySelectorAll("a[href]")].filter(e => e.offsetParent).map(e => e.getAttribute("href")).join(" ")`))
	if len(links) < 3 && !strings.Contains(page, "/LOGIN/") {
		w.t.Fatalf("%s has the links %q", page, links)
	}
	for _, link := range slices.Compact(slices.Sorted(slices.Values(links))) {
		w.browser.open(page)
		w.goes(fmt.Sprintf("a[href=%q]", link))
		if strings.Contains(link, "/.gatefold/login") {
			w.at(w.issuer+"/interaction/", "Sign-in")
			continue
		}
		target, err := url.Parse(page)
		if err == nil {
			target, err = target.Parse(link)
		}
		if err != nil {
			w.t.Fatal(err)
		}
		w.at(target.String(), "The page")
	}
}

// A refused reader meets each template of a paywall, the section in a cut page, the end of a meter
// and of a gift, and what a login says, and comes to the article by login, by link and by meter,
// with the keyboard alone: on phone and desktop, by day and by night, in three languages and from
// right to left. No page has a fault that axe-core finds, a line in the console, or a request to
// another host.
func TestPaywallWalkInChromium(t *testing.T) {
	provider, origin := startOpenIDProvider(t), startWalkOrigin(t)
	texts := write(t, t.TempDir(), "texts.json", string(pagetest.Arabic(t)))
	r := startSection(t, walkSite, "https", []string{"OIDC_SECRET=secret", "SSL_CERT_FILE=" + provider.roots},
		"https://id.example.com", provider.issuer, "localhost:3000", origin, "/srv/texts.json", texts)
	provider.serves(t, r.address)
	example := block(t, document(t, "docs/paywall.md"), "json")
	for id, template := range map[string]string{"boxes": "BOXES", "article": "ARTICLE", "login": "LOGIN"} {
		r.must("paywall", "add", id, write(t, r.dir, id+".json", strings.NewReplacer(`"BOXES"`, `"`+template+`", "loginFields": {"phone": true}`, `"logoUrl": "https://news.example.com/logo.svg",`, "").Replace(example)))
	}
	r.must("grant", "add", "--user", "ann@example.com", "--sku", "premium")
	r.must("grant", "add", "--user", "ann", "--sku", "premium")
	for i, l := range []*look{
		{phoneWidth, false, "sv", "ltr"}, {1280, true, "en", "ltr"}, {phoneWidth, true, "ar", "rtl"}, {1280, false, "fr", "ltr"},
	} {
		t.Run(fmt.Sprintf("%s %d", l.language, l.width), func(t *testing.T) {
			w := startWalker(t, l, r.address, provider.issuer)
			w.walk(r, i == 0)
			w.mu.Lock()
			defer w.mu.Unlock()
			if len(w.faults) > 0 {
				t.Errorf("the pages say and ask for %s", strings.Join(w.faults, "\n"))
			}
		})
	}
}

func (w *walker) walk(r *recipe, activate bool) {
	t := w.t
	refused := func(path string, status int64) string {
		t.Helper()
		got, _ := w.browser.open(r.address + path)
		text := w.inspect(path, true)
		if got != status || strings.Contains(text, "SECRET") {
			t.Errorf("%s is %d %s", path, got, text)
		}
		return text
	}
	// A page of their own: a gift link to a page is remembered for a minute, by address and agent.
	hello := "/" + w.look.language
	for _, template := range []string{"/BOXES", "/ARTICLE", "/LOGIN"} {
		refused(template+hello, http.StatusUnauthorized)
		if activate {
			w.activates(r.address + template + hello)
		}
	}
	status, text := w.browser.open(r.address + "/cut" + hello)
	w.inspect("/cut", false)
	if status != http.StatusOK || strings.Contains(text, "SECRET") || !strings.Contains(text, "The beginning.") {
		t.Errorf("the teaser is %d %s", status, text)
	}

	// By login: from the teaser, and from the form of the template LOGIN.
	w.goes(`#gatefold-wall a[href*="/.gatefold/login"]`)
	w.logsIn("ann")
	w.at(r.address+"/cut"+hello, "SECRET-WALK")
	w.inspect("the article", false)
	w.browser.open(r.address + "/.gatefold/logout")
	w.inspect("the logout", false)
	w.goes("button")
	w.at(w.issuer+"/session/end", "")
	w.next()
	w.browser.open(r.address + "/LOGIN" + hello)
	if fields := w.evaluate(`[...document.querySelectorAll("input:not([type=hidden])")].map(e => e.name).join()`); fields != "login_hint" {
		t.Errorf("the form asks for %s, which no provider gets", fields)
	}
	w.focus("#email")
	w.press("ann@example.com")
	w.press(kb.Enter)
	w.at(w.issuer+"/interaction/", "Sign-in")
	if filled := w.evaluate(`document.querySelector("[name=login]").value`); filled != "ann@example.com" {
		t.Errorf("the provider has the address %q", filled)
	}
	w.logsIn("")
	w.at(r.address+"/LOGIN"+hello, "SECRET-WALK")

	// A reader without the sku.
	w.next()
	w.browser.open(r.address + "/ARTICLE" + hello)
	w.goes(`.member a`)
	w.logsIn("bob")
	w.at(r.address+"/ARTICLE"+hello, "")
	refused("/ARTICLE"+hello, http.StatusForbidden)

	// By a gift link, which the next reader finds used up.
	link := r.must("link", "create", r.address+"/BOXES"+hello, "--max-uses", "1", "--expires", "14d")
	w.next()
	if status, text := w.browser.open(link); status != http.StatusOK || !strings.Contains(text, "SECRET-WALK") {
		t.Errorf("the link gives %d %s", status, text)
	}
	w.inspect("the article by the link", false)
	w.next()
	refused(strings.TrimPrefix(link, r.address), http.StatusForbidden)
	if reason := w.evaluate(`document.querySelector("[name='gatefold:reason']").content`); reason != "link_used_up" {
		t.Errorf("the page says %s", reason)
	}

	// By the meter, until it is used up; and without its cookie.
	for i, left := range []string{"2 of 3 left", "1 of 3 left", "0 of 3 left"} {
		status, text := w.browser.open(fmt.Sprintf("%s/metered/%d", r.address, i))
		if status != http.StatusOK || !strings.Contains(text, left) || !strings.Contains(text, "SECRET-WALK") {
			t.Errorf("the page %d of the meter is %d %s", i, status, text)
		}
	}
	if text := refused("/metered/4", http.StatusForbidden); w.look.language == "en" && !strings.Contains(text, "You have read 3 of 3 free articles. You can read more from "+time.Now().UTC().AddDate(0, 1, 1-time.Now().UTC().Day()).Format(time.DateOnly)) {
		t.Errorf("the end of the meter says %s", text)
	}
	w.goes("a.buy")
	w.at(r.address+"/checkout/subscription?sku=premium", "The page")
	w.browser.open(r.address + "/metered/0")
	w.at(r.address+"/metered/0", "SECRET-WALK")
	w.next()
	refused("/.gatefold/meter?meter=strangers&next=/metered/0", http.StatusForbidden)
}
