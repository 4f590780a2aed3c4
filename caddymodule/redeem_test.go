package caddymodule

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy/store"
)

// Previews, prefetches and embedded requests of a shared link do not spend its only
// use.
func TestOnlyTheReaderSpendsAUse(t *testing.T) {
	s := newTestSite(t, standardRules+"\n\t\tdeny {\n\t\t\tlogin https://id.example.com/login\n\t\t}\n")
	link, id := s.link(keys.LinkClaims{MaxUses: 1})
	for name, headers := range map[string][]string{
		"prefetch":        {"Sec-Purpose", "prefetch"},
		"prerender":       {"Sec-Purpose", "prefetch;prerender"},
		"old prefetch":    {"Purpose", "prefetch"},
		"older prefetch":  {"X-Moz", "prefetch"},
		"image":           {"Sec-Fetch-Dest", "image"},
		"frame":           {"Sec-Fetch-Dest", "iframe"},
		"script":          {"Sec-Fetch-Dest", "script"},
		"other's fetch":   {"Sec-Fetch-Dest", "empty", "Sec-Fetch-Site", "cross-site"},
		"sibling's fetch": {"Sec-Fetch-Dest", "empty", "Sec-Fetch-Site", "same-site"},
		"facebook":        {"User-Agent", "facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)"},
		"slack":           {"User-Agent", "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)"},
		"whatsapp":        {"User-Agent", "WhatsApp/2.23.20.0"},
		"telegram":        {"User-Agent", "TelegramBot (like TwitterBot)"},
	} {
		t.Run(name, func(t *testing.T) {
			// It is decided as without the link, and never redirected to the login page.
			got := s.get(link, append(headers, "Accept", "text/html")...)
			if got.StatusCode != http.StatusUnauthorized || got.Header.Get("Set-Cookie") != "" || !strings.Contains(got.body, "login_required") {
				t.Errorf("%d %v", got.StatusCode, got.Header)
			}
		})
	}
	for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodOptions} {
		if got := s.do(method, link); got.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s: %d", method, got.StatusCode)
		}
	}
	for _, asked := range s.origin.Take() {
		if !isPreviewAgent(asked.UserAgent()) { // those may get what the page declares of itself
			t.Errorf("the origin was asked by %s", asked.UserAgent())
		}
	}
	s.do(http.MethodHead, link).status(http.StatusOK) // with nothing of the page
	if got := s.uses(id); got != 0 {
		t.Fatalf("%d uses were spent", got)
	}
	for _, own := range [][]string{
		{"Sec-Fetch-Dest", "document", "Sec-Fetch-Site", "cross-site"}, // a link followed from a chat
	} {
		clean := s.get(link, own...)
		if got := s.uses(id); clean.StatusCode != http.StatusSeeOther || got != 0 {
			t.Errorf("%v: status %d, %d uses before the page was delivered", own, clean.StatusCode, got)
		}
		s.get("/articles/hello", "Cookie", clean.linkCookie()).page()
	}
	if got := s.uses(id); got != 1 {
		t.Errorf("%d uses, want 1", got)
	}
}

