package main

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
)

// An editor makes links to pages with blanks and umlauts, and mails them. The command and the
// API answer them in printable ASCII, with the token before the fragment and all other bytes as
// they were, and they open their pages.
func TestLinksSurviveAMail(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	for page, want := range map[string]string{
		"/articles/hello":                        "/articles/hello?token=T",
		"/articles/hello?a=b":                    "/articles/hello?a=b&token=T",
		"/articles/hello#teil":                   "/articles/hello?token=T#teil",
		"/articles/für uns?a=b c&ü=1&n=%c3%bc#ä": "/articles/f%C3%BCr%20uns?a=b%20c&%C3%BC=1&n=%c3%bc&token=T#%C3%A4",
		"/articles/f%c3%bcr?q='(x),y'":           "/articles/f%c3%bcr?q='(x),y'&token=T",
		"/articles/日本?a=b&":                      "/articles/%E6%97%A5%E6%9C%AC?a=b&token=T",
	} {
		printed := s.must("link", "create", s.site+page)
		var answered struct{ SignedURL, Token string }
		body, err := json.Marshal(map[string]string{"url": s.site + page})
		if err != nil {
			t.Fatal(err)
		}
		got, made := post(t.Context(), s, "/management/create-signed-link", string(body))
		if !made {
			t.Fatalf("%s is refused: %s", page, got)
		}
		decode(t, got, &answered)
		for _, link := range []string{printed, answered.SignedURL} {
			_, token, _ := strings.Cut(link, "token=")
			token, _, _ = strings.Cut(token, "#")
			if plain := strings.Replace(link, token, "T", 1); plain != s.site+want {
				t.Errorf("%s is answered as %s", page, plain)
			}
			seen, _, _ := strings.Cut(want, "#")
			seen = strings.NewReplacer("?token=T", "", "&token=T", "").Replace(seen)
			if got := s.get(link); got.StatusCode != http.StatusOK || !strings.HasSuffix(strings.TrimSpace(got.body), "origin saw "+seen) {
				t.Errorf("%s gives %d %s, want %s", link, got.StatusCode, got.body, seen)
			}
		}
	}
	printed := s.must("link", "create", "https://ZÜRICH.example:8443/für")
	if !strings.HasPrefix(printed, "https://xn--zrich-kva.example:8443/f%C3%BCr?token=") {
		t.Errorf("a host with an umlaut is printed as %s", printed)
	}
}

// A link that opens many pages is printed with one of them. Without one the command says what to
// add, and makes no link.
func TestLinkCreateAlwaysPrintsAURL(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--sku", "premium"}, "--landing <url>"},
		{[]string{"--content-id", "hello"}, "--landing <url>"},
		{[]string{s.site + "/articles/hello", "--landing", s.site + "/"}, "leave out one of the two"},
		{[]string{"--sku", "premium", "--landing", "news"}, "is not a url such as"},
		{[]string{"--sku", "premium", "--landing", s.site + "/?token=x"}, "reserved for the link's token"},
		{[]string{"--sku", "premium", "--key", "x", "--landing", s.site}, "--key: is for the links of --each"},
	} {
		got := s.command(append([]string{"link", "create"}, c.args...)...)
		if got.code != 1 || got.stdout != "" || !strings.Contains(got.stderr, c.want) {
			t.Errorf("%q: %+v", c.args, got)
		}
	}
	if links := s.must("link", "list", "--json"); links != "[]" {
		t.Errorf("links were made: %s", links)
	}
	for _, flags := range [][]string{{"--sku", "premium"}, {"--content-id", "hello"}} {
		link := s.must(append([]string{"link", "create", "--landing", s.site + "/articles/hello?a=b#c"}, flags...)...)
		if !strings.HasPrefix(link, s.site+"/articles/hello?a=b&token=") || !strings.HasSuffix(link, "#c") {
			t.Errorf("%q is printed as %s", flags, link)
		}
		if got := s.get(link); got.StatusCode != http.StatusOK {
			t.Errorf("%q gives %d %s", flags, got.StatusCode, got.body)
		}
		// The landing page is no bound of the link.
		other := strings.Replace(link, "/articles/hello", "/articles/other", 1)
		if got, want := s.get(other).StatusCode, map[string]int{"--sku": http.StatusOK, "--content-id": http.StatusForbidden}[flags[0]]; got != want {
			t.Errorf("another page with %q gives %d, want %d", flags, got, want)
		}
	}
}
