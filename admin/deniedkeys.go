package admin

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/gatefold/gatefold/policy/store"
)

const deniedKeysPath = "/management/denied-keys"

// DeniedKey is a publisher's key that no longer verifies anything.
type DeniedKey struct {
	KeyID    string    `json:"kid"`
	Note     string    `json:"note,omitempty"`
	DeniedAt time.Time `json:"deniedAt"`
	DeniedBy string    `json:"deniedBy"`
}

// DenyKeyBody denies a publisher's key.
type DenyKeyBody struct {
	KeyID string `json:"kid" minLength:"1" maxLength:"255" doc:"The key's kid, as in its key set or in tokens; of a pinned key its RFC 7638 thumbprint."`
	Note  string `json:"note,omitempty" maxLength:"1024" doc:"Why."`
}

func wireDenied(d store.DeniedKey) DeniedKey { return DeniedKey(d) }

func (a *api) registerDeniedKeys(tags []string) {
	register(a, huma.Operation{
		OperationID: "list-denied-keys", Method: http.MethodGet, Path: deniedKeysPath, Tags: tags, Security: needs("domains:read"),
		Summary: "Lists the publishers' keys that are denied",
	}, func(ctx context.Context, vendor string, _ *struct{}) (*body[[]DeniedKey], error) {
		found, err := a.Store.DeniedKeys(ctx, vendor)
		denied := make([]DeniedKey, len(found))
		for i := range found {
			denied[i] = wireDenied(found[i])
		}
		return &body[[]DeniedKey]{Body: denied}, err
	})
	register(a, huma.Operation{
		OperationID: "deny-key", Method: http.MethodPost, Path: deniedKeysPath, Tags: tags, Security: needs("domains:write"),
		Summary:  "Denies a publisher's key: whatever it signed opens nothing from the next request on, even while the publisher's host is down",
		Metadata: map[string]any{repetitionKey: repeatAnswer},
	}, func(ctx context.Context, vendor string, in *body[DenyKeyBody]) (*body[DeniedKey], error) {
		denied := store.DeniedKey{KeyID: in.Body.KeyID, Note: in.Body.Note}
		if call, ok := ctx.Value(callKey{}).(call); ok {
			denied.DeniedBy = call.caller.Name
		}
		stored, err := a.Store.DenyKey(ctx, vendor, denied)
		if err != nil {
			return nil, err
		}
		return &body[DeniedKey]{Body: wireDenied(stored)}, a.refreshDomains(ctx, vendor)
	})
	register(a, huma.Operation{
		OperationID: "allow-key", Method: http.MethodDelete, Path: deniedKeysPath, Tags: tags, Security: needs("domains:write"),
		Summary: "Ends the denial of a key; one that is not denied is no error", DefaultStatus: http.StatusNoContent,
	}, func(ctx context.Context, vendor string, in *struct {
		KeyID string `query:"kid" required:"true" minLength:"1" maxLength:"255"`
	},
	) (*empty, error) {
		if err := a.Store.AllowKey(ctx, vendor, in.KeyID); err != nil {
			return nil, err
		}
		return &empty{}, a.refreshDomains(ctx, vendor)
	})
}
