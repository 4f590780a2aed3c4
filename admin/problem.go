package admin

import (
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"strings"

	"github.com/gatefold/gatefold/policy/store/engine"

	"github.com/danielgtaylor/huma/v2"

	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store"
)

// Problem is an error response (RFC 9457). Programs decide by Code, which is
// stable.
type Problem struct {
	Type   string       `json:"type"`
	Title  string       `json:"title"`
	Status int          `json:"status"`
	Detail string       `json:"detail,omitempty"`
	Code   string       `json:"code"`
	Errors []FieldError `json:"errors,omitempty"`
}

// FieldError is an error in one part of a request. It never repeats the value,
// which may be a secret.
type FieldError struct {
	Message  string `json:"message"`
	Location string `json:"location,omitempty"`
}

// codes are the stable words for the statuses that the API answers.
var codes = map[int]string{
	http.StatusBadRequest:            "bad_request",
	http.StatusUnauthorized:          "unauthorized",
	http.StatusForbidden:             "forbidden",
	http.StatusNotFound:              "not_found",
	http.StatusMethodNotAllowed:      "method_not_allowed",
	http.StatusNotAcceptable:         "not_acceptable",
	http.StatusConflict:              "conflict",
	http.StatusPreconditionFailed:    "precondition_failed",
	http.StatusRequestEntityTooLarge: "too_large",
	http.StatusUnsupportedMediaType:  "unsupported_media_type",
	http.StatusUnprocessableEntity:   "validation_failed",
	http.StatusTooManyRequests:       "too_many_requests",
	http.StatusInternalServerError:   "internal_error",
	http.StatusServiceUnavailable:    "unavailable",
}

func newProblem(status int, detail string) *Problem {
	code := codes[status]
	if code == "" {
		code = "error"
	}
	return &Problem{Type: "about:blank", Title: http.StatusText(status), Status: status, Detail: detail, Code: code}
}

// Error implements error.
func (p *Problem) Error() string { return p.Detail }

// GetStatus implements huma.StatusError.
func (p *Problem) GetStatus() int { return p.Status }

// GetHeaders implements huma.HeadersError.
func (p *Problem) GetHeaders() http.Header {
	if p.Code == codeStoreUnavailable {
		return http.Header{"Retry-After": {retryAfterSeconds}}
	}
	return nil
}

// ContentType implements huma.ContentTypeFilter.
func (*Problem) ContentType(string) string { return problemType }

const problemType = "application/problem+json"

// write answers the problem where no operation does.
func (p *Problem) write(w http.ResponseWriter) {
	w.Header().Set("Content-Type", problemType)
	maps.Copy(w.Header(), p.GetHeaders())
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p) // who went away needs no answer
}

// answerProblem answers the problem in the place of an operation.
func answerProblem(ctx huma.Context, p *Problem) {
	ctx.SetHeader("Content-Type", problemType)
	for name, values := range p.GetHeaders() {
		ctx.SetHeader(name, values[0])
	}
	ctx.SetStatus(p.Status)
	_ = json.NewEncoder(ctx.BodyWriter()).Encode(p) // who went away needs no answer
}

// codeErrors gives the library's own errors our members. It is a transformer of
// this API: other users of the library in the process keep theirs.
func codeErrors(_ huma.Context, _ string, value any) (any, error) {
	model, ok := value.(*huma.ErrorModel)
	if !ok {
		return value, nil
	}
	p := newProblem(model.Status, model.Detail)
	if model.Status == http.StatusBadRequest && len(model.Errors) > 0 {
		p.Detail = "the body cannot be read"
	}
	for _, e := range model.Errors {
		if e != nil {
			p.Errors = append(p.Errors, FieldError{Message: e.Message, Location: e.Location})
		}
	}
	return p, nil
}

// RefusedError is an error of Authorize or Explain that says how it is answered.
type RefusedError struct {
	// Status is the answer's status, 4xx.
	Status int
	// Detail says what is wrong and what to do.
	Detail string
	// Challenge is the answer's WWW-Authenticate header; empty: it has none.
	Challenge string
}

func (r *RefusedError) Error() string { return r.Detail }

// refuse answers a call that was not authorized.
func (a *api) refuse(w http.ResponseWriter, err error) {
	if refusal, ok := errors.AsType[*RefusedError](err); ok {
		if refusal.Challenge != "" {
			w.Header().Set("WWW-Authenticate", refusal.Challenge)
		}
		newProblem(refusal.Status, refusal.Detail).write(w)
		return
	}
	if errors.Is(err, policy.ErrUnavailable) || errors.Is(err, engine.ErrUnavailable) || errors.Is(err, engine.ErrClosed) {
		w.Header().Set("Retry-After", "5")
		if p, ok := errors.AsType[*Problem](a.problemOf(err)); ok {
			p.write(w)
		}
		return
	}
	w.Header().Set("WWW-Authenticate", "Bearer")
	newProblem(http.StatusUnauthorized, "The call is not authorized.").write(w)
}

// problemOf returns an error of an operation as it is answered.
func (a *api) problemOf(err error) *Problem {
	if p, ok := errors.AsType[*Problem](err); ok {
		return p
	}
	if refused, ok := errors.AsType[*RefusedError](err); ok {
		return newProblem(refused.Status, refused.Detail)
	}
	if field, ok := errors.AsType[*store.FieldError](err); ok {
		return invalid(field.Field, field.Problem)
	}
	status := http.StatusInternalServerError
	switch {
	case errors.Is(err, store.ErrNotFound):
		return newProblem(http.StatusNotFound, "There is no such record.")
	case errors.Is(err, store.ErrDoneOnce):
		return inProgress()
	case errors.Is(err, store.ErrRevoked):
		return newProblem(http.StatusConflict, "The client was revoked, which is for good: create another one.")
	case errors.Is(err, store.ErrKeySigns):
		return newProblem(http.StatusConflict, "This key signs new tokens: rotate first, then retire it.")
	case errors.Is(err, store.ErrExists):
		return newProblem(http.StatusConflict, "There is a record of this name already.")
	case errors.Is(err, store.ErrBuiltIn):
		return newProblem(http.StatusConflict, "Every vendor has this record: it can be changed, and not removed.")
	case errors.Is(err, store.ErrConflict):
		return newProblem(http.StatusConflict, "Somebody else changed the record at the same time: read it again and decide anew.")
	case isUnavailable(err):
		status = http.StatusServiceUnavailable
	}
	if a.Failed != nil {
		a.Failed(err)
	}
	p := newProblem(status, "The server could not do it; its log says why.")
	if a.Operator {
		p.Detail = err.Error()
	}
	if status == http.StatusServiceUnavailable {
		p.Code = codeStoreUnavailable
	}
	return p
}

// isUnavailable says whether an error is that the store cannot be read.
func isUnavailable(err error) bool {
	return errors.Is(err, policy.ErrUnavailable) || errors.Is(err, engine.ErrUnavailable) || errors.Is(err, engine.ErrClosed)
}

const (
	codeStoreUnavailable = "store_unavailable"
	// retryAfterSeconds is when to try again what the store could not do.
	retryAfterSeconds = "5"
)

// invalid says that a field of the body is not acceptable.
func invalid(field, message string) *Problem {
	p := newProblem(http.StatusUnprocessableEntity, "validation failed")
	p.Errors = []FieldError{{Message: message, Location: strings.TrimSuffix("body."+field, ".")}}
	return p
}
