package caddymodule

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/quic-go/http3"

	"github.com/gatefold/gatefold/keys/keystest"
)

// An answer that does not wait comes within a millisecond or so. Before, it came after
// the 60 s that Caddy waits for a body.
const promptly = 5 * time.Second

// Requests that the gate does not let through announce bodies that never come. The gate
// answered only when it had read 256 KiB of them or waited for a minute: a client held
// a connection and got no answer.
func TestDenialsDoNotWaitForTheBody(t *testing.T) {
	s := newTestSite(t, standardRules+"\ndeny {\nlogin /login\n}\n")
	errorRoutes := newTestSiteBeside(t, s, "\ndeny {\nerrors\n}\n", "handle_errors {\nrespond \"an error\"\n}")
	var all sync.WaitGroup
	defer all.Wait()
	for name, body := range map[string]string{
		"Expect":             "Expect: 100-continue\r\nContent-Length: 100\r\n\r\n",
		"Expect and chunks":  "Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n",
		"10 GB announced":    "Content-Length: 10737418240\r\n\r\n",
		"half sent":          "Content-Length: 100\r\n\r\n" + strings.Repeat("x", 50),
		"a byte missing":     "Content-Length: 262144\r\n\r\n" + strings.Repeat("x", 262143),
		"nothing of it sent": "Content-Length: 5\r\n\r\n",
		"an open chunk":      "Transfer-Encoding: chunked\r\n\r\n5\r\nab",
		"chunks without end": "Transfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n",
	} {
		for line, status := range map[string]int{
			"POST /articles/hello HTTP/1.1":              http.StatusUnauthorized,
			"GET /account HTTP/1.1\r\nAccept: text/html": http.StatusSeeOther, // to log in
			"PUT //articles HTTP/1.1":                    http.StatusBadRequest,
			"TRACE / HTTP/1.1":                           http.StatusMethodNotAllowed,
			"OPTIONS /articles/hello HTTP/1.1\r\nOrigin: https://a.example\r\nAccess-Control-Request-Method: GET": http.StatusOK,
		} {
			if line == "TRACE / HTTP/1.1" && strings.Contains(body, "chunk") {
				continue
			}
			all.Go(func() { answeredPromptly(t, s.port, line, body, status, name) })
		}
		all.Go(func() {
			answeredPromptly(t, errorRoutes, "POST /articles/hello HTTP/1.1", body, http.StatusUnauthorized, name+", error routes")
		})
	}
	link, _ := s.link(linkForAnything)
	answeredPromptly(t, s.port, "GET "+strings.TrimPrefix(link, s.site)+" HTTP/1.1\r\nSec-Fetch-Mode: navigate", "Content-Length: 100\r\n\r\n", http.StatusSeeOther, "a link")
}

// answeredPromptly sends a request over a connection of its own, and expects its answer
// and the end of the connection.
func answeredPromptly(t *testing.T, port, line, body string, status int, name string) {
	t.Helper()
	conn, err := net.Dial("tcp", "127.0.0.1:"+port)
	if err != nil {
		t.Error(err)
		return
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(promptly))
	io.WriteString(conn, line+"\r\nHost: 127.0.0.1:"+port+"\r\n"+body)
	reader := bufio.NewReader(conn)
	response, err := http.ReadResponse(reader, &http.Request{Method: strings.Fields(line)[0]})
	if err != nil {
		t.Errorf("%s, %s: no answer: %v", name, line, err)
		return
	}
	io.Copy(io.Discard, response.Body)
	if response.StatusCode != status || !response.Close {
		t.Errorf("%s, %s: %d, close is %v", name, line, response.StatusCode, response.Close)
	}
	if rest, err := io.ReadAll(reader); len(rest) > 0 || err != nil && strings.Contains(err.Error(), "timeout") {
		t.Errorf("%s, %s: the connection goes on with %q, %v", name, line, rest, err)
	}
}

// A denied request without a body keeps its connection.
func TestDenialsKeepConnectionsWithoutABody(t *testing.T) {
	s := newTestSite(t, standardRules)
	conn, err := net.Dial("tcp", "127.0.0.1:"+s.port)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(promptly))
	reader := bufio.NewReader(conn)
	for _, path := range []string{"/articles/hello", "/account", "/"} {
		fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%s\r\n\r\n", path, s.port)
		response, err := http.ReadResponse(reader, nil)
		if err != nil || response.Close {
			t.Fatalf("%s: %v", path, err)
		}
		io.Copy(io.Discard, response.Body)
	}
}

// Over HTTP/2 and 3 only the stream ends: the connection serves further requests.
func TestDenialsOfStreamsDoNotWaitForTheBody(t *testing.T) {
	s := newTestSite(t, standardRules)
	port := keystest.FreePort(t)
	s.load(s.config("", standardRules, "") + "\nhttps://localhost:" + port + " {\ntls " + s.certificate() + "\nlog\ngatefold {\n" + standardRules +
		"\n}\nreverse_proxy " + strings.TrimPrefix(s.origin.URL, "http://") + "\n}\n")
	insecure := &tls.Config{InsecureSkipVerify: true}
	h2 := &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: insecure.Clone(), ExpectContinueTimeout: time.Minute}
	h3 := &http3.Transport{TLSClientConfig: insecure.Clone()}
	defer h2.CloseIdleConnections()
	defer h3.Close()
	for major, transport := range map[int]http.RoundTripper{2: h2, 3: h3} {
		for _, expect := range []string{"", "100-continue"} {
			ctx, cancel := context.WithTimeout(t.Context(), promptly)
			body, writer := io.Pipe() // of which nothing ever comes
			request, _ := http.NewRequestWithContext(ctx, http.MethodPost, "https://localhost:"+port+"/articles/hello", body)
			if request.ContentLength = 10 << 30; expect != "" {
				request.Header.Set("Expect", expect)
			}
			response, err := transport.RoundTrip(request)
			if err != nil || response.StatusCode != http.StatusUnauthorized || response.ProtoMajor != major {
				t.Fatalf("HTTP/%d %s: %v %v", major, expect, response, err)
			}
			io.Copy(io.Discard, response.Body)
			response.Body.Close()
			writer.Close()
			cancel()
			again, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://localhost:"+port+"/", nil)
			if response, err = transport.RoundTrip(again); err != nil || response.StatusCode != http.StatusOK {
				t.Fatalf("HTTP/%d afterwards: %v %v", major, response, err)
			}
			response.Body.Close()
		}
	}
}

// certificate writes a certificate and its key into the site's directory, and returns
// both paths.
func (s *testSite) certificate() string {
	server := httptest.NewTLSServer(http.NotFoundHandler())
	defer server.Close()
	own := server.TLS.Certificates[0]
	key, err := x509.MarshalPKCS8PrivateKey(own.PrivateKey)
	if err != nil {
		s.Fatal(err)
	}
	return s.write("cert.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: own.Certificate[0]}))) + " " +
		s.write("key.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})))
}

// newTestSiteBeside adds a site on another port to the configuration of a site, with
// further lines in its gatefold directive and further directives. It returns the port.
func newTestSiteBeside(t *testing.T, s *testSite, gate, site string) string {
	t.Helper()
	port := keystest.FreePort(t)
	s.load(s.config("", standardRules+"\ndeny {\nlogin /login\n}\n", "") + "\nhttp://127.0.0.1:" + port + " {\n" + site + "\ngatefold {\n" + standardRules + gate +
		"\n}\nreverse_proxy " + strings.TrimPrefix(s.origin.URL, "http://") + "\n}\n")
	return port
}
