package admin

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/gatefold/gatefold/policy/store"
)

const listsPath = "/management/access-lists"

// AccessList is an access list.
type AccessList struct {
	ID               string `json:"id" doc:"The list's id." example:"src_01kb2m3q4r5s6t7v8w9x0y1z2a"`
	Name             string `json:"name" doc:"A name for people." example:"Subscribers"`
	Description      string `json:"description" doc:"A description for people." example:"Everybody who subscribed on paper"`
	Type             string `json:"type" enum:"MANUAL,HOOK,BASIC_API,CSV_FILE,CSV_FILE_OLD,CSV_TRANSACTIONS,CLAIMED" doc:"What fills the list, for people: the gate treats all types alike." example:"MANUAL"`
	Status           string `json:"status" enum:"ACTIVE,INACTIVE,DRAFT,CANCELED" doc:"Only an ACTIVE list gives access. DRAFT, INACTIVE and CANCELED ones give none." example:"ACTIVE"`
	ExcludeFromStats bool   `json:"excludeFromStats" doc:"Excludes the record from statistics." example:"false"`
}

func wireList(list store.AccessList) AccessList { return AccessList(list) }

// ListBody creates or replaces an access list.
type ListBody struct {
	Name             string `json:"name" minLength:"1" maxLength:"255" doc:"The list's name." example:"Subscribers"`
	Description      string `json:"description,omitempty" maxLength:"1024" doc:"A description for people." example:"Everybody who subscribed on paper"`
	Type             string `json:"type,omitempty" enum:"MANUAL,HOOK,BASIC_API,CSV_FILE,CSV_FILE_OLD,CSV_TRANSACTIONS,CLAIMED" default:"MANUAL" doc:"What fills the list, for people: the gate treats all types alike." example:"MANUAL"`
	Status           string `json:"status,omitempty" enum:"ACTIVE,INACTIVE,DRAFT,CANCELED" default:"ACTIVE" doc:"Only an ACTIVE list gives access. DRAFT, INACTIVE and CANCELED ones give none." example:"ACTIVE"`
	ExcludeFromStats bool   `json:"excludeFromStats,omitempty" doc:"Excludes the record from statistics." example:"false"`
}

func (b ListBody) list() store.AccessList {
	return store.AccessList{
		Name: b.Name, Description: b.Description, Type: b.Type, Status: b.Status, ExcludeFromStats: b.ExcludeFromStats,
	}
}

// ListPatch changes the named fields of an access list.
type ListPatch struct {
	Name             *string `json:"name,omitempty" minLength:"1" maxLength:"255" doc:"A name for people." example:"Subscribers"`
	Description      *string `json:"description,omitempty" maxLength:"1024" doc:"A description for people." example:"Everybody who subscribed on paper"`
	Type             *string `json:"type,omitempty" enum:"MANUAL,HOOK,BASIC_API,CSV_FILE,CSV_FILE_OLD,CSV_TRANSACTIONS,CLAIMED" doc:"What fills the list, for people: the gate treats all types alike." example:"MANUAL"`
	Status           *string `json:"status,omitempty" enum:"ACTIVE,INACTIVE,DRAFT,CANCELED" doc:"Only an ACTIVE list gives access. DRAFT, INACTIVE and CANCELED ones give none." example:"ACTIVE"`
	ExcludeFromStats *bool   `json:"excludeFromStats,omitempty" doc:"Excludes the record from statistics." example:"false"`
}

func (p ListPatch) apply(list *store.AccessList) {
	for to, value := range map[*string]*string{
		&list.Name: p.Name, &list.Description: p.Description, &list.Type: p.Type, &list.Status: p.Status,
	} {
		if value != nil {
			*to = *value
		}
	}
	if p.ExcludeFromStats != nil {
		list.ExcludeFromStats = *p.ExcludeFromStats
	}
}

// ListPath identifies an access list in a path.
type ListPath struct {
	ID string `path:"id" maxLength:"128" doc:"The access list's id. Every vendor has src_default." example:"src_default"`
}

