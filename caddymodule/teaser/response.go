package teaser

import (
	"compress/gzip"
	"errors"
	"io"
	"maps"
	"net/http"
)

// maxDecoded bounds what a compressed document may become, in bytes.
const maxDecoded = 64 << 20

// More reasons for which a response is refused.
const (
	// NotHTML is a response of another media type than text/html.
	NotHTML Reason = "not_html"
	// BadStatus is a response with another status than 200.
	BadStatus Reason = "status"
	// BadCharset is a document whose charset is not declared, or not a superset of ASCII.
	BadCharset Reason = "charset"
	// BadEncoding is a response with another content coding than gzip.
	BadEncoding Reason = "encoding"
	// Redirected is a redirect: nothing was written, and Result.Location has its target.
	Redirected Reason = "redirect"
)

// Response is the http.ResponseWriter for the handler that has the whole page. It passes
// the page without its regions to the ResponseWriter below, with the page's status and
// header, once the first region is found. Before, it writes nothing, and if nothing can be
// cut it never does: the caller answers then.
//
// The request must be prepared by PrepareRequest. A Response is not safe for concurrent
// use. Close it in any case.
type Response struct {
	below   http.ResponseWriter
	header  http.Header
	cutter  *Cutter
	region  Region
	wall    Wall
	body    bool // the client wants a body
	cancel  func()
	refused Reason
	status  int
	start   []byte // of the body, until the charset is known
	gzip    bool
	decoder *decoder

	undecodable bool
	destination error // of a write below
}

// NewResponse returns a Response above w. Method is the client's: a response to HEAD has
// no body. Cancel is called once the rest of the page is not needed.
func NewResponse(w http.ResponseWriter, method string, region Region, wall Wall, cancel func()) *Response {
	return &Response{below: w, header: http.Header{}, region: region, wall: wall, body: method != http.MethodHead, cancel: cancel}
}

// Header implements http.ResponseWriter.
func (r *Response) Header() http.Header { return r.header }

// WriteHeader implements http.ResponseWriter. Informational responses do not pass: early
// hints name resources of the page.
func (r *Response) WriteHeader(status int) {
	if r.status != 0 || status < 200 && status != http.StatusSwitchingProtocols {
		return
	}
	r.status = status
	var known bool
	r.gzip, known = encoding(r.header)
	switch {
	case isRedirect(status):
		r.refuse(Redirected)
	case status != http.StatusOK:
		r.refuse(BadStatus)
	case !isHTML(r.header):
		r.refuse(NotHTML)
	case !known:
		r.refuse(BadEncoding)
	}
}

// refuse ends the response: nothing of it is used.
func (r *Response) refuse(reason Reason) {
	r.refused = reason
	r.cancel()
}

// Write implements http.ResponseWriter.
func (r *Response) Write(p []byte) (int, error) {
	if r.status == 0 {
		r.WriteHeader(http.StatusOK)
	}
	switch {
	case r.refused != "":
		return len(p), nil
	case r.gzip:
		return len(p), r.compressed(p)
	}
	return len(p), r.document(p)
}

// compressed takes compressed bytes of the page. Bytes that are not gzip are no error of
// the handler: nothing more of the page is used.
func (r *Response) compressed(p []byte) error {
	if r.decoder == nil {
		r.decoder = newDecoder(r.document)
	}
	err := r.decoder.write(p)
	if err != nil && r.destination == nil {
		r.undecodable = true
		r.cancel()
		return nil
	}
	return r.destination
}

// document takes decoded bytes of the page.
func (r *Response) document(p []byte) error {
	if r.refused != "" {
		return nil
	}
	if r.cutter == nil {
		room := min(sniffed-len(r.start), len(p))
		r.start = append(r.start, p[:room]...)
		p = p[room:]
		if len(r.start) < sniffed {
			return nil
		}
		if !r.begin() {
			return nil
		}
	}
	return r.cut(p)
}

// begin begins to cut, with the first bytes.
func (r *Response) begin() bool {
	name, ok := charsetOf(r.header.Get("Content-Type"), r.start)
	if !ok {
		r.refuse(BadCharset)
		return false
	}
	r.cutter = NewCutter(&committed{response: r, charset: name}, r.region, r.wall)
	_ = r.cut(r.start)
	r.start = nil
	return true
}

// cut gives the document to the cutter.
func (r *Response) cut(p []byte) error {
	if r.cutter.Finished() {
		return nil
	}
	_, err := r.cutter.Write(p)
	if r.cutter.Finished() {
		r.cancel()
	}
	r.destination = err
	return err
}

// FlushError implements the interface of http.ResponseController.
func (r *Response) FlushError() error {
	if r.cutter == nil || !r.cutter.result.Cut {
		return nil
	}
	return http.NewResponseController(r.below).Flush()
}

// Close ends the page and returns what became of it, and an error of the connection.
// Broken says that the handler did not write the whole page.
func (r *Response) Close(broken bool) (Result, error) {
	if r.decoder != nil && r.decoder.close() != nil && r.destination == nil {
		r.undecodable = true
	}
	broken = broken || r.undecodable
	if r.cutter == nil && r.refused == "" && r.status != 0 && !broken {
		r.begin()
	}
	switch {
	case r.cutter != nil:
		return r.cutter.Close(broken)
	case r.undecodable:
		return Result{Reason: BadEncoding}, nil
	case r.refused == Redirected:
		return Result{Reason: Redirected, Location: r.header.Get("Location"), Status: r.status}, nil
	case r.refused != "":
		return Result{Reason: r.refused}, nil
	}
	return Result{Reason: Broken}, nil
}

// committed is the destination of a cutter. Its first write sends the status and header.
type committed struct {
	response *Response
	charset  string
	sent     bool
}

// Write implements io.Writer.
func (c *committed) Write(p []byte) (int, error) {
	if !c.sent {
		c.sent = true
		prepareHeader(c.response.header, c.charset)
		header := c.response.below.Header()
		maps.Copy(header, c.response.header)
		admitStyle(header, c.response.wall.Style)
		c.response.below.WriteHeader(http.StatusOK)
	}
	if !c.response.body {
		return len(p), nil
	}
	return c.response.below.Write(p)
}

// errTooLarge is that a compressed page is larger than maxDecoded.
var errTooLarge = errors.New("the page is too large when it is decompressed")

// decoder decompresses what is written to it.
type decoder struct {
	feed
	coroutine
	err error
}

func newDecoder(document func([]byte) error) *decoder {
	d := &decoder{}
	d.coroutine = begin(func(wait func() bool) {
		d.feed.wait = wait
		d.err = d.run(document)
		d.done = true
	})
	return d
}

func (d *decoder) run(document func([]byte) error) error {
	z, err := gzip.NewReader(&d.feed)
	if err != nil {
		return err
	}
	buffer := make([]byte, 8<<10)
	for total := 0; ; {
		n, err := z.Read(buffer)
		if total += n; total > maxDecoded {
			return errTooLarge
		}
		if n > 0 {
			if err := document(buffer[:n]); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// write takes compressed bytes.
func (d *decoder) write(p []byte) error {
	d.chunk = p
	if !d.resume() {
		d.chunk = nil
	}
	return d.err
}

// close ends the compressed bytes.
func (d *decoder) close() error {
	d.closed = true
	d.resume()
	d.stop()
	return d.err
}
