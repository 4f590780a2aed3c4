package upstreamtest

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
)

// beside returns another tab with the same cookies.
func (b *browser) beside() *browser {
	b.t.Helper()
	tab, end := chromedp.NewContext(b.tab)
	b.t.Cleanup(end)
	if err := chromedp.Do(tab, chromedp.EmulateViewport(phoneWidth, 640)); err != nil {
		b.t.Fatal(err)
	}
	return &browser{b.t, tab}
}

const phoneWidth = 320

// cookiesOf returns the gate's cookies for a site, and checks what guards each of them.
func (b *browser) cookiesOf(site string) (found []*network.Cookie) {
	b.t.Helper()
	all, err := chromedp.Call(b.tab, network.GetCookies, network.GetCookiesParams{URLs: []string{site + "/"}})
	if err != nil {
		b.t.Fatal(err)
	}
	for _, cookie := range all.Cookies {
		if !strings.Contains(cookie.Name, "gatefold") {
			continue
		}
		if !strings.HasPrefix(cookie.Name, "__Host-") || !cookie.HTTPOnly || !cookie.Secure || cookie.SameSite != network.CookieSameSiteLax || cookie.Path != "/" || strings.HasPrefix(cookie.Domain, ".") {
			b.t.Errorf("the cookie is %+v", cookie)
		}
		found = append(found, cookie)
	}
	return found
}

// fits expects that a page of the gate needs no horizontal scrolling on a phone.
func (b *browser) fits(page string) {
	b.t.Helper()
	if width, err := strconv.Atoi(b.evaluate("String(document.documentElement.scrollWidth)")); err != nil || width > phoneWidth {
		b.t.Errorf("%s is %d pixels wide, %v", page, width, err)
	}
}

// arrives goes through the rest of the provider's pages to a page of the site.
func (b *browser) arrives(issuer, page string) {
	b.t.Helper()
	for end := time.Now().Add(deadline / 2); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		switch text := b.evaluate(`document.readyState === "complete" ? location.href + "\n" + document.body.innerText : ""`); {
		case strings.HasPrefix(text, page+"\n") && strings.Contains(text, secretHello):
			return
		case strings.HasPrefix(text, issuer+"/interaction/") && strings.Contains(text, "Authorize"):
			b.submit(`{}`)
			time.Sleep(200 * time.Millisecond) // the page is left; a second form would be another one
		}
	}
	b.t.Fatalf("the reader does not arrive at %s, but at %s", page, b.evaluate("location.href"))
}

