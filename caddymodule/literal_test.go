package caddymodule

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gatefold/gatefold/keys"
)

// A request that contains placeholders cannot read the environment or files: they are
// literal text in pages, redirects, headers of the origin, error routes and logs.
func TestPlaceholdersOfARequestStayLiteral(t *testing.T) {
	const secret = "the-value-of-the-environment"
	t.Setenv("GATEFOLD_TEST_SECRET", secret)
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte(secret), 0o600); err != nil {
		t.Fatal(err)
	}
	s := newTestSiteWith(t, "", standardRules+"\n\t\tdeny {\n\t\t\tlogin https://id.example.com/login\n\t\t}", `header >X-Gate "{http.gatefold.user.id} {http.gatefold.param.publisherContentId} {http.gatefold.rule}"`)
	name, bearer := s.subscriber()
	link, _ := s.link(keys.LinkClaims{SKU: "premium"})
	_, token, _ := strings.Cut(link, "token=")
	for _, attack := range []string{"{env.GATEFOLD_TEST_SECRET}", "{file." + file + "}", "{system.hostname}{env.GATEFOLD_TEST_SECRET}", "{http.request.header.X-Attack}"} {
		escaped := url.PathEscape(attack)
		reader := s.reader(keys.ReaderClaims{UserID: attack})
		for _, answer := range []answer{
			s.get("/articles/"+escaped, "Accept", "text/html"),
			s.get("/articles/"+escaped+"?"+url.QueryEscape(attack), "X-Attack", attack),
			s.get("/articles/"+escaped, name, bearer, "X-Attack", attack),
			s.get("/articles/"+escaped+"?token="+token, "Accept", "text/html"),
			s.get("/articles/" + escaped + "?token=" + token + "&x=" + url.QueryEscape(attack)),
			s.get("/account", "Authorization", "Bearer "+reader),
			s.get("/articles/x", "Authorization", "Bearer "+reader, "Accept", "text/html"),
			s.get("/articles/x?token=" + attack),
			s.get("/account", "Cookie", "reader="+attack+"; gatefold-AAAAAAAAAAAA="+attack),
		} {
			text := fmt.Sprint(answer.Header, answer.body)
			for _, request := range s.origin.Take() {
				text += fmt.Sprint(request.RequestURI, request.Header)
			}
			if strings.Contains(text, secret) {
				t.Errorf("%s: %s", attack, text)
			}
		}
	}
	if strings.Contains(logged.String(), secret) {
		t.Error("the value is in the log")
	}
}

// No text of a request is in a denial's page or problem as markup, nor in a header of
// the answer: random mixtures of what breaks out of HTML, JSON and headers, in every
// part of a request.
func TestDenialsRepeatNothing(t *testing.T) {
	s := newTestSite(t, standardRules)
	pieces := []string{
		"<script>alert(1)</script>", `"><img src=x onerror=alert(1)>`, "'-alert(1)-'", "</title><svg/onload=1>", "javascript:1", "{{.}}", "${7*7}", "\u2028", "&#x3c;x",
		`\u003cscript`, "<!--", "]]>", `","code":"x`, "{env.HOME}", "\ufeff", "\u202e",
	}
	random := rand.New(rand.NewPCG(1, 13))
	mark := "zq7marker"
	for range 300 {
		var mixture strings.Builder
		mixture.WriteString(mark)
		for range 1 + random.IntN(4) {
			mixture.WriteString(pieces[random.IntN(len(pieces))])
		}
		text := mixture.String()
		accept := []string{"text/html", "application/json", "*/*", text}[random.IntN(4)]
		path := "/articles/" + url.PathEscape(text)
		switch random.IntN(4) {
		case 0:
			path = "/articles/x?" + url.QueryEscape(text) + "=" + url.QueryEscape(text)
		case 1:
			path = "/articles/x?token=" + url.QueryEscape(text)
		case 2:
			path = "/articles//" + url.PathEscape(text)
		}
		got := s.get(path, "Accept", accept, "Cookie", "reader="+url.QueryEscape(text), "User-Agent", url.QueryEscape(text), "Referer", "/"+url.QueryEscape(text))
		if got.StatusCode < 400 || strings.Contains(got.body+fmt.Sprint(got.Header), mark) {
			t.Errorf("%s: %d %v %s", path, got.StatusCode, got.Header, got.body)
		}
		if got.Header.Get("X-Content-Type-Options") != "nosniff" && got.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: the header is %v", path, got.Header)
		}
	}
	s.origin.WantNone(t)
}