func TestSameOriginFetchSpendsAUse(t *testing.T) {
	s := newTestSite(t, standardRules)
	for _, headers := range [][]string{
		{},
		{"User-Agent", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36"},
		{"Sec-Fetch-Dest", "empty", "Sec-Fetch-Site", "same-origin"},
		{"Sec-Fetch-Dest", "empty", "Sec-Fetch-Site", "none"},
	} {
		link, id := s.link(keys.LinkClaims{MaxUses: 1})
		s.get(link, headers...).page()
		if got := s.uses(id); got != 1 {
			t.Errorf("%v: %d uses, want 1", headers, got)
		}
	}
}

// An uncounted link opens the page to every client, HEAD and previews included. Only a
// GET gets the cookie.
func TestUncountedLink(t *testing.T) {
	s := newTestSite(t, standardRules)
	link, _ := s.link(keys.LinkClaims{})
	s.get(link, "User-Agent", "Slackbot-LinkExpanding 1.0").page()
	head := s.do(http.MethodHead, link)
	if head.StatusCode != http.StatusOK || head.Header.Get("Set-Cookie") != "" {
		t.Errorf("HEAD: %d %v", head.StatusCode, head.Header)
	}
	s.do(http.MethodPost, link).denied(http.StatusUnauthorized, "login_required")
}

// A use is spent only if the request would be denied without it.
func TestAllowedReaderSpendsNoUse(t *testing.T) {
	s := newTestSite(t, standardRules)
	link, id := s.link(keys.LinkClaims{MaxUses: 2})
	name, bearer := s.subscriber()
	s.get(link, name, bearer).page()
	if got := s.uses(id); got != 0 {
		t.Errorf("a subscriber spent %d uses", got)
	}
	cookie := s.get(link).page().linkCookie()
	for range 3 {
		s.get(link, "Cookie", cookie).page()
	}
	if got := s.uses(id); got != 1 {
		t.Errorf("a reader with the cookie spent %d uses, want 1", got)
	}
	// A bad link does not deny what the reader has anyway.
	for _, bad := range []string{"?token=", "?token=garbage", "?token=a.b.c", "?token=" + cutLink} {
		s.get("/articles/hello"+bad, name, bearer).page()
		s.get("/articles/hello"+bad, "Cookie", cookie).page()
	}
}

// On pages that a link may open the origin never gets the token; elsewhere the
// parameter belongs to the origin.
func TestTokenIsStrippedOnLinkPagesOnly(t *testing.T) {
	s := newTestSite(t, standardRules)
	link, _ := s.link(keys.LinkClaims{})
	_, token, _ := strings.Cut(link, "token=")
	for path, want := range map[string]string{
		"/articles/hello?a=%7e&token=" + token + "&b=+": "/articles/hello?a=%7e&b=+",
		"/articles/hello?token=" + token:                "/articles/hello",
		"/articles/hell%6F?token=" + token:              "/articles/hell%6F",
		"/articles/hello/?%74oken=" + token:             "/articles/hello/",
		"/public/x?token=" + token + "&a":               "/public/x?token=" + token + "&a",
		"/public/x?token=a&token=b":                     "/public/x?token=a&token=b",
		"/public/x?token=%zz;":                          "/public/x?token=%zz;",
	} {
		s.get(path).page()
		if got := s.origin.Last(t).RequestURI; got != want {
			t.Errorf("%s reached the origin as %s, want %s", path, got, want)
		}
	}
	s.get("/articles/hello?token="+token+"&%74oken="+cutLink).denied(http.StatusBadRequest, "bad_query")
	s.get("/account?token="+token).denied(http.StatusUnauthorized, "login_required")
	s.origin.WantNone(t)
}

// Every kind of bad token has its own reason, and none is a 500.
func TestReasonsOfBadLinks(t *testing.T) {
	s := newTestSite(t, standardRules)
	good, id := s.link(keys.LinkClaims{})
	_, token, _ := strings.Cut(good, "token=")
	expired, _ := s.link(keys.LinkClaims{ExpiresAt: clock.Now().Unix() + 60})
	clock.Advance(time.Minute)
	other, _ := s.link(keys.LinkClaims{URL: s.site + "/articles/other"})
	_, otherToken, _ := strings.Cut(other, "token=")
	otherSite, _ := s.link(keys.LinkClaims{URL: "https://another.example.com/articles/hello"})
	_, otherSiteToken, _ := strings.Cut(otherSite, "token=")
	head, signature := token[:strings.LastIndex(token, ".")], token[strings.LastIndex(token, ".")+1:]
	for name, test := range map[string]struct{ path, code string }{
		"expired at its exp": {strings.TrimPrefix(expired, s.site), "link_expired"},
		"another page":       {"/articles/hello?token=" + otherToken, "link_other_resource"},
		"another site":       {"/articles/hello?token=" + otherSiteToken, "link_other_resource"},
		"empty":              {"/articles/hello?token=", "login_required"},
		"garbage":            {"/articles/hello?token=garbage", "login_required"},
		"cut early":          {"/articles/hello?token=" + cutLink, "link_invalid"},
		"cut":                {"/articles/hello?token=" + token[:len(token)-4], "link_invalid"},
		"unsigned":           {"/articles/hello?token=" + head + ".", "link_invalid"},
		"reversed signature": {"/articles/hello?token=" + head + "." + signature[40:] + signature[:40], "link_invalid"},
		"reader's token":     {"/articles/hello?token=" + s.reader(keys.ReaderClaims{UserID: "u"}), "login_required"},
		"oversized":          {"/articles/hello?token=" + token + strings.Repeat("A", 8000), "link_invalid"},
		"control bytes":      {"/articles/hello?token=" + token[:len(token)-9] + "%00%0d%0a" + token[:9], "link_invalid"},
	} {
		t.Run(name, func(t *testing.T) {
			got := s.get(test.path)
			got.t = t
			status := http.StatusForbidden
			if test.code == "login_required" {
				status = http.StatusUnauthorized
			}
			got.denied(status, test.code)
			if strings.Contains(got.body, "eyJ") {
				t.Error("the answer repeats the token")
			}
		})
	}
	s.origin.WantNone(t)
	if got := s.uses(id); got != 0 {
		t.Errorf("%d uses were spent", got)
	}
}

// A browser is redirected from the signed URL to the clean one on the same host.
func TestBrowserIsRedirectedToTheCleanURL(t *testing.T) {
	s := newTestSite(t, "paths {\n\t\t\tallow empty_segments\n\t\t}\n\t\trule / entitled premium")
	link, _ := s.link(keys.LinkClaims{SKU: "premium"})
	_, token, _ := strings.Cut(link, "token=")
	for path, want := range map[string]string{
		"/a/b?x=1&token=" + token + "&y=2": "/a/b?x=1&y=2",
		"/?token=" + token:                 "/",
		"//evil.example/x?token=" + token:  "/.//evil.example/x",
	} {
		got := s.rawHTML(path)
		if got.StatusCode != http.StatusSeeOther || got.Header.Get("Location") != want {
			t.Errorf("%s: %d to %q, want %q", path, got.StatusCode, got.Header.Get("Location"), want)
		}
		if got.Header.Get("Cache-Control") != "no-store" || got.Header.Get("Referrer-Policy") != "no-referrer" || got.linkCookie() == "" {
			t.Errorf("%s: the redirect has %v", path, got.Header)
		}
	}
	s.origin.WantNone(t)
}

// A subscriber, and a reader who opened the gift before, follow the signed URL of a mail again.
// Both may have the page without the link, and neither stays on the URL with the token, where
// the page's scripts and its analytics read it. Nothing is spent, whatever the token is worth.
func TestReaderWhoMayHaveThePageIsRedirectedAsWell(t *testing.T) {
	s := newTestSite(t, standardRules)
	link, id := s.link(keys.LinkClaims{MaxUses: 3})
	pending := s.get(link, navigation...).linkCookie()
	cookie := s.get("/articles/hello", append(navigation, "Cookie", pending)...).page().linkCookie()
	s.origin.Last(t)
	name, bearer := s.subscriber()
	revoked, revokedID := s.link(keys.LinkClaims{})
	if _, err := s.running().Store.As(store.Actor{}).RevokeLink(t.Context(), defaultVendor, keys.VendorIssuer(defaultVendor), revokedID); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		who, link string
		headers   []string
	}{
		{"a subscriber", link, []string{name, bearer}},
		{"a subscriber with a revoked link", revoked, []string{name, bearer}},
		{"a reader with the cookie", link, []string{"Cookie", cookie}},
		{"a reader whose first page is on its way", link, []string{"Cookie", pending}},
	} {
		got := s.get(test.link, append(navigation, test.headers...)...)
		if got.StatusCode != http.StatusSeeOther || got.Header.Get("Location") != "/articles/hello" || got.Header.Get("Set-Cookie") != "" {
			t.Errorf("%s: %d %v", test.who, got.StatusCode, got.Header)
		}
		s.wantUses(id, 1, test.who)
	}
	s.origin.WantNone(t)
	// A program of the subscriber gets the page at once.
	s.get(link, name, bearer).page()
}

