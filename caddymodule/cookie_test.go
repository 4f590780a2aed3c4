package caddymodule

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy"
)

func testPayload() linkCookiePayload {
	return linkCookiePayload{
		RedeemedLink: policy.RedeemedLink{Issuer: "gatefold:acme", ID: "link_1", ExpiresAt: 2000, UseID: "r"},
		IssuedAt:     1000,
	}
}

func TestCookieVerifiesOnlyForItsSite(t *testing.T) {
	sealer := newCookieSealer(sha256.Sum256([]byte("secret")), "acme", "news")
	value := sealer.seal(testPayload())
	if got, err := sealer.open(value); err != nil || got != testPayload() {
		t.Fatalf("%+v, %v", got, err)
	}
	// Vendor and site are not concatenated under the MAC: acm and enews differ from acme
	// and news.
	for _, other := range []*cookieSealer{
		newCookieSealer(sha256.Sum256([]byte("other secret")), "acme", "news"),
		newCookieSealer(sha256.Sum256([]byte("secret")), "acme", "sport"),
		newCookieSealer(sha256.Sum256([]byte("secret")), "other", "news"),
		newCookieSealer(sha256.Sum256([]byte("secret")), "acm", "enews"),
	} {
		if _, err := other.open(value); err == nil {
			t.Error("a cookie counts where it was not made")
		}
	}
}

