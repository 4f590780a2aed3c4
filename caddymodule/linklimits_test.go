package caddymodule

import (
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gatefold/gatefold/keys"
)

// devicesOf returns the number of a link's devices.
func (s *testSite) devicesOf(id string) int64 {
	s.Helper()
	link, err := s.running().Store.SignedLink(s.Context(), defaultVendor, keys.VendorIssuer(defaultVendor), id)
	if err != nil {
		s.Fatal(err)
	}
	return link.Devices
}

// bearer returns the headers of a reader, with more.
func (s *testSite) bearer(user string, more ...string) []string {
	s.Helper()
	return append([]string{"Authorization", "Bearer " + s.reader(keys.ReaderClaims{UserID: user})}, more...)
}

// A stranger with a link for the university's network says that they are there. Without a
// trusted proxy, their X-Forwarded-For is not believed; behind one, what it appends counts,
// not what the client sent before.
func TestSpoofedAddressDoesNotOpenALinkOfANetwork(t *testing.T) {
	s := newTestSite(t, standardRules)
	link, id := s.link(keys.LinkClaims{IPPrefix: "203.0.113.0/24", MaxUses: 1})
	s.get(link).denied(http.StatusForbidden, "link_other_network")
	for _, header := range []string{"X-Forwarded-For", "X-Real-Ip", "Forwarded", "Client-Ip", "True-Client-Ip", "Cf-Connecting-Ip"} {
		s.get(link, header, "203.0.113.9").denied(http.StatusForbidden, "link_other_network")
		s.get(link, append(navigation, header, "203.0.113.9")...).status(http.StatusForbidden)
	}
	s.origin.WantNone(t)
	s.wantUses(id, 0, "spoofed")
	local, _ := s.link(keys.LinkClaims{IPPrefix: "127.0.0.0/8"})
	s.get(local).page()

	proxied := newTestSiteWith(t, "servers {\n\t\ttrusted_proxies static 127.0.0.1/32\n\t\ttrusted_proxies_strict\n\t}", standardRules, "")
	link, _ = proxied.link(keys.LinkClaims{IPPrefix: "203.0.113.0/24"})
	for address, opens := range map[string]bool{
		"203.0.113.9":               true,
		"::ffff:203.0.113.9":        true,
		"198.51.100.1, 203.0.113.9": true,
		"203.0.113.9, 198.51.100.1": false,
		"203.0.113.9, 2001:db8::1":  false,
		"198.51.100.1":              false,
		"2001:db8::1":               false,
		"203.0.113.9.evil.example":  false,
		"":                          false,
	} {
		got := proxied.get(link, "X-Forwarded-For", address)
		if opened := got.StatusCode == http.StatusOK; opened != opens {
			t.Errorf("from %q: status %d, %s", address, got.StatusCode, got.body)
		}
	}
}

// Behind a proxy that appends to X-Forwarded-For, without trusted_proxies_strict, Caddy takes
// the first address of the list, which the client states. A stranger outside of the network
// claims an address in it: the link stays closed, and no use of it is spent. A client of whom
// the proxy states nothing else is let in.
func TestLeftmostAddressDoesNotOpenALinkOfANetwork(t *testing.T) {
	s := newTestSiteWith(t, "servers {\n\t\ttrusted_proxies static 127.0.0.1/32\n\t}", standardRules, "")
	link, id := s.link(keys.LinkClaims{IPPrefix: "203.0.113.0/24", MaxUses: 1})
	for _, stated := range [][]string{
		{"X-Forwarded-For", "203.0.113.9, 198.51.100.1"},
		{"X-Forwarded-For", "203.0.113.9,198.51.100.1,"},
		{"X-Forwarded-For", "203.0.113.9", "X-Forwarded-For", "198.51.100.1"},
		{"X-Forwarded-For", "203.0.113.9, 203.0.113.9"},
	} {
		s.get(link, stated...).denied(http.StatusForbidden, "link_other_network")
		s.get(link, append(navigation, stated...)...).status(http.StatusForbidden)
	}
	s.wantUses(id, 0, "a stated address")
	s.origin.WantNone(t)
	s.get(link, "X-Forwarded-For", "203.0.113.9").page()
	s.wantUses(id, 1, "the client's own")
}