// A handler behind the gate logs every form of the URL that Caddy has: placeholders, the URI
// that error routes get after the origin fails, and the Referer of an image on a page that a
// program opened at the signed URL. None has the token; the rest is as the client sent it.
func TestNoHandlerSeesTheToken(t *testing.T) {
	const forms = "{http.request.orig_uri} {http.request.orig_uri.query} {http.request.orig_uri.prefixed_query} {http.request.uri} {http.request.uri_escaped} {http.request.header.Referer}"
	s := newTestSiteWith(t, "", standardRules, "@seen path /articles/seen\n\trespond @seen `"+forms+"`\n\thandle_errors {\n\t\trespond `"+forms+"`\n\t}")
	seen, _ := s.link(keys.LinkClaims{URL: s.site + "/articles/seen?a=%7e"})
	broken, _ := s.link(keys.LinkClaims{URL: s.site + "/articles/broken?a=%7e"})
	const query = "?a=%7e a=%7e ?a=%7e "
	got := s.get(seen, "Referer", seen)
	inPath := s.get(s.inPath(seen), "Referer", s.inPath(seen))
	if inPath.body != got.body {
		t.Errorf("handlers see %s of a link in the path", inPath.body)
	}
	if want := "/articles/seen" + query + "/articles/seen?a=%7e %2Farticles%2Fseen%3Fa%3D%257e " + s.site + "/articles/seen?a=%7e"; got.body != want {
		t.Errorf("handlers see %s, want %s", got.body, want)
	}
	s.get("/public/x", "Referer", broken+"#part").page()
	if referer := s.origin.Last(t).Header.Get("Referer"); referer != s.site+"/articles/broken?a=%7e#part" {
		t.Errorf("the origin got the Referer %s", referer)
	}
	s.get("/public/x", "Referer", "https://search.example/?token=x&q=%zz").page()
	if referer := s.origin.Last(t).Header.Get("Referer"); referer != "https://search.example/?token=x&q=%zz" {
		t.Errorf("another site's Referer became %s", referer)
	}
	s.origin.Close()
	if got := s.get(broken); got.StatusCode != http.StatusBadGateway || !strings.HasPrefix(got.body, "/articles/broken"+query) || strings.Contains(got.body, "eyJ") {
		t.Errorf("error routes see %d %s", got.StatusCode, got.body)
	}
	if got := s.get(s.inPath(broken)); got.StatusCode != http.StatusBadGateway || !strings.HasPrefix(got.body, "/articles/broken"+query) || strings.Contains(got.body, "eyJ") {
		t.Errorf("error routes see %d %s of a link in the path", got.StatusCode, got.body)
	}
	cut := seen[:len(seen)-4]
	if got := s.get(cut); strings.Contains(got.body, "eyJ") {
		t.Errorf("denied: %s", got.body)
	}
}

