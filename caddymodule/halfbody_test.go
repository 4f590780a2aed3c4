package caddymodule

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// A client sends half of a body to each endpoint and waits, over HTTP/1.1 and HTTP/2. It
// is answered at once, or when the time for a body is over, and the connection or the
// stream ends: 500 of them once stayed open.
func TestHalfSentBodiesEndThroughCaddy(t *testing.T) {
	s := newTestSite(t, standardRules)
	api := freePort(t)
	s.load(s.config("servers {\nprotocols h1 h2c\n}", standardRules, "\tgatefold_keys") + "\nhttp://127.0.0.1:" + api + " {\n" + boundAPI + "\n}\n")
	var all sync.WaitGroup
	defer all.Wait()
	for _, to := range []struct {
		method, address, path string
		status                int
	}{
		{http.MethodPost, "127.0.0.1:" + api, "/oauth/token", http.StatusRequestTimeout},
		{http.MethodPost, "127.0.0.1:" + api, "/management/access-lists", http.StatusUnauthorized},
		{http.MethodPost, "127.0.0.1:" + api, "/nothing", http.StatusUnauthorized},
		{http.MethodGet, "127.0.0.1:" + api, "/.well-known/jwks.json", http.StatusOK},
		{http.MethodGet, "127.0.0.1:" + s.port, "/.well-known/jwks.json", http.StatusOK},
	} {
		all.Go(func() {
			if err := halfSentHTTP1(to.method, to.address, to.path, to.status); err != nil {
				t.Errorf("HTTP/1.1, %s%s: %v", to.address, to.path, err)
			}
		})
		all.Go(func() {
			if err := halfSentHTTP2(t.Context(), to.method, to.address, to.path, to.status); err != nil {
				t.Errorf("HTTP/2, %s%s: %v", to.address, to.path, err)
			}
		})
	}
}

// halfSentPatience is longer than the time for a body, and shorter than the minute for
// which Caddy waits for one.
const halfSentPatience = 30 * time.Second

func halfSentHTTP1(method, address, path string, want int) error {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(halfSentPatience))
	_, _ = fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 100\r\n\r\ngrant_type=", method, path, address)
	reader := bufio.NewReader(conn)
	response, err := http.ReadResponse(reader, nil)
	if err != nil {
		return err
	}
	_, _ = io.Copy(io.Discard, response.Body)
	if response.StatusCode != want {
		return fmt.Errorf("status %d, want %d", response.StatusCode, want)
	}
	if _, err := reader.ReadByte(); err != io.EOF {
		return fmt.Errorf("the connection stays open: %w", err)
	}
	return nil
}

func halfSentHTTP2(ctx context.Context, method, address, path string, want int) error {
	ctx, cancel := context.WithTimeout(ctx, halfSentPatience)
	defer cancel()
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	defer transport.CloseIdleConnections()
	rest, _ := io.Pipe()
	body := struct {
		io.Reader
		io.Closer // by which the transport stops waiting for the rest
	}{io.MultiReader(strings.NewReader("grant_type="), rest), rest}
	request, err := http.NewRequestWithContext(ctx, method, "http://"+address+path, body)
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	response, err := transport.RoundTrip(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return err
	}
	if response.StatusCode != want {
		return fmt.Errorf("status %d, want %d", response.StatusCode, want)
	}
	return nil
}
