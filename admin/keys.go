package admin

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/gatefold/gatefold/policy/store"
)

const keysPath = "/management/keys"

// signingKey is a vendor's signing key as it is shown: never the key itself.
type signingKey struct {
	KeyID     string     `json:"kid" doc:"The RFC 7638 thumbprint, as in the tokens' kid."`
	Status    string     `json:"status" enum:"signing,verifying,retired"`
	CreatedAt time.Time  `json:"createdAt"`
	RetiredAt *time.Time `json:"retiredAt,omitempty"`
}

func wireKey(key store.KeyInfo) signingKey {
	shown := signingKey{KeyID: key.ID, Status: "verifying", CreatedAt: key.CreatedAt}
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
	}, func(ctx context.Context, vendor string, _ *struct{}) (*body[[]signingKey], error) {
		list, err := a.Keyring.Keys(ctx, vendor)
		shown := make([]signingKey, len(list))
		for i, key := range list {
			shown[i] = wireKey(key)
		}
		return &body[[]signingKey]{Body: shown}, err
	})
	registerWrite(a, huma.Operation{
		OperationID: "rotate-keys", Method: http.MethodPost, Path: keysPath + "/rotate", Tags: tags, Security: needs("keys:write"),
		Summary: "Makes a new key that signs from now on; what older keys signed stays good", DefaultStatus: http.StatusCreated,
		Metadata: map[string]any{repetitionKey: repeatAnswer},
	}, func(ctx context.Context, w store.Writer, vendor string, _ *struct{}) (*body[signingKey], error) {
		key, err := a.Keyring.Rotate(ctx, w, vendor)
		return &body[signingKey]{Body: wireKey(key)}, err
	})
	registerWrite(a, huma.Operation{
		OperationID: "retire-key", Method: http.MethodDelete, Path: keysPath + "/{kid}", Tags: tags, Security: needs("keys:write"),
		Summary: "Retires a key: whatever it signed ends at once", DefaultStatus: http.StatusNoContent,
	}, func(ctx context.Context, w store.Writer, vendor string, in *struct {
		KeyID string `path:"kid" maxLength:"128"`
	},
	) (*empty, error) {
		_, err := a.Keyring.Retire(ctx, w, vendor, in.KeyID)
		return &empty{}, err
	})
}
