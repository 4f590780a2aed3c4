package caddymodule

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"

	"github.com/google/uuid"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/gatefold/gatefold/caddymodule/accounts"
	"github.com/gatefold/gatefold/caddymodule/denial"
	"github.com/gatefold/gatefold/caddymodule/entrypoint"
	"github.com/gatefold/gatefold/caddymodule/headers"
	"github.com/gatefold/gatefold/caddymodule/linkpath"
	"github.com/gatefold/gatefold/caddymodule/preflight"
	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/usage"
)

// gateRequest is the state of one request in the gate. It is reused for another
// request once the next handler returns: what must outlive it is in its outcome.
type gateRequest struct {
	gate *Handler
	site *siteRuntime
	r    *http.Request
	// original is the URL as received, before any rewrite.
	original *url.URL
	// secure reports whether the client uses https.
	secure bool
	// authorization are the Authorization headers as received.
	authorization []string
	// request is the policy's view of the request.
	request policy.Request
	// cookies are the link cookies of the request; redeemed are the verified ones.
	cookies  []linkCookie
	redeemed []redeemedCookie
	// buf saves an allocation for requests with few link cookies.
	buf struct {
		cookies  [2]linkCookie
		redeemed [2]redeemedCookie
		links    [2]policy.RedeemedLink
	}
	// source and token identified the reader; open streams verify the token again.
	source *credentialSource
	token  string
	// ticket is that of the reader's login session, and loginCookies are its other cookies.
	ticket       string
	loginCookies []linkCookie
	bearer       bool // the token is in the Authorization header, not in a cookie
	// pathToken is the token of a link in the path-borne form, which the URLs of the request
	// no longer have; see package linkpath.
	pathToken string
	// readerKey is the key that speaks for the reader, if keyed is set; keyBearer reports
	// whether it came as a bearer token.
	readerKey        string
	keyed, keyBearer bool
	// cleanQuery is the query without link tokens, if stripsTokens is set.
	cleanQuery   string
	stripsTokens bool
	// asserted reports whether the upstream request carries a reader assertion.
	asserted bool
	outcome  *outcome
}

var requestPool = sync.Pool{New: func() any { return new(gateRequest) }}

// clean removes spoofable headers and the link cookies from a request, and returns
// the request's state.
func (h *Handler) clean(r *http.Request) *gateRequest {
	g, _ := requestPool.Get().(*gateRequest)
	g.gate, g.r, g.original, g.outcome = h, r, r.URL, new(outcome)
	g.cookies, g.redeemed = g.buf.cookies[:0], g.buf.redeemed[:0]
	if original, ok := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request); ok {
		g.original = original.URL
	}
	received := headers.Clean(r)
	h.cleanForwarded(r)
	g.stripReferer()
	g.authorization = received.Authorization
	g.secure = isSecure(r, received.ForwardedProto)
	g.takePathToken()
	g.takeReaderKey()
	g.cookies = takeLinkCookies(r.Header, received.Cookie, g.secure, g.cookies)
	g.takeLoginCookies()

	g.request.Method, g.request.WebSocket, g.request.Preflight = r.Method, isExtendedWebSocket(r), preflight.Is(r)
	g.request.Target, g.request.EscapedPath = r.RequestURI, g.original.EscapedPath()
	if r.URL.Path != g.original.Path || r.URL.RawPath != g.original.RawPath {
		// What the next handler serves, if it does not rewrite the path itself. It
		// forwards an empty path as a slash.
		g.request.CurrentPath = cmp.Or(r.URL.EscapedPath(), "/")
		if !h.rewritten.Load() { // a store would take the cache line from other cores
			h.rewritten.Store(true)
		}
	}
	g.request.Host, g.request.Query, g.request.Agent = r.Host, g.original.RawQuery, first(r.Header, "User-Agent")
	g.request.BadTrailer, g.request.Body = received.BadTrailer, r.ContentLength != 0
	g.request.Links, g.request.Meters, g.request.Client, g.request.Now = g, g, g, now()
	return g
}

// release returns the state to the pool. It is not deferred: after a panic a handler
// may still hold the state.
func (g *gateRequest) release() {
	*g = gateRequest{}
	requestPool.Put(g)
}

// isSecure reports whether the client uses https, to this server or to a trusted
// proxy. The argument forwardedProto holds the X-Forwarded-Proto headers.
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

// isExtendedWebSocket reports whether a CONNECT opens a WebSocket over HTTP/2 (RFC
// 8441) or HTTP/3 (RFC 9220), by the fields that Caddy's reverse_proxy reads.
func isExtendedWebSocket(r *http.Request) bool {
	return r.Method == http.MethodConnect &&
		(r.ProtoMajor == 2 && r.Header.Get(":protocol") == "websocket" || r.ProtoMajor == 3 && r.Proto == "websocket")
}

