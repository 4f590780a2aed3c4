package caddymodule

import (
	"bufio"
	"io"
	"math"
	"net"
	"net/http"
	"time"
)

const (
	// longAfter is how long an answer is open before it counts as a stream.
	longAfter = time.Second
	// longSize is how many bytes that come at once make an answer a download: they
	// may take a slow reader any time, and nothing is asked meanwhile.
	longSize = 64 << 10
)

// streaming is what a writer needs to make a stream of its answer.
type streaming struct {
	request *gateRequest // nil when the answer is complete
	stream  *stream
}

// begin registers the answer as a stream, once.
func (s *streaming) begin(w http.ResponseWriter, conn net.Conn) {
	if s.request == nil {
		return
	}
	if s.stream != nil {
		s.stream.mu.Lock()
		s.stream.conn = conn
		s.stream.mu.Unlock()
		return
	}
	s.stream = newStream(s.request, w)
	s.stream.conn = conn
	s.request.gate.app.shared.streams.add(s.stream)
}

// write says that so many bytes are about to be written. Most answers are written
// at once: only of those that go on is asked how long they are open.
func (s *streaming) write(w http.ResponseWriter, size int, goesOn bool) {
	if s.request == nil || s.stream != nil {
		return
	}
	if size > longSize || goesOn && since(s.request.request.Now) >= longAfter {
		s.begin(w, nil)
	}
}

// end says that the answer is complete.
func (s *streaming) end() {
	if s.stream != nil {
		s.stream.end()
		s.stream.gate.app.shared.streams.remove(s.stream)
	}
	s.request, s.stream = nil, nil
}

// remaining returns how many bytes a reader has at the most.
func remaining(r io.Reader) int {
	if limited, ok := r.(*io.LimitedReader); ok {
		return int(min(limited.N, math.MaxInt32))
	}
	return math.MaxInt32
}

// Hijack is what http.ResponseController calls: the connection becomes a tunnel.
func (p *privateWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffered, err := http.NewResponseController(p.ResponseWriter).Hijack()
	if err == nil {
		p.streaming.begin(p.ResponseWriter, conn)
	}
	return conn, buffered, err
}
