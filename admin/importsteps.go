package admin

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/gatefold/gatefold/policy/store"
)

// ImportPath identifies an import in a path.
type ImportPath struct {
	ListPath
	ImportID string `path:"importId" maxLength:"128" doc:"The import's id." example:"subscribers-2027-01"`
}

// FinishBody ends an import.
type FinishBody struct {
	ReplaceList bool  `json:"replaceList,omitempty" doc:"Removes the grants of the list that the import did not have, except for those created since it began. Refused if a row was." example:"true"`
	DryRun      bool  `json:"dryRun,omitempty" doc:"Answers how many grants would be removed, and stores nothing." example:"false"`
	Kept        int64 `json:"kept,omitempty" minimum:"0" doc:"Of a dry run: the number of grants that its batches would change, or leave unchanged." example:"0"`
}

// registerImportSteps adds the operations on an import.
func (a *api) registerImportSteps(tags []string) {
	register(a, huma.Operation{
		OperationID: "get-grant-import", Method: http.MethodGet, Path: grantsPath + "/imports/{importId}", Tags: tags, Security: needs("grants:read"),
		Summary: "Returns the progress of an import",
	}, func(ctx context.Context, c *call, in *ImportPath) (*body[ImportState], error) {
		known, err := c.store.GrantImport(ctx, c.Vendor, in.ID, in.ImportID)
		return &body[ImportState]{Body: wireImport(known)}, err
	})
	register(a, huma.Operation{
		OperationID: "finish-grant-import", Method: http.MethodPost, Path: grantsPath + "/imports/{importId}/finish", Tags: tags, Security: needs("grants:write"),
		Summary:     "Finishes an import whose rows were all sent, and can make the list equal to them",
		Description: "Works in steps: repeat the call until the response is finished. An interrupted call can be repeated as well.",
		Metadata:    map[string]any{repetitionKey: repeatCall},
	}, func(ctx context.Context, c *call, in *struct {
		ImportPath
		Body FinishBody
	},
	) (*body[ImportState], error) {
		if in.Body.DryRun {
			return dryFinish(ctx, c, in.ID, &in.Body)
		}
		known, err := c.store.FinishImport(ctx, c.Vendor, in.ID, in.ImportID, in.Body.ReplaceList)
		return &body[ImportState]{Body: wireImport(known)}, importError(err)
	})
	register(a, huma.Operation{
		OperationID: "undo-grant-import", Method: http.MethodPost, Path: grantsPath + "/imports/{importId}/undo", Tags: tags, Security: needs("grants:write"),
		Summary: "Undoes an import: removes what it created, and restores what it changed or removed",
		Description: "Grants that were changed afterwards are left as they are, and counted. Works in steps: repeat the call until the response is done. " +
			"An import can be undone for 30 days, also before it is finished.",
		Metadata: map[string]any{repetitionKey: repeatCall},
	}, func(ctx context.Context, c *call, in *ImportPath) (*body[Undone], error) {
		if _, err := c.store.List(ctx, c.Vendor, in.ID); err != nil {
			return nil, err
		}
		return undoImport(ctx, c, in.ID, in.ImportID)
	})
}

// dryFinish answers how many grants finishing an import would remove.
func dryFinish(ctx context.Context, c *call, list string, in *FinishBody) (*body[ImportState], error) {
	if _, err := c.store.List(ctx, c.Vendor, list); err != nil {
		return nil, err
	}
	answer := &body[ImportState]{Body: ImportState{Finished: true, Last: LastBatch{Errors: []RowError{}}}}
	if !in.ReplaceList {
		return answer, nil
	}
	stored, err := c.store.CountGrants(ctx, c.Vendor, list)
	answer.Body.Removed = max(0, stored-in.Kept)
	return answer, err
}

// undoSteps is how many steps of an import one call undoes.
const undoSteps = 4

func undoImport(ctx context.Context, c *call, list, id string) (*body[Undone], error) {
	var undone store.UndoneImport
	for step := 0; step < undoSteps && !undone.Done; step++ {
		var err error
		if undone, err = c.store.UndoImport(ctx, c.Vendor, list, id); err != nil {
			return nil, importError(err)
		}
	}
	return &body[Undone]{Body: Undone(undone)}, nil
}
