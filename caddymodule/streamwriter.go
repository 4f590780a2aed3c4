package caddymodule

import (
	"bufio"
	"context"
	"io"
	"math"
	"net"
	"net/http"
	"time"
)

const (
	// longAfter is the time after which a response that is still written is a stream.
	longAfter = time.Second
	// longSize is the size of a single write, in bytes, above which a response is a
	// stream at once: to a slow client such a write can take any time.
	longSize = 64 << 10
)

// streaming registers a writer's response as a stream once it is long.
type streaming struct {
	request *gateRequest // nil once the response is complete
	stream  *stream
	cancel  context.CancelFunc // see cancelable
}

// begin registers the response as a stream. Later calls only set the connection.
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
	s.stream.conn, s.stream.cancel = conn, s.cancel
	openStreams.add(s.stream)
}

// write registers the response as a stream if it is long. It is called before size bytes
// are written; continued reports whether there were writes before, so that a response
// of one write does not read the clock.
func (s *streaming) write(w http.ResponseWriter, size int, continued bool) {
	if s.request == nil || s.stream != nil {
		return
	}
	if size > longSize || continued && since(s.request.request.Now) >= longAfter {
		s.begin(w, nil)
	}
}

// end marks the response as complete.
func (s *streaming) end() {
	if s.stream != nil {
		s.stream.end()
		openStreams.remove(s.stream)
	}
	if s.cancel != nil {
		s.cancel()
	}
	s.request, s.stream, s.cancel = nil, nil, nil
}

// remaining returns an upper bound of the bytes that a reader returns.
func remaining(r io.Reader) int {
	if limited, ok := r.(*io.LimitedReader); ok {
		return int(min(limited.N, math.MaxInt32))
	}
	return math.MaxInt32
}

// Hijack implements http.Hijacker. The connection becomes a tunnel, which is a stream.
func (p *privateWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	if p.delivery != nil {
		if err := p.deliver(); err != nil {
			return nil, nil, err
		}
	}
	conn, buffered, err := http.NewResponseController(p.ResponseWriter).Hijack()
	if err == nil {
		p.streaming.begin(p.ResponseWriter, conn)
	}
	return conn, buffered, err
}
