package denial

import (
	"io"
	"net/http"
	"strings"
)

// Writer passes a page that a handler makes for a denied request to the client, with the
// status of the denial. A response that is no page (not 200, 201, 202 or 203) does not
// pass at all: the caller answers instead. It wraps nothing that http.ResponseController
// could reach.
type Writer struct {
	w      http.ResponseWriter
	status int
	header http.Header
	wrote  bool
	passes bool
}

// NewWriter returns a writer of a page with the status of the denial.
func NewWriter(w http.ResponseWriter, status int) *Writer {
	return &Writer{w: w, status: status, header: make(http.Header)}
}

// Passed reports whether a page passed.
func (p *Writer) Passed() bool { return p.passes }

// Header implements http.ResponseWriter. Its map is not the one of the client's
// response, so that what a failed page set does not remain.
func (p *Writer) Header() http.Header { return p.header }

// WriteHeader implements http.ResponseWriter. Informational responses do not pass.
func (p *Writer) WriteHeader(status int) {
	if p.wrote || status < 200 {
		return
	}
	p.wrote, p.passes = true, status <= http.StatusNonAuthoritativeInfo
	if !p.passes {
		return
	}
	header := p.w.Header()
	for name, values := range p.header {
		if isOfPage(name) {
			header[name] = values
		}
	}
	p.w.WriteHeader(p.status)
}

// isOfPage reports whether a header describes a page for every reader. A cookie would be
// one reader's, a validator would be taken for one of the denied page.
func isOfPage(name string) bool {
	switch name {
	case "Set-Cookie", "Etag", "Last-Modified", "Age", "Accept-Ranges", "Content-Range", "Content-Location", "Location", "Www-Authenticate",
		"Retry-After", "Connection", "Upgrade", "Trailer", "Transfer-Encoding", "Clear-Site-Data", "Alt-Svc":
		return false
	}
	return !strings.HasPrefix(name, http.TrailerPrefix)
}

// Write implements http.ResponseWriter. It drops the bytes of what does not pass.
func (p *Writer) Write(b []byte) (int, error) {
	p.WriteHeader(http.StatusOK)
	if !p.passes {
		return len(b), nil
	}
	return p.w.Write(b)
}

// ReadFrom implements io.ReaderFrom.
func (p *Writer) ReadFrom(r io.Reader) (int64, error) {
	p.WriteHeader(http.StatusOK)
	if !p.passes {
		return io.Copy(io.Discard, r)
	}
	return io.Copy(p.w, r)
}

// FlushError implements the interface of http.ResponseController.
func (p *Writer) FlushError() error {
	p.WriteHeader(http.StatusOK)
	if !p.passes {
		return nil
	}
	return http.NewResponseController(p.w).Flush()
}
