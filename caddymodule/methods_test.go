package caddymodule

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestHeadIsDecidedAsGet(t *testing.T) {
	s := newTestSite(t, standardRules)
	name, bearer := s.subscriber()
	if got := s.do(http.MethodHead, "/articles/hello"); got.StatusCode != http.StatusUnauthorized {
		t.Errorf("HEAD without anything: %d", got.StatusCode)
	}
	if got := s.do(http.MethodHead, "/articles/hello", name, bearer); got.StatusCode != http.StatusOK {
		t.Errorf("HEAD of a subscriber: %d", got.StatusCode)
	}
	// A rule for GET applies to HEAD; other methods are matched by the next rule.
	s.do(http.MethodHead, "/closed/x", name, bearer)
	if got := s.do(http.MethodHead, "/closed/x", name, bearer); got.StatusCode != http.StatusForbidden {
		t.Errorf("HEAD under a rule for GET: %d", got.StatusCode)
	}
	s.do(http.MethodPost, "/closed/x", name, bearer).page()
}

// An OPTIONS request that is no preflight is decided like every other method.
func TestOptionsIsDecided(t *testing.T) {
	s := newTestSite(t, standardRules)
	s.do(http.MethodOptions, "/articles/hello").denied(http.StatusUnauthorized, "login_required")
	s.do(http.MethodOptions, "/articles/hello", "Origin", "https://app.example.com").denied(http.StatusUnauthorized, "login_required")
	s.do(http.MethodOptions, "/articles/hello", "Access-Control-Request-Method", "GET").denied(http.StatusUnauthorized, "login_required")
	s.do(http.MethodGet, "/articles/hello", "Origin", "https://a.example", "Access-Control-Request-Method", "GET").denied(http.StatusUnauthorized, "login_required")
	s.origin.WantNone(t)
}

func TestTraceAndConnectAreNotServed(t *testing.T) {
	s := newTestSite(t, standardRules)
	trace := s.do(http.MethodTrace, "/")
	trace.denied(http.StatusMethodNotAllowed, "bad_method")
	if allow := trace.Header.Get("Allow"); strings.Contains(allow, "TRACE") || !strings.Contains(allow, "GET") {
		t.Errorf("Allow is %q", allow)
	}
	if got := s.raw("CONNECT 127.0.0.1:" + s.port + " HTTP/1.1\r\nHost: 127.0.0.1:" + s.port + "\r\n\r\n"); got.StatusCode < 400 {
		t.Errorf("CONNECT: %d", got.StatusCode)
	}
	s.origin.WantNone(t)
}

// A WebSocket is decided when its GET arrives; an allowed one carries bytes both ways.
func TestWebSocketIsDecidedWhenItOpens(t *testing.T) {
	s := newTestSite(t, standardRules)
	s.origin.Handle(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Connection", "Upgrade")
		w.Header().Set("Upgrade", "websocket")
		w.WriteHeader(http.StatusSwitchingProtocols)
		conn, buffered, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		line, err := buffered.ReadString('\n')
		if err == nil {
			_, _ = io.WriteString(conn, "echo "+line)
		}
	})
	open := func(headers string) (*http.Response, net.Conn, *bufio.Reader) {
		t.Helper()
		conn, err := net.Dial("tcp", "127.0.0.1:"+s.port)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
			t.Fatal(err)
		}
		request := "GET /articles/live HTTP/1.1\r\nHost: 127.0.0.1:" + s.port + "\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
			"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" + headers + "\r\n"
		if _, err := io.WriteString(conn, request); err != nil {
			t.Fatal(err)
		}
		reader := bufio.NewReader(conn)
		response, err := http.ReadResponse(reader, nil)
		if err != nil {
			t.Fatal(err)
		}
		return response, conn, reader
	}
	denied, _, _ := open("")
	if denied.StatusCode != http.StatusUnauthorized {
		t.Errorf("a stranger's WebSocket: %d", denied.StatusCode)
	}
	s.origin.WantNone(t)
	name, bearer := s.subscriber()
	allowed, conn, reader := open(name + ": " + bearer + "\r\n")
	if allowed.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("a subscriber's WebSocket: %d", allowed.StatusCode)
	}
	if _, err := io.WriteString(conn, "hello\n"); err != nil {
		t.Fatal(err)
	}
	if line, err := reader.ReadString('\n'); err != nil || line != "echo hello\n" {
		t.Errorf("the WebSocket gives %q, %v", line, err)
	}
	// If the configuration is unloaded while a tunnel still copies, Caddy closes the
	// tunnel in another goroutine, and counts its bytes without a lock.
	conn.Close()
	s.waitFor("the tunnel's line in the access log", func() bool {
		return slices.ContainsFunc(logged.entries(t, "http.log.access"), func(entry map[string]any) bool {
			return entry["status"] == float64(http.StatusSwitchingProtocols)
		})
	})
}

