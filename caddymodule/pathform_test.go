package caddymodule

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/gatefold/gatefold/keys"
)

// inPath returns the path-borne form of a link.
func (s *testSite) inPath(link string) string {
	s.Helper()
	page, token, found := strings.Cut(link, "token=")
	if !found {
		s.Fatalf("%s has no token", link)
	}
	return keys.InsertToken(strings.TrimRight(page, "?&"), token)
}

// resolve returns the URL of a reference on a page.
func (s *testSite) resolve(page, reference string) string {
	s.Helper()
	base, err := url.Parse(page)
	if err != nil {
		s.Fatal(err)
	}
	target, err := base.Parse(reference)
	if err != nil {
		s.Fatal(err)
	}
	return target.String()
}

const filmRules = `
		rule /film/{publisherContentId} entitled premium {
			content_space films
		}
` + standardRules

// A player opens a film for one reader. It keeps no cookies, and resolves the relative URLs of
// the playlists, which keep the link; a redirect of the origin keeps it, too. All of it is one
// use. The origin sees the film's own URLs only.
func TestPlayerKeepsTheLinkInItsPath(t *testing.T) {
	s := newTestSite(t, filmRules)
	link, id := s.link(keys.LinkClaims{URL: s.site + "/film/hello/master.m3u8?quality=hd", MaxUses: 1})
	s.origin.Handle(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/film/hello/audio":
			w.Header().Set("Location", "/film/hello/audio/list.m3u8")
			w.WriteHeader(http.StatusFound)
		default:
			w.Header().Set("Cache-Control", "public, max-age=60")
			w.Header().Set("Referrer-Policy", "unsafe-url")
			_, _ = fmt.Fprintf(w, "origin saw %s", r.RequestURI)
		}
	})
	player := []string{"User-Agent", "AppleCoreMedia/1.0.0.21F79 (iPhone; U; CPU OS 17_5 like Mac OS X; sv_se)", "Accept", "*/*"}
	master := s.inPath(link)
	watch := func(page, want string, headers ...string) {
		t.Helper()
		got := s.get(page, append(headers, player...)...).page()
		if got.body != "origin saw "+want || got.Header.Get("Cache-Control") != "private, max-age=60" || got.Header.Get("Referrer-Policy") != "no-referrer" {
			t.Errorf("%s: %s %v", page, got.body, got.Header)
		}
	}
	s.do(http.MethodHead, master, player...).status(http.StatusOK)
	s.wantUses(id, 0, "before the first page")
	watch(master, "/film/hello/master.m3u8?quality=hd")
	variant := s.resolve(master, "720p/list.m3u8")
	watch(variant, "/film/hello/720p/list.m3u8", "Referer", master)
	if referer := s.origin.Last(t).Header.Get("Referer"); referer != s.site+"/film/hello/master.m3u8?quality=hd" {
		t.Errorf("the origin got the Referer %s", referer)
	}
	for i := range 3 {
		segment := s.resolve(variant, fmt.Sprintf("seg-%d.ts", i))
		watch(segment, fmt.Sprintf("/film/hello/720p/seg-%d.ts", i), "Range", "bytes=0-")
	}
	// A <video> of a browser asks for its parts itself.
	watch(s.resolve(master, "poster.jpg"), "/film/hello/poster.jpg", "Sec-Fetch-Dest", "image", "Sec-Fetch-Mode", "no-cors", "Sec-Fetch-Site", "same-origin")
	s.do(http.MethodHead, master, player...).status(http.StatusOK)
	redirected := s.get(s.resolve(master, "audio"), player...)
	if redirected.StatusCode != http.StatusFound || redirected.Header.Get("Referrer-Policy") != "no-referrer" {
		t.Fatalf("%d %v", redirected.StatusCode, redirected.Header)
	}
	watch(s.resolve(master, redirected.Header.Get("Location")), "/film/hello/audio/list.m3u8")
	s.wantUses(id, 1, "after the film")
	s.get(master, "User-Agent", "another player").denied(http.StatusForbidden, "link_used_up")
	s.get(s.resolve(master, "poster.jpg"), "User-Agent", "another player", "Sec-Fetch-Dest", "image").denied(http.StatusUnauthorized, "login_required")
	s.get(s.resolve(master, "../other/master.m3u8"), player...).denied(http.StatusForbidden, "link_other_resource")
}

