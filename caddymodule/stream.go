package caddymodule

import (
	"context"
	"errors"
	"maps"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/gatefold/gatefold/caddymodule/metrics"
	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy"
)

// stream is a long response: a tunnel, server-sent events, a download. It is cut when the
// active configuration would deny its request, and when the process ends.
type stream struct {
	gate    *Handler
	site    *siteRuntime
	request policy.Request
	source  *credentialSource // of the reader's token, if any
	token   string
	bearer  bool // the token is in the Authorization header
	began   time.Time

	stamp  func() uint64 // returns the sum of the versions that the decision depends on
	was    uint64        // the stamp of the last decision
	judged time.Time     // the time of the last decision

	refused string // why it is cut; empty while it is allowed

	mu     sync.Mutex
	over   bool     // the handler has returned: its connection may serve another request
	logged bool     // the cut is logged and counted
	conn   net.Conn // of a tunnel
	cancel func()   // ends the context of the request; may be nil
	w      http.ResponseWriter
}

// openStreams are the open streams of the process. They outlive the configurations, and
// the stores, that they began with.
var openStreams streams

// streams are open streams.
type streams struct {
	mu       sync.Mutex
	open     map[*stream]struct{}
	watching bool // the goroutine of watch runs
}

const (
	// watchStreams is the interval at which the versions of streams are compared. It
	// bounds how long a stream outlives a revocation.
	watchStreams = 100 * time.Millisecond
	// judgeStreams is the interval at which a stream is decided again although no
	// version changed: grants and links expire, and the store can become unreachable.
	judgeStreams = 800 * time.Millisecond
)

// add adds a stream, and starts the goroutine that watches streams if none runs.
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

// count returns the number of open streams.
func (s *streams) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.open)
}

// watch cuts streams that are no longer allowed. It returns when no stream is open.
func (s *streams) watch() {
	ticker := time.NewTicker(watchStreams)
	defer ticker.Stop()
	var open []*stream
	var exits time.Time // when the end of the process was seen
	for range ticker.C {
		if exits.IsZero() && exiting() {
			exits = now()
		}
		s.mu.Lock()
		if len(s.open) == 0 {
			s.open, s.watching = nil, false
			s.mu.Unlock()
			return
		}
		open = open[:0]
		open = slices.AppendSeq(open, maps.Keys(s.open))
		s.mu.Unlock()
		for _, stream := range open {
			if stream.refused == "" {
				stream.refused = stream.ends(exits)
			}
			if stream.refused != "" {
				stream.cut(stream.refused) // repeated until the handler returns
			}
		}
		clear(open)
	}
}

// newStream returns the stream of an allowed request. It copies what the decision needs:
// the gateRequest is reused.
func newStream(g *gateRequest, w http.ResponseWriter) *stream {
	s := &stream{
		gate: g.gate, site: g.site, source: g.source, token: g.token, bearer: g.bearer, began: g.request.Now, w: w,
		request: policy.Request{
			Site: g.request.Site, Method: g.request.Method, WebSocket: g.request.WebSocket, Preflight: g.request.Preflight, Body: g.request.Body,
			Target: g.request.Target, EscapedPath: g.request.EscapedPath, CurrentPath: g.request.CurrentPath,
			Host: g.request.Host, Query: g.request.Query, Reader: g.request.Reader, Link: g.request.Link, Meter: g.request.Meter, Agent: g.request.Agent,
			Client: policy.FixedAddress(g.ClientAddress()), Requirement: g.request.Requirement,
		},
	}
	s.request.Link.Redeemed = slices.Clone(g.request.Link.Redeemed)
	if use := g.decision.Meter; use != nil && use.Anonymous() && g.decision.Allow() {
		// The view of the page counts for its stream, and is in no cookie of the request.
		s.request.Meter.Cookies = []policy.MeterCookie{{Meter: use.Name, Views: slices.Clone(use.Views)}}
	}
	return s
}

