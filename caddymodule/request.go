package caddymodule

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/gatefold/gatefold/policy"
)

// visit is one request on its way through the gate: what is needed until the
// next handler has answered. Its memory then serves another request, so nothing
// that outlives that may point into it; such things are in its outcome.
type gateRequest struct {
	gate *Handler
	r    *http.Request
	// original is the URL as it was received, before any rewrite.
	original *url.URL
	// secure: the reader's side of the connection is https.
	secure bool
	// authorization are the Authorization headers as they were received.
	authorization []string
	request       policy.Request
	// cookies are the link cookies that the request carried, and carried those
	// of them that this site made.
	cookies  []linkCookie
	redeemed []redeemedCookie
	// room is for those of most requests.
	buf struct {
		cookies [2]linkCookie
		carried [2]redeemedCookie
		passes  [2]policy.RedeemedLink
	}
	// source is whose token the reader showed, and token is that; streams keep them.
	source *credentialSource
	token  string
	// redemption is the id of the use that was counted, if one was.
	redemption string
	// introduction is what the origin is told, where that was prepared before the
	// decision was final; session says that it is told.
	upstream upstreamIdentity
	session  bool
	// told is what logs, placeholders and the writer of the answer keep of it.
	outcome *outcome
}

// visits are the memory of visits that are over.
var requestPool = sync.Pool{New: func() any { return new(gateRequest) }}

// enter begins a visit: it takes out of the request what only the gate may set,
// and the gate's own cookies.
func (h *Handler) enter(r *http.Request) *gateRequest {
	g, _ := requestPool.Get().(*gateRequest)
	g.gate, g.r, g.original, g.outcome = h, r, r.URL, new(outcome)
	g.cookies, g.redeemed = g.buf.cookies[:0], g.buf.carried[:0]
	if original, ok := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request); ok {
		g.original = original.URL
	}
	headers := cleanHeaders(r)
	g.authorization = headers.authorization
	g.secure = isSecure(r, headers.forwardedProto)
	g.cookies = takeLinkCookies(r.Header, headers.cookie, g.secure, g.cookies)
	return g
}

// leave ends a visit. A handler that panics does not come here: its visit is
// left to the garbage collector.
func (g *gateRequest) leave() {
	*g = gateRequest{}
	requestPool.Put(g)
}

// isSecure says whether the reader speaks https, to us or to a proxy that the
// operator trusts; forwardedProto are the request's headers of that name.
func isSecure(r *http.Request, forwardedProto []string) bool {
	if r.TLS != nil {
		return true
	}
	if len(forwardedProto) == 0 || !strings.EqualFold(forwardedProto[0], "https") {
		return false
	}
	trusted, _ := caddyhttp.GetVar(r.Context(), caddyhttp.TrustedProxyVarKey).(bool)
	return trusted
}

// isPreflight says whether a request is a CORS preflight (Fetch standard, 4.8):
// it carries no credentials and asks for no content.
func isPreflight(r *http.Request) bool {
	return r.Method == http.MethodOptions && r.Header.Get("Origin") != "" && r.Header.Get("Access-Control-Request-Method") != ""
}

// isExtendedWebSocket says whether a CONNECT opens a WebSocket over HTTP/2 (RFC
// 8441) or HTTP/3 (RFC 9220). It looks where Caddy's reverse_proxy looks.
func isExtendedWebSocket(r *http.Request) bool {
	return r.Method == http.MethodConnect &&
		(r.ProtoMajor == 2 && r.Header.Get(":protocol") == "websocket" || r.ProtoMajor == 3 && r.Proto == "websocket")
}

// acceptsHTML says whether a client asks for HTML by name, as browsers do when
// they open a page.
func acceptsHTML(r *http.Request) bool {
	for _, value := range r.Header["Accept"] {
		for part := range strings.SplitSeq(value, ",") {
			kind, _, _ := strings.Cut(part, ";")
			if strings.EqualFold(strings.TrimSpace(kind), "text/html") {
				return true
			}
		}
	}
	return false
}