// A comment form of the origin has a parameter `token` of its own: anonymous readers are sent
// to the login, which brings them back to it, and subscribers' forms keep it.
func TestTokenParameterOfTheOrigin(t *testing.T) {
	s := newTestSite(t, standardRules)
	name, bearer := s.subscriber()
	jwt := "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxIn0.AAAA"
	for _, query := range []string{"token=", "token", "token=csrf-4711", "token=" + jwt, "a=1&token=x&token=y", "token=a%2Eb+", "amp;token=x"} {
		s.get("/articles/hello?"+query).denied(http.StatusUnauthorized, "login_required")
		s.get("/articles/hello?"+query, append(navigation, name, bearer)...).page()
		if got := s.origin.Last(t).URL.RawQuery; got != query {
			t.Errorf("the origin saw %q, want %q", got, query)
		}
	}
}

// A reader pastes a link from a mail that its program wrapped, quoted, escaped or ended with
// the full stop of the sentence. It opens the page at the landing page's own query.
func TestLinkSurvivesTheMail(t *testing.T) {
	s := newTestSite(t, standardRules)
	link, _ := s.link(keys.LinkClaims{URL: s.site + "/articles/hello?page=2"})
	_, token, _ := strings.Cut(link, "token=")
	for _, query := range []string{
		"page=2&token=" + token + ".", "page=2&token=" + token + "%3E,", "page=2&token=%22" + token + "%22)", "page=2&token=" + token + "+%0D%0A",
		"page=2&token=" + token[:76] + "%0D%0A" + token[76:], "page=2&amp;token=" + token, "page=2&token=3D" + token, "page=2&token%3D" + token,
		"page=2&token=" + token + "&token=" + token, "amp;page=2&amp;token=" + token,
	} {
		if got := s.get("/articles/hello?"+query, navigation...); got.StatusCode != http.StatusSeeOther || got.Header.Get("Location") != "/articles/hello?page=2" {
			t.Errorf("%s: %d to %q", query, got.StatusCode, got.Header.Get("Location"))
		}
	}
	s.get("/articles/hello?page=2&token="+token[:len(token)-1]+"%00.").denied(http.StatusForbidden, "link_invalid")
}

// rawHTML requests a path without normalizing it, as a browser that accepts HTML.
func (s *testSite) rawHTML(path string) answer {
	s.Helper()
	return s.raw("GET " + path + " HTTP/1.1\r\nHost: 127.0.0.1:" + s.port + "\r\nAccept: text/html\r\nUser-Agent: Mozilla/5.0 (X11)\r\nConnection: close\r\n\r\n")
}

