package caddymodule

import (
	"errors"
	"io"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/gatefold/gatefold/policy"
)

// allow lets a request go on to the next handler.
func (h *Handler) allow(w http.ResponseWriter, g *gateRequest, decision *policy.Decision, next caddyhttp.Handler) error {
	if decision.Reason == policy.ReasonPreflight {
		// A preflight has no credentials (Fetch standard, 4.8); one that brings
		// some is not to be served with them.
		g.r.Header.Del("Authorization")
		g.r.Header.Del("Cookie")
		return next.ServeHTTP(w, g.r)
	}
	if decision.Link.Token && decision.Reason == policy.ReasonSignedLink && g.r.Method == http.MethodGet {
		h.keepLink(w.Header(), g, decision)
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

// serveLocal answers an allowed request whose rule is not forwarded.
func (h *Handler) serveLocal(w http.ResponseWriter, r *http.Request) error {
	nothing := caddyhttp.HandlerFunc(h.nothingHere)
	if h.Local == nil {
		return nothing(w, r)
	}
	return h.Local.ServeHTTP(w, r, nothing)
}

// nothingHere answers what no local route does.
func (h *Handler) nothingHere(w http.ResponseWriter, r *http.Request) error {
	const code = "not_found"
	if h.Deny != nil && h.Deny.Errors {
		return caddyhttp.Error(http.StatusNotFound, errors.New(code))
	}
	w.Header().Set("Cache-Control", "no-store")
	return writeDenial(w, r, denial{http.StatusNotFound, "There is no such page", "The site has nothing at this address."}, code)
}

// redirectClean sends a browser from the signed URL to the same page without
// the token, so that it stands in no address bar, history or Referer.
func redirectClean(w http.ResponseWriter, g *gateRequest) error {
	header := w.Header()
	header.Set("Location", cleanURI(g))
	header.Set("Cache-Control", "no-store")
	header.Set("Referrer-Policy", "no-referrer")
	w.WriteHeader(http.StatusSeeOther)
	return nil
}

// privateWriter keeps shared caches from storing a page that not everybody may
// have, whatever the origin says (RFC 9111, section 3.5 and 5.2.2), and sees when
// an answer becomes a stream.
type privateWriter struct {
	caddyhttp.ResponseWriterWrapper
	streaming
	header      http.Header
	public      bool // everybody may have it
	wroteHeader bool
	wroteBody   bool // some of it
	// values is room for those of the two headers that are set.
	values [2]string
}

// Header implements http.ResponseWriter. A proxy asks for it several times, and an
// answer has one header from beginning to end: the writers below are asked once.
func (p *privateWriter) Header() http.Header {
	if p.header == nil {
		p.header = p.ResponseWriter.Header()
	}
	return p.header
}

// WriteHeader implements http.ResponseWriter. Informational answers pass as
// they are.
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
	if !p.wroteHeader {
		p.WriteHeader(http.StatusOK)
	}
	p.write(p.ResponseWriter, len(b), p.wroteBody)
	p.wroteBody = true
	return p.ResponseWriter.Write(b)
}

// ReadFrom implements io.ReaderFrom, by which the body of a file or an upstream
// is copied.
func (p *privateWriter) ReadFrom(r io.Reader) (int64, error) {
	if !p.wroteHeader {
		p.WriteHeader(http.StatusOK)
	}
	p.write(p.ResponseWriter, remaining(r), p.wroteBody)
	p.wroteBody = true
	return p.ResponseWriterWrapper.ReadFrom(r)
}

// FlushError is what http.ResponseController calls: a flush sends the header.
func (p *privateWriter) FlushError() error {
	if !p.wroteHeader {
		p.WriteHeader(http.StatusOK)
	}
	p.begin(p.ResponseWriter, nil)
	return http.NewResponseController(p.ResponseWriter).Flush()
}

// makePrivate rewrites what an answer says to caches.
func (p *privateWriter) makePrivate(header http.Header) {
	for name := range header {
		if name == "Surrogate-Control" || speaksToCDN(name) {
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

// speaksToCDN says whether a header is one of the family of CDN-Cache-Control
// (RFC 9213).
func speaksToCDN(name string) bool {
	const suffix = "cdn-cache-control"
	return len(name) >= len(suffix) && strings.EqualFold(name[len(name)-len(suffix):], suffix)
}

// privateCacheControl drops what speaks to shared caches from Cache-Control,
// and adds private.
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

// splitDirectives cuts a list at its commas, but not within quotes.
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
