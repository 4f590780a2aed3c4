package admin

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/gatefold/gatefold/keys"
)

const defaultReaderTokenLifetime = time.Hour

// ReaderTokenBody requests a reader token.
type ReaderTokenBody struct {
	UserID          string   `json:"userId" minLength:"1" maxLength:"255"`
	Email           string   `json:"email,omitempty" maxLength:"254"`
	EmailVerified   bool     `json:"emailVerified,omitempty"`
	PublisherUserID string   `json:"publisherUserId,omitempty" maxLength:"255"`
	Site            string   `json:"site,omitempty" pattern:"^[a-z0-9][a-z0-9-]{0,62}$" doc:"The site at which the token is valid. Default: the site with the vendor's name."`
	ExpiresIn       Lifetime `json:"expiresIn,omitzero" required:"false"`
}

// IssuedToken is a reader token or an access token.
type IssuedToken struct {
	Token     string    `json:"token" doc:"The signed token."`
	ExpiresAt time.Time `json:"expiresAt" doc:"The end of the token's validity."`
}

// registerReaderTokens adds the operation that issues tokens for any reader. It is
// available to the operator only.
func (a *api) registerReaderTokens() {
	register(a, huma.Operation{
		OperationID: "create-reader-token", Method: http.MethodPost, Path: "/management/reader-tokens", Tags: []string{"Readers"}, Security: needs("readers:write"),
		Summary:  "Issues a reader token signed by the vendor's key",
		Metadata: map[string]any{repetitionKey: repeatCall},
	}, func(ctx context.Context, c *call, in *body[ReaderTokenBody]) (*body[IssuedToken], error) {
		expiresIn, err := in.Body.ExpiresIn.or(defaultReaderTokenLifetime)
		if err != nil {
			return nil, err
		}
		ring, err := a.Keyring.RingFor(ctx, c.store, c.Vendor)
		if err != nil {
			return nil, err
		}
		site := in.Body.Site
		if site == "" {
			site = c.Vendor
		}
		now := a.Now()
		expiresAt := now.Add(expiresIn).Truncate(time.Second)
		token, err := keys.SignReader(ring, c.Vendor, site, keys.ReaderClaims{
			UserID: in.Body.UserID, PublisherUserID: in.Body.PublisherUserID,
			Email: in.Body.Email, EmailVerified: in.Body.EmailVerified, ExpiresAt: expiresAt.Unix(),
		}, now)
		if errors.Is(err, keys.ErrClaims) {
			return nil, invalidBody("", err.Error())
		}
		return &body[IssuedToken]{Body: IssuedToken{Token: token, ExpiresAt: expiresAt.UTC()}}, err
	})
}
