package admin

import (
	"cmp"
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store"
)

const apiKeysPath = userPath + "/api-keys"

// defaultKeyDays is how long an API key is valid unless its maker says otherwise, in days.
const defaultKeyDays = 365

// APIKey is a key by which a program of a reader reads as they do, without the key itself.
type APIKey struct {
	ID         string     `json:"id" doc:"The key's id: a hash, which is no credential." example:"47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU"`
	User       string     `json:"user" doc:"The reader as whom the program reads." example:"xia"`
	Site       string     `json:"site" doc:"The site at which the key counts." example:"news"`
	Title      string     `json:"title" doc:"What the key is for." example:"archive search"`
	Email      string     `json:"email,omitempty" doc:"The verified e-mail address of the reader." example:"xia@example.com"`
	CreatedAt  time.Time  `json:"created_at" doc:"The time of creation." example:"2027-01-01T09:30:00Z"`
	EndsAt     time.Time  `json:"ends_at" doc:"When the key ends." example:"2028-01-01T09:30:00Z"`
	Uses       int64      `json:"uses" doc:"The number of requests with it, up to a minute ago." example:"120"`
	LastUsedAt *time.Time `json:"last_used_at" doc:"The time of the last of them, or null." example:"2027-01-02T10:00:00Z"`
}

// CreatedAPIKey is a new key.
type CreatedAPIKey struct {
	APIKey
	Secret string `json:"secret" doc:"The key. It is shown only once." example:"gfk_…"`
}

func wireAPIKey(k store.ReaderKey) APIKey {
	wire := APIKey{ID: k.ID, User: k.UserID, Site: k.Site, Title: k.Title, Email: k.Email, CreatedAt: k.CreatedAt, EndsAt: k.EndsAt, Uses: k.Uses}
	if !k.LastUsedAt.IsZero() {
		wire.LastUsedAt = &k.LastUsedAt
	}
	return wire
}

// apiKeyBody makes a key.
type apiKeyBody struct {
	Site            string `json:"site,omitempty" pattern:"^[a-z0-9][a-z0-9-]{0,62}$" doc:"The site at which the key counts. Default: the one with the vendor's name." example:"news"`
	Title           string `json:"title,omitempty" maxLength:"255" doc:"What the key is for." example:"archive search"`
	Days            int    `json:"days,omitempty" minimum:"1" maximum:"732" doc:"The number of days after which the key ends. Default: 365." example:"365"`
	Email           string `json:"email,omitempty" maxLength:"254" doc:"The reader's e-mail address, if it is verified: their grants may name it." example:"xia@example.com"`
	PublisherUserID string `json:"publisher_user_id,omitempty" maxLength:"255" doc:"The publisher's own id of the reader: their grants may name it." example:"4711"`
}

// apiKeyPath identifies a key in a path.
type apiKeyPath struct {
	UserPath
	Key string `path:"key" maxLength:"64" doc:"The key's id." example:"47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU"`
}

func (a *api) registerAPIKeys() {
	tags := []string{"Readers"}
	register(a, huma.Operation{
		OperationID: "list-api-keys", Method: http.MethodGet, Path: apiKeysPath, Tags: tags, Security: needs("sessions:read"),
		Summary: "Lists the API keys of a reader's programs, the oldest first", Metadata: readers(readersSelf),
	}, func(ctx context.Context, c *call, in *UserPath) (*body[NumberedPage[APIKey]], error) {
		found, err := a.Store.ReaderKeysOf(ctx, c.Vendor, in.User, policy.PrefixAPIKey)
		return &body[NumberedPage[APIKey]]{Body: NumberedPage[APIKey]{Count: len(found), Results: wireAll(found, wireAPIKey)}}, err
	})
	register(a, huma.Operation{
		OperationID: "create-api-key", Method: http.MethodPost, Path: apiKeysPath, Tags: tags, Security: needs("sessions:write"),
		Summary: "Creates an API key for a program of a reader, and returns it once", DefaultStatus: http.StatusCreated,
		Description: "The program sends it as `Authorization: Bearer` or as the password of Basic credentials, and has what the reader has. Other keys of the reader go on.",
	}, func(ctx context.Context, c *call, in *struct {
		UserPath
		Body apiKeyBody
	},
	) (*created[CreatedAPIKey], error) {
		site := cmp.Or(in.Body.Site, c.Vendor)
		made, err := a.Keyring.ReaderKeys(policy.PrefixAPIKey, c.Vendor, site)
		if err != nil {
			return nil, err
		}
		secret, id := made.New()
		stored, err := c.store.CreateReaderKey(ctx, c.Vendor, store.ReaderKey{
			ID: id, Site: site, UserID: in.User, PublisherUserID: in.Body.PublisherUserID, Email: in.Body.Email, Title: in.Body.Title,
			EndsAt: a.Now().Add(time.Duration(cmp.Or(in.Body.Days, defaultKeyDays)) * 24 * time.Hour),
		})
		return newCreated(apiKeysPath, id, CreatedAPIKey{wireAPIKey(stored), secret}, err)
	})
	register(a, huma.Operation{
		OperationID: "revoke-api-key", Method: http.MethodDelete, Path: apiKeysPath + "/{key}", Tags: tags, Security: needs("sessions:write"),
		Summary: "Revokes an API key: the next request with it is refused, on every node", DefaultStatus: http.StatusNoContent, Metadata: readers(readersSelf),
	}, func(ctx context.Context, c *call, in *apiKeyPath) (*empty, error) {
		return &empty{}, c.store.RevokeReaderKey(ctx, c.Vendor, policy.PrefixAPIKey, in.User, in.Key)
	})
}
