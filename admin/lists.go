package admin

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/gatefold/gatefold/policy/store"
)

const listsPath = "/management/access-lists"

// accessList is an access list on the wire.
type accessList struct {
	ID               string `json:"id"`
	Name             string `json:"name"`
	Description      string `json:"description"`
	Type             string `json:"type"`
	Status           string `json:"status"`
	ExcludeFromStats bool   `json:"excludeFromStats"`
}

func wireList(list store.AccessList) accessList { return accessList(list) }

// listBody is an access list as a caller writes it.
type listBody struct {
	Name             string `json:"name" minLength:"1" maxLength:"255" doc:"What the list is called."`
	Description      string `json:"description,omitempty" maxLength:"1024"`
	Type             string `json:"type,omitempty" enum:"MANUAL" default:"MANUAL"`
	Status           string `json:"status,omitempty" enum:"ACTIVE,INACTIVE" default:"ACTIVE" doc:"The grants of a list that is not ACTIVE give nothing."`
	ExcludeFromStats bool   `json:"excludeFromStats,omitempty"`
}

func (b listBody) list() store.AccessList {
	return store.AccessList{
		Name: b.Name, Description: b.Description, Type: b.Type, Status: b.Status, ExcludeFromStats: b.ExcludeFromStats,
	}
}

// listPatch changes what it names of an access list.
type listPatch struct {
	Name             *string `json:"name,omitempty" minLength:"1" maxLength:"255"`
	Description      *string `json:"description,omitempty" maxLength:"1024"`
	Type             *string `json:"type,omitempty" enum:"MANUAL"`
	Status           *string `json:"status,omitempty" enum:"ACTIVE,INACTIVE"`
	ExcludeFromStats *bool   `json:"excludeFromStats,omitempty"`
}

func (p listPatch) apply(list *store.AccessList) {
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

// ListPath names an access list in a path.
type ListPath struct {
	ID string `path:"id" maxLength:"128" example:"src_123abc"`
}

func (a *api) registerLists() {
	tags := []string{"Access lists"}
	register(a, huma.Operation{
		OperationID: "list-access-lists", Method: http.MethodGet, Path: listsPath, Tags: tags, Security: needs("grants:read"),
		Summary: "Lists the access lists",
	}, func(ctx context.Context, vendor string, _ *struct{}) (*body[[]accessList], error) {
		lists, err := a.Store.Lists(ctx, vendor)
		answer := &body[[]accessList]{Body: make([]accessList, len(lists))}
		for i, list := range lists {
			answer.Body[i] = wireList(list)
		}
		return answer, err
	})
	register(a, huma.Operation{
		OperationID: "create-access-list", Method: http.MethodPost, Path: listsPath, Tags: tags, Security: needs("grants:write"),
		Summary: "Creates an access list", DefaultStatus: http.StatusCreated,
	}, func(ctx context.Context, vendor string, in *body[listBody]) (*created[accessList], error) {
		list, err := a.Store.CreateList(ctx, vendor, in.Body.list())
		return &created[accessList]{Location: below(listsPath, list.ID), Body: wireList(list)}, err
	})
	register(a, huma.Operation{
		OperationID: "get-access-list", Method: http.MethodGet, Path: listsPath + "/{id}", Tags: tags, Security: needs("grants:read"),
		Summary: "Returns an access list",
	}, func(ctx context.Context, vendor string, in *ListPath) (*body[accessList], error) {
		list, err := a.Store.List(ctx, vendor, in.ID)
		return &body[accessList]{Body: wireList(list)}, err
	})
	register(a, huma.Operation{
		OperationID: "replace-access-list", Method: http.MethodPut, Path: listsPath + "/{id}", Tags: tags, Security: needs("grants:write"),
		Summary: "Replaces an access list",
	}, func(ctx context.Context, vendor string, in *struct {
		ListPath
		Body listBody
	},
	) (*body[accessList], error) {
		list, err := a.Store.UpdateList(ctx, vendor, in.ID, func(list *store.AccessList) error {
			*list = in.Body.list()
			return nil
		})
		return &body[accessList]{Body: wireList(list)}, err
	})
	register(a, huma.Operation{
		OperationID: "change-access-list", Method: http.MethodPatch, Path: listsPath + "/{id}", Tags: tags, Security: needs("grants:write"),
		Summary: "Changes what the body names of an access list",
	}, func(ctx context.Context, vendor string, in *struct {
		ListPath
		Body listPatch
	},
	) (*body[accessList], error) {
		list, err := a.Store.UpdateList(ctx, vendor, in.ID, func(list *store.AccessList) error {
			in.Body.apply(list)
			return nil
		})
		return &body[accessList]{Body: wireList(list)}, err
	})
}
