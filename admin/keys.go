package admin

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/gatefold/gatefold/policy/store"
)

const keysPath = "/management/keys"

// SigningKey describes a vendor's signing key, without the private key.
type SigningKey struct {
	KeyID     string     `json:"kid" doc:"The kid: the RFC 7638 thumbprint of the public key." example:"Zk3-9yKc0bq7Lw1m5x8v"`
	Status    string     `json:"status" enum:"signing,verifying,retired" doc:"ACTIVE, or INACTIVE: grants no access."`
	CreatedAt time.Time  `json:"createdAt" doc:"The time of creation." example:"2027-01-01T09:30:00Z"`
	RetiredAt *time.Time `json:"retiredAt,omitempty" doc:"When the key was retired."`
}

func wireKey(key store.KeyInfo) SigningKey {
	shown := SigningKey{KeyID: key.ID, Status: "verifying", CreatedAt: key.CreatedAt}
	switch {
	case !key.RetiredAt.IsZero():
		shown.Status, shown.RetiredAt = "retired", &key.RetiredAt
	case key.Signs:
		shown.Status = "signing"
	}
	return shown
}

func (a *api) registerKeys() {
	tags := []string{"Keys"}
	register(a, huma.Operation{
		OperationID: "list-keys", Method: http.MethodGet, Path: keysPath, Tags: tags, Security: needs("keys:read"),
		Summary: "Lists the vendor's signing keys",
	}, func(ctx context.Context, c *call, _ *struct{}) (*body[[]SigningKey], error) {
		list, err := a.Keyring.Keys(ctx, c.Vendor)
		return &body[[]SigningKey]{Body: wireAll(list, wireKey)}, err
	})
	register(a, huma.Operation{
		OperationID: "rotate-keys", Method: http.MethodPost, Path: keysPath + "/rotate", Tags: tags, Security: needs("keys:write"),
		Summary: "Creates a new signing key; signatures of older keys stay valid", DefaultStatus: http.StatusCreated,
		Metadata: map[string]any{repetitionKey: repeatAnswer},
	}, func(ctx context.Context, c *call, _ *struct{}) (*body[SigningKey], error) {
		key, err := a.Keyring.Rotate(ctx, c.store, c.Vendor)
		return &body[SigningKey]{Body: wireKey(key)}, err
	})
	register(a, huma.Operation{
		OperationID: "retire-key", Method: http.MethodDelete, Path: keysPath + "/{kid}", Tags: tags, Security: needs("keys:write"),
		Summary: "Retires a key: its signatures become invalid at once", DefaultStatus: http.StatusNoContent,
	}, func(ctx context.Context, c *call, in *struct {
		KeyID string `path:"kid" maxLength:"128" doc:"The key's kid." example:"NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"`
	},
	) (*empty, error) {
		_, err := a.Keyring.Retire(ctx, c.store, c.Vendor, in.KeyID)
		return &empty{}, err
	})
}
