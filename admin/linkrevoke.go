package admin

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy/store"
)

// LinkFilter selects signed links.
type LinkFilter struct {
	UserID             string   `query:"userId" json:"userId,omitempty" minLength:"1" maxLength:"255" doc:"Only links made for this user." example:"user-123"`
	SKU                string   `query:"sku" json:"sku,omitempty" minLength:"1" maxLength:"255" doc:"Only links that name this SKU." example:"premium"`
	PublisherContentID string   `query:"publisherContentId" json:"publisherContentId,omitempty" minLength:"1" maxLength:"255" doc:"Only links that name this content." example:"hello"`
	URL                string   `query:"url" json:"url,omitempty" minLength:"1" maxLength:"2048" doc:"Only links with exactly this url, or with urls that begin with it if it ends with an asterisk." example:"https://news.example.com/articles/*"`
	Meta               []string `query:"meta,explode" json:"meta,omitempty" maxItems:"8" doc:"Only links whose metadata has all of these, each as name=value." example:"[\"campaign=autumn\"]"`
	Status             string   `query:"status" json:"status,omitempty" enum:"active,scheduled,used_up,expired,revoked" doc:"Only links in this state." example:"active"`
}

func (f *LinkFilter) query(page store.Page) (store.LinkQuery, error) {
	meta, err := metaFilter(f.Meta)
	return store.LinkQuery{
		UserID: f.UserID, SKU: f.SKU, PublisherContentID: f.PublisherContentID, URL: f.URL, Meta: meta, Status: f.Status, Page: page,
	}, err
}

// LinkSelection selects the links that are revoked or restored.
type LinkSelection struct {
	LinkFilter
	RevokedAt time.Time `json:"revokedAt,omitzero" required:"false" doc:"To restore: only links revoked at exactly this time. To revoke: the time of the response before." example:"2027-01-01T09:30:00.123Z"`
	From      string    `json:"from,omitempty" maxLength:"128" doc:"Continues after this position: next of the response before."`
}

// LinkSelectionDone is the answer to a LinkSelection.
type LinkSelectionDone struct {
	Links     int       `json:"links" doc:"The number of links that the call revoked or restored." example:"120"`
	RevokedAt time.Time `json:"revokedAt,omitzero" required:"false" doc:"The time of the revocation, which restores exactly these links." example:"2027-01-01T09:30:00.123Z"`
	Next      string    `json:"next,omitempty" doc:"Present if there may be further links: repeat the call with it as from."`
}

func (a *api) registerLinkRevocation() {
	tags := []string{"Links"}
	steps := "Needs a condition besides status. A call changes up to 500 links in one atomic step and examines at most 20,000: " +
		"repeat it with next of the response as from, until there is no next."
	register(a, huma.Operation{
		OperationID: "restore-signed-link", Method: http.MethodPost, Path: linksPath + "/{id}/restore", Tags: tags, Security: needs("links:write"),
		Summary:     "Gives back a revoked signed link, with the uses that it has left",
		Description: "A link that is not revoked is left as it is.",
		Metadata:    map[string]any{repetitionKey: repeatCall},
	}, func(ctx context.Context, c *call, in *LinkID) (*body[SignedLink], error) {
		link, err := c.store.RestoreLink(ctx, c.Vendor, keys.VendorIssuer(c.Vendor), in.ID)
		return &body[SignedLink]{Body: a.wireLink(link)}, err
	})
	register(a, huma.Operation{
		OperationID: "revoke-signed-links", Method: http.MethodPost, Path: linksPath + "/revoke", Tags: tags, Security: needs("links:write"),
		Summary: "Revokes all signed links that match, effective from the next request on", Description: steps,
		Metadata: map[string]any{repetitionKey: repeatAnswer},
	}, func(ctx context.Context, c *call, in *body[LinkSelection]) (*body[LinkSelectionDone], error) {
		query, err := in.Body.query(store.Page{From: in.Body.From})
		if err != nil {
			return nil, err
		}
		at := in.Body.RevokedAt
		if now := a.Now().UTC().Truncate(time.Millisecond); at.IsZero() || at.After(now) {
			at = now
		}
		done, next, more, err := c.store.RevokeLinks(ctx, c.Vendor, keys.VendorIssuer(c.Vendor), query, at)
		return linkSelectionDone(done, at, next, more), err
	})
	register(a, huma.Operation{
		OperationID: "restore-signed-links", Method: http.MethodPost, Path: linksPath + "/restore", Tags: tags, Security: needs("links:write"),
		Summary: "Gives back all revoked signed links that match", Description: steps,
		Metadata: map[string]any{repetitionKey: repeatAnswer},
	}, func(ctx context.Context, c *call, in *body[LinkSelection]) (*body[LinkSelectionDone], error) {
		query, err := in.Body.query(store.Page{From: in.Body.From})
		if err != nil {
			return nil, err
		}
		query.RevokedAt = in.Body.RevokedAt
		done, next, more, err := c.store.RestoreLinks(ctx, c.Vendor, keys.VendorIssuer(c.Vendor), query)
		return linkSelectionDone(done, in.Body.RevokedAt, next, more), err
	})
}

func linkSelectionDone(links int, at time.Time, next string, more bool) *body[LinkSelectionDone] {
	done := LinkSelectionDone{Links: links, RevokedAt: at}
	if more {
		done.Next = next
	}
	return &body[LinkSelectionDone]{Body: done}
}