// A browser leaves the URL with the token at once, whatever opens the page, and gets its cookie.
// The use is counted when it comes back.
func TestBrowserLeavesThePathWithTheToken(t *testing.T) {
	s := newTestSite(t, standardRules)
	link, id := s.link(keys.LinkClaims{MaxUses: 1})
	form := s.inPath(link)
	name, bearer := s.subscriber()
	got := s.get(form+"?utm_source=mail", navigation...)
	if got.StatusCode != http.StatusSeeOther || got.Header.Get("Location") != "/articles/hello?utm_source=mail" || got.Header.Get("Cache-Control") != "no-store" || got.Header.Get("Referrer-Policy") != "no-referrer" {
		t.Fatalf("%d %v", got.StatusCode, got.Header)
	}
	for path, want := range map[string]string{form: "/articles/hello", s.resolve(form, "../public/x"): "/public/x", s.resolve(form, "../account"): "/account"} {
		got := s.get(path, append(navigation, name, bearer)...)
		if got.StatusCode != http.StatusSeeOther || got.Header.Get("Location") != want || got.Header.Get("Set-Cookie") != "" {
			t.Errorf("%s: %d %v", path, got.StatusCode, got.Header)
		}
	}
	s.origin.WantNone(t)
	s.wantUses(id, 0, "redirected")
	s.get("/articles/hello", append(navigation, "Cookie", got.linkCookie())...).page()
	s.wantUses(id, 1, "with its cookie")
	s.get(form, append(navigation, "Cookie", got.linkCookie())...).status(http.StatusSeeOther)
	s.get(form, append(navigation, "User-Agent", "another")...).status(http.StatusForbidden)
}

// Where the link does not open the page, the path is decided as without the form: public pages
// are served, and others are denied with the reason. Nothing repeats the token.
func TestPathFormElsewhere(t *testing.T) {
	s := newTestSite(t, standardRules)
	link, _ := s.link(keys.LinkClaims{})
	other, _ := s.link(keys.LinkClaims{URL: s.site + "/articles/other"})
	_, token, _ := strings.Cut(link, "token=")
	_, second, _ := strings.Cut(other, "token=")
	form := "/.gatefold/l/" + token
	name, bearer := s.subscriber()
	for path, want := range map[string]string{
		form + "/public/x?token=" + token:              "/public/x?token=" + token, // the origin's own parameter
		form + "/":                                     "/",
		form + "/articles/hell%6F":                     "/articles/hell%6F",
		form + "/articles/hello?token=" + token + "&a": "/articles/hello?a",
	} {
		got := s.get(path).page()
		if saw := s.origin.Last(t).RequestURI; saw != want || !strings.HasPrefix(got.Header.Get("Cache-Control"), "private") {
			t.Errorf("%s reached the origin as %s, want %s; %v", path, saw, want, got.Header)
		}
	}
	s.get(form+"/account", name, bearer).page()
	s.origin.Last(t)
	for path, want := range map[string]string{
		form + "/account":                        "401 login_required",
		form + "/articles/other":                 "403 link_other_resource",
		form + "/articles/hello?token=" + second: "400 bad_query",
		form[:len(form)-4] + "/articles/hello":   "403 link_invalid",
		"/.gatefold/l/garbage/articles/hello":    "403 link_invalid",
		form + "/articles/%2e%2e/hello":          "400 bad_path",
		form + "/articles//hello":                "400 bad_path",
		form + "/articles%2Fhello":               "400 bad_path",
		form + "//evil.example/articles/hello":   "400 bad_path",
		form + "/index.php/articles/hello":       "400 bad_path",
	} {
		status, code, _ := strings.Cut(want, " ")
		got := s.rawPath(path)
		if fmt.Sprint(got.StatusCode) != status || !strings.Contains(got.body, code) || strings.Contains(got.body, "eyJ") || got.Header.Get("Referrer-Policy") != "no-referrer" {
			t.Errorf("%s: %d %s %v, want %s", path, got.StatusCode, got.body, got.Header, want)
		}
	}
	s.origin.WantNone(t)
}