// Early data can be replayed: it spends nothing, and the response is 425.
func TestEarlyDataSpendsNothing(t *testing.T) {
	s := newTestSite(t, standardRules)
	link, id := s.link(keys.LinkClaims{MaxUses: 1})
	s.get(link, "Early-Data", "1").denied(http.StatusTooEarly, "too_early")
	if got := s.uses(id); got != 0 {
		t.Errorf("%d uses were spent", got)
	}
	s.get(link).page()
}

// A link by sku or content id opens every page that it fits, and no other.
func TestLinkBySKUAndContent(t *testing.T) {
	s := newTestSite(t, standardRules)
	token := func(claims keys.LinkClaims) string {
		link, _ := s.link(claims)
		_, token, _ := strings.Cut(link, "token=")
		return token
	}
	sku, content := token(keys.LinkClaims{SKU: "premium"}), token(keys.LinkClaims{PublisherContentID: "hello"})
	both := token(keys.LinkClaims{SKU: "premium", URL: s.site + "/articles/hello?edition=2"})
	for _, test := range []struct {
		path, token, code string
	}{
		{"/articles/hello?", sku, ""},
		{"/articles/other?", sku, ""},
		{"/articles/hello?", content, ""},
		{"/articles/other?", content, "link_other_resource"},
		{"/closed/x?", sku, "link_other_resource"},
		{"/articles/hello?edition=2&", both, ""},
		{"/articles/hello?more=1&edition=2&", both, ""},
		{"/articles/hello?edition=3&", both, ""}, // the url says where the link lands
		{"/articles/other?edition=2&", both, "link_other_resource"},
	} {
		got := s.get(test.path + "token=" + test.token)
		if test.code == "" {
			got.page()
			continue
		}
		got.denied(http.StatusForbidden, test.code)
	}
}

// A link cookie still opens its page when the reader's grant is removed.
func TestCookieOutlivesTheGrant(t *testing.T) {
	s := newTestSite(t, standardRules)
	grant := s.grant(store.Grant{UserID: "u", SKU: "premium"})
	bearer := "Bearer " + s.reader(keys.ReaderClaims{UserID: "u"})
	s.get("/articles/hello", "Authorization", bearer).page()
	if err := s.running().Store.As(store.Actor{}).DeleteGrant(t.Context(), defaultVendor, store.DefaultList, grant.ID, nil); err != nil {
		t.Fatal(err)
	}
	s.get("/articles/hello", "Authorization", bearer).denied(http.StatusForbidden, "not_entitled")
}

// A reader opens a gift link to an article whose images, comments and data have rules of
// their own: all of them load, by the link's cookie. The e-paper of the same id is not part of
// the gift, and neither is the next article, nor a comment in the reader's name.
func TestGiftOpensTheWholeArticle(t *testing.T) {
	s := newTestSite(t, `
		rule /articles/{publisherContentId} entitled premium {
			content_space news
		}
		rule /media/{publisherContentId} entitled premium {
			content_space news
		}
		rule /wp-json/wp/v2/posts entitled premium {
			content_space news
			content_id query id
		}
		rule /pdf/{document} entitled premium {
			content_space news
			content_id {document} without .pdf
		}
		rule /talk/{publisherContentId} entitled premium {
			content_space news
			link_methods GET,POST
		}
		rule /epaper/{publisherContentId} entitled epaper
`)
	gift, id := s.link(keys.LinkClaims{URL: s.site + "/articles/hello", MaxUses: 1})
	cookie := s.get(gift).page().linkCookie()
	for _, path := range []string{
		"/articles/hello", "/articles/hello/2", "/media/hello/photo.jpg", "/media/hello/film/playlist.m3u8", "/wp-json/wp/v2/posts?id=hello", "/pdf/hello.pdf",
	} {
		s.get(path, "Cookie", cookie).page()
		s.get(path).denied(http.StatusUnauthorized, "login_required")
	}
	for _, path := range []string{"/articles/other", "/media/other/photo.jpg", "/wp-json/wp/v2/posts?id=other", "/wp-json/wp/v2/posts?id=hello&id=other", "/pdf/other.pdf", "/epaper/hello"} {
		s.get(path, "Cookie", cookie).denied(http.StatusUnauthorized, "login_required")
	}
	for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete} {
		s.do(method, "/articles/hello", "Cookie", cookie).denied(http.StatusUnauthorized, "login_required")
	}
	s.do(http.MethodPost, "/talk/hello", "Cookie", cookie).page()
	if got := s.uses(id); got != 1 {
		t.Errorf("%d uses, want 1", got)
	}
}