// ends returns the reason to cut the stream, or "". The process ends since the given time,
// if that is not zero.
func (s *stream) ends(exits time.Time) string {
	if !exits.IsZero() && now().Sub(exits) >= s.gate.app.StreamGrace.V {
		return cutShutdown
	}
	if reason := s.follow(); reason != "" {
		return reason
	}
	return s.refusal()
}

// refusal returns the reason for which the gate denies the stream's request now, or "".
// While the records or keys are unavailable it denies nothing until the cached records are
// stale.
func (s *stream) refusal() string {
	at := now()
	if s.stamp != nil && s.stamp() == s.was && at.Sub(s.judged).Abs() < judgeStreams {
		return ""
	}
	ctx, cancel := context.WithTimeout(context.Background(), judgeStreams)
	defer cancel()
	decision := s.decide(ctx, at)
	unavailable := decision.Reason == policy.ReasonStoreUnavailable || decision.Reason == policy.ReasonKeysUnavailable
	if decision.Allow() || unavailable && !errors.Is(decision.Err, policy.ErrStale) {
		return ""
	}
	return decision.Reason.String()
}

// decide decides the stream's request again at the given time. It spends nothing.
func (s *stream) decide(ctx context.Context, at time.Time) policy.Decision {
	request := s.request
	request.Now, s.judged = at, at
	unknown := false
	if s.source != nil {
		// The token is verified as of the beginning of the stream: its expiry does not
		// cut the stream, the retirement of its key does. A session and an API key have a
		// declared end, which counts for their streams as well.
		when := s.began
		if s.source.login != nil || s.source.key != nil {
			when = at
		}
		reader, err := s.source.reader(ctx, s.site.policy, s.token, when)
		if unknown = errors.Is(err, policy.ErrUnavailable); unknown {
			reader = policy.Reader{Unknown: true, NoKeys: errors.Is(err, keys.ErrKeysUnavailable), Failure: err}
		} else if err != nil {
			reader = policy.Reader{Rejected: true, Failure: err}
		}
		request.Reader = reader
	}
	s.stamp = s.source.stamped(s.site.policy, s.token, s.site.policy.Stamp(ctx, &request))
	s.was = s.stamp()
	decision := s.site.policy.Decide(ctx, &request)
	if unknown && !decision.Allow() && !errors.Is(decision.Err, policy.ErrStale) {
		// Whatever else the denial is: the reader may be one who is allowed.
		if decision.Reason = policy.ReasonStoreUnavailable; request.Reader.NoKeys {
			decision.Reason = policy.ReasonKeysUnavailable
		}
	}
	return decision
}

// cut closes the stream's client connection, or makes its reads and writes fail, so
// that the handler returns.
func (s *stream) cut(reason string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return
	}
	if !s.logged {
		s.logged = true
		s.logger(reason).Info("cut", zap.String("reason", reason), zap.String("vendor", s.gate.Vendor), zap.String("site", s.gate.Site),
			zap.String("path", cut(s.request.EscapedPath, maxLogText)), zap.Duration("open", now().Sub(s.began)))
		metrics.StreamsCut.WithLabelValues(s.gate.Vendor, s.gate.Site).Inc()
	}
	if s.conn != nil {
		s.over = true
		_ = s.conn.Close()
		return
	}
	if s.cancel != nil {
		s.cancel()
	}
	// A past deadline fails the blocked write, and the background read by which
	// net/http detects a closed connection: that cancels the request's context.
	past := time.Unix(1, 0)
	_ = writeControl(s.w).SetWriteDeadline(past)
	_ = http.NewResponseController(s.w).SetReadDeadline(past)
}

// logger returns the logger of the gate, or Caddy's own if the gate's configuration, and
// with it the files of its log, is closed.
func (s *stream) logger(reason string) *zap.Logger {
	if reason == cutSiteRemoved {
		return caddy.Log().Named("http.handlers.gatefold")
	}
	return s.gate.logger
}

// writeControl returns a controller of the connection below Caddy's IdleTimeoutWriter,
// which only the handler's goroutine may use.
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

// end marks the response as complete.
func (s *stream) end() {
	s.mu.Lock()
	s.over = true
	s.mu.Unlock()
}
