package admin

import (
	"maps"
	"strconv"

	"github.com/gatefold/gatefold/policy/store"
)

// PageParams are the query parameters of a listing.
type PageParams struct {
	Limit int    `query:"limit" minimum:"1" maximum:"1000" default:"100" doc:"The maximum number of records to return."`
	From  string `query:"from" maxLength:"128" doc:"Continue after the record with this id."`
}

func (p PageParams) page() store.Page { return store.Page{Limit: p.Limit, From: p.From} }

// listing is the response with a page of records.
type listing[T any] struct {
	Link string `header:"Link" doc:"The next page (RFC 8288), if there is one."`
	Body []T
}

// newListing returns a page of records on the wire, or err. A full page links to
// the next one.
func newListing[R, T any](c *call, limit int, found []R, err error, wire func(R) T, id func(T) string) (*listing[T], error) {
	if err != nil {
		return nil, err
	}
	page := &listing[T]{Body: wireAll(found, wire)}
	if len(found) == limit {
		page.Link = c.nextLink(limit, id(page.Body[limit-1]))
	}
	return page, nil
}

// wireAll returns records on the wire. It never returns nil.
func wireAll[R, T any](records []R, wire func(R) T) []T {
	all := make([]T, len(records))
	for i := range records {
		all[i] = wire(records[i])
	}
	return all
}

// nextLink returns the Link to the page that continues after an id.
func (c *call) nextLink(limit int, from string) string {
	query := maps.Clone(c.query)
	query.Set("limit", strconv.Itoa(limit))
	query.Set("from", from)
	// A query-only reference is relative to the listing (RFC 3986, section 5.3).
	return "<?" + query.Encode() + `>; rel="next"`
}
