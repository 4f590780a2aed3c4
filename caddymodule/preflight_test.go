package caddymodule

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// preflightOf are the headers of a CORS preflight.
var preflightOf = []string{"Origin", "https://app.example.com", "Access-Control-Request-Method", "GET"}

// A script sends OPTIONS with the two headers of a preflight. Most origins answer OPTIONS
// as they answer GET, so the article came with it. What comes now is what a preflight
// needs: status and headers, whatever the rule, the way in which the origin writes, and
// the status.
func TestPreflightYieldsHeadersOnly(t *testing.T) {
	s := newTestSite(t, standardRules)
	write := map[string]func(w http.ResponseWriter){
		"at once":    func(w http.ResponseWriter) { fmt.Fprint(w, "FULL TEXT") },
		"long":       func(w http.ResponseWriter) { fmt.Fprint(w, strings.Repeat("FULL TEXT ", 100_000)) },
		"flushed":    func(w http.ResponseWriter) { w.(http.Flusher).Flush(); fmt.Fprint(w, "FULL TEXT") },
		"compressed": func(w http.ResponseWriter) { w.Header().Set("Content-Encoding", "gzip"); fmt.Fprint(w, "FULL TEXT") },
		"in trailers": func(w http.ResponseWriter) {
			w.Header().Set(http.TrailerPrefix+"X-Text", "FULL TEXT")
			fmt.Fprint(w, "x")
		},
		"redirect":   func(w http.ResponseWriter) { w.Header().Set("Location", "/FULL TEXT"); w.WriteHeader(http.StatusFound) },
		"forbidden":  func(w http.ResponseWriter) { w.WriteHeader(http.StatusForbidden); fmt.Fprint(w, "FULL TEXT") },
		"no content": func(w http.ResponseWriter) { w.WriteHeader(http.StatusNoContent) },
		"early hints": func(w http.ResponseWriter) {
			w.Header().Set("X-Text", "FULL TEXT")
			w.WriteHeader(http.StatusEarlyHints)
			fmt.Fprint(w, "FULL TEXT")
		},
		"a tunnel": func(w http.ResponseWriter) {
			if conn, _, err := w.(http.Hijacker).Hijack(); err == nil {
				io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nFULL TEXT")
				conn.Close()
			}
		},
	}
	name, bearer := s.subscriber()
	for how, body := range write {
		s.origin.Handle(func(w http.ResponseWriter, _ *http.Request) {
			header := w.Header()
			header.Set("Access-Control-Allow-Origin", "https://app.example.com")
			header.Set("Allow", "GET")
			header.Set("Vary", "Origin")
			header.Set("Cache-Control", "max-age=60")
			for _, secret := range []string{"Set-Cookie", "X-Preview", "Link", "Etag", "Server", "Location", "Content-Disposition", "Www-Authenticate"} {
				header.Set(secret, "FULL TEXT")
			}
			body(w)
		})
		for _, path := range []string{"/articles/hello", "/account", "/public/x", "/", "/closed/x"} {
			got := s.do(http.MethodOptions, path, append([]string{
				name, bearer, "Cookie", "reader=x; theme=dark", "Gatefold-Session", "evil", "Connection", "Upgrade", "Upgrade", "websocket",
			}, preflightOf...)...)
			if text := fmt.Sprint(got.Header, got.Trailer, got.body); strings.Contains(text, "FULL TEXT") || got.body != "" {
				t.Fatalf("%s, %s: %d %s", how, path, got.StatusCode, text)
			}
			if length := got.Header.Get("Content-Length"); how != "a tunnel" && (length == "") != (got.StatusCode == http.StatusNoContent) {
				t.Errorf("%s, %s: %d with Content-Length %q", how, path, got.StatusCode, length)
			}
			if how != "a tunnel" && (got.Header.Get("Access-Control-Allow-Origin") != "https://app.example.com" || got.Header.Get("Allow") != "GET" ||
				got.Header.Get("Vary") != "Origin" || got.Header.Get("Cache-Control") != "max-age=60") {
				t.Errorf("%s, %s: %d %v", how, path, got.StatusCode, got.Header)
			}
			seen := s.origin.Last(t)
			for _, header := range []string{"Authorization", "Cookie", "Gatefold-Session"} {
				if seen.Header.Get(header) != "" {
					t.Errorf("the preflight carries %s", header)
				}
			}
		}
	}
}

// The origin of a preflight gets neither a body nor a link's token, and its errors become
// no page of the site's error routes.
func TestPreflightHidesTheRest(t *testing.T) {
	s := newTestSiteWith(t, "", standardRules, "handle_errors {\n respond \"FULL TEXT\"\n}")
	s.origin.Handle(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Access-Control-Seen", fmt.Sprintf("%d %q", len(body), r.RequestURI))
	})
	got := s.doBody(http.MethodOptions, "/articles/hello?a=1&token="+cutLink, "a body", preflightOf...)
	if seen := got.Header.Get("Access-Control-Seen"); seen != `0 "/articles/hello?a=1"` {
		t.Errorf("the origin saw %s", seen)
	}
	s.origin.Close()
	if got := s.do(http.MethodOptions, "/articles/hello", preflightOf...); got.StatusCode != http.StatusBadGateway || got.body != "" {
		t.Errorf("without the origin: %d %q", got.StatusCode, got.body)
	}
}

