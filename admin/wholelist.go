package admin

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"reflect"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/gatefold/gatefold/policy/store"
)

// WholeParams are the query parameters of a listing that the published API does not page:
// without limit it is whole.
type WholeParams struct {
	Limit int    `query:"limit" minimum:"1" maximum:"1000" doc:"The maximum number of records to return. Default: all."`
	From  string `query:"from" maxLength:"255" doc:"Continue after this position: that of the Link of the page before, or the id of a record, which may have been removed since."`
}

// partReader reads a part of a listing. More is whether it continues after next.
type partReader[R any] func(ctx context.Context, page store.Page) (found []R, next string, more bool, err error)

// byID returns the partReader of a listing whose positions are ids.
func byID[R any](read func(context.Context, store.Page) ([]R, error), id func(*R) string) partReader[R] {
	return func(ctx context.Context, page store.Page) (found []R, next string, more bool, err error) {
		found, err = read(ctx, page)
		if more = len(found) == page.Limit; more && err == nil {
			next = id(&found[len(found)-1])
		}
		return found, next, more, err
	}
}

// wholeListing is the response with a page of records, or with all.
type wholeListing[T any] struct {
	Link string `header:"Link" doc:"The next page (RFC 8288), if limit is given and there is one."`
	Body rows[T]
}

// newWholeListing returns a page, or without limit all records from a position on. They are
// read and sent in parts, in the order of their positions: a record that is there all the
// time is sent once, whatever is written meanwhile. A list with more than one part takes a stream
// slot before its first byte, and keeps it until the end of the call; without a free one the
// call is refused with 429.
func newWholeListing[R, T any](ctx context.Context, a *api, c *call, p WholeParams, read partReader[R], wire func(R) T) (*wholeListing[T], error) {
	page := store.Page{Limit: p.Limit, From: p.From}
	if p.Limit == 0 {
		page.Limit = store.MaxLimit
	}
	found, next, more, err := read(ctx, page)
	if field, ok := errors.AsType[*store.FieldError](err); ok {
		err = invalidAt("query."+field.Field, field.Problem)
	}
	if err != nil {
		return nil, err
	}
	list := &wholeListing[T]{Body: rows[T]{first: wireAll(found, wire)}}
	if p.Limit > 0 || !more {
		if more {
			list.Link = c.nextLink(p.Limit, next)
		}
		return list, nil
	}
	if !a.streams.begin(c.Vendor) {
		return nil, tooManyStreams()
	}
	c.atEnd(func() { a.streams.end(c.Vendor) })
	list.Body.rest = func(add func([]T) error) error {
		for more {
			if err := ctx.Err(); err != nil {
				return err
			}
			page.From = next
			if found, next, more, err = read(ctx, page); err == nil {
				err = add(wireAll(found, wire))
			}
			if err != nil {
				return err
			}
		}
		return nil
	}
	list.Body.failed = a.Failed
	return list, nil
}

// rows is an array of records that may be read while it is sent.
type rows[T any] struct {
	first []T
	// rest, unless nil, adds the parts after the first.
	rest   func(add func([]T) error) error
	failed func(error)
}

// Schema implements huma.SchemaProvider.
func (rows[T]) Schema(r huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeArray, Items: r.Schema(reflect.TypeFor[T](), true, "")}
}

// MarshalJSON implements json.Marshaler for rows without a rest.
func (l rows[T]) MarshalJSON() ([]byte, error) { return json.Marshal(l.first) }

// streamedBody is a body that writes itself.
type streamedBody interface {
	streamed() bool
	stream(w io.Writer)
}

func (l rows[T]) streamed() bool { return l.rest != nil }

// stream writes the array part by part. A failure aborts the response, so that it cannot be
// taken for complete.
func (l rows[T]) stream(w io.Writer) {
	var control *http.ResponseController
	if answer, ok := w.(http.ResponseWriter); ok {
		control = http.NewResponseController(answer)
	}
	separator := []byte("[")
	add := func(part []T) error {
		for i := range part {
			row, err := json.Marshal(part[i])
			if err == nil {
				_, err = w.Write(append(separator, row...))
			}
			if err != nil {
				return err
			}
			separator = append(separator[:0], ',', '\n')
		}
		if control == nil {
			return nil
		}
		if err := control.SetWriteDeadline(time.Now().Add(streamIdle)); err != nil && !errors.Is(err, http.ErrNotSupported) {
			return err
		}
		if err := control.Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
			return err
		}
		return nil
	}
	err := add(l.first)
	if err == nil {
		err = l.rest(add)
	}
	if err == nil {
		_, err = w.Write([]byte("]\n"))
	}
	if err != nil {
		if !errors.Is(err, context.Canceled) {
			l.failed(err)
		}
		panic(http.ErrAbortHandler)
	}
}

// marshalJSON writes a response as JSON.
func marshalJSON(w io.Writer, value any) error {
	if body, ok := value.(streamedBody); ok && body.streamed() {
		body.stream(w)
		return nil
	}
	return huma.DefaultJSONFormat.Marshal(w, value)
}

// notAPosition is the problem of a from that no page can have returned.
func notAPosition() error { return invalidAt("query.from", "is not a position of this list") }

// checkFrom returns a problem unless from is empty, one of the names, or an id with a prefix,
// whether there is such a record or not.
func checkFrom(from, prefix string, names ...string) error {
	if from == "" || store.IsID(prefix, from) {
		return nil
	}
	if slices.Contains(names, from) {
		return nil
	}
	return notAPosition()
}
