package caddymodule

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/gatefold/gatefold/caddymodule/headers"
	"github.com/gatefold/gatefold/caddymodule/linkpath"
	"github.com/gatefold/gatefold/policy"
)

// allow passes an allowed request to the next handler.
func (h *Handler) allow(w http.ResponseWriter, g *gateRequest, decision *policy.Decision, next caddyhttp.Handler) error {
	g.outcome.passedOn = true
	if decision.Reason == policy.ReasonPreflight {
		return h.answerPreflight(w, g, next)
	}
	opens := decision.Reason == policy.ReasonSignedLink && g.r.Method == http.MethodGet
	spends := opens && decision.Link.Spend || decision.Meter != nil && decision.Meter.Spend
	if g.leavesToken() {
		if decision.Link.Token {
			g.setLinkCookie(w.Header(), &decision.Link)
			if browser := g.redirectedBrowser(); browser != "" {
				g.site.redirected.Put(browser, g.request.Now)
			}
		}
		return redirectClean(w, g)
	}
	if opens && !spends && (decision.Link.Token || decision.Link.Known) {
		g.setLinkCookie(w.Header(), &decision.Link)
	}
	if decision.Reason == policy.ReasonSignedLink {
		g.keepToQuery(decision)
	}
	if decision.Reason == policy.ReasonCrawler {
		g.asCrawler(decision)
	}
	if !decision.Rule.Forward {
		next = caddyhttp.HandlerFunc(h.serveLocal)
		if h.accounts {
			g.r = g.accountsOf(g.r)
		}
	}
	public := decision.Public() && !g.asserted && g.pathToken == "" && g.request.Reader.ContentSpace == ""
	last := false
	if !public {
		last = g.outcome.last.hold(w, g.r, wordPrivate)
	}
	writer := &g.outcome.private
	writer.ResponseWriter, writer.unchanged, writer.caching = w, public || last, &g.outcome.last.caching
	writer.streaming = streaming{request: g}
	defer writer.streaming.end()
	if g.r.ProtoMajor == 3 {
		g.r = g.r.WithContext(writer.streaming.cancelable(g.r.Context()))
	}
	if spends {
		return h.deliver(w, g, writer, next)
	}
	return next.ServeHTTP(writer, g.r)
}

// serveLocal answers an allowed request by the site's local routes.
func (h *Handler) serveLocal(w http.ResponseWriter, r *http.Request) error {
	if h.Local == nil {
		return h.notFound(w, r)
	}
	return h.Local.ServeHTTP(w, r, caddyhttp.HandlerFunc(h.notFound))
}

// redirectClean redirects a browser to the same page without the token, so that the
// token is in no address bar, history or Referer.
func redirectClean(w http.ResponseWriter, g *gateRequest) error {
	g.outcome.last.hold(w, g.r, wordNoStore)
	header := w.Header()
	header.Set("Location", cleanURI(g))
	header.Set("Cache-Control", "no-store")
	header.Set("Referrer-Policy", "no-referrer")
	w.WriteHeader(http.StatusSeeOther)
	return nil
}

// privateWriter makes the response private, so that no shared cache stores it (RFC
// 9111, sections 3.5 and 5.2.2), and registers a long response as a stream.
type privateWriter struct {
	caddyhttp.ResponseWriterWrapper
	streaming
	header   http.Header
	caching  *headers.Private // that of the last word
	delivery *delivery        // nil unless a use is still to be counted
	// unchanged leaves the caching headers as they are: of a public page, or because nothing
	// is between this writer and the gate's last word.
	unchanged   bool
	wroteHeader bool
	wroteBody   bool
}

// Header implements http.ResponseWriter. It caches the map, which a proxy reads several
// times.
func (p *privateWriter) Header() http.Header {
	if p.header == nil {
		p.header = p.ResponseWriter.Header()
	}
	return p.header
}

