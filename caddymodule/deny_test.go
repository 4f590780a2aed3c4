package caddymodule

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

func TestDenialPage(t *testing.T) {
	s := newTestSite(t, standardRules)
	got := s.get("/articles/<script>alert(1)</script>", "Accept", "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8")
	if got.StatusCode != http.StatusUnauthorized || !strings.HasPrefix(got.Header.Get("Content-Type"), "text/html") {
		t.Fatalf("%d %v", got.StatusCode, got.Header)
	}
	for name, want := range map[string]string{
		"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Vary": "Accept", "Referrer-Policy": "no-referrer",
		"Www-Authenticate": `Bearer realm="default"`,
	} {
		if got.Header.Get(name) != want {
			t.Errorf("%s is %q, want %q", name, got.Header.Get(name), want)
		}
	}
	if policy := got.Header.Get("Content-Security-Policy"); !strings.Contains(policy, "default-src 'none'") {
		t.Errorf("Content-Security-Policy is %q", policy)
	}
	if !strings.Contains(got.body, "login_required") || strings.Contains(got.body, "script") {
		t.Errorf("the page is %s", got.body)
	}
	// A HEAD has no body, and the same status.
	if head := s.do(http.MethodHead, "/articles/x", "Accept", "text/html"); head.StatusCode != http.StatusUnauthorized || head.body != "" {
		t.Errorf("HEAD: %d %q", head.StatusCode, head.body)
	}
}

// A reader who must log in is redirected to the login page with the requested page,
// which is always one of this site and contains no token.
func TestLoginRedirect(t *testing.T) {
	s := newTestSite(t, standardRules+"\n\t\tdeny {\n\t\t\tlogin https://id.example.com/login?client=news\n\t\t}\n")
	next := func(path string, headers ...string) string {
		t.Helper()
		got := s.get(path, append(headers, "Accept", "text/html")...)
		location, err := url.Parse(got.Header.Get("Location"))
		if got.StatusCode != http.StatusSeeOther || err != nil || location.Host != "id.example.com" || location.Query().Get("client") != "news" || got.Header.Get("Cache-Control") != "no-store" {
			t.Fatalf("%s: %d to %q", path, got.StatusCode, got.Header.Get("Location"))
		}
		return location.Query().Get("next")
	}
	if got, want := next("/articles/hello?a=1&b=%20"), s.site+"/articles/hello?a=1&b=%20"; got != want {
		t.Errorf("next is %s, want %s", got, want)
	}
	if got := next("/account", "Authorization", "Bearer "+expiredReader(s)); got != s.site+"/account" {
		t.Errorf("with a bad credential next is %s", got)
	}
	if got := next("/articles/hello?token=comment"); got != s.site+"/articles/hello?token=comment" {
		t.Errorf("next is %s: the parameter is the origin's", got)
	}
	// A client that does not ask for HTML gets the problem, and a POST is not
	// redirected.
	s.get("/articles/hello").denied(http.StatusUnauthorized, "login_required")
	if got := s.do(http.MethodPost, "/articles/hello", "Accept", "text/html"); got.StatusCode != http.StatusUnauthorized {
		t.Errorf("POST: %d", got.StatusCode)
	}
	// A failed link is reported, not redirected.
	if got := s.get("/articles/hello?token="+cutLink, "Accept", "text/html"); got.StatusCode != http.StatusForbidden || !strings.Contains(got.body, "link_invalid") {
		t.Errorf("a bad link: %d %s", got.StatusCode, got.body)
	}
	s.origin.WantNone(t)
}

// A site with its own error routes responds by them, and its placeholders have the
// reason.
func TestDenialByErrorRoutes(t *testing.T) {
	s := newTestSiteWith(t, "", standardRules+"\n\t\tdeny {\n\t\t\terrors\n\t\t}\n", `handle_errors {
		respond "own page: {err.status_code} {http.gatefold.decision} {http.gatefold.reason} {http.gatefold.rule} {http.gatefold.param.publisherContentId}"
	}`)
	got := s.get("/articles/hello")
	if got.StatusCode != http.StatusUnauthorized || got.body != "own page: 401 deny login_required /articles/{publisherContentId} hello" {
		t.Errorf("%d %s", got.StatusCode, got.body)
	}
	if got.Header.Get("Cache-Control") != "no-store" || got.Header.Get("WWW-Authenticate") == "" {
		t.Errorf("the header is %v", got.Header)
	}
	if got := s.rawPath("//articles/hello"); got.StatusCode != http.StatusBadRequest || !strings.Contains(got.body, "deny bad_path") {
		t.Errorf("%d %s", got.StatusCode, got.body)
	}
	s.origin.WantNone(t)
}

// Handlers after the gate read its decision.
func TestPlaceholders(t *testing.T) {
	s := newTestSiteWith(t, "", standardRules, `header >X-Gate "{http.gatefold.decision}|{http.gatefold.reason}|{http.gatefold.rule}|{http.gatefold.user.id}|{http.auth.user.id}|{http.gatefold.link.id}|{http.gatefold.param.publisherContentId}|{http.gatefold.param.none}"`)
	name, bearer := s.subscriber()
	link, id := s.link(linkForAnything)
	for _, test := range []struct {
		path    string
		headers []string
		want    string
	}{
		{"/public/x", nil, "allow|public|/public||{http.auth.user.id}|||"},
		{"/public/x", []string{name, bearer}, "allow|public|/public|subscriber|subscriber|||"},
		{"/articles/hello", []string{name, bearer}, "allow|entitled|/articles/{publisherContentId}|subscriber|subscriber||hello|"},
		{strings.TrimPrefix(link, s.site), nil, "allow|signed_link|/articles/{publisherContentId}||{http.auth.user.id}|" + id + "|hello|"},
	} {
		if got := s.get(test.path, test.headers...).page().Header.Get("X-Gate"); got != test.want {
			t.Errorf("%s: %s, want %s", test.path, got, test.want)
		}
	}
}
