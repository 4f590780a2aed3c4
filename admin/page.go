package admin

import (
	"context"
	"maps"
	"net/url"
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

// newListing returns a page, which names the next one if it is full.
func newListing[T any](ctx context.Context, records []T, limit int, id func(T) string) *listing[T] {
	page := &listing[T]{Body: records}
	if page.Body == nil {
		page.Body = []T{}
	}
	if len(records) < limit {
		return page
	}
	page.Link = nextLink(ctx, limit, id(records[len(records)-1]))
	return page
}

// nextLink returns the Link to the page that continues behind an id.
func nextLink(ctx context.Context, limit int, from string) string {
	query := url.Values{}
	if call, ok := ctx.Value(callKey{}).(call); ok {
		query = maps.Clone(call.query)
	}
	query.Set("limit", strconv.Itoa(limit))
	query.Set("from", from)
	// A reference of a query alone is relative to the listing itself, wherever
	// the API is mounted (RFC 3986, section 5.3).
	return "<?" + query.Encode() + `>; rel="next"`
}
