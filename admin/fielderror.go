package admin

import (
	"cmp"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/gatefold/gatefold/policy/store"
)

const (
	// maxBodyErrors bounds the errors of one response, and maxErrorLocation the length of a
	// location: both grow with what a body has.
	maxBodyErrors    = 100
	maxErrorLocation = 512
)

// fieldErrorOf returns an error of huma in plain words, at the field that it is about. Huma
// places a missing member at the object that lacks it.
func fieldErrorOf(err error) FieldError {
	detail, ok := errors.AsType[*huma.ErrorDetail](err)
	if !ok {
		return FieldError{Message: "is not valid"}
	}
	message, place, placed := strings.Cut(detail.Message, placeMark)
	field := FieldError{Message: plainMessage(message), Location: detail.Location}
	if placed {
		field.Location += "." + place
	}
	if name, ok := strings.CutPrefix(detail.Message, "expected required property "); ok {
		name = strings.TrimSuffix(name, " to be present")
		field = FieldError{Message: "is required", Location: strings.TrimPrefix(detail.Location+"."+name, ".")}
	}
	if len(field.Location) > maxErrorLocation {
		field.Location = strings.ToValidUTF8(field.Location[:maxErrorLocation], "") + "…"
	}
	return field
}

// fieldErrorsOf returns errors of huma by location, because huma returns those of one object
// in random order.
func fieldErrorsOf(found []error) []FieldError {
	fields := make([]FieldError, 0, min(len(found), maxBodyErrors))
	for _, err := range found {
		fields = append(fields, fieldErrorOf(err))
	}
	slices.SortFunc(fields, func(a, b FieldError) int {
		return cmp.Or(cmp.Compare(a.Location, b.Location), cmp.Compare(a.Message, b.Message))
	})
	return slices.Clip(fields[:min(len(fields), maxBodyErrors)])
}

// plainMessage returns a message of huma or of the JSON decoder in plain words.
func plainMessage(message string) string {
	switch {
	case message == "expected string to be RFC 3339 date-time", strings.HasPrefix(message, "invalid date/time for format"):
		return plainTime
	case strings.HasPrefix(message, "json: cannot unmarshal number"):
		return "has a number that is out of range, or a whole number with a fraction or an exponent: write it in digits, such as 1"
	case strings.HasPrefix(message, "json: "), strings.HasPrefix(message, "parsing time "):
		return "has a value that is out of range"
	}
	return message
}

const plainTime = "must be a time such as 2027-01-31T12:00:00Z"

// firstError returns the first error of a row by field, in the words of a file: a row may
// have a date for a time, and an empty cell is a member that is missing.
func firstError(found []error) *store.FieldError {
	first := fieldErrorsOf(found)[0]
	if first.Message == plainTime {
		first.Message += ", or a date such as 2027-01-31"
	}
	return &store.FieldError{Field: strings.TrimPrefix(first.Location, "."), Problem: first.Message}
}

// codeErrors converts huma's errors to problems. It is a transformer of this API,
// so that other users of huma in the process are unaffected.
func codeErrors(_ huma.Context, _ string, value any) (any, error) {
	model, ok := value.(*huma.ErrorModel)
	if !ok {
		return value, nil
	}
	p := newProblem(model.Status, model.Detail)
	found := make([]error, 0, len(model.Errors))
	for _, e := range model.Errors {
		if e != nil {
			found = append(found, e)
		}
	}
	switch {
	case model.Status == http.StatusUnprocessableEntity:
		p.Errors = fieldErrorsOf(found)
	case model.Status == http.StatusBadRequest && len(found) > 0:
		p.Detail = unreadableBody
	}
	return p, nil
}