// The cookie of a link for a network is copied to a computer elsewhere: it opens nothing
// there, spent or not, and keeps opening the page where it was made.
func TestCookieCopiedToAnotherNetwork(t *testing.T) {
	s := newTestSiteWith(t, "servers {\n\t\ttrusted_proxies static 127.0.0.1/32\n\t}", standardRules, "")
	link, id := s.link(keys.LinkClaims{IPPrefix: "2001:db8:7::/48", MaxUses: 2})
	const inside, outside = "2001:db8:7:1::5", "2001:db8:8::5"
	pending := s.get(link, append(navigation, "X-Forwarded-For", inside)...).linkCookie()
	s.get("/articles/hello", "Cookie", pending, "X-Forwarded-For", outside).denied(http.StatusUnauthorized, "login_required")
	s.wantUses(id, 0, "the pending cookie elsewhere")
	cookie := s.get("/articles/hello", "Cookie", pending, "X-Forwarded-For", inside).page().linkCookie()
	s.get("/articles/hello", "Cookie", cookie, "X-Forwarded-For", outside).denied(http.StatusUnauthorized, "login_required")
	s.get(link, "Cookie", cookie, "X-Forwarded-For", outside).denied(http.StatusForbidden, "link_other_network")
	s.get("/articles/hello", "Cookie", cookie, "X-Forwarded-For", inside).page()
	s.wantUses(id, 1, "the cookie elsewhere")
}

// A reader opens a link for readers before they are logged in. The login page gets the URL
// of the article without the token; when they come back from it, the browser has the link,
// and its use is counted then. Given to a friend, the cookie opens nothing.
func TestLinkForReadersLeadsThroughTheLogin(t *testing.T) {
	s := newTestSite(t, standardRules+"\n\t\tdeny {\n\t\t\tlogin https://id.example.com/login\n\t\t}\n")
	link, id := s.link(keys.LinkClaims{PerReader: true, MaxUses: 2})
	login := s.get(link, navigation...)
	target, err := url.Parse(login.Header.Get("Location"))
	if login.StatusCode != http.StatusSeeOther || err != nil || target.Host != "id.example.com" || target.Query().Get("next") != s.site+"/articles/hello" {
		t.Fatalf("%d to %s", login.StatusCode, login.Header.Get("Location"))
	}
	waiting := login.linkCookie()
	s.get("/articles/hello", "Cookie", waiting).denied(http.StatusUnauthorized, "login_required")
	s.wantUses(id, 0, "before the login")

	back := s.get("/articles/hello", s.bearer("anna", "Cookie", waiting)...).page()
	s.wantUses(id, 1, "after the login")
	cookie := back.linkCookie()
	s.get("/articles/hello", s.bearer("anna", "Cookie", cookie)...).page()
	s.get("/articles/hello", "Cookie", cookie).denied(http.StatusUnauthorized, "login_required")
	s.get("/articles/hello", s.bearer("friend", "Cookie", cookie)...).denied(http.StatusForbidden, "not_entitled")
	s.wantUses(id, 1, "the friend")

	// The same reader in another browser and in an app: the same use. A second reader has
	// the other one, and a third none.
	second := s.get(link, s.bearer("anna", navigation...)...)
	second.status(http.StatusSeeOther)
	s.get("/articles/hello", s.bearer("anna", "Cookie", second.linkCookie())...).page()
	s.get(link, s.bearer("anna")...).page()
	s.wantUses(id, 1, "the other browser")
	s.get(link, s.bearer("bert")...).page()
	s.wantUses(id, 2, "a second reader")
	s.get(link, s.bearer("carl")...).denied(http.StatusForbidden, "link_used_up")
	s.get(link, s.bearer("carl", navigation...)...).status(http.StatusForbidden)
	s.get(link, s.bearer("bert")...).page()
	s.get(link).denied(http.StatusUnauthorized, "login_required")
	// A cookie for the return from the login ends as any that no page was delivered for.
	waiting = s.get(link, navigation...).linkCookie()
	clock.Advance(pendingFor)
	s.get("/articles/hello", s.bearer("anna", "Cookie", waiting)...).denied(http.StatusForbidden, "not_entitled")
}

