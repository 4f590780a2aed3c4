package admin

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/gatefold/gatefold/policy/store"
)

const deniedKeysPath = "/management/denied-keys"

// deniedKey is a key that counts no more, whoever publishes it.
type deniedKey struct {
	KeyID    string    `json:"kid"`
	Note     string    `json:"note,omitempty"`
	DeniedAt time.Time `json:"deniedAt"`
	DeniedBy string    `json:"deniedBy"`
}

// denyBody names a key that is to count no more.
type denyBody struct {
	KeyID string `json:"kid" minLength:"1" maxLength:"255" doc:"The key's kid, as in its key set or in tokens; of a pinned key its RFC 7638 thumbprint."`
	Note  string `json:"note,omitempty" maxLength:"1024" doc:"Why."`
}

func wireDenied(d store.DeniedKey) deniedKey { return deniedKey(d) }

func (a *api) registerDeniedKeys(tags []string) {
	register(a, huma.Operation{
		OperationID: "list-denied-keys", Method: http.MethodGet, Path: deniedKeysPath, Tags: tags, Security: needs("domains:read"),
		Summary: "Lists the publishers' keys that are denied",
	}, func(ctx context.Context, vendor string, _ *struct{}) (*body[[]deniedKey], error) {
		found, err := a.Store.DeniedKeys(ctx, vendor)
		denied := make([]deniedKey, len(found))
		for i := range found {
			denied[i] = wireDenied(found[i])
		}
		return &body[[]deniedKey]{Body: denied}, err
	})
	registerWrite(a, huma.Operation{
		OperationID: "deny-key", Method: http.MethodPost, Path: deniedKeysPath, Tags: tags, Security: needs("domains:write"),
		Summary:  "Denies a publisher's key: whatever it signed opens nothing from the next request on, even while the publisher's host is down",
		Metadata: map[string]any{repetitionKey: repeatAnswer},
	}, func(ctx context.Context, w store.Writer, vendor string, in *body[denyBody]) (*body[deniedKey], error) {
		stored, err := w.DenyKey(ctx, vendor, store.DeniedKey{KeyID: in.Body.KeyID, Note: in.Body.Note})
		if err != nil {
			return nil, err
		}
		return &body[deniedKey]{Body: wireDenied(stored)}, a.refreshDomains(ctx, vendor)
	})
	registerWrite(a, huma.Operation{
		OperationID: "allow-key", Method: http.MethodDelete, Path: deniedKeysPath, Tags: tags, Security: needs("domains:write"),
		Summary: "Ends the denial of a key; one that is not denied is no error", DefaultStatus: http.StatusNoContent,
	}, func(ctx context.Context, w store.Writer, vendor string, in *struct {
		KeyID string `query:"kid" required:"true" minLength:"1" maxLength:"255"`
	},
	) (*empty, error) {
		if err := w.AllowKey(ctx, vendor, in.KeyID); err != nil {
			return nil, err
		}
		return &empty{}, a.refreshDomains(ctx, vendor)
	})
}
