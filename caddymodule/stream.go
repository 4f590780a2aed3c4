package caddymodule

import (
	"context"
	"errors"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/gatefold/gatefold/policy"
)

// stream is an answer that goes on for long: a tunnel, events, a download. It was
// allowed when it began, and is cut when it would not be any more.
type stream struct {
	gate    *Handler
	site    *siteRuntime
	request policy.Request
	source  *credentialSource // whose token the reader showed, if one
	token   string
	began   time.Time

	stamp  func() uint64 // sums the versions that the decision depends on
	was    uint64
	judged time.Time // when it was last decided

	refused policy.Reason // why it is cut, zero while it is not

	mu     sync.Mutex // what is over must not be cut: its connection serves another request
	over   bool
	logged bool     // that it is cut: in the log, and to the metric
	conn   net.Conn // of a tunnel
	w      http.ResponseWriter
}

// streams are the streams of all sites whose records are in one store.
type streams struct {
	mu       sync.Mutex
	open     map[*stream]struct{}
	watching bool // a goroutine watches: two would judge one stream at once
}

const (
	// watchStreams is how often the versions of streams are compared: what is
	// revoked is cut within a second, and far sooner.
	watchStreams = 100 * time.Millisecond
	// judgeStreams is how often a stream is judged although no version changed:
	// grants and links end by themselves, and a store can be away.
	judgeStreams = 800 * time.Millisecond
)

// add begins to watch a stream. While there is any, one goroutine watches.
func (s *streams) add(added *stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open == nil {
		s.open = make(map[*stream]struct{})
	}
	s.open[added] = struct{}{}
	if !s.watching {
		s.watching = true
		go s.watch()
	}
}

func (s *streams) remove(removed *stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, removed)
}

// count returns how many streams are open.
func (s *streams) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.open)
}

// watch cuts what is not allowed any more, until no stream is left.
func (s *streams) watch() {
	ticker := time.NewTicker(watchStreams)
	defer ticker.Stop()
	var open []*stream
	for range ticker.C {
		s.mu.Lock()
		if len(s.open) == 0 {
			s.open, s.watching = nil, false
			s.mu.Unlock()
			return
		}
		open = open[:0]
		for one := range s.open {
			open = append(open, one)
		}
		s.mu.Unlock()
		for _, one := range open {
			if one.refused == 0 {
				if reason, ok := one.allowed(); !ok {
					one.refused = reason
				}
			}
			if one.refused != 0 {
				one.cut(one.refused) // and again, until its handler has ended
			}
		}
		clear(open)
	}
}

// newStream returns a stream of an allowed request. It keeps what decides the
// request, in memory of its own.
func newStream(g *gateRequest, w http.ResponseWriter) *stream {
	s := &stream{
		gate: g.gate, site: g.site, source: g.source, token: g.token, began: g.request.Now, w: w,
		request: policy.Request{
			Site: g.request.Site, Method: g.request.Method, WebSocket: g.request.WebSocket, Preflight: g.request.Preflight,
			Target: g.request.Target, EscapedPath: g.request.EscapedPath, Host: g.request.Host, Query: g.request.Query,
			Reader: g.request.Reader, Link: g.request.Link,
		},
	}
	s.request.Link.Redeemed = slices.Clone(g.request.Link.Redeemed)
	return s
}

// allowed reports whether the stream may go on, or why not.
func (s *stream) allowed() (policy.Reason, bool) {
	at := now()
	if s.stamp != nil && s.stamp() == s.was && at.Sub(s.judged).Abs() < judgeStreams {
		return 0, true
	}
	ctx, cancel := context.WithTimeout(context.Background(), judgeStreams)
	defer cancel()
	decision := s.decide(ctx, at)
	switch {
	case errors.Is(decision.Err, policy.ErrStale):
	case decision.Reason == policy.ReasonStoreUnavailable, decision.Reason == policy.ReasonKeysUnavailable:
		// An unknown answer cuts nothing until what is in memory is too old.
		return 0, true
	}
	return decision.Reason, decision.Allow()
}

// decide decides the stream's request again, as it would be decided now. It spends
// nothing.
func (s *stream) decide(ctx context.Context, at time.Time) policy.Decision {
	request := s.request
	request.Now, s.judged = at, at
	if s.source != nil {
		// The token counts as it did when the stream began: its end does not end the
		// stream, but the retirement of its key does.
		reader, err := s.site.policy.Reader(ctx, &s.source.verifier, s.token, s.began)
		if errors.Is(err, policy.ErrUnavailable) {
			reader = policy.Reader{Unknown: true}
		} else if err != nil {
			reader = policy.Reader{Rejected: true}
		}
		request.Reader = reader
	}
	s.stamp = s.site.policy.Stamp(ctx, &request)
	s.was = s.stamp()
	return s.site.policy.Decide(ctx, &request)
}

// cut ends the stream on the reader's side; its handler then ends by itself.
func (s *stream) cut(reason policy.Reason) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return
	}
	if !s.logged {
		s.logged = true
		s.gate.logger.Info("cut", zap.Stringer("reason", reason), zap.String("vendor", s.gate.Vendor), zap.String("site", s.gate.Site),
			zap.String("path", s.request.EscapedPath), zap.Duration("open", now().Sub(s.began)))
		streamsCut.WithLabelValues(s.gate.Vendor, s.gate.Site).Inc()
	}
	if s.conn != nil {
		s.over = true
		_ = s.conn.Close()
		return
	}
	// A deadline that is past fails the write that is waiting, and the read that
	// net/http keeps up to see a client leave: that ends the request's context.
	past := time.Unix(1, 0)
	_ = writeControl(s.w).SetWriteDeadline(past)
	_ = http.NewResponseController(s.w).SetReadDeadline(past)
}

// writeControl controls the connection below Caddy's own deadlines for writes,
// which only the handler's goroutine may set.
func writeControl(w http.ResponseWriter) *http.ResponseController {
	for {
		if idle, ok := w.(*caddyhttp.IdleTimeoutWriter); ok {
			return idle.Ctrl
		}
		wrapper, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			return http.NewResponseController(w)
		}
		w = wrapper.Unwrap()
	}
}

// end says that the answer is complete.
func (s *stream) end() {
	s.mu.Lock()
	s.over = true
	s.mu.Unlock()
}
