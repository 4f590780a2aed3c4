package admin

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"github.com/gatefold/gatefold/policy/store"
)

// record is the answer with one record.
type record[T any] struct {
	ETag string `header:"ETag" doc:"A validator of the record's state, for If-Match."`
	Body T
}

// newRecord answers with a record, unless there was an error.
func newRecord[T any](value T, err error) (*record[T], error) {
	if err != nil {
		return nil, err
	}
	return &record[T]{ETag: etagOf(value), Body: value}, nil
}

// etagOf returns a strong validator (RFC 9110, section 8.8.3) of a record as it
// is answered, which is made of nothing but what is stored: every node returns
// the same.
func etagOf(value any) string {
	encoded, err := json.Marshal(value)
	if err != nil {
		return ""
	}
	digest := sha256.Sum256(encoded)
	return `"` + base64.RawURLEncoding.EncodeToString(digest[:15]) + `"`
}

// IfMatch is the condition that a caller sets for a change.
type IfMatch struct {
	IfMatch string `header:"If-Match" maxLength:"1024" doc:"Changes the record only if its ETag is one of these; * means any."`
}

// check refuses a change where the record, as it is answered, is not in the state
// that the caller knows. It is asked within the step that changes the record.
func (m IfMatch) check(current any) error {
	if m.IfMatch == "" {
		return nil
	}
	etag := etagOf(current)
	for tag := range strings.SplitSeq(m.IfMatch, ",") {
		// A weak tag, W/"…", never matches here (RFC 9110, section 13.1.1).
		if tag = strings.TrimSpace(tag); tag == "*" || tag == etag {
			return nil
		}
	}
	return newProblem(http.StatusPreconditionFailed, "The record does not match If-Match: read it again and repeat the change.")
}

// absent refuses to make a record where the caller wants to change one.
func (m IfMatch) absent() error {
	if m.IfMatch == "" {
		return nil
	}
	return newProblem(http.StatusPreconditionFailed, "There is no such record, but If-Match requires one.")
}

// changed returns the error of a change. Where somebody else came first the
// caller's condition does not hold.
func (m IfMatch) changed(err error) error {
	if m.IfMatch != "" && errors.Is(err, store.ErrConflict) {
		return newProblem(http.StatusPreconditionFailed, "The record was changed concurrently: read it again and repeat the change.")
	}
	return err
}