// outcome holds what the access log, placeholders and the response writer read of a
// decision. It outlives the gateRequest: the access log is written after the handler
// returns, and a hijacked connection is used for longer.
type outcome struct {
	decision policy.Decision
	user     string
	// forwarding is the site's setting; nil if it could not be loaded.
	forwarding *policy.Forwarding
	// buf, private and last save allocations: for the captures of most rules, and for
	// the writers of a private page.
	buf     [4]string
	private privateWriter
	last    lastWord
	// request is of the id, which is made when it is first read: most requests need none.
	request *http.Request
	id      string
	// clock is what is wrong with a clock, of a refusal that may be due to it.
	clock string
	// origin is what the response of the origin says; nil unless it decides.
	origin *originAnswer
	// code is the support code of a denial.
	code string
	// page is what gatefold_cache may answer from memory; nil for other pages.
	page *cachedPage
	// passedOn is set before the request goes to the handlers after the gate.
	passedOn bool
}

// requestIDHeader carries the id that a trusted proxy gave to a request.
const requestIDHeader = "X-Request-Id"

// requestID returns the id of a request for logs and pages: that of a trusted proxy, if
// it is an id, or {http.request.uuid}. passedOn forbids a write to the request.
func requestID(r *http.Request, passedOn bool) string {
	ctx := r.Context()
	if trusted, _ := caddyhttp.GetVar(ctx, caddyhttp.TrustedProxyVarKey).(bool); trusted {
		if ids := r.Header[requestIDHeader]; len(ids) == 1 && denial.IsRequestID(ids[0]) {
			return ids[0]
		}
	}
	// Caddy's placeholder writes to maps of the request, which a dial of the reverse proxy
	// reads in another goroutine, possibly after the response has ended. Once the request
	// is passed on, an id that Caddy has already is read, or another one is made.
	if id, ok := caddyhttp.GetVar(ctx, "uuid").(fmt.Stringer); ok {
		return id.String()
	}
	if passedOn {
		return uuid.NewString()
	}
	repl, ok := ctx.Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	if !ok {
		return ""
	}
	if _, logs := ctx.Value(caddyhttp.ExtraLogFieldsCtxKey).(*caddyhttp.ExtraLogFields); !logs {
		return "" // Caddy's own placeholder needs them
	}
	id, _ := repl.GetString("http.request.uuid")
	return id
}

// requestID returns the id of the request. Another one is not made when the request is
// replaced for the page of its denial.
func (o *outcome) requestID() string {
	if o.id == "" && o.request != nil {
		o.id = requestID(o.request, o.passedOn)
	}
	return o.id
}

// maxLogText bounds a text of a request in a log line, in bytes. Caddy bounds methods.
const maxLogText = 1024

// cut returns a text of at most size bytes, and the length of a text that was longer.
func cut(text string, size int) string {
	if len(text) <= size {
		return text
	}
	return strings.ToValidUTF8(text[:size], "") + "… (" + strconv.Itoa(len(text)) + " bytes)"
}

// errorField is the field of an error, which may repeat what was sent.
func errorField(err error) zap.Field {
	if err == nil {
		return zap.Skip()
	}
	return zap.String("error", cut(err.Error(), maxLogText))
}

// MarshalLogObject implements zapcore.ObjectMarshaler.
func (o *outcome) MarshalLogObject(enc zapcore.ObjectEncoder) error {
	enc.AddString("decision", o.verdict())
	enc.AddString("reason", o.decision.Reason.String())
	if id := o.requestID(); id != "" {
		enc.AddString("request_id", id)
	}
	if o.decision.Rule != nil {
		enc.AddString("rule", o.decision.Rule.Path)
	}
	if what := o.cached(); what != "" {
		enc.AddString("cache", what)
	}
	demand := &o.decision.Demand
	for _, field := range [...][2]string{
		{"user", o.user},
		{"link", o.decision.Link.ID},
		{"grant", o.decision.Grant},
		{"licence", o.decision.Licence.String()},
		{"crawler", o.decision.Crawler},
		{"profile", demand.Profile},
		{"role", demand.Role},
		{"plan", demand.Plan},
		{"agreement", demand.Agreement},
		{"clock", o.clock},
		{policy.OptionStoreLoss, lossAnswer(&o.decision)},
		{"support_code", o.code},
		{"require", o.origin.text()},
	} {
		if field[1] != "" {
			enc.AddString(field[0], cut(field[1], maxLogText))
		}
	}
	return nil
}

// accessOutcome is an outcome in the access log. Of a credential that failed it has the
// failed check as well, which the line of a denial has beside the outcome.
type accessOutcome outcome

// MarshalLogObject implements zapcore.ObjectMarshaler.
func (o *accessOutcome) MarshalLogObject(enc zapcore.ObjectEncoder) error {
	if d := &o.decision; d.Reason == policy.ReasonBadCredential || d.Reason == policy.ReasonKeysUnavailable {
		errorField(d.Err).AddTo(enc)
	}
	return (*outcome)(o).MarshalLogObject(enc)
}

// cached returns what became of a request at gatefold_cache; empty if it was not offered.
func (o *outcome) cached() string {
	if o.page == nil {
		return ""
	}
	return o.page.asked.Result.String()
}

func (o *outcome) verdict() string {
	if o.decision.Allow() {
		return "allow"
	}
	return "deny"
}

const (
	placeholders  = "http.gatefold."
	forwardingKey = entrypoint.ForwardingKey
)

