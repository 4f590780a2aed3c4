package teaser

import (
	"maps"
	"net/http"
)

// Echo is the http.ResponseWriter for an origin that cuts the page itself. It passes a
// response with status 200 in which a header has a value, which says that the origin did,
// and redirects without their body. Of all others it passes nothing: an origin that does
// not know the header sends the whole page.
//
// An Echo is not safe for concurrent use.
type Echo struct {
	below       http.ResponseWriter
	name, value string
	body        bool // the client wants a body
	header      http.Header
	result      Result
	status      int
}

// NewEcho returns an Echo above w. Method is the client's.
func NewEcho(w http.ResponseWriter, method, name, value string) *Echo {
	return &Echo{below: w, name: name, value: value, body: method != http.MethodHead, header: http.Header{}}
}

// Header implements http.ResponseWriter.
func (e *Echo) Header() http.Header { return e.header }

// WriteHeader implements http.ResponseWriter. Informational responses do not pass.
func (e *Echo) WriteHeader(status int) {
	if e.status != 0 || status < 200 && status != http.StatusSwitchingProtocols {
		return
	}
	e.status = status
	said := e.header.Values(e.name)
	switch {
	case isRedirect(status):
		e.result = Result{Reason: Redirected, Location: e.header.Get("Location"), Status: status}
		return
	case status != http.StatusOK:
		e.result.Reason = BadStatus
		return
	case len(said) != 1 || said[0] != e.value:
		e.result.Reason = NoRegion
		return
	}
	e.result.Cut = true
	e.header.Del(e.name)
	e.header.Del("Accept-Ranges")
	header := e.below.Header()
	maps.Copy(header, e.header)
	e.below.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (e *Echo) Write(p []byte) (int, error) {
	if e.status == 0 {
		e.WriteHeader(http.StatusOK)
	}
	if !e.result.Cut {
		e.result.Removed += int64(len(p))
		return len(p), nil
	}
	e.result.Kept += int64(len(p))
	if !e.body {
		return len(p), nil
	}
	return e.below.Write(p)
}

// FlushError implements the interface of http.ResponseController.
func (e *Echo) FlushError() error {
	if !e.result.Cut {
		return nil
	}
	return http.NewResponseController(e.below).Flush()
}

// Result returns what became of the response, once the handler has returned.
func (e *Echo) Result() Result {
	if e.status == 0 && e.result.Reason == Complete {
		e.result.Reason = Broken
	}
	return e.result
}
