package caddymodule

import (
	"bytes"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// http2Answer is the status and the body of an HTTP/2 answer. The status is empty if the
// server reset the stream or closed the connection.
type http2Answer struct{ status, body string }

// http2 sends one request in raw frames, so that the fields are those of the caller
// alone: pairs of name and value.
func (s *testSite) http2(fields ...string) http2Answer {
	s.Helper()
	conn, err := net.Dial("tcp", "127.0.0.1:"+s.port)
	if err != nil {
		s.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		s.Fatal(err)
	}
	if _, err := conn.Write([]byte(http2.ClientPreface)); err != nil {
		s.Fatal(err)
	}
	framer := http2.NewFramer(conn, conn)
	framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	for i := 0; i+1 < len(fields); i += 2 {
		if err := encoder.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]}); err != nil {
			s.Fatal(err)
		}
	}
	_ = framer.WriteSettings()
	if err := framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndHeaders: true, EndStream: true}); err != nil {
		s.Fatal(err)
	}
	var got http2Answer
	for {
		frame, err := framer.ReadFrame()
		if err != nil {
			return got
		}
		switch frame := frame.(type) {
		case *http2.SettingsFrame:
			if !frame.IsAck() {
				_ = framer.WriteSettingsAck()
			}
		case *http2.MetaHeadersFrame:
			got.status = frame.PseudoValue("status")
		case *http2.DataFrame:
			got.body += string(frame.Data())
		case *http2.RSTStreamFrame:
			got.body += "RST " + frame.ErrCode.String()
			return got
		case *http2.GoAwayFrame:
			got.body += "GOAWAY " + frame.ErrCode.String()
			return got
		}
		if frame.Header().StreamID == 1 && frame.Header().Flags.Has(http2.FlagDataEndStream) {
			return got
		}
	}
}

// What HTTP/2 can carry and HTTP/1 cannot is refused by the gate, or by Go before it: it
// is neither a 502, nor another request for the origin.
func TestHTTP2CarriesNothingThatHTTP1CannotCarry(t *testing.T) {
	s := newTestSiteWith(t, "servers {\nprotocols h1 h2c\n}", standardRules, "")
	host := "127.0.0.1:" + s.port
	request := func(method, path, authority string, more ...string) []string {
		return append([]string{":method", method, ":scheme", "http", ":path", path, ":authority", authority}, more...)
	}
	for name, fields := range map[string][]string{
		"a method with a space":     request("GET /x", "/", host),
		"a method with a comma":     request("GE,T", "/", host),
		"a method beyond ASCII":     request("G\xc3\xa9T", "/", host),
		"a query with a space":      request("GET", "/?a b", host),
		"a query with a version":    request("GET", "/?a HTTP/1.1", host),
		"a trailer that is no name": request("POST", "/", host, "trailer", "a b"),
	} {
		if got := s.http2(fields...); got.status != "400" || !strings.Contains(got.body, `"bad_request"`) {
			t.Errorf("%s: %+v", name, got)
		}
	}
	for name, fields := range map[string][]string{
		"a method with a control":   request("GE\x01T", "/", host),
		"a method with a line":      request("GET\r\nX: y", "/", host),
		"a query with a line":       request("GET", "/?a\r\nX: y", host),
		"a host with a space":       request("GET", "/", "a b"),
		"a host that differs":       request("GET", "/", host, "host", "other.example"),
		"a value with a control":    request("GET", "/", host, "x-a", "a\x01b"),
		"a value with a line":       request("GET", "/", host, "x-a", "a\r\nb: c"),
		"a name with a space":       request("GET", "/", host, "x a", "b"),
		"a name beyond ASCII":       request("GET", "/", host, "x\xc3\xa9", "b"),
		"a protocol beside GET":     request("GET", "/", host, ":protocol", "websocket"),
		"a header of a connection":  request("GET", "/", host, "transfer-encoding", "chunked"),
		"a pseudo-header of no use": request("GET", "/", host, ":x", "y"),
	} {
		if got := s.http2(fields...); got.status != "" && got.status != "400" {
			t.Errorf("%s: %+v", name, got)
		}
	}
	s.origin.WantNone(t)
	for name, fields := range map[string][]string{
		"plain": request("GET", "/", host), "a value beyond ASCII": request("GET", "/", host, "x-a", "a\xffb"), "a path with a space": request("GET", "/a b", host),
	} {
		if got := s.http2(fields...); got.status != "200" {
			t.Errorf("%s: %+v", name, got)
		}
	}
}