// placeholder is a caddy.ReplacerFunc.
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
	case "request_id":
		return o.requestID(), true
	case "crawler":
		return o.decision.Crawler, true
	case "support_code":
		return o.code, true
	case "cache":
		return o.cached(), true
	case "demand.profile":
		return o.decision.Demand.Profile, true
	case "demand.role":
		return o.decision.Demand.Role, true
	case "demand.plan":
		return o.decision.Demand.Plan, true
	case "demand.agreement":
		return o.decision.Demand.Agreement, true
	case "link.id":
		return o.decision.Link.ID, true
	case "entry_point":
		return o.forwarding, true
	}
	if name, ok := strings.CutPrefix(name, "meter."); ok {
		if value, known := meterPlaceholder(o.decision.Meter, name); known {
			return value, true
		}
		return nil, false
	}
	if param, ok := strings.CutPrefix(name, "param."); ok {
		value, _ := o.decision.Param(param)
		return value, true
	}
	return nil, false
}

// writesAccessLog reports whether the server writes access logs. A log field costs
// more than a decision, so it is added only if it is written.
func writesAccessLog(ctx context.Context) bool {
	server, ok := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	return !ok || server == nil || server.Logs != nil
}

// recordVisit queues the visit of an identified reader. It does not block.
func (g *gateRequest) recordVisit() {
	rule := g.outcome.decision.Rule
	if g.request.Reader.Anonymous() || rule == nil || g.site.recorder == nil {
		return
	}
	g.site.recorder.Visit(g.gate.Vendor, g.gate.Site, g.request.Reader.UserID, rule.Engaged, g.request.Now)
}

// recordUse queues what the request is for the usage of contracts: a page of the one that
// decided, or a refusal of those that give the reader other pages. It does not block.
func (g *gateRequest) recordUse() {
	decision, recorder := &g.outcome.decision, g.site.usage
	contract, licensed := decision.Contract()
	refused := usage.Refuses(decision.Reason)
	if !licensed && !refused || recorder == nil || g.r.Method != http.MethodGet || isPrefetch(g.r) {
		return
	}
	if refused {
		recorder.RefusedAll(g.gate.Vendor, &g.request)
		return
	}
	use := usage.Use{UserID: g.request.Reader.UserID, Key: &g.site.site.ReaderKey}
	if use.UserID == "" {
		use.Address = g.ClientAddress()
	}
	recorder.Page(g.gate.Vendor, contract, g.request.Now, &use)
}

// rewrittenField is the path that was denied, if it is not the one received.
func (g *gateRequest) rewrittenField() zap.Field {
	if !g.outcome.decision.Rewritten {
		return zap.Skip()
	}
	return zap.String("rewritten_path", g.logPath(g.request.CurrentPath))
}

// logPath returns a path of the request for the log. One that is refused may be the
// misspelling of a path with a token.
func (g *gateRequest) logPath(path string) string {
	if g.outcome.decision.Reason == policy.ReasonBadPath {
		path = linkpath.Redact(path)
	}
	return cut(accounts.Redact(path), maxLogText)
}

// publish publishes the decision to placeholders and the access log.
func (h *Handler) publish(g *gateRequest) {
	outcome := g.outcome
	outcome.decision.Keep(outcome.buf[:])
	outcome.user, outcome.request = g.request.Reader.UserID, g.r
	ctx := g.r.Context()
	if repl, ok := ctx.Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok {
		repl.Map(outcome.placeholder)
	}
	if extra, ok := ctx.Value(caddyhttp.ExtraLogFieldsCtxKey).(*caddyhttp.ExtraLogFields); ok && writesAccessLog(ctx) {
		extra.Set(zap.Object("gatefold", (*accessOutcome)(outcome)))
	}
}

// report publishes the decision: to placeholders, the access log, the trace and, if it
// denies, the gate's own log.
func (h *Handler) report(g *gateRequest) {
	outcome := g.outcome
	decision := &outcome.decision
	h.publish(g)
	if !decision.Allow() {
		outcome.clock = h.app.shared.ClockDoubt(decision.Reason, decision.Err)
		g.giveCode(decision)
	}
	ctx := g.r.Context()
	traceDecision(ctx, outcome)
	g.watchLink(decision)
	if decision.Allow() {
		return
	}
	level := zapcore.InfoLevel
	if decision.Reason == policy.ReasonStoreUnavailable && (ctx.Err() == nil || !errors.Is(decision.Err, context.Canceled)) {
		level = zapcore.ErrorLevel // not the client that left while the store was asked
	}
	if entry := h.logger.Check(level, "denied"); entry != nil {
		clientIP, _ := caddyhttp.GetVar(ctx, caddyhttp.ClientIPVarKey).(string)
		entry.Write(zap.Object("gatefold", outcome), zap.String("vendor", h.Vendor), zap.String("site", h.Site),
			zap.String("method", g.r.Method), zap.String("host", cut(g.r.Host, maxLogText)), zap.String("path", g.logPath(g.original.EscapedPath())), g.rewrittenField(),
			zap.String("client_ip", cut(clientIP, maxLogText)), errorField(decision.Err))
	}
}
