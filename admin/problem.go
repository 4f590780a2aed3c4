package admin

import (
	"cmp"
	"encoding/json"
	"errors"
	"maps"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store"
	"github.com/gatefold/gatefold/policy/store/engine"
)

// Problem is an error response (RFC 9457). Programs decide by Code, which is
// stable.
type Problem struct { //nolint:errname // the name of RFC 9457
	Type   string       `json:"type" doc:"Always about:blank; see code." example:"about:blank"`
	Title  string       `json:"title" doc:"The HTTP status text." example:"Not Found"`
	Status int          `json:"status" doc:"The HTTP status." example:"404"`
	Detail string       `json:"detail,omitempty" doc:"The error and its remedy, for people." example:"There is no such record."`
	Code   string       `json:"code" doc:"The stable error code." example:"not_found"`
	Errors []FieldError `json:"errors,omitempty" doc:"The individual errors."`

	retryAfter string // the header Retry-After, in seconds
}

// FieldError is an error in one part of a request. It never repeats the value,
// which may be a secret.
type FieldError struct {
	Message  string `json:"message" doc:"The error, for people." example:"expected length >= 1"`
	Location string `json:"location,omitempty" doc:"The invalid part of the request." example:"body.name"`
}

// codes are the values of Problem.Code by status.
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
	http.StatusNotImplemented:        "not_implemented",
	http.StatusServiceUnavailable:    codeStoreUnavailable,
	http.StatusInsufficientStorage:   "store_full",
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

// GetHeaders implements huma.HeadersError. Each 429 and 503 says when to try again.
func (p *Problem) GetHeaders() http.Header {
	if p.Status != http.StatusTooManyRequests && p.Status != http.StatusServiceUnavailable {
		return nil
	}
	return http.Header{"Retry-After": {cmp.Or(p.retryAfter, retryAfterSeconds)}}
}

// ContentType implements huma.ContentTypeFilter.
func (*Problem) ContentType(string) string { return problemType }

const problemType = "application/problem+json"

// write sends the problem.
func (p *Problem) write(w http.ResponseWriter) {
	w.Header().Set("Content-Type", problemType)
	maps.Copy(w.Header(), p.GetHeaders())
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p) // fails only if the client is gone
}

// answerProblem sends the problem from a middleware.
func answerProblem(ctx huma.Context, p *Problem) {
	_, w := humago.Unwrap(ctx)
	p.write(w)
}

// RefusedError is an error of Authorize or Explain that defines its response.
type RefusedError struct {
	// Status is the HTTP status, 4xx.
	Status int
	// Detail says what is wrong and what to do.
	Detail string
	// Challenge is the WWW-Authenticate header. Optional.
	Challenge string
}

func (r *RefusedError) Error() string { return r.Detail }

// refuse responds to a call that Authorize refused.
func (a *api) refuse(w http.ResponseWriter, err error) {
	if refusal, ok := errors.AsType[*RefusedError](err); ok {
		if refusal.Challenge != "" {
			w.Header().Set("WWW-Authenticate", refusal.Challenge)
		}
		newProblem(refusal.Status, refusal.Detail).write(w)
		return
	}
	if isUnavailable(err) {
		a.problemOf(err).write(w)
		return
	}
	w.Header().Set("WWW-Authenticate", "Bearer")
	newProblem(http.StatusUnauthorized, "The call is not authorized.").write(w)
}

