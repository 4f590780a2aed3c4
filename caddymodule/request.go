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

// gateRequest is the state of one request in the gate, until the next handler has
// responded. Its memory then serves another request: what must outlive it is in its
// outcome.
type gateRequest struct {
	gate *Handler
	site *siteRuntime
	r    *http.Request
	// original is the URL as received, before any rewrite.
	original *url.URL
	// secure reports whether the reader's side of the connection is https.
	secure bool
	// authorization are the Authorization headers as received.
	authorization []string
	// request is what the policy decides.
	request policy.Request
	// cookies are the link cookies that the request carried, and redeemed those of
	// them that this site made.
	cookies  []linkCookie
	redeemed []redeemedCookie
	// buf is the memory for those of most requests.
	buf struct {
		cookies  [2]linkCookie
		redeemed [2]redeemedCookie
		links    [2]policy.RedeemedLink
	}
	// source is the credential source whose token identified the reader, and token is
	// that token; streams keep them.
	source *credentialSource
	token  string
	// cleanQuery is the query without link tokens, if stripsTokens is set.
	cleanQuery   string
	stripsTokens bool
	// redemption is the id of the use that was counted, if one was.
	redemption string
	// asserted reports whether the request carries the reader assertion to the
	// origin.
	asserted bool
	// outcome is what logs, placeholders and the response writer keep.
	outcome *outcome
}

// requestPool holds the memory of finished requests.
var requestPool = sync.Pool{New: func() any { return new(gateRequest) }}

// clean removes from a request what only the gate may set, and the gate's own
// cookies, and returns the request's state. The path is judged as received.
func (h *Handler) clean(r *http.Request) *gateRequest {
	g, _ := requestPool.Get().(*gateRequest)
	g.gate, g.r, g.original, g.outcome = h, r, r.URL, new(outcome)
	g.cookies, g.redeemed = g.buf.cookies[:0], g.buf.redeemed[:0]
	if original, ok := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request); ok {
		g.original = original.URL
	}
	headers := cleanHeaders(r)
	g.authorization = headers.authorization
	g.secure = isSecure(r, headers.forwardedProto)
	g.cookies = takeLinkCookies(r.Header, headers.cookie, g.secure, g.cookies)

	g.request.Method, g.request.WebSocket, g.request.Preflight = r.Method, isExtendedWebSocket(r), isPreflight(r)
	g.request.Target, g.request.EscapedPath = r.RequestURI, g.original.EscapedPath()
	g.request.Host, g.request.Query = r.Host, g.original.RawQuery
	g.request.Links, g.request.Now = g, now()
	return g
}

// release gives the memory back. A handler that panics does not get here: its
// state is left to the garbage collector.
func (g *gateRequest) release() {
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

// recordVisit records the visit of an identified reader. It does not wait.
func (g *gateRequest) recordVisit() {
	rule := g.outcome.decision.Rule
	if g.request.Reader.Anonymous() || rule == nil || g.site.recorder == nil {
		return
	}
	g.site.recorder.Visit(g.gate.Vendor, g.gate.Site, g.request.Reader.UserID, rule.Engaged, g.request.Now)
}

// report publishes a decision: to placeholders, to the access log and, if it denies,
// to the gate's own log.
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
