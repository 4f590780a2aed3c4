package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"unicode"

	"github.com/gatefold/gatefold/keys/keystest"
)

// tokenSpellings returns a token as clients and mail programs write it into a URL, by the
// forms that the gate accepts and some that it does not.
func tokenSpellings(token string) []string {
	var escaped strings.Builder
	for i := range len(token) {
		fmt.Fprintf(&escaped, "%%%02X", token[i])
	}
	half := len(token) / 2
	spread := func(breaks string) string {
		return token[:1] + breaks + token[1:2] + breaks + token[2:half] + breaks + token[half:]
	}
	return []string{
		token, escaped.String(), strings.ToLower(escaped.String()[:9]) + token[3:], fmt.Sprintf("%%%02x", token[0]) + token[1:],
		fmt.Sprintf("%s%%%02x%s", token[:1], token[1], token[2:]), fmt.Sprintf("%s%%%02x%s", token[:2], token[2], token[3:]),
		"%22" + token + "%22", "(" + token + ").", "%3C" + token + "%3E", token + ",", token + "%0D%0A", "3D" + token,
		spread("+"), spread("%20"), spread("%0A"), spread("%0D%0A"), spread("=%0D%0A"), spread("%3D%0A"), spread("%E2%80%8B"), spread("\u200b"), spread("%09"),
		strings.ReplaceAll(token, ".", "%2E"), token + "&token=" + token,
	}
}

// loggedTargets returns what clients may ask for with a spelling of a token.
func loggedTargets(spelling string) []string {
	targets := []string{"/.gatefold/l/" + spelling + "/articles/hello", "/%2Egatefold/l/" + spelling + "/articles/hello?a=b"}
	for _, parameter := range []string{
		"token=", "a=b&token=", "a=b&amp;token=", "amp;token=", "amp;amp;token=", "token%3D", "token%3d", "token=%3D", "%74oken=", "tok%65n%3D", "Token=", "TOKEN=", "share=", "amp;share=",
		"Share%3D", "next=%2Farticles%2Fhello%3Ftoken%3D", "other=",
	} {
		targets = append(targets, "/articles/hello?"+parameter+spelling, "/moved/hello?"+parameter+spelling)
	}
	return targets
}

// plainly returns a line of the log without escapes, blanks and invisible characters.
func plainly(line string) string {
	for range 3 {
		line = regexp.MustCompile(`%[0-9A-Fa-f]{2}|\\u[0-9A-Fa-f]{4}`).ReplaceAllStringFunc(line, func(escape string) string {
			code, err := strconv.ParseUint(strings.TrimLeft(escape, `%\u`), 16, 32)
			if err != nil {
				return escape
			}
			if escape[0] == '%' {
				return string([]byte{byte(code)})
			}
			return string(rune(code))
		})
	}
	return strings.Map(func(c rune) rune {
		if unicode.IsSpace(c) || unicode.Is(unicode.Cf, c) || c == '+' || c == '=' {
			return -1
		}
		return c
	}, line)
}

// A token comes in each spelling that a mail program can make of it, in the query, in the
// path, in a Referer, and in a redirect of the site. With the filters of Caddyfile.example no
// line of the log has a part of it; without them the search finds each request.
func TestNoSpellingOfATokenIsLogged(t *testing.T) {
	t.Parallel()
	for name, filtered := range map[string]bool{"with the example's filters": true, "without filters": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t)
			s.leaks = !filtered
			ports := keystest.FreePorts(t, 2)
			config := strings.Replace(exampleOn(t, s, ports[0], ports[1]), "\tgatefold {\n\t\tidentify", "\tredir /moved/* /articles/hello?{query}\n\tgatefold {\n\t\tidentify", 1)
			if !filtered {
				config = strings.ReplaceAll(config, "import without_tokens\n", "\n")
			}
			s.writeConfig(config)
			s.start()
			link := s.must("link", "create", s.site+"/articles/hello")
			_, token, _ := strings.Cut(link, "token=")
			conn := s.dial()
			requests := 0
			for i, spelling := range tokenSpellings(token) {
				targets := loggedTargets(spelling)
				if i >= 2 && testing.Short() {
					targets = targets[:4]
				}
				for _, target := range targets {
					conn.ask("GET "+target+" HTTP/1.1\r\nHost: "+conn.host+"\r\n\r\n", t)
					requests++
					referer := s.site + target
					conn.ask("GET / HTTP/1.1\r\nHost: "+conn.host+"\r\nReferer: "+referer+"\r\n\r\n", t)
					requests++
				}
			}
			s.waitFor("the last request is logged", func() bool {
				_ = s.get(s.site + "/last-request")
				return strings.Contains(s.log.String(), "/last-request")
			})
			parts := []string{token[3:30], token[len(token)/2-10 : len(token)/2+10], token[len(token)-40 : len(token)-10]}
			found := 0
			for line := range strings.Lines(s.log.String()) {
				text := plainly(line)
				if !strings.Contains(text, parts[0]) && !strings.Contains(text, parts[1]) && !strings.Contains(text, parts[2]) {
					continue
				}
				if found++; filtered && found < 20 {
					t.Errorf("the log has a token: %s", line)
				}
			}
			if filtered && found > 0 || !filtered && found < requests {
				t.Errorf("tokens are in %d lines, for %d requests", found, requests)
			}
		})
	}
}

// rawConn sends requests byte for byte over one connection.
type rawConn struct {
	net.Conn
	host   string
	reader *bufio.Reader
}

func (s *server) dial() *rawConn {
	s.t.Helper()
	address, err := url.Parse(s.site)
	if err != nil {
		s.t.Fatal(err)
	}
	c := &rawConn{host: address.Host}
	c.connect(s.t)
	s.t.Cleanup(func() { c.Close() })
	return c
}

func (c *rawConn) connect(t *testing.T) {
	t.Helper()
	conn, err := net.Dial("tcp", c.host)
	if err != nil {
		t.Fatal(err)
	}
	c.Conn, c.reader = conn, bufio.NewReader(conn)
}

// ask sends a request and reads the response.
func (c *rawConn) ask(request string, t *testing.T) {
	t.Helper()
	if _, err := c.Write([]byte(request)); err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(c.reader, nil)
	if err != nil {
		t.Fatalf("%v for %q", err, request)
	}
	_, err = io.Copy(io.Discard, response.Body)
	if response.Body.Close(); err != nil {
		t.Fatal(err)
	}
	if response.Close {
		c.Close()
		c.connect(t)
	}
}