// Every byte of the value is under the MAC, and each value has one spelling.
func TestForgedCookiesAreRefused(t *testing.T) {
	sealer := newCookieSealer(sha256.Sum256([]byte("secret")), "acme", "news")
	value := sealer.seal(testPayload())
	for i := range len(value) {
		for _, c := range []byte("A_-z.=\x00 ") {
			forged := value[:i] + string(c) + value[i+1:]
			if forged == value {
				continue
			}
			if got, err := sealer.open(forged); err == nil {
				t.Fatalf("byte %d as %q is accepted: %+v", i, c, got)
			}
		}
	}
	for name, forged := range map[string]string{
		"empty": "", "dot": ".", "cut": value[:len(value)-1], "longer": value + "A", "padded": value + "=",
		"a mac alone": value[len(value)-22:], "without mac": value[:len(value)-22], "huge": strings.Repeat("A", 1<<16),
	} {
		if _, err := sealer.open(forged); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func FuzzCookie(f *testing.F) {
	sealer := newCookieSealer(sha256.Sum256([]byte("secret")), "acme", "news")
	f.Add(sealer.seal(testPayload()))
	f.Add("")
	f.Fuzz(func(t *testing.T, value string) {
		if payload, err := sealer.open(value); err == nil && sealer.seal(payload) != value {
			t.Errorf("%q is another spelling of a cookie", value)
		}
	})
}

// A payload with a valid MAC can have another format: cookies outlive an update.
func FuzzReadCookiePayload(f *testing.F) {
	sealer := newCookieSealer(sha256.Sum256([]byte("secret")), "acme", "news")
	f.Add(string([]byte{cookieFormat, 1, 'a', 1, 'b', 1, 'c', 2, 2}))
	f.Add(string([]byte{cookieFormat | allFlags, 1, 'b', 1, 'c', 2, 2}))
	f.Fuzz(func(_ *testing.T, b string) { _, _ = sealer.readPayload([]byte(b)) })
}

// Every link and use has its cookie, also a publisher's, whose ids have a form of their own.
func TestCookieKeepsEveryID(t *testing.T) {
	sealer := newCookieSealer(sha256.Sum256([]byte("secret")), "acme", "news")
	own := keys.VendorIssuer("acme")
	for _, payload := range []linkCookiePayload{
		{RedeemedLink: policy.RedeemedLink{Issuer: own, ID: "link_01kb2m3q4r5s6t7v8w9x0y1z2a", UseID: newUseID()}},
		{RedeemedLink: policy.RedeemedLink{Issuer: own, ID: "link_7zzzzzzzzzzzzzzzzzzzzzzzzz", UseID: newUseID()}},
		{RedeemedLink: policy.RedeemedLink{Issuer: own, ID: "link_8zzzzzzzzzzzzzzzzzzzzzzzzz", UseID: newUseID()}}, // no time has this digit
		{RedeemedLink: policy.RedeemedLink{Issuer: own, ID: "link_01KB2M3Q4R5S6T7V8W9X0Y1Z2A", UseID: "device:" + newUseID() + ":7"}},
		{RedeemedLink: policy.RedeemedLink{Issuer: own, ID: "link_01kb2m3q4r5s6t7v8w9x0y1z2\n", UseID: "AAAAAAAAAAAAAAA\n"}},
		{RedeemedLink: policy.RedeemedLink{Issuer: "publisher.example", ID: "gift 1", UseID: ""}},
		{RedeemedLink: policy.RedeemedLink{Issuer: "publisher.example", ID: strings.Repeat("ü", 64), UseID: newUseID()}},
	} {
		payload.IssuedAt, payload.ExpiresAt = clock.Now().Unix(), clock.Now().Unix()+14*86400
		for _, payload.Pending = range []bool{false, true} {
			if got, err := sealer.open(sealer.seal(payload)); err != nil || got != payload {
				t.Errorf("%+v becomes %+v, %v", payload, got, err)
			}
		}
	}
}

// A reader collects thirty gifts. All of them stay open, and the browser's Cookie header stays
// below 4 KiB, which is what many origins and proxies allow for one.
func TestReaderKeepsThirtyGifts(t *testing.T) {
	const gifts = 30
	s := newTestSiteWith(t, "servers {\n\t\ttrusted_proxies static 127.0.0.1/32\n\t}", standardRules, "")
	jar := map[string]string{}
	header := func() string {
		var cookies []string
		for name, value := range jar {
			cookies = append(cookies, name+"="+value)
		}
		return strings.Join(cookies, "; ")
	}
	visit := func(path string) answer {
		got := s.get(path, append(navigation, "Cookie", header(), "X-Forwarded-Proto", "https")...)
		for _, cookie := range got.Cookies() {
			if delete(jar, cookie.Name); cookie.MaxAge > 0 {
				jar[cookie.Name] = cookie.Value
			}
		}
		return got
	}
	var ids []string
	for i := range gifts {
		link, id := s.link(keys.LinkClaims{URL: fmt.Sprintf("%s/articles/%d", s.site, i), MaxUses: 1, ExpiresAt: clock.Now().Unix() + 14*86400})
		ids = append(ids, id)
		visit(link).status(http.StatusSeeOther)
		visit(fmt.Sprintf("/articles/%d", i)).page()
	}
	size := len(header())
	t.Logf("%d cookies are %d bytes", len(jar), size)
	if len(jar) != gifts || size >= 4096 || size > gifts*112 {
		t.Errorf("%d cookies of %d bytes", len(jar), size)
	}
	for i, id := range ids {
		visit(fmt.Sprintf("/articles/%d", i)).page()
		s.wantUses(id, 1, "again")
	}
}

// The attributes follow the scheme. X-Forwarded-Proto counts only from a trusted proxy.
func TestCookieAttributes(t *testing.T) {
	s := newTestSiteWith(t, "servers {\n\t\ttrusted_proxies static 127.0.0.1/32\n\t}", standardRules, "")
	link, id := s.link(keys.LinkClaims{})
	name := linkCookieName(keys.VendorIssuer(defaultVendor), id, false)

	plain := s.get(link).page()
	if got := plain.Header.Get("Set-Cookie"); !strings.HasPrefix(got, name+"=") || !strings.HasSuffix(got, "; Path=/; Max-Age=3600; HttpOnly; SameSite=Lax") {
		t.Errorf("on http: %s", got)
	}
	secure := s.get(link, "X-Forwarded-Proto", "https").page()
	if got := secure.Header.Get("Set-Cookie"); !strings.HasPrefix(got, "__Host-"+name+"=") || !strings.HasSuffix(got, "; Path=/; Max-Age=3600; HttpOnly; Secure; SameSite=Lax") {
		t.Errorf("on https: %s", got)
	}
	// On https a cookie without the prefix does not count: a sibling domain, or a plain
	// http response, could have set it.
	s.get("/articles/hello", "X-Forwarded-Proto", "https", "Cookie", plain.linkCookie()).denied(http.StatusUnauthorized, "login_required")
	s.get("/articles/hello", "X-Forwarded-Proto", "https", "Cookie", secure.linkCookie()).page()
	s.get("/articles/hello", "Cookie", plain.linkCookie()).page()

	untrusted := newTestSite(t, standardRules)
	link, _ = untrusted.link(keys.LinkClaims{})
	if got := untrusted.get(link, "X-Forwarded-Proto", "https").page().Header.Get("Set-Cookie"); strings.Contains(got, "Secure") {
		t.Errorf("a stranger's X-Forwarded-Proto is believed: %s", got)
	}
}

// A cookie ends with link_cookie_ttl or with its link, whichever is first.
func TestCookieExpiry(t *testing.T) {
	s := newTestSite(t, standardRules+"\n\t\tlink_cookie_ttl 10m\n")
	long, _ := s.link(keys.LinkClaims{})
	short, _ := s.link(keys.LinkClaims{ExpiresAt: clock.Now().Unix() + 60})
	longCookie, shortCookie := s.get(long).page().linkCookie(), s.get(short).page().linkCookie()
	s.get("/articles/hello", "Cookie", longCookie).page()
	s.get("/articles/hello", "Cookie", shortCookie).page()
	clock.Advance(60 * time.Second)
	s.get("/articles/hello", "Cookie", longCookie).page()
	s.get("/articles/hello", "Cookie", shortCookie).denied(http.StatusUnauthorized, "login_required")
	clock.Advance(9*time.Minute - time.Second)
	s.get("/articles/hello", "Cookie", longCookie).page()
	clock.Advance(time.Second)
	s.get("/articles/hello", "Cookie", longCookie).denied(http.StatusUnauthorized, "login_required")
}

// A cookie opens the page of its link only, and does not reach the origin.
func TestCookieOpensOnlyItsPage(t *testing.T) {
	s := newTestSite(t, standardRules)
	link, _ := s.link(keys.LinkClaims{})
	first := s.get(link).page()
	cookie := first.linkCookie()
	s.origin.Last(t)
	s.get("/articles/hello", "Cookie", "theme=dark; "+cookie).page()
	if got := s.origin.Last(t).Header.Get("Cookie"); got != "theme=dark" {
		t.Errorf("the origin got the cookies %q", got)
	}
	s.get("/articles/other", "Cookie", cookie).denied(http.StatusUnauthorized, "login_required")
	s.get("/account", "Cookie", cookie).denied(http.StatusUnauthorized, "login_required")
	// Of duplicate cookies none counts.
	s.get("/articles/hello", "Cookie", cookie+"; "+cookie).denied(http.StatusUnauthorized, "login_required")
	// A value counts only under the name of its link.
	_, value, _ := strings.Cut(cookie, "=")
	s.get("/articles/hello", "Cookie", "gatefold-AAAAAAAAAAAA="+value).denied(http.StatusUnauthorized, "login_required")
	s.origin.WantNone(t)
	// The origin does not get it on a public page either.
	s.get("/public/x", "Cookie", cookie).page()
	if got := s.origin.Last(t).Header["Cookie"]; got != nil {
		t.Errorf("the origin got the cookies %q", got)
	}
}

// A gift for one reader opens for the 14 days that its mail promises, in the browser that opened
// it: its use is spent, so that nothing but the cookie brings the reader back.
func TestCountedLinkOpensUntilItExpires(t *testing.T) {
	s := newTestSite(t, standardRules)
	link, id := s.link(keys.LinkClaims{MaxUses: 1, ExpiresAt: clock.Now().Unix() + 14*86400})
	pending := s.get(link, navigation...)
	if age := pending.Cookies()[0].MaxAge; age != 600 {
		t.Errorf("the cookie of a use that is not counted lives for %d s", age)
	}
	first := s.get("/articles/hello", append(navigation, "Cookie", pending.linkCookie())...).page()
	if age := first.Cookies()[0].MaxAge; age != 14*86400 {
		t.Errorf("the cookie lives for %d s", age)
	}
	clock.Advance(14*24*time.Hour - time.Second)
	s.get("/articles/hello", append(navigation, "Cookie", first.linkCookie())...).page()
	clock.Advance(time.Second)
	s.get("/articles/hello", "Cookie", first.linkCookie()).denied(http.StatusUnauthorized, "login_required")
	s.wantUses(id, 1, "after 14 days")
}

// The cookies of a browser stay bounded: one more than maxLinkCookies expires the oldest one.
func TestLinkCookiesAreBounded(t *testing.T) {
	s := newTestSite(t, standardRules)
	var jar []string
	for i := range maxLinkCookies {
		clock.Advance(time.Second)
		link, _ := s.link(keys.LinkClaims{URL: fmt.Sprintf("%s/articles/%d", s.site, i)})
		got := s.get(link, "Cookie", strings.Join(jar, "; "))
		if len(got.Cookies()) != 1 {
			t.Fatalf("link %d sets %v", i, got.Cookies())
		}
		jar = append(jar, got.page().linkCookie())
	}
	clock.Advance(time.Second)
	link, _ := s.link(keys.LinkClaims{URL: s.site + "/articles/last"})
	cookies := s.get(link, "Cookie", strings.Join(jar, "; ")).page().Cookies()
	oldest, _, _ := strings.Cut(jar[0], "=")
	if len(cookies) != 2 || cookies[0].Name != oldest || cookies[0].MaxAge >= 0 || cookies[1].MaxAge <= 0 {
		t.Errorf("the last link sets %v, and the oldest is %s", cookies, oldest)
	}
	// All are still valid.
	for i := range maxLinkCookies {
		s.get(fmt.Sprintf("/articles/%d", i), "Cookie", strings.Join(jar, "; ")).page()
	}
}

// The cookie does not contain any part of the token.
func TestCookieContainsNoToken(t *testing.T) {
	s := newTestSite(t, standardRules)
	link, _ := s.link(keys.LinkClaims{})
	_, token, _ := strings.Cut(link, "token=")
	cookie := s.get(link).page().linkCookie()
	for part := range strings.SplitSeq(token, ".") {
		if strings.Contains(cookie, part) {
			t.Error("the cookie holds a part of the token")
		}
	}
	_, value, _ := strings.Cut(cookie, "=")
	if _, err := base64.RawURLEncoding.DecodeString(value); err != nil {
		t.Errorf("the value is not base64url: %v", err)
	}
}

// manyLinkCookies returns n link cookies with different names.
func manyLinkCookies(n int) string {
	var cookies []string
	for i := range n {
		cookies = append(cookies, fmt.Sprintf("gatefold-%d=x", i))
	}
	return strings.Join(cookies, "; ")
}

func TestTakeLinkCookies(t *testing.T) {
	const ours, secure = "gatefold-AAAAAAAAAAAA", "__Host-gatefold-AAAAAAAAAAAA"
	for _, test := range []struct {
		name    string
		lines   []string
		https   bool
		kept    string // joined by |
		counted string
	}{
		{"none", []string{"a=1; b=2"}, false, "a=1; b=2", ""},
		{"one", []string{"a=1; " + ours + "=x; b=2"}, false, "a=1; b=2", ours + "=x"},
		{"alone", []string{ours + "=x"}, false, "", ours + "=x"},
		{"over two lines", []string{"a=1", ours + "=x"}, false, "a=1", ours + "=x"},
		{"unprefixed on https", []string{ours + "=x"}, true, "", ""},
		{"prefixed on https", []string{secure + "=x"}, true, "", secure + "=x"},
		{"prefixed on http", []string{secure + "=x"}, false, "", ""},
		{"duplicate counts as none", []string{ours + "=x; " + ours + "=y"}, false, "", ""},
		{"twice over lines", []string{ours + "=x", ours + "=y"}, false, "", ""},
		{"in another case", []string{"GateFold-AAAAAAAAAAAA=x; a=1"}, false, "a=1", ""},
		{"with odd spaces", []string{"a=1;\u00a0" + ours + "=x"}, false, "a=1", ""},
		{"without value", []string{ours + "; a=1"}, false, "a=1", ours + "="},
		{"bytes of others stay", []string{`a="q, x"; ` + ours + "=x;  c=ü"}, false, `a="q, x"; c=ü`, ours + "=x"},
		{"between others", []string{"a=1;b=2; " + ours + "=x;c=3;  d=4"}, false, "a=1;b=2; c=3;  d=4", ours + "=x"},
		{"at the end", []string{"a=1;b=2;" + ours + "=x"}, false, "a=1;b=2", ours + "=x"},
		{"between nothing", []string{" ;" + ours + "=x; ;"}, false, "", ours + "=x"},
		{"more than a browser keeps", []string{manyLinkCookies(maxTakenCookies + 1)}, false, "", ""},
		{"too many", []string{ours + "=x; big=" + strings.Repeat("x", maxCookieBytes)}, false, "big=" + strings.Repeat("x", maxCookieBytes), ""},
	} {
		header := http.Header{"Cookie": append([]string(nil), test.lines...)}
		var counted []string
		for _, cookie := range takeLinkCookies(header, header["Cookie"], test.https, nil) {
			counted = append(counted, cookie.name+"="+cookie.value)
		}
		if got := strings.Join(header["Cookie"], "|"); got != test.kept {
			t.Errorf("%s: the origin gets %q, want %q", test.name, got, test.kept)
		}
		if got := strings.Join(counted, " "); got != test.counted {
			t.Errorf("%s: %q counts, want %q", test.name, got, test.counted)
		}
	}
}
