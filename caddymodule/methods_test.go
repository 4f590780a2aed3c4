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