// A reader on a phone, whose browser blocks the cookies of third parties, opens two articles at
// once and logs in for both. The provider is another site than the news, as for most. A login form that was open for too long leads to the page all the
// same. The back button shows no article after a logout. No cookie of theirs is anywhere but in
// the browser.
func TestLoginWalkInChromium(t *testing.T) {
	provider, origin := startOpenIDProvider(t), startMagazine(t)
	r := startSectionAt(t, document(t, "docs/login.md"), place{scheme: "https", host: "news.example.test"}, []string{"OIDC_SECRET=secret", "SSL_CERT_FILE=" + provider.roots},
		"https://id.example.com", provider.issuer, "localhost:3000", origin.address)
	provider.serves(t, r.address)
	r.must("grant", "add", "--user", "ann", "--sku", "premium")
	first := startBrowser(t, withTestHosts(), thirdParties(t, true))
	if first.sendsThirdPartyCookies(r.address) {
		t.Fatal("the browser does not block the cookies of third parties")
	}
	if other := startBrowser(t, withTestHosts(), thirdParties(t, false)); !other.sendsThirdPartyCookies(r.address) {
		t.Fatal("cookies of third parties are not sent by a browser that does not block them: their absence proves nothing")
	}
	origin.asked()
	first.do("a narrow screen", chromedp.EmulateViewport(phoneWidth, 640))
	second := first.beside()
	one, two := r.address+"/articles/hello?tab=1", r.address+"/articles/hello?tab=2"
	for tab, page := range map[*browser]string{first: one, second: two} {
		tab.open(page)
		tab.at(provider.issuer+"/interaction/", "Sign-in")
	}
	if attempts := first.cookiesOf(r.address); len(attempts) != 2 || !strings.HasPrefix(attempts[0].Name, "__Host-gatefold-login-") {
		t.Fatalf("there are %d cookies of two attempts", len(attempts))
	}
	for _, tab := range []*browser{second, first} {
		tab.submit(`{login: "ann", password: "x"}`)
		tab.arrives(provider.issuer, map[*browser]string{first: one, second: two}[tab])
	}
	if status, text := second.open(two); status != http.StatusOK || !strings.Contains(text, secretHello) {
		t.Errorf("the second tab has %d %s", status, text)
	}
	var sessions []struct{ ID string }
	if err := json.Unmarshal([]byte(r.must("session", "list", "ann", "--json")), &sessions); err != nil || len(sessions) != 1 {
		t.Errorf("there are %d sessions, %v", len(sessions), err)
	}
	var secrets []string
	for _, cookie := range first.cookiesOf(r.address) {
		secrets = append(secrets, cookie.Value)
	}
	if seen := first.evaluate("document.cookie + location.href + document.referrer"); strings.Contains(seen, "code=") || strings.Contains(seen, "state=") {
		t.Errorf("a script sees %s", seen)
	}

	// The browser drops the cookie of an attempt after ten minutes. The form is sent after that.
	late := first.another()
	late.open(one)
	late.at(provider.issuer+"/interaction/", "Sign-in")
	for _, cookie := range late.cookiesOf(r.address) {
		if _, err := chromedp.Call(late.tab, network.DeleteCookies, network.DeleteCookiesParams{Name: cookie.Name, URL: r.address + "/"}); err != nil {
			t.Fatal(err)
		}
	}
	if left := late.cookiesOf(r.address); len(left) > 0 {
		t.Fatalf("%d cookies are left", len(left))
	}
	late.submit(`{login: "ann", password: "x"}`)
	late.arrives(provider.issuer, one)

	first.open(r.address + "/.gatefold/callback?code=x&state=y")
	first.fits("the page of a login that failed")
	first.open(one)
	first.open(r.address + "/.gatefold/logout")
	first.fits("the page of the logout")
	first.submit(`{}`)
	first.at(provider.issuer+"/session/end", "")
	if left := first.cookiesOf(r.address); slices.ContainsFunc(left, func(c *network.Cookie) bool { return strings.HasSuffix(c.Name, "-session") }) {
		t.Error("the cookie of the session is left after the logout")
	}
	first.evaluate(`(() => { const form = document.querySelector("form"); const yes = document.createElement("input"); yes.type = "hidden"; yes.name = "logout"; yes.value = "yes"; form.append(yes);
		setTimeout(() => form.submit(), 0); return "sent" })()`)
	first.at(r.address+"/", "")
	origin.asked()
	first.evaluate(`setTimeout(() => history.go(-3), 0); "sent"`)
	first.at(provider.issuer+"/interaction/", "Sign-in")
	if asked := origin.asked(); slices.ContainsFunc(asked, func(request string) bool { return strings.Contains(request, "/articles/") }) {
		t.Errorf("the back button leads to %q", asked)
	}

	// Support ends one session by its id, and all of a reader.
	list := func() []struct{ ID string } {
		sessions = nil
		if err := json.Unmarshal([]byte(r.must("session", "list", "ann", "--json")), &sessions); err != nil {
			t.Fatal(err)
		}
		return sessions
	}
	late.open(one)
	if found := list(); len(found) == 0 {
		t.Fatal("there is no session to end")
	} else if said := r.must("session", "end", found[0].ID); !strings.Contains(said, "ended "+found[0].ID) {
		t.Errorf("the command says %s", said)
	}
	left := len(list())
	if said := r.must("session", "end", "--user", "ann"); !strings.Contains(said, "ended "+strconv.Itoa(left)+" sessions of ann") || len(list()) != 0 {
		t.Errorf("the command says %s of %d sessions", said, left)
	}

	log := r.process.log.String()
	for _, text := range append(origin.received(), log) {
		if strings.Contains(text, "code=") || slices.ContainsFunc(secrets, func(secret string) bool { return len(secret) > 20 && strings.Contains(text, secret) }) {
			t.Errorf("a secret of the login is in %.2000s", text)
		}
	}
}
