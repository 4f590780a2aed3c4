package caddymodule

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// A site with more than a hundred hosts, for which Caddy once compared hosts by case,
// is gated under every spelling of each that reaches it.
func TestEverySpellingOfAHostIsGated(t *testing.T) {
	s := newTestSite(t, standardRules)
	names := []string{"127.0.0.1", "[::1]", "xn--zrich-kva.example"}
	for i := range 120 {
		names = append(names, fmt.Sprintf("edition-%d.news.example", i))
	}
	var sites []string
	for _, name := range names {
		sites = append(sites, "http://"+name+":"+s.port)
	}
	s.load(strings.Replace(s.config("", standardRules, ""), s.site+" {", strings.Join(sites, ", ")+" {", 1))
	name, bearer := s.subscriber()
	head := "GET /articles/hello HTTP/1.1\r\nConnection: close\r\n"
	served := 0
	for _, host := range names {
		for _, spelling := range []string{
			host, strings.ToUpper(host), strings.ToUpper(host[:1]) + host[1:], host + ".", host + ":80", host + ":" + s.port, host + ":443",
			strings.ReplaceAll(host, "xn--zrich-kva", "zürich"), strings.Replace(host, "[::1]", "[::1%25lo]", 1), strings.Replace(host, "[::1]", "[0:0:0:0:0:0:0:1]", 1),
			strings.Replace(host, "127.0.0.1", "[::ffff:127.0.0.1]", 1),
		} {
			got := s.raw(head + "Host: " + spelling + "\r\n\r\n")
			if strings.Contains(got.body, "origin saw") {
				t.Fatalf("Host %s: the article without a grant", spelling)
			}
			if got.StatusCode == http.StatusUnauthorized {
				served++
				continue
			}
			// No site has such a host, or it is malformed: not even a subscriber gets
			// the page.
			if got := s.raw(head + "Host: " + spelling + "\r\n" + name + ": " + bearer + "\r\n\r\n"); strings.Contains(got.body, "origin saw") {
				t.Errorf("Host %s: %d for a stranger, and the article for a subscriber", spelling, got.StatusCode)
			}
		}
	}
	if served < 3*len(names) {
		t.Errorf("only %d spellings reach the site", served)
	}
	s.origin.WantNone(t)
}
