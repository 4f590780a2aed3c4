package admin

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"slices"

	"github.com/danielgtaylor/huma/v2"

	"github.com/gatefold/gatefold/policy/store"
)

// registerFeedStream adds the operation that makes the feeds of many readers.
func (a *api) registerFeedStream() {
	schemas := a.huma.OpenAPI().Components.Schemas
	row := schemas.Schema(reflect.TypeFor[FeedBody](), true, "FeedBody")
	a.stream(huma.Operation{
		OperationID: "create-feeds", Method: http.MethodPost, Path: feedsPath + "/batch", Tags: []string{"Readers"}, Security: needs("sessions:write"),
		Summary: "Makes the feeds of up to 100,000 readers and streams them",
		Description: "The body has a JSON object per line, of up to 32 MiB in all, with the fields of create-feed, and so has the answer, in the same order. All lines are checked before the first feed is made. " +
			"The feeds are made in steps, each before its lines are sent. Repeated, the call completes and returns the same URLs. A response that is cut short is incomplete.",
		RequestBody: &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{typeNDJSON: {Schema: row}}},
		Responses: map[string]*huma.Response{"200": {
			Description: "The feeds, in the order of the lines",
			Content:     map[string]*huma.MediaType{typeNDJSON: {Schema: schemas.Schema(reflect.TypeFor[FeedLink](), true, "FeedLink")}},
		}},
	}, []string{typeNDJSON, "application/ndjson", "application/jsonl"}, func(ctx context.Context, b *bulk) error {
		feeds, err := a.readFeeds(b, row)
		if err != nil {
			return err
		}
		b.begin(FormatNDJSON, "feeds")
		out := bufio.NewWriter(b.w)
		encoder := json.NewEncoder(out)
		encoder.SetEscapeHTML(false)
		mint := a.newFeedMint(b.Vendor)
		for chunk := range slices.Chunk(feeds, store.MaxFeedBatch) {
			links, err := mint.put(ctx, b.store, chunk)
			if err != nil {
				return err
			}
			for i := range links {
				if err := encoder.Encode(&links[i]); err != nil { //nolint:gosec // what was asked for, shown once
					return err
				}
			}
			if err := errors.Join(out.Flush(), b.flush()); err != nil {
				return err
			}
		}
		return nil
	})
}

// readFeeds reads the lines of a stream of feeds and checks all of them.
func (a *api) readFeeds(b *bulk, schema *huma.Schema) ([]FeedBody, error) {
	body := &io.LimitedReader{R: b, N: maxLinkRowsBody + 1}
	tooLarge := newProblem(http.StatusRequestEntityTooLarge, "the body is larger than 32 MiB: divide it into several calls")
	var feeds []FeedBody
	var wrong []FieldError
	shared := map[string]string{} // texts that all lines have are kept once
	for row, err := range readNDJSON(body, ndjsonLink) {
		if body.N <= 0 { // the row may be cut off
			return nil, tooLarge
		}
		if err != nil {
			return nil, newProblem(http.StatusBadRequest, err.Error())
		}
		if len(feeds) == maxLinkRows {
			return nil, invalidAt("body", fmt.Sprintf("has more than %d lines: divide it into several calls", maxLinkRows))
		}
		var feed FeedBody
		err = row.Err
		if err == nil {
			err = a.read(row.Value, schema, &feed)
		}
		if err == nil {
			err = feed.check()
		}
		if wrong, err = addRowErrors(wrong, row.Line, err); err != nil {
			return nil, err
		}
		for _, text := range []*string{&feed.Site, &feed.ContentSpace, &feed.URL} {
			if kept, ok := shared[*text]; ok {
				*text = kept
			} else if len(shared) < maxSharedTexts {
				shared[*text] = *text
			}
		}
		feeds = append(feeds, feed)
		if len(wrong) >= maxBodyErrors {
			break
		}
	}
	switch {
	case body.N <= 0:
		return nil, tooLarge
	case len(wrong) > 0:
		p := newProblem(http.StatusUnprocessableEntity, "validation failed")
		p.Errors = wrong
		return nil, p
	case len(feeds) == 0:
		return nil, invalidAt("body", "has no feed")
	}
	return feeds, nil
}

// maxSharedTexts bounds the texts of a stream of feeds that are kept once.
const maxSharedTexts = 64
