package caddymodule

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/gatefold/gatefold/keys"
)

// redirectPayloads are request targets that made other products redirect to a host of
// the attacker's choice, in all combinations of their parts.
func redirectPayloads() []string {
	prefixes := []string{
		"/", "//", "///", "////", `/\`, `/\\`, `\\`, `\/`, "/%5c", "/%5c%5c", "/%2f", "/%2f%2f", "/%09/", "/%0a/", "/%0d%0a/", "/%0d%0aLocation:%20//", "/.//", "/..//",
		"/%2e%2e//", "/;//", "/?next=//", "/?next=https://", "/#//", "/:80#@", "/@", "/.", "/%00/", "/%E3%80%82", "/http:", "/https:", "/https:/", "/https://", "/javascript:", "/data:text/html,",
		"/articles//", `/articles/\`, "/articles/..//", "/articles/%2f", "/articles/@", "/articles/https://", "/articles/%0d%0aSet-Cookie:%20",
	}
	suffixes := []string{"evil.example", "evil.example/..", "evil.example%2f@127.0.0.1", "127.0.0.1@evil.example", "127.0.0.1.evil.example", "evil%E3%80%82example/articles/hello"}
	var payloads []string
	for _, prefix := range prefixes {
		for _, suffix := range suffixes {
			payloads = append(payloads, prefix+suffix)
		}
	}
	return payloads
}

// browserTarget returns where a browser at base goes for a Location (WHATWG URL, section
// 4.4): tabs and line ends are left out, and a backslash is a slash.
func browserTarget(t *testing.T, base, location string) *url.URL {
	t.Helper()
	location = strings.NewReplacer("\t", "", "\n", "", "\r", "", `\`, "/").Replace(strings.TrimSpace(location))
	if strings.HasPrefix(location, "//") {
		location = "http://" + strings.TrimLeft(location, "/") // however many there are
	}
	from, err := url.Parse(base)
	if err != nil {
		t.Fatal(err)
	}
	to, err := from.Parse(location)
	if err != nil {
		t.Fatalf("Location %q: %v", location, err)
	}
	return to
}

// The clean URL of a redeemed link and the page that a login returns to are on this site,
// whatever the request's target is: more than 200 payloads, with and without a link.
func TestNoRedirectLeavesTheSite(t *testing.T) {
	payloads := redirectPayloads()
	if len(payloads) < 200 {
		t.Fatalf("only %d payloads", len(payloads))
	}
	for name, paths := range map[string]string{
		"as installed":       "",
		"all paths admitted": "\n\t\tpaths {\n\t\t\tallow empty_segments encoded_slash parameters\n\t\t}",
	} {
		t.Run(name, func(t *testing.T) {
			s := newTestSite(t, `identify jwt {
			issuer self
		}`+paths+`
		rule / entitled premium
		deny {
			login https://id.example.com/login
		}`)
			link, _ := s.link(keys.LinkClaims{SKU: "premium"})
			_, token, _ := strings.Cut(link, "token=")
			clean, logins := 0, 0
			for _, payload := range payloads {
				separator := "?"
				if strings.Contains(payload, "?") {
					separator = "&"
				}
				for _, target := range []string{payload, payload + separator + "token=" + token, s.site + payload} {
					got := s.raw("GET " + target + " HTTP/1.1\r\nHost: 127.0.0.1:" + s.port + "\r\nAccept: text/html\r\nUser-Agent: Mozilla/5.0 (X11)\r\nConnection: close\r\n\r\n")
					if len(got.Header["Location"]) == 0 {
						if got.StatusCode/100 == 3 || got.Header.Get("Set-Cookie") != "" {
							t.Errorf("%s: %d %v", target, got.StatusCode, got.Header)
						}
						continue
					}
					to := browserTarget(t, s.site, got.Header.Get("Location"))
					if strings.HasPrefix(got.Header.Get("Location"), "https://id.example.com/login?") && len(to.Query()["next"]) == 1 {
						logins++
						to = browserTarget(t, s.site, to.Query().Get("next"))
					} else {
						clean++
					}
					if "http://"+to.Host != s.site {
						t.Errorf("%s is redirected to %s by %q", target, to, got.Header.Get("Location"))
					}
				}
			}
			if clean < 20 || logins < 20 {
				t.Errorf("only %d clean URLs and %d logins", clean, logins)
			}
		})
	}
}

// The Host of a request is the client's word, and Caddy ignores what follows a colon in
// it: it cannot choose the page that a login returns to.
func TestLoginReturnsToAServedHost(t *testing.T) {
	s := newTestSite(t, standardRules+"\n\t\tdeny {\n\t\t\tlogin https://id.example.com/login\n\t\t}")
	logins := 0
	for _, host := range []string{
		"127.0.0.1", "127.0.0.1:" + s.port, "evil.example", "evil.example:" + s.port, "127.0.0.1:" + s.port + ".evil.example", "127.0.0.1:evil.example", "127.0.0.1:x",
		"127.0.0.1:", "127.0.0.1:99999", "127.0.0.1@evil.example", "127.0.0.1:80@evil.example", "127.0.0.1:" + s.port + "/evil.example",
	} {
		got := s.raw("GET /articles/hello HTTP/1.1\r\nHost: " + host + "\r\nAccept: text/html\r\nUser-Agent: Mozilla/5.0 (X11)\r\nConnection: close\r\n\r\n")
		if got.StatusCode != http.StatusSeeOther {
			continue
		}
		logins++
		if next := browserTarget(t, "https://id.example.com", browserTarget(t, s.site, got.Header.Get("Location")).Query().Get("next")); next.Hostname() != "127.0.0.1" {
			t.Errorf("Host %s: the login returns to %s", host, next)
		}
	}
	if logins < 4 {
		t.Errorf("only %d logins", logins)
	}
	s.origin.WantNone(t)
}
