package main

import (
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/quic-go/quic-go/http3"

	"github.com/gatefold/gatefold/keys/keystest"
)

// A service manager stops the server while a browser holds an event stream open, over each
// version of HTTP. Without an end of the stream Caddy waited for it for ever, with the
// listener closed and the database locked, and the next process could not start.
func TestShutdownEndsStreams(t *testing.T) {
	t.Parallel()
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, "data: hello\n\n")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}))
	t.Cleanup(origin.Close)
	insecure := &tls.Config{InsecureSkipVerify: true}
	h1 := &http.Transport{TLSClientConfig: insecure.Clone(), Protocols: new(http.Protocols)}
	h1.Protocols.SetHTTP1(true)
	h2 := &http.Transport{TLSClientConfig: insecure.Clone(), Protocols: new(http.Protocols)}
	h2.Protocols.SetHTTP2(true)
	h3 := &http3.Transport{TLSClientConfig: insecure.Clone()}
	t.Cleanup(func() { _ = h3.Close() })
	for major, client := range map[int]http.RoundTripper{1: h1, 2: h2, 3: h3} {
		t.Run(fmt.Sprint("HTTP/", major), func(t *testing.T) {
			t.Parallel()
			s := newServer(t)
			port := keystest.FreePort(t)
			text := s.configText()
			text = strings.Replace(text, "auto_https off", "auto_https disable_redirects\n\tskip_install_trust", 1)
			text = strings.Replace(text, "store bolt", "stream_grace 1s\n\t\tstore bolt", 1)
			s.writeConfig(text + "\nhttps://localhost:" + port + " {\n\ttls internal\n\tgatefold {\n\t\trule / any\n\t}\n\treverse_proxy " +
				strings.TrimPrefix(origin.URL, "http://") + "\n}\n")
			s.start()
			s.must("grant", "add", "--user", "u", "--sku", "premium")

			request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://localhost:"+port+"/events", nil)
			if err != nil {
				t.Fatal(err)
			}
			response, err := client.RoundTrip(request)
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			if response.ProtoMajor != major || response.StatusCode != http.StatusOK {
				t.Fatalf("%s %s", response.Proto, response.Status)
			}
			if _, err := io.ReadFull(response.Body, make([]byte, 13)); err != nil {
				t.Fatal(err)
			}

			began := time.Now()
			if err := s.process.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			if more, _ := io.ReadAll(response.Body); len(more) != 0 {
				t.Errorf("the stream goes on with %q", more)
			}
			if open := time.Since(began); open < time.Second {
				t.Errorf("the stream ended after %v, and may go on for a second", open)
			}
			if err := s.wait(); err != nil {
				t.Fatalf("the server did not end well: %v\n%s", err, s.log)
			}
			t.Logf("the process ended after %v", time.Since(began))
			if !strings.Contains(s.log.String(), `"reason":"shutdown"`) {
				t.Errorf("the log does not say that the stream was cut:\n%s", s.log)
			}
			// The next process has the database at once.
			s.start()
			if got := s.must("grant", "list"); !strings.Contains(got, "premium") {
				t.Errorf("the grants are %q", got)
			}
		})
	}
}

// configText returns the Caddyfile of the server.
func (s *server) configText() string {
	s.t.Helper()
	text, err := os.ReadFile(s.config)
	if err != nil {
		s.t.Fatal(err)
	}
	return string(text)
}