func TestExtendedConnectOpensWebSocketsOnly(t *testing.T) {
	for _, test := range []struct {
		major    int
		proto    string
		protocol string
		want     bool
	}{
		{2, "HTTP/2.0", "websocket", true},
		{3, "websocket", "", true},
		{2, "HTTP/2.0", "", false},
		{2, "HTTP/2.0", "connect-udp", false},
		{3, "HTTP/3.0", "websocket", false},
		{1, "HTTP/1.1", "websocket", false},
	} {
		r := &http.Request{Method: http.MethodConnect, ProtoMajor: test.major, Proto: test.proto, Header: http.Header{}}
		if test.protocol != "" {
			r.Header[":protocol"] = []string{test.protocol}
		}
		if got := isExtendedWebSocket(r); got != test.want {
			t.Errorf("%+v: %v", test, got)
		}
	}
}

// The account of the README's rules answers no method but those that the gate judges:
// many origins serve an unknown method, or `get`, as they serve GET.
func TestUnknownMethodsDoNotOpenTheAccount(t *testing.T) {
	for name, rules := range map[string]string{
		"README":         "rule /account authenticated\n\t\trule / any",
		"README, before": "rule /account GET,HEAD,POST,PUT,PATCH,DELETE,OPTIONS authenticated\n\t\trule / any",
	} {
		t.Run(name, func(t *testing.T) {
			s := newTestSite(t, rules)
			for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"} {
				if got := s.do(method, "/account"); got.StatusCode != http.StatusUnauthorized {
					t.Errorf("%s: %d", method, got.StatusCode)
				}
			}
			for _, method := range []string{"SEARCH", "FOO", "get", "Get", "PROPFIND", "QUERY", "COPY", "PURGE", "GET1", "TRACE", "M-SEARCH"} {
				for _, path := range []string{"/account", "/", "/account/x"} {
					got := s.raw(method + " " + path + " HTTP/1.1\r\nHost: 127.0.0.1:" + s.port + "\r\nConnection: close\r\n\r\n")
					got.denied(http.StatusMethodNotAllowed, "bad_method")
				}
			}
			s.origin.WantNone(t)
		})
	}
}

// A rule serves an uncommon method that it names, and Allow names it for its path only
// (RFC 9110, section 15.5.6).
func TestRuleNamesAnUncommonMethod(t *testing.T) {
	s := newTestSite(t, "rule /dav PROPFIND,M-SEARCH any\n\t\trule / any")
	s.do("PROPFIND", "/dav/x").page()
	s.do("M-SEARCH", "/dav").page()
	const common = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
	for path, want := range map[string]string{"/dav": common + ", M-SEARCH, PROPFIND", "/": common} {
		if got := s.do("SEARCH", path).denied(http.StatusMethodNotAllowed, "bad_method").Header.Get("Allow"); got != want {
			t.Errorf("%s: Allow is %q", path, got)
		}
	}
}

// The trap of a rule with methods is reported when the configuration is loaded.
func TestLaxerMethodsAreReported(t *testing.T) {
	newTestSite(t, "rule /account GET,HEAD authenticated\n\t\trule / any")
	for _, entry := range logged.entries(t, "http.handlers.gatefold") {
		if entry["level"] == "warn" && entry["rule"] == "/account" && entry["decided_by"] == "/" && strings.Contains(entry["warning"].(string), "open to POST, PUT, PATCH, DELETE, OPTIONS") &&
			strings.HasPrefix(entry["at"].(string), "Caddyfile:") && entry["at"] != entry["decided_by_at"] {
			return
		}
	}
	t.Errorf("no warning:\n%s", logged)
}
