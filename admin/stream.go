package admin

import (
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
)

// Operations that read or write streams are plain handlers: the library would
// hold their bodies in memory. They are described like all others.

const (
	typeNDJSON = "application/x-ndjson"
	typeCSV    = "text/csv"

	// streamIdle is how long a stream may stand still.
	streamIdle = time.Minute
	// maxStreams bounds how many of them are under way, each with a few MiB, and
	// maxVendorStreams how many of one vendor: none takes them all.
	maxStreams       = 16
	maxVendorStreams = 4
)

// streamSlots bounds how many streams are under way.
type streamSlots struct {
	mu     sync.Mutex
	total  int
	vendor map[string]int
}

func (s *streamSlots) begin(vendor string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.total == maxStreams || s.vendor[vendor] == maxVendorStreams {
		return false
	}
	if s.vendor == nil {
		s.vendor = make(map[string]int)
	}
	s.total++
	s.vendor[vendor]++
	return true
}

func (s *streamSlots) end(vendor string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.total--
	if s.vendor[vendor]--; s.vendor[vendor] == 0 {
		delete(s.vendor, vendor)
	}
}

// streamFormats are the formats of streams by their media types.
var streamFormats = map[string]string{
	typeNDJSON: FormatNDJSON, "application/ndjson": FormatNDJSON, "application/jsonl": FormatNDJSON, typeCSV: FormatCSV,
}

// bulk is a call of an operation that streams.
type bulk struct {
	*call
	api       *api
	w         http.ResponseWriter
	r         *http.Request
	operation *huma.Operation
	control   *http.ResponseController
	started   bool // the answer has begun
}

// stream adds an operation that streams. Accepts are the media types that its
// body may have; none for an operation without a body. What serve returns is
// answered, or ends the answer where it has begun.
func (a *api) stream(operation huma.Operation, accepts []string, serve func(ctx context.Context, b *bulk) error) {
	admitted := admit(scopeOf(&operation))
	operation.Responses["default"] = a.problemResponse()
	for _, parameter := range operation.Parameters {
		if parameter.In == "path" {
			parameter.Required = true
		}
	}
	a.huma.OpenAPI().AddOperation(&operation)
	pattern := operation.Method + " " + operation.Path
	a.bodies[pattern] = accepts
	a.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		admitted(humago.NewContext(&operation, r, w), func(huma.Context) {
			if problem := unknownParameter(&operation, r); problem != nil {
				problem.write(w)
				return
			}
			c := callOf(r.Context())
			a.begin(c, &operation)
			b := &bulk{call: c, api: a, w: w, r: r, operation: &operation, control: http.NewResponseController(w)}
			if !a.streams.begin(c.Vendor) {
				w.Header().Set("Retry-After", retryAfterSeconds)
				newProblem(http.StatusTooManyRequests, "Too many streams are in progress: try again in a moment.").write(w)
				return
			}
			defer a.streams.end(c.Vendor)
			if err := serve(r.Context(), b); err != nil {
				b.fail(err)
			}
		})
	})
}

// unknownParameter refuses a query parameter that the operation does not have, as
// the library does.
func unknownParameter(operation *huma.Operation, r *http.Request) *Problem {
	for name := range r.URL.Query() {
		known := slices.ContainsFunc(operation.Parameters, func(p *huma.Param) bool { return p.In == "query" && p.Name == name })
		if !known {
			return invalidAt("query."+name, "unknown query parameter")
		}
	}
	return nil
}

// problemResponse describes how errors are answered.
func (a *api) problemResponse() *huma.Response {
	return &huma.Response{
		Description: "Error",
		Content: map[string]*huma.MediaType{problemType: {
			Schema: a.huma.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[huma.ErrorModel](), true, "ErrorModel"),
		}},
	}
}

// fail answers an error. An answer that has begun is broken off, so that nobody
// takes it for whole.
func (b *bulk) fail(err error) {
	if !b.started {
		b.api.problemOf(err).write(b.w)
		return
	}
	if b.r.Context().Err() == nil {
		b.api.Failed(err)
	}
	panic(http.ErrAbortHandler)
}

// begin begins an answer that streams.
func (b *bulk) begin(format, name string) {
	contentType := typeNDJSON
	if format == FormatCSV {
		contentType = typeCSV + "; charset=utf-8; header=present"
	}
	b.w.Header().Set("Content-Type", contentType)
	b.w.Header().Set("Content-Disposition", `attachment; filename="`+name+"."+format+`"`)
	b.w.WriteHeader(http.StatusOK)
	b.started = true
}

// flush sends what was written so far, and gives the reader time for more.
func (b *bulk) flush() error {
	if err := b.control.SetWriteDeadline(time.Now().Add(streamIdle)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	if err := b.control.Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	return b.r.Context().Err()
}

// Read implements io.Reader: the body of the call, which may take as long as it
// likes, if it does not stand still.
func (b *bulk) Read(p []byte) (int, error) {
	if err := b.control.SetReadDeadline(time.Now().Add(streamIdle)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return 0, err
	}
	return b.r.Body.Read(p)
}

var _ io.Reader = (*bulk)(nil)

// bodyFormat returns the format of the body. Its media type was checked.
func (b *bulk) bodyFormat() string {
	kind, _, _ := mime.ParseMediaType(b.r.Header.Get("Content-Type"))
	return streamFormats[kind]
}

// answerFormat returns the format of the answer that the caller asks for.
func (b *bulk) answerFormat() (string, error) {
	accept := strings.Join(b.r.Header.Values("Accept"), ",")
	if strings.TrimSpace(accept) == "" {
		return FormatNDJSON, nil
	}
	for part := range strings.SplitSeq(accept, ",") {
		kind, parameters, err := mime.ParseMediaType(part)
		if err != nil || strings.Trim(parameters["q"], "0.") == "" && parameters["q"] != "" {
			continue
		}
		if format, ok := streamFormats[kind]; ok {
			return format, nil
		}
		switch kind {
		case "*/*", "application/*":
			return FormatNDJSON, nil
		case "text/*":
			return FormatCSV, nil
		}
	}
	return "", newProblem(http.StatusNotAcceptable, "The response is "+typeNDJSON+" or "+typeCSV+": request one of them with Accept.")
}

// refusedBody wants bodies to say that they are of a type that the operation
// takes: what a page in a browser can send across origins without asking is none.
func (a *api) refusedBody(r *http.Request) *Problem {
	switch r.Method {
	case http.MethodPost, http.MethodPut, http.MethodPatch:
	default:
		return nil
	}
	// An operation may take no body. What a page in a browser sends without one
	// says where it comes from.
	if r.ContentLength == 0 && len(r.Header["Content-Type"]) == 0 && len(r.Header["Origin"]) == 0 && r.Method == http.MethodPost {
		return nil
	}
	_, pattern := a.mux.Handler(r)
	accepts, known := a.bodies[pattern]
	if !known {
		accepts = []string{"application/json"}
		if r.Method == http.MethodPatch {
			accepts = append(accepts, mergePatchType)
		}
	}
	if !a.Operator && r.ContentLength == 0 && r.Header.Get("Content-Type") == "" {
		// There is no body to say anything of. The operator's mount wants to hear
		// it all the same: no token protects that one from pages in a browser.
		return nil
	}
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || !slices.Contains(accepts, kind) {
		return newProblem(http.StatusUnsupportedMediaType, "Content-Type must be "+strings.Join(accepts, " or ")+".")
	}
	return nil
}
