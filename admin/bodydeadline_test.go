package admin

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// 500 clients send half of a body and wait. Each is answered and disconnected in the
// time for a body, whether or not the handler reads it.
func TestHalfSentBodiesDoNotStayOpen(t *testing.T) {
	const timeout = 100 * time.Millisecond
	authority := &Authority{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		LimitBody(w, r, timeout)
		if r.URL.Path == "/unread" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		authority.serveToken(w, r)
	}))
	defer server.Close()
	const clients = 500
	failed := make(chan error, clients)
	for i := range clients {
		go func() {
			path, want := "/oauth/token", http.StatusRequestTimeout
			if i%2 == 1 {
				path, want = "/unread", http.StatusUnauthorized
			}
			failed <- halfSent(server.Listener.Addr().String(), path, want)
		}()
	}
	for range clients {
		if err := <-failed; err != nil {
			t.Fatal(err)
		}
	}
}

func halfSent(address, path string, want int) error {
	connection, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	defer connection.Close()
	_ = connection.SetDeadline(time.Now().Add(30 * time.Second))
	_, _ = fmt.Fprintf(connection, "POST %s HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 100\r\n\r\ngrant_type=", path)
	reader := bufio.NewReader(connection)
	response, err := http.ReadResponse(reader, nil)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	_, _ = io.Copy(io.Discard, response.Body)
	if response.StatusCode != want {
		return fmt.Errorf("%s: status %d", path, response.StatusCode)
	}
	if _, err := reader.ReadByte(); err != io.EOF {
		return fmt.Errorf("%s: the connection stays open: %w", path, err)
	}
	return nil
}

// A writer without deadlines, as a test's, leaves the body as it is.
func TestLimitBodyWithoutDeadlines(t *testing.T) {
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", strings.NewReader("a body"))
	before := r.Body
	LimitBody(httptest.NewRecorder(), r, time.Nanosecond)
	if body, err := io.ReadAll(r.Body); err != nil || string(body) != "a body" || r.Body != before {
		t.Errorf("%q, %v", body, err)
	}
}
