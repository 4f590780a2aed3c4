package preflight

import (
	"io"
	"net/http"
	"strings"
)

// maxDiscard is the number of bytes of an origin's body that are read and dropped, so
// that its connection can be reused. A longer response is given up.
const maxDiscard = 64 << 10

// Writer passes the status of a preflight's answer to an http.ResponseWriter, and of its
// headers Access-Control-*, Allow, Vary and Cache-Control. Nothing else of the origin
// passes: no body, no other header, no trailer and no informational response. It wraps
// nothing that http.ResponseController could reach, so that the connection cannot be
// hijacked.
type Writer struct {
	w         http.ResponseWriter
	header    http.Header
	giveUp    func()
	wrote     bool
	discarded int64
}

// NewWriter returns a writer of the answer. It calls giveUp when the response is
// complete for the client but its body is long or streams.
func NewWriter(w http.ResponseWriter, giveUp func()) *Writer {
	return &Writer{w: w, header: make(http.Header), giveUp: giveUp}
}

// Wrote reports whether the answer is written.
func (p *Writer) Wrote() bool { return p.wrote }

// Header implements http.ResponseWriter. Its map is not the one of the client's
// response.
func (p *Writer) Header() http.Header { return p.header }

// WriteHeader implements http.ResponseWriter.
func (p *Writer) WriteHeader(status int) {
	if p.wrote || status < 200 {
		return
	}
	p.wrote = true
	header := p.w.Header()
	for name, values := range p.header {
		if passes(name) {
			header[name] = append(header[name], values...)
		}
	}
	for _, name := range []string{"Content-Type", "Content-Encoding", "Transfer-Encoding", "Content-Length"} {
		delete(header, name)
	}
	if status != http.StatusNoContent && status != http.StatusNotModified {
		header["Content-Length"] = []string{"0"}
	}
	p.w.WriteHeader(status)
}

// passes reports whether a header is of a preflight's answer.
func passes(name string) bool {
	switch name {
	case "Allow", "Vary", "Cache-Control":
		return true
	}
	return strings.HasPrefix(name, "Access-Control-")
}

// Write implements http.ResponseWriter. It drops the bytes.
func (p *Writer) Write(b []byte) (int, error) {
	p.WriteHeader(http.StatusOK)
	if p.discarded += int64(len(b)); p.discarded > maxDiscard {
		p.abandon()
	}
	return len(b), nil
}

// ReadFrom implements io.ReaderFrom. It drops the bytes.
func (p *Writer) ReadFrom(r io.Reader) (int64, error) {
	// A struct, so that io.Copy does not call ReadFrom again.
	return io.Copy(struct{ io.Writer }{p}, r)
}

// FlushError implements the interface of http.ResponseController. A response that is
// flushed before its end is a stream, whose end may never come.
func (p *Writer) FlushError() error {
	p.WriteHeader(http.StatusOK)
	p.abandon()
	return nil
}

// abandon sends the answer, which is complete, and gives the origin's response up.
func (p *Writer) abandon() {
	_ = http.NewResponseController(p.w).Flush()
	p.giveUp()
}
