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
	KeyID    string    `json:"kid" doc:"The key's kid." example:"Zk3-9yKc0bq7Lw1m5x8v"`
	Note     string    `json:"note,omitempty" doc:"The reason, for the record." example:"Leaked on 1 January"`
	DeniedAt time.Time `json:"deniedAt" doc:"The time of the denial." example:"2027-01-01T09:30:00Z"`
	DeniedBy string    `json:"deniedBy" doc:"The client that denied the key." example:"client_01kb2m3q4r5s6t7v8w9x0y1z2a"`
}

// DenyKeyBody denies a publisher's key.
type DenyKeyBody struct {
	KeyID string `json:"kid" minLength:"1" maxLength:"255" doc:"The kid as in the key set or in tokens; for a pinned key, its RFC 7638 thumbprint." example:"Zk3-9yKc0bq7Lw1m5x8v"`
	Note  string `json:"note,omitempty" maxLength:"1024" doc:"The reason, for the record." example:"Leaked on 1 January"`
}

func wireDenied(d store.DeniedKey) DeniedKey { return DeniedKey(d) }

func (a *api) registerDeniedKeys(tags []string) {
	register(a, huma.Operation{
		OperationID: "list-denied-keys", Method: http.MethodGet, Path: deniedKeysPath, Tags: tags, Security: needs("domains:read"),
		Summary: "Lists denied publisher keys",
	}, func(ctx context.Context, c *call, _ *struct{}) (*body[[]DeniedKey], error) {
		found, err := c.store.DeniedKeys(ctx, c.Vendor)
		return &body[[]DeniedKey]{Body: wireAll(found, wireDenied)}, err
	})
	register(a, huma.Operation{
		OperationID: "deny-key", Method: http.MethodPost, Path: deniedKeysPath, Tags: tags, Security: needs("domains:write"),
		Summary:  "Denies a publisher key: its signatures are refused from the next request on, even while the publisher's host is down",
		Metadata: map[string]any{repetitionKey: repeatAnswer},
	}, func(ctx context.Context, c *call, in *body[DenyKeyBody]) (*body[DeniedKey], error) {
		stored, err := c.store.DenyKey(ctx, c.Vendor, store.DeniedKey{KeyID: in.Body.KeyID, Note: in.Body.Note})
		if err != nil {
			return nil, err
		}
		return &body[DeniedKey]{Body: wireDenied(stored)}, a.refreshDomains(ctx, c.Vendor)
	})
	register(a, huma.Operation{
		OperationID: "allow-key", Method: http.MethodDelete, Path: deniedKeysPath, Tags: tags, Security: needs("domains:write"),
		Summary: "Allows a denied key again; succeeds if the key is not denied", DefaultStatus: http.StatusNoContent,
	}, func(ctx context.Context, c *call, in *struct {
		KeyID string `query:"kid" required:"true" minLength:"1" maxLength:"255" doc:"The key's kid." example:"Zk3-9yKc0bq7Lw1m5x8v"`
	},
	) (*empty, error) {
		if err := c.store.AllowKey(ctx, c.Vendor, in.KeyID); err != nil {
			return nil, err
		}
		return &empty{}, a.refreshDomains(ctx, c.Vendor)
	})
}
