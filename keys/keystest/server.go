package keystest

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
)

// Server is an HTTP server on a loopback address that records every request
// and answers with the handler set last.
type Server struct {
	*httptest.Server

	mu       sync.Mutex
	handler  http.HandlerFunc
	requests []*http.Request
}

// NewOrigin starts a plain HTTP server that is closed when the test ends. Until
// Handle is called it answers 200 with "origin saw " and the request URI.
func NewOrigin(t testing.TB) *Server {
	t.Helper()
	s := newServer(echo)
	s.Start()
	t.Cleanup(s.Close)
	return s
}

func newServer(handler http.HandlerFunc) *Server {
	s := &Server{handler: handler}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(s.serve))
	// Handlers that abort on purpose must not write to the test's output.
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	return s
}

func echo(w http.ResponseWriter, r *http.Request) {
	fmt.Fprintf(w, "origin saw %s", r.RequestURI) //nolint:gosec // text for tests, not HTML
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.requests = append(s.requests, r.Clone(r.Context()))
	handler := s.handler
	s.mu.Unlock()
	handler(w, r)
}

// Handle sets the handler of all later requests. The handler must be safe for
// concurrent use. A nil handler restores that of NewOrigin.
func (s *Server) Handle(handler http.HandlerFunc) {
	if handler == nil {
		handler = echo
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.handler = handler
}

// Fail makes the server answer all later requests with the given status and no
// body.
func (s *Server) Fail(status int) {
	s.Handle(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) })
}

// Count returns the number of requests received since the start, or since the
// last call of Take or Last.
func (s *Server) Count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.requests)
}

// Take returns the recorded requests in the order of arrival and forgets them.
// Their bodies belong to the handler.
func (s *Server) Take() []*http.Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	requests := s.requests
	s.requests = nil
	return requests
}

// Last returns the most recent request and forgets all of them. It fails the
// test when there is none.
func (s *Server) Last(t testing.TB) *http.Request {
	t.Helper()
	requests := s.Take()
	if len(requests) == 0 {
		t.Fatal("the server received no request")
	}
	return requests[len(requests)-1]
}

// WantNone fails the test when the server received a request, and forgets all
// requests.
func (s *Server) WantNone(t testing.TB) {
	t.Helper()
	for _, r := range s.Take() {
		t.Errorf("the server received %s %s", r.Method, r.RequestURI)
	}
}