// Without a number of uses a link for readers opens the page to each of them, and to no
// client without a login.
func TestUncountedLinkForReaders(t *testing.T) {
	s := newTestSite(t, standardRules)
	link, id := s.link(keys.LinkClaims{PerReader: true})
	for _, user := range []string{"anna", "bert", "carl"} {
		s.get(link, s.bearer(user)...).page()
		clean := s.get(link, s.bearer(user, navigation...)...)
		clean.status(http.StatusSeeOther)
		s.get("/articles/hello", s.bearer(user, "Cookie", clean.linkCookie())...).page()
		s.get("/articles/hello", s.bearer("another", "Cookie", clean.linkCookie())...).denied(http.StatusForbidden, "not_entitled")
	}
	s.get(link).denied(http.StatusUnauthorized, "login_required")
	waiting := s.get(link, navigation...).linkCookie()
	opened := s.get("/articles/hello", s.bearer("anna", "Cookie", waiting)...).page()
	s.get("/articles/hello", s.bearer("anna", "Cookie", opened.linkCookie())...).page()
	s.wantUses(id, 0, "not counted")
}

// A household has a link for two devices. A browser opens it for the whole life of the link,
// and the podcast app in every window; the app under another agent, and a third browser, are
// refused, and told why.
func TestLinkForTwoDevices(t *testing.T) {
	s := newTestSite(t, standardRules)
	link, id := s.link(keys.LinkClaims{MaxDevices: 2, ExpiresAt: clock.Now().Unix() + 14*24*3600})
	app := []string{"User-Agent", "podcasts/1"}
	s.do(http.MethodHead, link, app...).status(http.StatusOK) // which makes it no device
	pending := s.get(link, navigation...).linkCookie()
	opened := s.get("/articles/hello", "Cookie", pending).page()
	s.get(link, app...).page()
	if got := s.devicesOf(id); got != 2 {
		t.Errorf("%d devices, want 2", got)
	}
	s.do(http.MethodHead, link, app...).status(http.StatusOK)
	for _, later := range []time.Duration{0, time.Hour, 10 * 24 * time.Hour} {
		clock.Advance(later)
		s.get(link, app...).page()
		s.get("/articles/hello", "Cookie", opened.linkCookie()).page()
		s.get(link, append(navigation, "Cookie", opened.linkCookie())...).status(http.StatusSeeOther)
		s.get(link, "User-Agent", "podcasts/2").denied(http.StatusForbidden, "link_device_limit")
		s.get(link, navigation...).status(http.StatusForbidden)
	}
	s.wantUses(id, 0, "uses are not counted")
	if got := s.devicesOf(id); got != 2 {
		t.Errorf("%d devices, want 2", got)
	}
}

// Eight programs ask at once for a link that three devices may open: three get the page,
// and a failing origin has spent none of them before.
func TestDevicesAtOnce(t *testing.T) {
	s := newTestSite(t, standardRules)
	link, id := s.link(keys.LinkClaims{MaxDevices: 3, MaxUses: 5})
	s.origin.Handle(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no page", http.StatusBadGateway) })
	s.get(link).status(http.StatusBadGateway)
	s.origin.Handle(nil)
	var programs sync.WaitGroup
	answers := make([]answer, 8)
	for i := range answers {
		programs.Go(func() { answers[i] = s.get(link) })
	}
	programs.Wait()
	opened := 0
	for _, got := range answers {
		if got.StatusCode == http.StatusOK {
			opened++
		} else if !strings.Contains(got.body, "link_device_limit") {
			t.Errorf("%d %s", got.StatusCode, got.body)
		}
	}
	if got := s.devicesOf(id); opened != 3 || got != 3 {
		t.Errorf("%d programs got the page, and %d devices are counted, want 3", opened, got)
	}
	s.wantUses(id, 3, "three programs")
}
