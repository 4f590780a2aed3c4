package caddymodule

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/gatefold/gatefold/caddymodule/accounts"
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
	// prefetch reports whether a browser fetches the page before its reader asks for it.
	prefetch bool
	// request is the policy's view of the request, and decision its answer.
	request  policy.Request
	decision policy.Decision
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
	// page is what gatefold_cache may answer from memory, if it is offered.
	page cachedPage
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
	g.stripReferer(received.Referer)
	g.authorization, g.prefetch = received.Authorization, received.Prefetch
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
	g.request.Host, g.request.Query, g.request.Agent = r.Host, g.original.RawQuery, firstOf(received.Agent)
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

// writesAccessLog reports whether the server writes access logs, or may. A log field costs
// more than a decision, so it is added only if it is written.
func (h *Handler) writesAccessLog(ctx context.Context) bool {
	server := h.server
	if server == nil { // the gate is in a named route
		server, _ = ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	}
	return server == nil || server.Logs != nil
}

// recordVisit queues the visit of an identified reader. It does not block.
func (g *gateRequest) recordVisit() {
	rule := g.decision.Rule
	if g.request.Reader.Anonymous() || rule == nil || g.site.recorder == nil {
		return
	}
	g.site.recorder.Visit(g.gate.Vendor, g.gate.Site, g.request.Reader.UserID, rule.Engaged, g.request.Now)
}

// recordUse queues what the request is for the usage of contracts: a page of the one that
// decided, or a refusal of those that give the reader other pages. It does not block.
func (g *gateRequest) recordUse() {
	decision, recorder := &g.decision, g.site.usage
	contract, licensed := decision.Contract()
	refused := usage.Refuses(decision.Reason)
	if !licensed && !refused || recorder == nil || g.r.Method != http.MethodGet || g.prefetch {
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
	if !g.decision.Rewritten {
		return zap.Skip()
	}
	return zap.String("rewritten_path", g.logPath(g.request.CurrentPath))
}

// logPath returns a path of the request for the log. One that is refused may be the
// misspelling of a path with a token.
func (g *gateRequest) logPath(path string) string {
	if g.decision.Reason == policy.ReasonBadPath {
		path = linkpath.Redact(path)
	}
	return cut(accounts.Redact(path), maxLogText)
}

// publish publishes the decision to placeholders and the access log.
func (h *Handler) publish(g *gateRequest) {
	outcome := g.outcome
	outcome.take(&g.decision)
	outcome.user, outcome.request = g.request.Reader.UserID, g.r
	ctx := g.r.Context()
	if outcome.published { // a late denial, see pageOffer
		return
	}
	outcome.published = true
	if repl, ok := ctx.Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok {
		repl.Map(outcome.placeholder)
	}
	if !h.writesAccessLog(ctx) {
		return
	}
	if extra, ok := ctx.Value(caddyhttp.ExtraLogFieldsCtxKey).(*caddyhttp.ExtraLogFields); ok {
		extra.Set(zap.Object("gatefold", (*accessOutcome)(outcome)))
	}
}

// redecide replaces a decision that was published.
func (g *gateRequest) redecide(decision policy.Decision) {
	g.decision = decision
	g.outcome.take(&g.decision)
}

// report publishes the decision: to placeholders, the access log, the trace and, if it
// denies, the gate's own log.
func (h *Handler) report(g *gateRequest) {
	outcome, decision := g.outcome, &g.decision
	h.publish(g)
	if !decision.Allow() {
		outcome.denied = &denialNote{clock: h.app.shared.ClockDoubt(decision.Reason, decision.Err)}
		outcome.denied.code = g.supportCode(decision)
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
