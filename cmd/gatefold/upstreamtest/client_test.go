package upstreamtest

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// reply is an answer: what the client understands, and all of its bytes.
type reply struct {
	status    int
	header    http.Header
	body, raw string
}

// client sends requests over one connection, as long as the server keeps it open.
type client struct {
	address string
	conn    net.Conn
	reader  *bufio.Reader
	raw     bytes.Buffer
}

func (c *client) close() {
	if c.conn != nil {
		c.conn.Close()
		c.conn = nil
	}
}

func (c *client) connect() error {
	c.close()
	conn, err := net.Dial("tcp", c.address)
	if err != nil {
		return err
	}
	c.conn = conn
	c.reader = bufio.NewReader(io.TeeReader(conn, &c.raw))
	return nil
}

// send sends a request as it is. A server may have closed the connection since the
// last answer: then the request is sent again over another one.
func (c *client) send(r *request, lines ...string) (*reply, error) {
	kept := c.conn != nil
	answer, err := c.try(r, lines)
	if err != nil && kept {
		answer, err = c.try(r, lines)
	}
	return answer, err
}

func (c *client) try(r *request, lines []string) (*reply, error) {
	if c.conn == nil {
		if err := c.connect(); err != nil {
			return nil, err
		}
	}
	answer, err := c.exchange(r, lines)
	if err != nil {
		c.close()
	}
	return answer, err
}

func (c *client) exchange(r *request, lines []string) (*reply, error) {
	var text strings.Builder
	fmt.Fprintf(&text, "%s %s HTTP/1.1\r\nHost: %s\r\n", r.method, r.target, r.host)
	for _, line := range append(lines, r.headers...) {
		text.WriteString(line + "\r\n")
	}
	if r.body != "" {
		fmt.Fprintf(&text, "Content-Length: %d\r\n", len(r.body))
	}
	text.WriteString("\r\n" + r.body)
	if err := c.conn.SetDeadline(time.Now().Add(deadline)); err != nil {
		return nil, err
	}
	c.raw.Reset()
	if _, err := io.WriteString(c.conn, text.String()); err != nil {
		return nil, err
	}
	response, body, err := c.read(r.method)
	if err != nil {
		return nil, err
	}
	if response.Close || r.method == http.MethodConnect || response.StatusCode == http.StatusSwitchingProtocols || c.reader.Buffered() > 0 {
		// What follows an answer belongs to it as well: nothing else was asked for.
		_ = c.conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		_, _ = io.Copy(io.Discard, io.LimitReader(c.reader, 1<<20))
		c.close()
	}
	return &reply{response.StatusCode, response.Header, body, c.raw.String()}, nil
}

// read reads the final answer and its body.
func (c *client) read(method string) (*http.Response, string, error) {
	for {
		response, err := http.ReadResponse(c.reader, &http.Request{Method: method})
		if err != nil {
			return nil, "", err
		}
		body, err := io.ReadAll(response.Body)
		if err != nil {
			return nil, "", err
		}
		response.Body.Close()
		if response.StatusCode >= 200 || response.StatusCode == http.StatusSwitchingProtocols {
			return response, string(body), nil
		}
	}
}
