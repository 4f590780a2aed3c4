package admin

import (
	"cmp"
	"context"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/gatefold/gatefold/policy/store"
)

const allGrantsPath = "/management/grants"

// GrantFilter selects grants.
type GrantFilter struct {
	UserID              string   `query:"userId" json:"userId,omitempty" minLength:"1" maxLength:"255" doc:"Only grants with this user id." example:"user-123"`
	PublisherUserID     string   `query:"publisherUserId" json:"publisherUserId,omitempty" minLength:"1" maxLength:"255" doc:"Only grants with this publisher user id." example:"customer-4711"`
	Email               string   `query:"email" json:"email,omitempty" minLength:"1" maxLength:"254" doc:"Only grants with this e-mail address, ignoring case." example:"reader@example.com"`
	PublisherPurchaseID string   `query:"publisherPurchaseId" json:"publisherPurchaseId,omitempty" minLength:"1" maxLength:"255" doc:"Only grants of this purchase." example:"order-2027-0815"`
	SKU                 string   `query:"sku" json:"sku,omitempty" minLength:"1" maxLength:"255" doc:"Only grants of this SKU." example:"premium"`
	Status              string   `query:"status" json:"status,omitempty" enum:"ACTIVE,INACTIVE,CANCELED" doc:"Only grants with this status." example:"ACTIVE"`
	ImportID            string   `query:"importId" json:"importId,omitempty" minLength:"1" maxLength:"128" doc:"Only grants that this import into the list wrote and that are stored, in the order of its rows. An import is remembered for 30 days."`
	Meta                []string `query:"meta,explode" json:"meta,omitempty" maxItems:"8" doc:"Only grants whose extraFields have all of these, each as name=value." example:"[\"campaign=autumn\"]"`
}

func (f *GrantFilter) grantQuery(list string, page store.Page) (store.GrantQuery, error) {
	meta, err := metaFilter(f.Meta)
	return store.GrantQuery{
		List: list, Import: f.ImportID, UserID: f.UserID, PublisherUserID: f.PublisherUserID, Email: f.Email,
		PublisherPurchaseID: f.PublisherPurchaseID, SKU: f.SKU, Status: f.Status, ExtraFields: meta, Page: page,
	}, err
}

// metaFilter returns pairs of a name and a value by name.
func metaFilter(pairs []string) (map[string]string, error) {
	meta := make(map[string]string, len(pairs))
	for _, pair := range pairs {
		name, value, ok := strings.Cut(pair, "=")
		if !ok {
			return nil, invalidAt("query.meta", "must be a name, = and a value")
		}
		meta[name] = value
	}
	return meta, nil
}

// GrantRemoval selects the grants that are removed.
type GrantRemoval struct {
	List string `json:"list,omitempty" minLength:"1" maxLength:"128" doc:"Only grants of this access list."`
	GrantFilter
	RemovalID string `json:"removalId,omitempty" maxLength:"128" doc:"Continues this removal: the id of the response before."`
	From      string `json:"from,omitempty" maxLength:"255" doc:"Continues after this position: next of the response before."`
	DryRun    bool   `json:"dryRun,omitempty" doc:"Answers how many grants would be removed, and removes none." example:"false"`
}

// Removal is the answer to a GrantRemoval.
type Removal struct {
	RemovalID string `json:"removalId" doc:"The removal's id, for undo-grant-removal." example:"removal_01kb2m3q4r5s6t7v8w9x0y1z2a"`
	Removed   int64  `json:"removed" doc:"The number of grants removed by the call." example:"12"`
	Next      string `json:"next,omitempty" doc:"Present if there may be further grants: repeat the call with it as from."`
}

