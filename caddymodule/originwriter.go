package caddymodule

import (
	"bufio"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// originWriter holds a response back until its header decides whether it is sent. Until then
// nothing of it passes: no informational response, no header, no byte, no connection. Of a
// response that is refused nothing passes at all, and its request is cancelled.
//
// It is not safe for concurrent use.
type originWriter struct {
	below  http.ResponseWriter
	allows func(status int, header http.Header) bool
	cancel func()
	header http.Header // until the response is sent
	state  originState
}

type originState uint8

const (
	originHeld originState = iota
	originSent
	originRefused
)

// errOriginRefused is the error of the next handler's writes once its response is refused.
var errOriginRefused = errors.New("the reader may not have what the origin sent")

func newOriginWriter(below http.ResponseWriter, allows func(int, http.Header) bool, cancel func()) *originWriter {
	return &originWriter{below: below, allows: allows, cancel: cancel, header: below.Header().Clone()}
}

// serve calls the next handler. Its error is errOriginRefused if the response was refused.
func (o *originWriter) serve(r *http.Request, next caddyhttp.Handler) (err error) {
	defer func() {
		if o.state != originRefused {
			return
		}
		if thrown := recover(); thrown != nil && thrown != http.ErrAbortHandler { //nolint:errorlint // a panic's value
			panic(thrown)
		}
		err = errOriginRefused
	}()
	err = next.ServeHTTP(o, r)
	if err == nil {
		o.begin() // a page without a body
	}
	if o.state == originSent {
		o.copyTrailers()
	}
	return err
}

func (o *originWriter) refused() bool { return o.state == originRefused }

// copyTrailers copies trailers that were set in the header of before the response was sent.
func (o *originWriter) copyTrailers() {
	below := o.below.Header()
	for name, values := range o.header {
		if trailer, ok := strings.CutPrefix(name, http.TrailerPrefix); (ok && !strings.EqualFold(trailer, requireHeader)) || announced(below, name) {
			below[name] = values
		}
	}
	delete(below, requireHeader)
	delete(below, http.TrailerPrefix+requireHeader)
}

func announced(header http.Header, name string) bool {
	return slices.ContainsFunc(header["Trailer"], func(line string) bool {
		return slices.ContainsFunc(strings.Split(line, ","), func(n string) bool { return strings.EqualFold(strings.TrimSpace(n), name) })
	})
}

// Header implements http.ResponseWriter.
func (o *originWriter) Header() http.Header {
	if o.state == originSent {
		return o.below.Header()
	}
	return o.header
}

// WriteHeader implements http.ResponseWriter. Informational responses do not pass.
func (o *originWriter) WriteHeader(status int) {
	if o.state != originHeld || status < http.StatusOK && status != http.StatusSwitchingProtocols {
		return
	}
	if !o.allows(status, o.header) {
		o.state = originRefused
		o.cancel()
		return
	}
	o.state = originSent
	below := o.below.Header()
	clear(below)
	maps.Copy(below, o.header)
	o.header = o.header.Clone() // what a handler that kept it sets is no header any more
	o.below.WriteHeader(status)
}

// begin decides, if nothing did.
func (o *originWriter) begin() {
	if o.state == originHeld {
		o.WriteHeader(http.StatusOK)
	}
}

// Write implements http.ResponseWriter.
func (o *originWriter) Write(p []byte) (int, error) {
	if o.begin(); o.state == originRefused {
		return 0, errOriginRefused
	}
	return o.below.Write(p)
}

// ReadFrom implements io.ReaderFrom. It reads nothing of a body that is refused.
func (o *originWriter) ReadFrom(r io.Reader) (int64, error) {
	if o.begin(); o.state == originRefused {
		return 0, errOriginRefused
	}
	if to, ok := o.below.(io.ReaderFrom); ok {
		return to.ReadFrom(r)
	}
	return io.Copy(struct{ io.Writer }{o.below}, r)
}

// FlushError implements the interface of http.ResponseController.
func (o *originWriter) FlushError() error {
	if o.begin(); o.state == originRefused {
		return nil
	}
	return http.NewResponseController(o.below).Flush()
}

// Flush implements http.Flusher.
func (o *originWriter) Flush() { _ = o.FlushError() }

// Hijack implements http.Hijacker. A connection does not pass.
func (o *originWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return nil, nil, http.ErrNotSupported
}

// SetReadDeadline, SetWriteDeadline and EnableFullDuplex implement the interfaces of
// http.ResponseController. There is no Unwrap, which would lead past the decision.
func (o *originWriter) SetReadDeadline(at time.Time) error {
	return http.NewResponseController(o.below).SetReadDeadline(at)
}

// SetWriteDeadline is described with SetReadDeadline.
func (o *originWriter) SetWriteDeadline(at time.Time) error {
	return http.NewResponseController(o.below).SetWriteDeadline(at)
}

// EnableFullDuplex is described with SetReadDeadline.
func (o *originWriter) EnableFullDuplex() error {
	return http.NewResponseController(o.below).EnableFullDuplex()
}

// Interface guards
var (
	_ http.ResponseWriter             = (*originWriter)(nil)
	_ http.Flusher                    = (*originWriter)(nil)
	_ http.Hijacker                   = (*originWriter)(nil)
	_ io.ReaderFrom                   = (*originWriter)(nil)
	_ interface{ FlushError() error } = (*originWriter)(nil)
)