// No misspelling of the form reaches the origin, which would log the token: neither under the
// most permissive settings of paths, nor if a handler before the gate has rewritten the path.
func TestMisspeltPathFormReachesNoOrigin(t *testing.T) {
	s := newTestSite(t, standardRules)
	link, _ := s.link(keys.LinkClaims{})
	_, token, _ := strings.Cut(link, "token=")
	name, bearer := s.subscriber()
	form := "/.gatefold/l/" + token
	misspelt := []string{
		form, "/.gatefold", "/.gatefold/", "/.gatefold/l", "/.gatefold/l/", "/.gatefold/l//articles/hello", "/.gatefold/denied", "/.gatefold/x/" + token + "/public/x",
		"/.Gatefold/l/" + token + "/public/x", "/.GATEFOLD/L/" + token + "/public/x", "/.gatefold/L/" + token + "/public/x",
		"/%2egatefold/l/" + token + "/public/x", "/.gatefold%2Fl/" + token + "/public/x", "/.gatefold%2fl%2f" + token + "%2fpublic", "/.gatefold/l%2F" + token + "/public/x",
		"/.gatefold/l/" + token + "%2Fpublic/x", "/.gatefold/l/" + strings.Replace(token, ".", "%2E", 1) + "/public/x", "/.gatefold/l/" + token + "%20/public/x",
		form + form + "/public/x", "/.gatefold/" + form + "/public/x", "//.gatefold/l/" + token + "/public/x", "/.gatefold//l/" + token + "/public/x",
		"/./.gatefold/l/" + token + "/public/x", "/x/../.gatefold/l/" + token + "/public/x", "/.gatefold;x/l/" + token + "/public/x", "/.gatefold%3Bx/l/" + token + "/x",
		"/index.php/.gatefold/l/" + token + "/public/x", "/.gatefold./l/" + token + "/public/x", "/\\.gatefold/l/" + token + "/public/x", "/%2F.gatefold/l/" + token + "/x",
		"/\uFF0Egatefold/l/" + token + "/x", "/.gate\u00ADfold/l/" + token + "/x", "/.gatefold::$DATA/l/" + token + "/x",
	}
	const all = "paths {\n\t\t\tallow empty_segments encoded_slash parameters path_info\n\t\t\tcase_sensitive\n\t\t\tjudge "
	for _, settings := range []string{"", all + "received\n\t\t}\n", all + "current\n\t\t}\n"} {
		s.load(s.config("", settings+standardRules, ""))
		s.origin.Take()
		for _, path := range misspelt {
			got := s.raw("GET " + path + " HTTP/1.1\r\nHost: 127.0.0.1:" + s.port + "\r\n" + name + ": " + bearer + "\r\nConnection: close\r\n\r\n")
			if got.StatusCode != http.StatusBadRequest || strings.Contains(got.body, "eyJ") {
				t.Errorf("%s: %d %s", strings.ReplaceAll(path, token, "<token>"), got.StatusCode, got.body)
			}
		}
		s.origin.WantNone(t)
		for rewrite, path := range map[string]string{
			"handle_path /site/* {\nGATE\nPROXY\n}":                   "/site" + form + "/public/x",
			"rewrite /.gatefold/* /public/x\nGATE\nPROXY":             form + "/public/x",
			"rewrite /.gatefold/* /public/x?page={path}\nGATE\nPROXY": form + "/a;b",
		} {
			s.loadAround(rewrite, settings+standardRules)
			s.origin.Take()
			if got := s.get(path, name, bearer); got.StatusCode != http.StatusBadRequest {
				t.Errorf("%s behind %q: %d %s", strings.ReplaceAll(path, token, "<token>"), rewrite, got.StatusCode, got.body)
			}
			s.origin.WantNone(t)
		}
		// A rewrite that keeps the form is judged as without it.
		s.loadAround("uri replace texts articles\nGATE\nPROXY", settings+standardRules)
		s.get(form+"/texts/hello", name, bearer).page()
		if saw := s.origin.Last(t).RequestURI; saw != "/articles/hello" {
			t.Errorf("the origin saw %s", saw)
		}
	}
}