func (a *api) registerGrantSearch() {
	tags := []string{"Grants"}
	partial := "A call with limit may answer fewer grants, even none, and name a next page: it examines at most 20,000 grants. " +
		"Of a search by reader, purchase or SKU it examines no others than those."
	register(a, huma.Operation{
		OperationID: "find-grants", Method: http.MethodGet, Path: allGrantsPath, Tags: tags, Security: needs("grants:read"),
		Summary:     "Finds grants of all access lists: list by list, or all by creation with sort or a period",
		Description: "Without limit, all that match. " + partial,
	}, func(ctx context.Context, c *call, in *struct {
		List string `query:"list" maxLength:"128" doc:"Only grants of this access list." example:"src_default"`
		GrantFilter
		OrderParams
		WholeParams
	},
	) (*wholeListing[Grant], error) {
		return a.findGrants(ctx, c, in.List, &in.GrantFilter, &in.OrderParams, in.WholeParams)
	})
	register(a, huma.Operation{
		OperationID: "remove-grants", Method: http.MethodPost, Path: allGrantsPath + "/remove", Tags: tags, Security: needs("grants:write"),
		Summary: "Removes all grants that match, effective from the next request on; can be undone for 30 days",
		Description: "Needs a condition besides status. Removes up to 500 grants in one atomic step: repeat the call with removalId and next of the response until there is no next. " +
			partial,
		Metadata: map[string]any{repetitionKey: repeatAnswer},
	}, removeGrants)
	register(a, huma.Operation{
		OperationID: "undo-grant-removal", Method: http.MethodPost, Path: allGrantsPath + "/removals/{removalId}/undo", Tags: tags, Security: needs("grants:write"),
		Summary:     "Gives back the grants that a removal of many grants removed",
		Description: "Works in steps: repeat the call until the response is done.",
		Metadata:    map[string]any{repetitionKey: repeatCall},
	}, func(ctx context.Context, c *call, in *struct {
		RemovalID string `path:"removalId" maxLength:"128" doc:"The removal's id." example:"removal_01kb2m3q4r5s6t7v8w9x0y1z2a"`
	},
	) (*body[Undone], error) {
		return undoImport(ctx, c, store.RemovedGrants, in.RemovalID)
	})
}

func (a *api) findGrants(ctx context.Context, c *call, list string, filter *GrantFilter, order *OrderParams, page WholeParams) (*wholeListing[Grant], error) {
	query, err := filter.grantQuery(list, store.Page{})
	if err == nil {
		query.Created, err = order.created()
	}
	if err == nil && order.ordered() {
		err = checkFrom(page.From, "grant_")
	} else if at, id, both := strings.Cut(page.From, "/"); err == nil && filter.ImportID == "" && page.From != "" {
		if list == "" {
			err = cmp.Or(checkFrom(at, "src_", store.DefaultList), checkFrom(id, "grant_"))
		}
		if list != "" && !both {
			err = checkFrom(page.From, "grant_")
		}
		if both != (list == "") {
			err = notAPosition()
		}
	}
	if err != nil {
		return nil, err
	}
	return newWholeListing(ctx, a, c, page, func(ctx context.Context, page store.Page) ([]store.Grant, string, bool, error) {
		part := query
		part.Page = page
		return c.store.FindGrants(ctx, c.Vendor, part)
	}, wireGrant)
}

func removeGrants(ctx context.Context, c *call, in *body[GrantRemoval]) (*body[Removal], error) {
	query, err := in.Body.grantQuery(in.Body.List, store.Page{From: in.Body.From, Limit: store.MaxLimit})
	if err != nil {
		return nil, err
	}
	answer := &body[Removal]{Body: Removal{RemovalID: in.Body.RemovalID}}
	if in.Body.DryRun {
		if !query.Narrow() {
			return nil, invalid("list", "is required, or another condition besides status")
		}
		found, next, more, err := c.store.FindGrants(ctx, c.Vendor, query)
		if answer.Body.Removed = int64(len(found)); more {
			answer.Body.Next = next
		}
		return answer, err
	}
	if answer.Body.RemovalID == "" {
		answer.Body.RemovalID = c.store.NewRemovalID()
	}
	removed, next, more, err := c.store.RemoveGrants(ctx, c.Vendor, answer.Body.RemovalID, query)
	if answer.Body.Removed = removed; more {
		answer.Body.Next = next
	}
	return answer, importError(err)
}