// outcome is what logs and placeholders tell of a decision. It outlives the
// visit, because the access log is written last, and a connection that was
// taken over is written to for as long as it lasts.
type outcome struct {
	decision policy.Decision
	user     string
	// forwarding says how the request goes on; nil where that is not known.
	forwarding *policy.Forwarding
	// room is for what most rules capture from a path.
	buf [4]string
	// private is the writer of a page that is not public: here, so that it costs
	// no memory of its own.
	private privateWriter
}

// MarshalLogObject implements zapcore.ObjectMarshaler. It runs only when a log
// line is written.
func (o *outcome) MarshalLogObject(enc zapcore.ObjectEncoder) error {
	enc.AddString("decision", o.verdict())
	enc.AddString("reason", o.decision.Reason.String())
	if o.decision.Rule != nil {
		enc.AddString("rule", o.decision.Rule.Path)
	}
	if o.user != "" {
		enc.AddString("user", o.user)
	}
	if o.decision.Link.ID != "" {
		enc.AddString("link", o.decision.Link.ID)
	}
	if o.decision.Grant != "" {
		enc.AddString("grant", o.decision.Grant)
	}
	return nil
}

func (o *outcome) verdict() string {
	if o.decision.Allow() {
		return "allow"
	}
	return "deny"
}

const (
	placeholders  = "http.gatefold."
	forwardingKey = placeholders + "entry_point"
)

// placeholder implements caddy.ReplacerFunc.
func (o *outcome) placeholder(key string) (any, bool) {
	if key == "http.auth.user.id" && o.user != "" {
		return o.user, true
	}
	name, ours := strings.CutPrefix(key, placeholders)
	if !ours {
		return nil, false
	}
	switch name {
	case "decision":
		return o.verdict(), true
	case "reason":
		return o.decision.Reason.String(), true
	case "rule":
		if o.decision.Rule == nil {
			return "", true
		}
		return o.decision.Rule.Path, true
	case "user.id":
		return o.user, true
	case "link.id":
		return o.decision.Link.ID, true
	case "entry_point":
		return o.forwarding, true
	}
	if param, ok := strings.CutPrefix(name, "param."); ok {
		value, _ := o.decision.Param(param)
		return value, true
	}
	return nil, false
}

// writesAccessLog says whether anybody reads the extra fields of a request:
// adding one costs more than a decision.
func writesAccessLog(ctx context.Context) bool {
	server, ok := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	return !ok || server == nil || server.Logs != nil
}

// report makes a decision known: to placeholders, to the access log, and,
// where it denies, to the gate's own log.
func (h *Handler) report(g *gateRequest) {
	outcome := g.outcome
	decision := &outcome.decision
	decision.Keep(outcome.buf[:])
	outcome.user = g.request.Reader.UserID
	ctx := g.r.Context()
	if repl, ok := ctx.Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok {
		repl.Map(outcome.placeholder)
	}
	if extra, ok := ctx.Value(caddyhttp.ExtraLogFieldsCtxKey).(*caddyhttp.ExtraLogFields); ok && writesAccessLog(ctx) {
		extra.Set(zap.Object("gatefold", outcome))
	}
	traceDecision(ctx, outcome)
	if decision.Allow() {
		return
	}
	level := zapcore.InfoLevel
	if decision.Reason == policy.ReasonStoreUnavailable {
		level = zapcore.ErrorLevel
	}
	if entry := h.logger.Check(level, "denied"); entry != nil {
		clientIP, _ := caddyhttp.GetVar(ctx, caddyhttp.ClientIPVarKey).(string)
		entry.Write(zap.Object("gatefold", outcome), zap.String("vendor", h.Vendor), zap.String("site", h.Site),
			zap.String("method", g.r.Method), zap.String("host", g.r.Host), zap.String("path", g.original.EscapedPath()),
			zap.String("client_ip", clientIP), zap.Error(decision.Err))
	}
}
