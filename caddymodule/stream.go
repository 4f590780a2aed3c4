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
	request policy.Request // what is judged; its path is read again, from path
	path    string
	source  *credentialSource // whose token the reader showed, if one
	token   string
	began   time.Time

	stamp func() uint64 // sums the versions that the decision depends on
	was   uint64
	asked time.Time // when it was last judged

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

// newStream takes down what a visit was judged by. Its memory outlives the visit.
func newStream(h *Handler, site *siteRuntime, g *gateRequest, w http.ResponseWriter) *stream {
	s := &stream{
		gate: h, site: site, path: g.original.EscapedPath(), source: g.source, token: g.token, began: g.request.Now, w: w,
		request: policy.Request{
			Site: g.request.Site, Method: g.request.Method, Host: g.request.Host, Query: g.request.Query,
			Reader: g.request.Reader, Link: g.request.Link,
		},
	}
	s.request.Link.Redeemed = slices.Clone(g.request.Link.Redeemed)
	return s
}

// allowed says whether the stream may go on, or why not.
func (s *stream) allowed() (policy.Reason, bool) {
	at := now()
	if s.stamp != nil && s.stamp() == s.was && at.Sub(s.asked).Abs() < judgeStreams {
		return 0, true
	}
	ctx, cancel := context.WithTimeout(context.Background(), judgeStreams)
	defer cancel()
	decision := s.judge(ctx, at)
	if !s.gate.mayDecide(&decision, at) {
		return policy.ReasonStoreUnavailable, false
	}
	switch decision.Reason {
	case policy.ReasonStoreUnavailable, policy.ReasonKeysUnavailable:
		// What cannot be asked cuts nothing, until what is in memory is too old.
		return 0, true
	default:
		return decision.Reason, decision.Allow()
	}
}

// judge decides anew, with nothing spent.
func (s *stream) judge(ctx context.Context, at time.Time) policy.Decision {
	unavailable := policy.Decision{Reason: policy.ReasonStoreUnavailable}
	request := s.request
	request.Now, s.asked = at, at
	if err := request.Path.Read(s.path, request.Site.Paths); err != nil {
		return policy.Decision{Reason: policy.ReasonBadPath, Err: err}
	}
	if s.source != nil {
		// Whoever the reader is was found out when the stream began; that a token
		// ends does not end what was opened with it, that its key is retired does.
		reader, err := s.site.policy.Reader(ctx, &s.source.verifier, s.token, s.began)
		if errors.Is(err, policy.ErrUnavailable) {
			return unavailable
		}
		if err != nil {
			reader = policy.Reader{Rejected: true}
		}
		request.Reader = reader
	}
	s.stamp = s.site.policy.Stamp(ctx, &request)
	s.was = s.stamp()
	if err := s.site.policy.Match(ctx, &request); err != nil {
		return unavailable
	}
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
			zap.String("path", s.path), zap.Duration("open", now().Sub(s.began)))
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