func (a *api) registerLists() {
	tags := []string{"Access lists"}
	register(a, huma.Operation{
		OperationID: "list-access-lists", Method: http.MethodGet, Path: listsPath, Tags: tags, Security: needs("grants:read"),
		Summary: "Lists access lists: the built-in list first, others in order of creation",
	}, func(ctx context.Context, c *call, in *struct{ PageParams }) (*listing[AccessList], error) {
		found, err := c.store.Lists(ctx, c.Vendor, in.page())
		return newListing(c, in.Limit, found, err, wireList, func(l AccessList) string { return l.ID })
	})
	register(a, huma.Operation{
		OperationID: "create-access-list", Method: http.MethodPost, Path: listsPath, Tags: tags, Security: needs("grants:write"),
		Summary: "Creates an access list", DefaultStatus: http.StatusCreated,
		Metadata: map[string]any{repetitionKey: repeatAnswer, rebuildKey: rebuild(func(ctx context.Context, vendor string, record []string) (rebuilt, error) {
			list, err := a.Store.List(ctx, vendor, record[0])
			return rebuilt{status: http.StatusCreated, location: below(listsPath, list.ID), body: wireList(list)}, err
		})},
	}, func(ctx context.Context, c *call, in *body[ListBody]) (*created[AccessList], error) {
		list, err := c.store.CreateList(ctx, c.Vendor, in.Body.list())
		return newCreated(listsPath, list.ID, wireList(list), err)
	})
	register(a, huma.Operation{
		OperationID: "get-access-list", Method: http.MethodGet, Path: listsPath + "/{id}", Tags: tags, Security: needs("grants:read"),
		Summary: "Returns an access list",
	}, func(ctx context.Context, c *call, in *ListPath) (*record[AccessList], error) {
		list, err := c.store.List(ctx, c.Vendor, in.ID)
		return newRecord(wireList(list), err)
	})
	register(a, huma.Operation{
		OperationID: "replace-access-list", Method: http.MethodPut, Path: listsPath + "/{id}", Tags: tags, Security: needs("grants:write"),
		Summary: "Replaces an access list",
	}, func(ctx context.Context, c *call, in *struct {
		ListPath
		IfMatch
		Body ListBody
	},
	) (*record[AccessList], error) {
		list, err := c.store.UpdateList(ctx, c.Vendor, in.ID, func(list *store.AccessList) error {
			if err := in.check(wireList(*list)); err != nil {
				return err
			}
			*list = in.Body.list()
			return nil
		})
		return newRecord(wireList(list), in.changed(err))
	})
	register(a, huma.Operation{
		OperationID: "change-access-list", Method: http.MethodPatch, Path: listsPath + "/{id}", Tags: tags, Security: needs("grants:write"),
		Summary: "Changes the named fields of an access list",
	}, func(ctx context.Context, c *call, in *struct {
		ListPath
		IfMatch
		Body ListPatch
	},
	) (*record[AccessList], error) {
		list, err := c.store.UpdateList(ctx, c.Vendor, in.ID, func(list *store.AccessList) error {
			if err := in.check(wireList(*list)); err != nil {
				return err
			}
			in.Body.apply(list)
			return nil
		})
		return newRecord(wireList(list), in.changed(err))
	})
	register(a, huma.Operation{
		OperationID: "delete-access-list", Method: http.MethodDelete, Path: listsPath + "/{id}", Tags: tags, Security: needs("grants:write"),
		Summary: "Removes an access list and all of its grants", DefaultStatus: http.StatusNoContent,
		Description: "The grants end together with the list, effective from the next request on. " +
			"Their records are removed in the background. The built-in list cannot be removed.",
	}, func(ctx context.Context, c *call, in *struct {
		ListPath
		IfMatch
	},
	) (*empty, error) {
		err := c.store.DeleteList(ctx, c.Vendor, in.ID, func(list store.AccessList) error { return in.check(wireList(list)) })
		return &empty{}, in.changed(err)
	})
}