// WriteHeader implements http.ResponseWriter. Informational responses pass unchanged.
func (p *privateWriter) WriteHeader(status int) {
	delete(p.Header(), requireHeader)
	if p.delivery != nil && p.hold(status) {
		if status == http.StatusSwitchingProtocols {
			_ = p.deliver() // Hijack returns the error
		}
		return
	}
	if !p.wroteHeader && (status >= 200 || status == http.StatusSwitchingProtocols) {
		p.wroteHeader = true
		if !p.unchanged {
			p.caching.Set(p.Header(), now)
		}
	}
	p.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (p *privateWriter) Write(b []byte) (int, error) {
	counted := p.delivery
	if counted != nil {
		if len(b) == 0 {
			return 0, nil
		}
		if err := p.deliver(); err != nil {
			return 0, err
		}
	}
	p.beforeBody(len(b))
	n, err := p.ResponseWriter.Write(b)
	if n == 0 && err != nil && counted != nil {
		counted.takeBack()
	}
	return n, err
}

// ReadFrom implements io.ReaderFrom.
func (p *privateWriter) ReadFrom(r io.Reader) (int64, error) {
	if p.delivery != nil {
		return p.copyFrom(r)
	}
	p.beforeBody(remaining(r))
	return p.ResponseWriterWrapper.ReadFrom(r)
}

// FlushError implements the interface of http.ResponseController. A flush makes the
// response a stream.
func (p *privateWriter) FlushError() error {
	if p.delivery != nil {
		return nil // a proxy flushes the header of a body that breaks off, too
	}
	if !p.wroteHeader {
		p.WriteHeader(http.StatusOK)
	}
	p.begin(p.ResponseWriter, nil)
	return http.NewResponseController(p.ResponseWriter).Flush()
}

// beforeBody prepares the write of so many bytes.
func (p *privateWriter) beforeBody(size int) {
	if !p.wroteHeader {
		p.WriteHeader(http.StatusOK)
	}
	p.write(p.ResponseWriter, size, p.wroteBody)
	p.wroteBody = true
}

// lastWord is the gate's word on caching: a writer below all others of a request, so that
// nothing that the site configures comes after it. Caddy's header directive, for one,
// changes headers in a writer that is outside of the gate's.
type lastWord struct {
	caddyhttp.ResponseWriterWrapper
	caching headers.Private
	form    *linkpath.Form // of a request with a link in its path; otherwise nil
	word    word
	wrote   bool
	close   bool // close the connection after the response
	// noArchive asks archives not to keep the page, see addNoArchive.
	noArchive bool
	// undelivered reports whether the page of a counted link failed, so that no use is
	// counted. Error routes, which come after the gate, can only say so: a page that they
	// proxy from another origin would be one without a use. Dropped is set once they try.
	undelivered, dropped bool
}

// word is what a response says to caches.
type word uint8

const (
	wordNone word = iota
	wordPrivate
	wordNoStore
)

// hold gives a response its word. It puts the writer below the one by which Caddy's
// server limits how long a write may stall, which is the lowest of a request:
// checkLastWord refuses servers without it. It reports whether nothing else is between the
// writer that it is given and itself.
//
// A response to a request that is not allowed does not wait for the request's body, as
// net/http does before it reuses a connection: the connection is closed.
func (l *lastWord) hold(w http.ResponseWriter, r *http.Request, said word) (next bool) {
	if said != wordPrivate && r.ProtoMajor == 1 && r.ContentLength != 0 {
		l.close = true
		w.Header().Set("Connection", "close")
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(lingerFor))
	}
	l.word = said
	if l.ResponseWriter != nil {
		return false
	}
	idle := lowestWriter(w, r)
	if idle == nil {
		return false
	}
	l.ResponseWriter, idle.ResponseWriterWrapper.ResponseWriter = idle.ResponseWriterWrapper.ResponseWriter, l
	return w == http.ResponseWriter(idle)
}

// lingerFor is how long a connection whose request body is not wanted stays open, so that
// the client can read the response before its writes fail (RFC 9112, section 9.6).
const lingerFor = 500 * time.Millisecond

// lowestWriter returns the last of Caddy's writers before the connection, or nil. The
// context has it even if a handler's writer cannot be unwrapped.
func lowestWriter(w http.ResponseWriter, r *http.Request) (lowest *caddyhttp.IdleTimeoutWriter) {
	if _, idle := caddyhttp.IdleTimeoutsFromContext(r.Context()); idle != nil {
		w = idle
	}
	for {
		if idle, ok := w.(*caddyhttp.IdleTimeoutWriter); ok {
			lowest = idle
		}
		wrapper, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			return lowest
		}
		w = wrapper.Unwrap()
	}
}

// checkLastWord refuses a server in which the gate cannot have the last word.
func checkLastWord(server *caddyhttp.Server) error {
	if server.WriteIdleTimeout < 0 {
		return errors.New("the server's write_idle timeout is off, and the gate needs its writer to have the last word on caching: " +
			"set a long one instead, such as `servers { timeouts { write_idle 24h } }`")
	}
	return nil
}

// WriteHeader implements http.ResponseWriter. Informational responses pass unchanged.
func (l *lastWord) WriteHeader(status int) {
	delete(l.ResponseWriter.Header(), requireHeader)
	if !l.wrote && (status >= 200 || status == http.StatusSwitchingProtocols) {
		l.wrote = true
		header := l.ResponseWriter.Header()
		if l.undelivered && (status < 300 || status == http.StatusSwitchingProtocols) {
			clear(header)
			header["Content-Length"] = []string{"0"}
			status, l.dropped = http.StatusBadGateway, true
		}
		switch l.word {
		case wordNone:
		case wordPrivate:
			l.caching.Set(header, now)
		case wordNoStore:
			headers.NoStore(header)
		}
		if l.noArchive {
			addNoArchive(header)
		}
		if l.form != nil {
			l.form.SetHeaders(header, l.word == wordPrivate)
		}
		if l.close {
			header["Connection"] = []string{"close"}
		}
	}
	l.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (l *lastWord) Write(b []byte) (int, error) {
	if l.begin(); l.dropped {
		return len(b), nil
	}
	return l.ResponseWriter.Write(b)
}

// ReadFrom implements io.ReaderFrom.
func (l *lastWord) ReadFrom(r io.Reader) (int64, error) {
	if l.begin(); l.dropped {
		return io.Copy(io.Discard, r)
	}
	return l.ResponseWriterWrapper.ReadFrom(r)
}

// Hijack implements http.Hijacker.
func (l *lastWord) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	if l.dropped {
		return nil, nil, http.ErrNotSupported
	}
	return http.NewResponseController(l.ResponseWriter).Hijack()
}

// FlushError implements the interface of http.ResponseController.
func (l *lastWord) FlushError() error {
	l.begin()
	return http.NewResponseController(l.ResponseWriter).Flush()
}

func (l *lastWord) begin() {
	if !l.wrote {
		l.WriteHeader(http.StatusOK)
	}
}

// Interface guards
var (
	_ http.ResponseWriter             = (*privateWriter)(nil)
	_ interface{ FlushError() error } = (*privateWriter)(nil)
	_ http.ResponseWriter             = (*lastWord)(nil)
	_ io.ReaderFrom                   = (*lastWord)(nil)
	_ http.Hijacker                   = (*lastWord)(nil)
	_ interface{ FlushError() error } = (*lastWord)(nil)
)