// An origin that answers OPTIONS with an endless stream cannot be held open by preflights.
func TestPreflightGivesStreamsUp(t *testing.T) {
	s := newTestSite(t, standardRules)
	gone := make(chan struct{})
	s.origin.Handle(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprint(w, "data: FULL TEXT\n")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
		close(gone)
	})
	if got := s.do(http.MethodOptions, "/articles/hello", preflightOf...); got.StatusCode != http.StatusOK || got.body != "" {
		t.Errorf("%d %q", got.StatusCode, got.body)
	}
	select {
	case <-gone:
	case <-time.After(30 * time.Second):
		t.Error("the origin still streams")
	}
}

// A page that the site answers itself is not asked of the origin by a preflight either.
func TestPreflightOfLocalPages(t *testing.T) {
	s := newTestSite(t, "rule /own any {\nlocal\n}\nrule / any\nlocal {\nheader Access-Control-Allow-Origin *\nrespond \"FULL TEXT\"\n}")
	got := s.do(http.MethodOptions, "/own/page", preflightOf...)
	if got.StatusCode != http.StatusOK || got.body != "" || got.Header.Get("Access-Control-Allow-Origin") != "*" {
		t.Errorf("%d %q %v", got.StatusCode, got.body, got.Header)
	}
	s.origin.WantNone(t)
}

// The option answers at the gate: only the origins it names get a permission.
func TestPreflightAtTheGate(t *testing.T) {
	s := newTestSite(t, standardRules+"\npreflight {\norigins https://app.example.com https://other.example.com:8443\nmethods GET PUT\nheaders Content-Type X-Requested-With\nmax_age 10m\ncredentials\n}")
	permitted := func(origin string) http.Header {
		t.Helper()
		got := s.do(http.MethodOptions, "/articles/hello", "Origin", origin, "Access-Control-Request-Method", "PUT")
		if got.StatusCode != http.StatusNoContent || got.body != "" || !strings.Contains(got.Header.Get("Vary"), "Origin") {
			t.Errorf("%s: %d %v", origin, got.StatusCode, got.Header)
		}
		return got.Header
	}
	for _, origin := range []string{"https://app.example.com", "https://other.example.com:8443"} {
		header := permitted(origin)
		for name, want := range map[string]string{
			"Access-Control-Allow-Origin": origin, "Access-Control-Allow-Methods": "GET, PUT", "Access-Control-Max-Age": "600",
			"Access-Control-Allow-Headers": "Content-Type, X-Requested-With", "Access-Control-Allow-Credentials": "true",
		} {
			if header.Get(name) != want {
				t.Errorf("%s: %s is %q, want %q", origin, name, header.Get(name), want)
			}
		}
	}
	for _, origin := range []string{"https://app.example.com.evil.example", "https://evil.example", "http://app.example.com", "null", "https://APP.example.com", "https://app.example.com:443"} {
		for name := range permitted(origin) {
			if strings.HasPrefix(name, "Access-Control-") {
				t.Errorf("%s gets %s", origin, name)
			}
		}
	}
	s.origin.WantNone(t)
	if got := s.do(http.MethodOptions, "/articles/hello"); got.StatusCode != http.StatusUnauthorized {
		t.Errorf("OPTIONS that is no preflight: %d", got.StatusCode)
	}
}

// What can only be a mistake in the option fails the load.
func TestPreflightMistakes(t *testing.T) {
	s := newTestSite(t, standardRules)
	for option, want := range map[string]string{
		"preflight": "name at least one",
		"preflight {\norigins * https://a.example\n}":                          "alone",
		"preflight {\norigins *\ncredentials\n}":                               "excludes credentials",
		"preflight {\norigins https://a.example/\n}":                           "nothing behind",
		"preflight {\norigins https://*.a.example\n}":                          "each origin",
		"preflight {\norigins a.example\n}":                                    "a scheme and a host",
		"preflight {\norigins https://a.example\nmethods get\n}":               "upper case",
		"preflight {\norigins https://a.example\nheaders Cookie\n}":            "browsers only",
		"preflight {\norigins https://a.example\nmax_age 30d\n}":               "at most 24h",
		"preflight {\norigins https://a.example\ncolour red\n}":                "unknown option",
		"preflight {\norigins https://a.example\norigins https://a.example\n}": "twice",
	} {
		err := load(s.config("", standardRules+option, ""))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: the error is %v, want %q", option, err, want)
		}
	}
	if !slices.Contains(strings.Fields(s.get("/").body), "saw") {
		t.Error("the running configuration was lost")
	}
}
