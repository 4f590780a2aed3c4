package admin

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/gatefold/gatefold/policy/store"
)

const sessionKeyPath = proxyPath + "/key"

// defaultOverlap is the default time to install a new key at the origin.
const defaultOverlap = 10 * time.Minute

// sessionKeys lists the keys that a site shares with its origin, without their
// values.
type sessionKeys struct {
	Keys       []sessionKey `json:"keys" doc:"The keys, oldest first: possibly a replaced key, the signing key, possibly a waiting key."`
	SwitchesAt *time.Time   `json:"switches_at" doc:"When the waiting key starts to sign; null if none waits. Until then the origin must accept both keys."`
}

type sessionKey struct {
	ID        string    `json:"id" doc:"A public id of the key, unrelated to its value."`
	State     string    `json:"state" enum:"replaced,signing,waiting" doc:"The key's state."`
	CreatedAt time.Time `json:"created_at" doc:"The time of creation." example:"2027-01-01T09:30:00Z"`
	SignsFrom time.Time `json:"signs_from" doc:"When the key starts to sign sessions."`
}

// rotation requests a new key.
type rotation struct {
	Overlap *int `json:"overlap_seconds,omitempty" minimum:"0" maximum:"604800" doc:"How many seconds the previous key keeps signing, so that the new key can be installed at the origin. Default: 600. A key that was never revealed is replaced at once."`
}

// rotated is a new key with its value.
type rotated struct {
	Key       string     `json:"enc_key" doc:"The key that the origin needs to read sessions. It is shown only once."`
	SignsFrom *time.Time `json:"signs_from" doc:"When the key starts to sign sessions; until then the origin must accept the previous key as well."`
}

func (a *api) registerSessionKeys() {
	tags := []string{"Proxy"}
	register(a, huma.Operation{
		OperationID: "rotate-session-key", Method: http.MethodPost, Path: sessionKeyPath, Tags: tags, Security: needs("proxy:write"),
		Summary: "Creates a new session key for a site and returns it once", DefaultStatus: http.StatusOK,
	}, func(ctx context.Context, c *call, in *struct {
		SiteParam
		Body *rotation
	},
	) (*body[rotated], error) {
		overlap := defaultOverlap
		if in.Body != nil && in.Body.Overlap != nil {
			overlap = time.Duration(*in.Body.Overlap) * time.Second
		}
		site := in.site(c.Vendor)
		key, err := a.sessions.RotateSessionKey(ctx, c.store, c.Vendor, site, overlap)
		if err != nil {
			return nil, err
		}
		answer := rotated{Key: key.Reveal()}
		list, _, err := a.sessions.SessionKeys(ctx, c.Vendor, site)
		if len(list) > 0 {
			answer.SignsFrom = &list[len(list)-1].SignsFrom
		}
		return &body[rotated]{Body: answer}, err
	})
	register(a, huma.Operation{
		OperationID: "get-session-keys", Method: http.MethodGet, Path: sessionKeyPath, Tags: tags, Security: needs("proxy:read"),
		Summary: "Lists the session keys of a site, without their values",
	}, func(ctx context.Context, c *call, in *struct{ SiteParam }) (*body[sessionKeys], error) {
		return a.sessionKeys(ctx, c.Vendor, in.site(c.Vendor))
	})
	register(a, huma.Operation{
		OperationID: "switch-session-key", Method: http.MethodPost, Path: sessionKeyPath + "/switch", Tags: tags, Security: needs("proxy:write"),
		Summary: "Ends an overlap: the waiting key signs sessions from now on", DefaultStatus: http.StatusOK,
		Metadata: map[string]any{repetitionKey: repeatAnswer},
	}, func(ctx context.Context, c *call, in *struct{ SiteParam }) (*body[sessionKeys], error) {
		site := in.site(c.Vendor)
		err := a.sessions.SwitchSessionKey(ctx, c.store, c.Vendor, site)
		if errors.Is(err, store.ErrNotFound) {
			return nil, newProblem(http.StatusNotFound, "The site has no session key: create one with POST "+sessionKeyPath+".")
		}
		if err != nil {
			return nil, err
		}
		return a.sessionKeys(ctx, c.Vendor, site)
	})
}

func (a *api) sessionKeys(ctx context.Context, vendor, site string) (*body[sessionKeys], error) {
	list, current, err := a.sessions.SessionKeys(ctx, vendor, site)
	if err != nil {
		return nil, err
	}
	answer := sessionKeys{Keys: make([]sessionKey, len(list))}
	for i, key := range list {
		shown := sessionKey{ID: key.ID, State: "signing", CreatedAt: key.CreatedAt, SignsFrom: key.SignsFrom}
		switch {
		case i < current:
			shown.State = "replaced"
		case i > current:
			shown.State = "waiting"
			answer.SwitchesAt = &key.SignsFrom
		}
		answer.Keys[i] = shown
	}
	return &body[sessionKeys]{Body: answer}, nil
}
