package upstreamtest

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// client2 sends requests over HTTP/2 with prior knowledge, frame by frame, so that
// pseudo-headers go as they are.
type client2 struct {
	address string
	conn    net.Conn
	framer  *http2.Framer
	block   bytes.Buffer
	encoder *hpack.Encoder
	stream  uint32
}

func (c *client2) close() {
	if c.conn != nil {
		c.conn.Close()
		c.conn = nil
	}
}

func (c *client2) connect() error {
	conn, err := net.Dial("tcp", c.address)
	if err != nil {
		return err
	}
	if _, err := conn.Write([]byte(http2.ClientPreface)); err != nil {
		return err
	}
	c.conn, c.stream = conn, 1
	c.framer = http2.NewFramer(conn, conn)
	c.framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	c.encoder = hpack.NewEncoder(&c.block)
	return c.framer.WriteSettings()
}

// send sends a request and returns its answer, or the error with which the server
// ends the stream or the connection.
func (c *client2) send(r *request, cookie string) (*reply, error) {
	if c.conn == nil {
		if err := c.connect(); err != nil {
			return nil, err
		}
	}
	answer, err := c.exchange(r, cookie)
	if err != nil {
		c.close()
	}
	c.stream += 2
	return answer, err
}

func (c *client2) exchange(r *request, cookie string) (*reply, error) {
	if err := c.conn.SetDeadline(time.Now().Add(deadline)); err != nil {
		return nil, err
	}
	c.block.Reset()
	fields := []hpack.HeaderField{{Name: ":method", Value: r.method}, {Name: ":scheme", Value: "http"}, {Name: ":authority", Value: r.host}, {Name: ":path", Value: r.target}}
	for _, line := range append([]string{cookie}, r.headers...) {
		if name, value, found := strings.Cut(line, ": "); found {
			fields = append(fields, hpack.HeaderField{Name: strings.ToLower(name), Value: value})
		}
	}
	for _, field := range fields {
		if err := c.encoder.WriteField(field); err != nil {
			return nil, err
		}
	}
	// Blocks of the corpus' longest requests need more than one frame.
	block := c.block.Bytes()
	first := block[:min(len(block), 16_000)]
	if err := c.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: c.stream, BlockFragment: first, EndStream: true, EndHeaders: len(first) == len(block)}); err != nil {
		return nil, err
	}
	for rest := block[len(first):]; len(rest) > 0; {
		next := rest[:min(len(rest), 16_000)]
		rest = rest[len(next):]
		if err := c.framer.WriteContinuation(c.stream, len(rest) == 0, next); err != nil {
			return nil, err
		}
	}
	return c.read()
}

func (c *client2) read() (*reply, error) {
	answer := &reply{header: http.Header{}}
	for {
		frame, err := c.framer.ReadFrame()
		if err != nil {
			return nil, err
		}
		ended := false
		switch frame := frame.(type) {
		case *http2.SettingsFrame:
			if !frame.IsAck() {
				err = c.framer.WriteSettingsAck()
			}
		case *http2.MetaHeadersFrame:
			for _, field := range frame.Fields {
				answer.raw += field.Name + ": " + field.Value + "\r\n"
				answer.header.Add(field.Name, field.Value)
			}
			answer.status, err = strconv.Atoi(frame.PseudoValue("status"))
			ended = frame.StreamEnded()
		case *http2.DataFrame:
			answer.body += string(frame.Data())
			ended = frame.StreamEnded()
		case *http2.RSTStreamFrame:
			err = fmt.Errorf("the stream is reset: %v", frame.ErrCode)
		case *http2.GoAwayFrame:
			err = fmt.Errorf("the connection ends: %v", frame.ErrCode)
		}
		if err != nil || ended {
			return answer, err
		}
	}
}

// pseudo are requests that only HTTP/2 can carry.
func pseudo() []*request {
	var all []*request
	for _, page := range []string{"/articles/hello", "/account"} {
		for _, method := range []string{"GET " + page, "GET " + page + " HTTP/1.1\r\nHost: x\r\n\r\nGET", "get", "GET\t", "G ET", "", "GET\r\n", "GET\x00", "CONNECT"} {
			all = append(all, &request{kind: "pseudo-header", method: method, target: "/", host: host}, &request{kind: "pseudo-header", method: method, target: page, host: host})
		}
		for _, target := range []string{
			"/ " + page, "/ HTTP/1.1\r\nX: " + page, "/\r\n" + page, page + " HTTP/1.1", page + " ", " " + page, page + "\x00", page + "\r\n", "/ " + page + " HTTP/1.1\r\n", "http://" + host + page, "//" + host + page, page[1:], "*", "", page + "#x", "/?x#" + page, "/x\\.." + page, "/\t" + page,
		} {
			all = append(all, &request{kind: "pseudo-header", method: "GET", target: target, host: host})
		}
		for _, authority := range []string{host + page, host + "/..", host + " ", "user@" + host, host + "\r\nX: y", "", host + "#", host + "?x=", host + "\\"} {
			all = append(all, &request{kind: "pseudo-header", method: "GET", target: page, host: authority}, &request{kind: "pseudo-header", method: "GET", target: "/", host: authority})
		}
		for _, line := range []string{"Host: other.example", "X-Original-Url: " + page, "X-A: b\r\nX-Original-Url: " + page, "X-A: b\nHost: y", "X-A: \x00", "X A: b", "X_A\r\n: b", "Transfer-Encoding: chunked", "Connection: close", "Content-Length: 5", "Te: trailers", ":path: " + page} {
			all = append(all, &request{kind: "pseudo-header", method: "GET", target: "/", host: host, headers: []string{line}}, &request{kind: "pseudo-header", method: "GET", target: page, host: host, headers: []string{line}})
		}
	}
	return all
}

// Over HTTP/2 the same holds, also of what HTTP/1 cannot carry.
func attackOverHTTP2(t *testing.T, g *gate, s *site, corpus []*request) {
	t.Helper()
	for _, role := range []string{"", g.premium} {
		check := nothingProtected
		if role != "" {
			check = servedAsJudged(s.origin)
		}
		result := &tally{statuses: map[int]int{}}
		c := &client2{address: s.address}
		for _, r := range append(fifth(corpus, 1), pseudo()...) {
			if r.body == "" {
				answer, err := c.send(r, role)
				result.add(r, answer, err, check)
			}
		}
		c.close()
		report(t, "a client over HTTP/2", result)
		t.Logf("over HTTP/2: %v, %d served, %d without answer", result.statuses, result.served, result.errors)
		if role == "" && result.statuses[http.StatusUnauthorized] < 50 || role != "" && result.served < 5 {
			t.Errorf("over HTTP/2 the gate answers %v, and %d are served: this shows little", result.statuses, result.served)
		}
		if s.origin.name == "Go" && result.statuses[http.StatusBadGateway] > 0 { // other origins end connections themselves
			t.Errorf("over HTTP/2 the transport refuses %d requests, which the gate should have refused", result.statuses[http.StatusBadGateway])
		}
	}
}
