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

// Streaming operations are plain handlers, because huma buffers bodies. They are
// described like all other operations.

const (
	typeNDJSON = "application/x-ndjson"
	typeCSV    = "text/csv"

	// streamIdle bounds the time without progress.
	streamIdle = time.Minute
	// maxStreams and maxVendorStreams bound the concurrent streams, each of a
	// few MiB, in total and per vendor.
	maxStreams       = 16
	maxVendorStreams = 4
)

// streamSlots counts the concurrent streams.
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

// tooManyStreams is the problem of a call without a free stream slot.
func tooManyStreams() *Problem {
	return newProblem(http.StatusTooManyRequests, "Too many streams are in progress: try again in a moment.")
}

// streamFormats are the formats by media type.
var streamFormats = map[string]string{
	typeNDJSON: FormatNDJSON, "application/ndjson": FormatNDJSON, "application/jsonl": FormatNDJSON, typeCSV: FormatCSV,
}

// bulk is a call of a streaming operation.
type bulk struct {
	*call
	api       *api
	w         http.ResponseWriter
	r         *http.Request
	operation *huma.Operation
	control   *http.ResponseController
	started   bool // the response has begun
}

// stream adds a streaming operation. Accepts are the media types of its body; none
// for an operation without a body. An error of serve becomes a problem, or aborts
// a response that has begun.
func (a *api) stream(operation huma.Operation, accepts []string, serve func(ctx context.Context, b *bulk) error) {
	admitted := a.admit(&operation)
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
				tooManyStreams().write(w)
				return
			}
			defer a.streams.end(c.Vendor)
			if err := serve(r.Context(), b); err != nil {
				b.fail(err)
			}
		})
	})
}

// unknownParameter returns a problem for an undeclared query parameter, as huma
// does.
func unknownParameter(operation *huma.Operation, r *http.Request) *Problem {
	for name := range r.URL.Query() {
		known := slices.ContainsFunc(operation.Parameters, func(p *huma.Param) bool { return p.In == "query" && p.Name == name })
		if !known {
			return invalidAt("query."+name, "unknown query parameter")
		}
	}
	return nil
}

// problemResponse describes errors.
func (a *api) problemResponse() *huma.Response {
	return &huma.Response{
		Description: "Error",
		Content: map[string]*huma.MediaType{problemType: {
			Schema: a.huma.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[huma.ErrorModel](), true, "ErrorModel"),
		}},
	}
}

// fail sends an error. A response that has begun is aborted, so that it cannot be
// taken for complete.
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

// begin starts a streamed response.
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

// flush sends the buffered data and extends the write deadline.
func (b *bulk) flush() error {
	if err := b.control.SetWriteDeadline(time.Now().Add(streamIdle)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	if err := b.control.Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	return b.r.Context().Err()
}

// Read implements io.Reader: it reads the body and extends the read deadline.
func (b *bulk) Read(p []byte) (int, error) {
	if err := b.control.SetReadDeadline(time.Now().Add(streamIdle)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return 0, err
	}
	return b.r.Body.Read(p)
}

var _ io.Reader = (*bulk)(nil)

// bodyFormat returns the format of the body, whose media type refusedBody checked.
func (b *bulk) bodyFormat() string {
	kind, _, _ := mime.ParseMediaType(b.r.Header.Get("Content-Type"))
	return streamFormats[kind]
}

// answerFormat returns the format that Accept selects.
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

// refusedBody returns a problem if the body does not have a media type that the
// operation accepts. Browsers cannot send one of these across origins without a
// preflight.
func (a *api) refusedBody(r *http.Request) *Problem {
	switch r.Method {
	case http.MethodPost, http.MethodPut, http.MethodPatch:
	default:
		return nil
	}
	// A POST or PUT may have no body. Browsers send Origin with it.
	if r.ContentLength == 0 && len(r.Header["Content-Type"]) == 0 && len(r.Header["Origin"]) == 0 && r.Method != http.MethodPatch {
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
	if c := callOf(r.Context()); !a.Operator && (c == nil || c.Reader == nil) && r.ContentLength == 0 && r.Header.Get("Content-Type") == "" {
		// There is no body. The operator's mount and readers need a Content-Type
		// nevertheless, because no token protects them from pages in a browser.
		return nil
	}
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || !slices.Contains(accepts, kind) {
		return newProblem(http.StatusUnsupportedMediaType, "Content-Type must be "+strings.Join(accepts, " or ")+".")
	}
	return nil
}
