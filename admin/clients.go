package admin

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/gatefold/gatefold/policy/store"
)

const clientsPath = "/management/clients"

// ClientBody creates a client of the calling operator's vendor.
type ClientBody struct {
	Name     string   `json:"name" minLength:"1" maxLength:"255" doc:"The client's name, for listings and the audit log." example:"back office"`
	Scopes   []string `json:"scopes" minItems:"1" maxItems:"32" doc:"The client's scopes: <resource>:read, <resource>:write or <resource>:*." example:"[\"links:*\",\"grants:read\"]"`
	Operator bool     `json:"operator,omitempty" doc:"Creates a client that belongs to no vendor and manages vendors." example:"false"`
}

// Client is a client of the API, without its secret.
type Client struct {
	ID              string     `json:"clientId" doc:"The client's id." example:"client_01kb2m3q4r5s6t7v8w9x0y1z2a"`
	Name            string     `json:"name" doc:"The client's name." example:"back office"`
	Vendor          string     `json:"vendor,omitempty" doc:"The vendor whose records the client manages; absent for a client of the operator." example:"acme"`
	Scopes          []string   `json:"scopes" doc:"The client's scopes." example:"[\"links:*\",\"grants:read\"]"`
	Status          string     `json:"status" enum:"active,revoked" doc:"Whether the client may call the API." example:"active"`
	CreatedAt       time.Time  `json:"createdAt" doc:"The time of creation."`
	SecretCreatedAt time.Time  `json:"secretCreatedAt" doc:"The time at which the current secret was created."`
	RevokedAt       *time.Time `json:"revokedAt,omitempty" doc:"The time of revocation."`
}

// CreatedClient is a client with its new secret.
type CreatedClient struct {
	Client
	Secret string `json:"clientSecret" doc:"The secret. It is shown only once." example:"gfsecret_…"`
}

func wireClient(client store.Client) Client {
	shown := Client{
		ID: client.ID, Name: client.Name, Vendor: client.Vendor, Scopes: client.Scopes, Status: "active",
		CreatedAt: client.CreatedAt, SecretCreatedAt: client.SecretCreatedAt,
	}
	if !client.Active() {
		shown.Status, shown.RevokedAt = "revoked", &client.RevokedAt
	}
	return shown
}

// ClientPath identifies a client in a path.
type ClientPath struct {
	ID string `path:"clientId" maxLength:"128" doc:"The client's id." example:"client_01kb2m3q4r5s6t7v8w9x0y1z2a"`
}

// AccessTokenBody requests an access token for a client.
type AccessTokenBody struct {
	Scope string `json:"scope,omitempty" maxLength:"2048" doc:"The token's scopes, separated by spaces. Default: all scopes of the client." example:"links:read"`
}

// registerClients adds the operator's operations on the clients of all vendors.
func (a *api) registerClients() {
	tags := []string{"Clients"}
	register(a, huma.Operation{
		OperationID: "list-clients", Method: http.MethodGet, Path: clientsPath, Tags: tags, Security: needs("clients:read"),
		Summary: "Lists the clients of all vendors, in order of creation",
	}, func(ctx context.Context, c *call, in *struct{ WholeParams }) (*wholeListing[Client], error) {
		if err := checkFrom(in.From, "client_"); err != nil {
			return nil, err
		}
		return newWholeListing(ctx, a, c, in.WholeParams, byID(c.store.Clients, func(c *store.Client) string { return c.ID }), wireClient)
	})
	register(a, huma.Operation{
		OperationID: "create-client", Method: http.MethodPost, Path: clientsPath, Tags: tags, Security: needs("clients:write"),
		Summary: "Creates a client and returns its secret once", DefaultStatus: http.StatusCreated,
	}, func(ctx context.Context, c *call, in *body[ClientBody]) (*body[CreatedClient], error) {
		if in.Body.Operator {
			c.Vendor = ""
		}
		scopes := ownSpellings(in.Body.Scopes)
		if err := checkScopes(scopes, in.Body.Operator); err != nil {
			return nil, err
		}
		client, secret, err := c.store.CreateClient(ctx, store.Client{Name: in.Body.Name, Vendor: c.Vendor, Scopes: scopes})
		return &body[CreatedClient]{Body: CreatedClient{wireClient(client), secret}}, err
	})
	register(a, huma.Operation{
		OperationID: "rotate-client-secret", Method: http.MethodPost, Path: clientsPath + "/{clientId}/rotate-secret", Tags: tags, Security: needs("clients:write"),
		Summary: "Replaces a client's secret; the old secret and its tokens become invalid at once",
	}, func(ctx context.Context, c *call, in *ClientPath) (*body[CreatedClient], error) {
		client, secret, err := c.store.RotateClientSecret(ctx, in.ID)
		return &body[CreatedClient]{Body: CreatedClient{wireClient(client), secret}}, err
	})
	register(a, huma.Operation{
		OperationID: "revoke-client", Method: http.MethodDelete, Path: clientsPath + "/{clientId}", Tags: tags, Security: needs("clients:write"),
		Summary: "Revokes a client, its secret and its tokens permanently", DefaultStatus: http.StatusNoContent,
	}, func(ctx context.Context, c *call, in *ClientPath) (*empty, error) {
		_, err := c.store.RevokeClient(ctx, in.ID)
		return &empty{}, err
	})
	register(a, huma.Operation{
		OperationID: "create-access-token", Method: http.MethodPost, Path: clientsPath + "/{clientId}/tokens", Tags: tags, Security: needs("clients:write"),
		Summary:  "Issues an access token for a client, without its secret",
		Metadata: map[string]any{repetitionKey: repeatCall},
	}, a.createAccessToken)
}

func (a *api) createAccessToken(ctx context.Context, c *call, in *struct {
	ClientPath
	Body AccessTokenBody
},
) (*body[IssuedToken], error) {
	client, err := c.store.Client(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	if !client.Active() {
		return nil, store.ErrRevoked
	}
	scopes, failed := grantedScopes(&client, strings.Join(strings.Fields(in.Body.Scope), " "))
	if failed != nil {
		return nil, invalid("scope", failed.description)
	}
	ring, err := a.Keyring.RingFor(ctx, c.store, store.SystemPartition)
	if err != nil {
		return nil, err
	}
	token, expiresAt, err := issueAccess(ring, &client, scopes, a.Now())
	return &body[IssuedToken]{Body: IssuedToken{Token: token, ExpiresAt: expiresAt.UTC()}}, err
}