// problemOf returns the response to an error of an operation. It reports errors of
// the server itself to Failed.
func (a *api) problemOf(err error) *Problem {
	if p, ok := errors.AsType[*Problem](err); ok {
		return p
	}
	if refused, ok := errors.AsType[*RefusedError](err); ok {
		return newProblem(refused.Status, refused.Detail)
	}
	// What could not be read says nothing about a field.
	if field, ok := errors.AsType[*store.FieldError](err); ok && !isUnavailable(err) {
		return invalid(field.Field, field.Problem)
	}
	if p := salesProblem(err); p != nil {
		return p
	}
	if last, ok := errors.AsType[*store.LastManagerError](err); ok {
		p := newProblem(http.StatusConflict, "This is the last manager of the profile "+last.Profile+": make another one first.")
		p.Code = "last_manager"
		return p
	}
	switch {
	case errors.Is(err, store.ErrNotFound):
		return newProblem(http.StatusNotFound, "There is no such record.")
	case errors.Is(err, store.ErrAlreadyCompleted):
		return inProgress()
	case errors.Is(err, store.ErrRevoked):
		return newProblem(http.StatusConflict, "The client was revoked permanently: create another client.")
	case errors.Is(err, store.ErrKeySigns):
		return newProblem(http.StatusConflict, "This key signs new tokens: rotate first, then retire it.")
	case errors.Is(err, store.ErrExists):
		return newProblem(http.StatusConflict, "A record with this name already exists.")
	case errors.Is(err, store.ErrBuiltIn):
		return newProblem(http.StatusConflict, "This record is built in: it can be changed but not removed.")
	case errors.Is(err, store.ErrInUse):
		return newProblem(http.StatusConflict, "Other records need this one: it cannot be removed while they are there.")
	case errors.Is(err, store.ErrReserved):
		return newProblem(http.StatusConflict, "A record with this name was removed lately: choose another name.")
	case errors.Is(err, store.ErrConflict):
		return newProblem(http.StatusConflict, "The record was changed concurrently: read it again and repeat the change.")
	}
	if errors.Is(err, store.ErrIndexBuilding) {
		p := newProblem(http.StatusServiceUnavailable,
			"This database is of an earlier version: an index of its grants is being built, see `gatefold status`. Repeat the call after Retry-After.")
		p.Code = "index_building"
		return p
	}
	a.Failed(err)
	p := newProblem(http.StatusInternalServerError, "The server could not complete the request; its log has the cause.")
	switch {
	case errors.Is(err, keys.ErrKeysUnavailable):
		p = newProblem(http.StatusServiceUnavailable, "The access token cannot be verified at the moment; the server's log has the cause.")
		p.Code = codeKeysUnavailable
	case errors.Is(err, engine.ErrFull):
		p = newProblem(http.StatusInsufficientStorage, "The store has no room for this, and nothing was written: its operator must make some. Removals and revocations go on.")
	case isUnavailable(err):
		p = newProblem(http.StatusServiceUnavailable, p.Detail)
	}
	if a.Operator {
		p.Detail = err.Error()
	}
	return p
}

// secondsOf returns a time to wait as the value of Retry-After: whole seconds, at least one.
func secondsOf(wait time.Duration) string {
	return strconv.Itoa(max(int(math.Ceil(wait.Seconds())), 1))
}

// isUnavailable reports whether an error means that the store cannot be read, or keys of
// an issuer.
func isUnavailable(err error) bool {
	return errors.Is(err, keys.ErrKeysUnavailable) || errors.Is(err, policy.ErrUnavailable) || errors.Is(err, engine.ErrUnavailable) || errors.Is(err, engine.ErrClosed)
}

const (
	codeStoreUnavailable = "store_unavailable"
	codeKeysUnavailable  = "keys_unavailable"
	// retryAfterSeconds is the Retry-After of errors of the store.
	retryAfterSeconds = "5"
)

// invalid returns the problem of an invalid field of the body.
func invalid(field, message string) *Problem {
	return invalidAt(strings.TrimSuffix("body."+field, "."), message)
}

// invalidBody is invalid, with a detail that says the same.
func invalidBody(field, message string) *Problem {
	p := invalid(field, message)
	p.Detail = message
	return p
}

// invalidAt returns the problem of an invalid part of the request.
func invalidAt(location, message string) *Problem {
	p := newProblem(http.StatusUnprocessableEntity, "validation failed")
	p.Errors = []FieldError{{Message: message, Location: location}}
	return p
}

// unreadable returns the problem of a body that is not strict JSON.
func unreadable() *Problem {
	return newProblem(http.StatusBadRequest, unreadableBody)
}

const unreadableBody = "The body cannot be read: it is not the JSON object that the operation takes, or has a member twice."
