package caddymodule

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/quic-go/http3"

	"github.com/gatefold/gatefold/keys/keystest"
)

// A client sends half of a body to each endpoint and waits, over HTTP/1.1, 2 and 3. It answered at once, or when the time for a body is over, and the connection or the stream
// ends: 500 of them once stayed open.
func TestHalfSentBodiesEndThroughCaddy(t *testing.T) {
	s := newTestSite(t, standardRules)
	api, tlsPort := keystest.FreePort(t), keystest.FreePort(t)
	s.load(s.config("servers {\nprotocols h1 h2 h2c h3\n}", standardRules, "\tgatefold_keys") + "\nhttp://127.0.0.1:" + api + " {\n" + boundAPI + "\n}\n" +
		"https://127.0.0.1:" + tlsPort + " {\ntls " + s.certificate() + "\n" + boundAPI + "\n}\n")
	h2 := &http.Transport{Protocols: new(http.Protocols)}
	h2.Protocols.SetUnencryptedHTTP2(true)
	defer h2.CloseIdleConnections()
	h3 := &http3.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	defer h3.Close()
	var all sync.WaitGroup
	defer all.Wait() // before the transports close
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
			if err := halfSent(t.Context(), h2, to.method, "http://"+to.address+to.path, to.status); err != nil {
				t.Errorf("HTTP/2, %s%s: %v", to.address, to.path, err)
			}
		})
		if to.address == "127.0.0.1:"+s.port {
			continue
		}
		all.Go(func() {
			if err := halfSent(t.Context(), h3, to.method, "https://127.0.0.1:"+tlsPort+to.path, to.status); err != nil {
				t.Errorf("HTTP/3, %s: %v", to.path, err)
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

// halfSent sends half of a body in a stream of HTTP/2 or 3.
func halfSent(ctx context.Context, transport http.RoundTripper, method, url string, want int) error {
	ctx, cancel := context.WithTimeout(ctx, halfSentPatience)
	defer cancel()
	rest, _ := io.Pipe()
	body := struct {
		io.Reader
		io.Closer // by which the transport stops waiting for the rest
	}{io.MultiReader(strings.NewReader("grant_type="), rest), rest}
	request, err := http.NewRequestWithContext(ctx, method, url, body)
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
