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

// record is the response with one record.
type record[T any] struct {
	ETag string `header:"ETag" doc:"A validator of the record's state, for If-Match."`
	Body T
}

// newRecord returns the response with a record, or err.
func newRecord[T any](value T, err error) (*record[T], error) {
	if err != nil {
		return nil, err
	}
	return &record[T]{ETag: etagOf(value), Body: value}, nil
}

// etagOf returns a strong validator (RFC 9110, section 8.8.3) of a record on the
// wire. It depends on stored data only, so that every node returns the same.
func etagOf(value any) string {
	encoded, err := json.Marshal(value)
	if err != nil {
		return ""
	}
	digest := sha256.Sum256(encoded)
	return `"` + base64.RawURLEncoding.EncodeToString(digest[:15]) + `"`
}

const ifMatch = "If-Match"

// IfMatch is the precondition of a change.
type IfMatch struct {
	IfMatch string `header:"If-Match" maxLength:"1024" doc:"Changes the record only if its ETag is one of these; * means any."`
}

// check returns a 412 problem if the current record, on the wire, does not match.
// It must run in the transaction that changes the record.
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

// absent returns a 412 problem if the precondition requires an existing record.
func (m IfMatch) absent() error {
	if m.IfMatch == "" {
		return nil
	}
	return newProblem(http.StatusPreconditionFailed, "There is no such record, but If-Match requires one.")
}

// changed returns the error of a change. With a precondition, a concurrent change
// is a 412 problem.
func (m IfMatch) changed(err error) error {
	if m.IfMatch != "" && errors.Is(err, store.ErrConflict) {
		return newProblem(http.StatusPreconditionFailed, "The record was changed concurrently: read it again and repeat the change.")
	}
	return err
}
