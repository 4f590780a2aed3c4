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
		RedeemedLink: policy.RedeemedLink{Issuer: "gatefold:acme", ID: "link_1", ExpiresAt: 2000},
		Redemption:   "r", IssuedAt: 1000,
	}
}

func TestCookieIsReadByWhoMadeIt(t *testing.T) {
	sealer := newCookieSealer(sha256.Sum256([]byte("secret")), "acme", "news")
	value := sealer.seal(testPayload())
	if got, err := sealer.open(value); err != nil || got != testPayload() {
		t.Fatalf("%+v, %v", got, err)
	}
	// The names of vendor and site are one text nowhere: acm+enews is not
	// acme+news.
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

// Somebody edits his cookie: every byte of it is under the MAC, and has one
// spelling.
func TestEveryBitOfACookieCounts(t *testing.T) {
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
		"without mac": strings.SplitAfter(value, ".")[0], "huge": strings.Repeat("A", 1<<16),
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

// Whatever a valid MAC is over, reading it never panics: the format may change
// while cookies of the old one are still around.
func FuzzReadCookiePayload(f *testing.F) {
	f.Add(string([]byte{cookieFormat, 1, 'a', 1, 'b', 1, 'c', 2, 2}))
	f.Fuzz(func(_ *testing.T, b string) { _, _ = readCookiePayload([]byte(b)) })
}

// The same link on http and on https; behind a proxy that is trusted, https is
// what the reader speaks, and from anybody else the header says nothing.
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
	// On https a cookie without the prefix is somebody else's: a sibling domain,
	// or plain http, could have set it.
	s.get("/articles/hello", "X-Forwarded-Proto", "https", "Cookie", plain.linkCookie()).denied(http.StatusUnauthorized, "login_required")
	s.get("/articles/hello", "X-Forwarded-Proto", "https", "Cookie", secure.linkCookie()).page()
	s.get("/articles/hello", "Cookie", plain.linkCookie()).page()

	untrusted := newTestSite(t, standardRules)
	link, _ = untrusted.link(keys.LinkClaims{})
	if got := untrusted.get(link, "X-Forwarded-Proto", "https").page().Header.Get("Set-Cookie"); strings.Contains(got, "Secure") {
		t.Errorf("a stranger's X-Forwarded-Proto is believed: %s", got)
	}
}

// The cookie ends with link_cookie_ttl or with the link, whichever is first.
func TestCookieEnds(t *testing.T) {
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

// A cookie opens what its link opens, and nothing beside it.
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
	// A cookie that is there twice is somebody else's game.
	s.get("/articles/hello", "Cookie", cookie+"; "+cookie).denied(http.StatusUnauthorized, "login_required")
	// The value under another link's name is nobody's.
	_, value, _ := strings.Cut(cookie, "=")
	s.get("/articles/hello", "Cookie", "gatefold-AAAAAAAAAAAA="+value).denied(http.StatusUnauthorized, "login_required")
	s.origin.WantNone(t)
	// On a public page too the origin does not get it.
	s.get("/public/x", "Cookie", cookie).page()
	if got := s.origin.Last(t).Header["Cookie"]; got != nil {
		t.Errorf("the origin got the cookies %q", got)
	}
}

// A reader who follows many links keeps eight: the ninth answer expires the
// oldest.
func TestNinthLinkExpiresTheOldest(t *testing.T) {
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
	link, _ := s.link(keys.LinkClaims{URL: s.site + "/articles/ninth"})
	cookies := s.get(link, "Cookie", strings.Join(jar, "; ")).page().Cookies()
	oldest, _, _ := strings.Cut(jar[0], "=")
	if len(cookies) != 2 || cookies[0].Name != oldest || cookies[0].MaxAge >= 0 || cookies[1].MaxAge <= 0 {
		t.Errorf("the ninth link sets %v, and the oldest is %s", cookies, oldest)
	}
	// All eight counted until then.
	for i := range maxLinkCookies {
		s.get(fmt.Sprintf("/articles/%d", i), "Cookie", strings.Join(jar, "; ")).page()
	}
}

// The cookie is kept under the vendor's secret: it is not the token, and holds
// nothing of it.
func TestCookieHoldsNoToken(t *testing.T) {
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
	value, _, _ = strings.Cut(value, ".")
	if _, err := base64.RawURLEncoding.DecodeString(value); err != nil {
		t.Errorf("the value is not base64url: %v", err)
	}
}
