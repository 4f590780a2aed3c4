package caddymodule

import (
	"io"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/gatefold/gatefold/policy"
)

// allow passes an allowed request to the next handler.
func (h *Handler) allow(w http.ResponseWriter, g *gateRequest, decision *policy.Decision, next caddyhttp.Handler) error {
	if decision.Reason == policy.ReasonPreflight {
		// A preflight carries no credentials (Fetch standard, section 4.8).
		g.r.Header.Del("Authorization")
		g.r.Header.Del("Cookie")
		return next.ServeHTTP(w, g.r)
	}
	if decision.Link.Token && decision.Reason == policy.ReasonSignedLink && g.r.Method == http.MethodGet {
		g.setLinkCookie(w.Header(), &decision.Link)
		if acceptsHTML(g.r) {
			return redirectClean(w, g)
		}
	}
	if !decision.Rule.Forward {
		next = caddyhttp.HandlerFunc(h.serveLocal)
	}
	if decision.Public() && !g.asserted && h.rules != nil {
		return next.ServeHTTP(w, g.r) // public: no need to watch the stream or rewrite caching headers
	}
	writer := &g.outcome.private
	writer.ResponseWriter, writer.public = w, decision.Public() && !g.asserted
	writer.streaming = streaming{request: g}
	defer writer.streaming.end()
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
	header      http.Header
	public      bool // leave the caching headers as they are
	wroteHeader bool
	wroteBody   bool
	values      [2]string // saves an allocation for Cache-Control and Vary
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
	if !p.wroteHeader && (status >= 200 || status == http.StatusSwitchingProtocols) {
		p.wroteHeader = true
		if !p.public {
			p.makePrivate(p.Header())
		}
	}
	p.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (p *privateWriter) Write(b []byte) (int, error) {
	p.beforeBody(len(b))
	return p.ResponseWriter.Write(b)
}

// ReadFrom implements io.ReaderFrom.
func (p *privateWriter) ReadFrom(r io.Reader) (int64, error) {
	p.beforeBody(remaining(r))
	return p.ResponseWriterWrapper.ReadFrom(r)
}

// FlushError implements the interface of http.ResponseController. A flush makes the
// response a stream.
func (p *privateWriter) FlushError() error {
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

// makePrivate rewrites the caching headers of a response.
func (p *privateWriter) makePrivate(header http.Header) {
	for name := range header {
		if name == "Surrogate-Control" || isCDNCacheControl(name) {
			delete(header, name)
		}
	}
	p.values = [2]string{privateCacheControl(header["Cache-Control"]), "Cookie, Authorization"}
	header["Cache-Control"] = p.values[:1:1]
	if vary := header["Vary"]; len(vary) > 0 {
		header["Vary"] = append(vary, p.values[1])
	} else {
		header["Vary"] = p.values[1:]
	}
}

// isCDNCacheControl reports whether a header is a targeted cache control field, such as
// CDN-Cache-Control (RFC 9213).
func isCDNCacheControl(name string) bool {
	const suffix = "cdn-cache-control"
	return len(name) >= len(suffix) && strings.EqualFold(name[len(name)-len(suffix):], suffix)
}

// privateCacheControl returns Cache-Control with private, and without the directives
// for shared caches.
func privateCacheControl(values []string) string {
	if len(values) == 0 {
		return "private"
	}
	kept := []string{"private"}
	for _, value := range values {
		for _, directive := range splitDirectives(value) {
			name, _, _ := strings.Cut(directive, "=")
			switch strings.ToLower(strings.TrimSpace(name)) {
			case "", "public", "s-maxage", "private":
			default:
				kept = append(kept, directive)
			}
		}
	}
	return strings.Join(kept, ", ")
}

// splitDirectives splits a list at the commas that are not in a quoted string.
func splitDirectives(value string) []string {
	var directives []string
	quoted, start := false, 0
	for i := range len(value) {
		switch {
		case value[i] == '"':
			quoted = !quoted
		case value[i] == ',' && !quoted:
			directives = append(directives, strings.TrimSpace(value[start:i]))
			start = i + 1
		}
	}
	return append(directives, strings.TrimSpace(value[start:]))
}

// Interface guards
var (
	_ http.ResponseWriter             = (*privateWriter)(nil)
	_ interface{ FlushError() error } = (*privateWriter)(nil)
)
