package admin

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy/store"
)

const defaultReaderTokenLifetime = time.Hour

// readerTokenBody says for whom a token is made.
type readerTokenBody struct {
	UserID          string   `json:"userId" minLength:"1" maxLength:"255"`
	Email           string   `json:"email,omitempty" maxLength:"254"`
	EmailVerified   bool     `json:"emailVerified,omitempty"`
	PublisherUserID string   `json:"publisherUserId,omitempty" maxLength:"255"`
	Site            string   `json:"site,omitempty" pattern:"^[a-z0-9][a-z0-9-]{0,62}$" doc:"The site at which the token counts. Default: the vendor's name."`
	ExpiresIn       lifetime `json:"expiresIn,omitzero" required:"false"`
}

// readerTokenMade is a reader's token.
type readerTokenMade struct {
	Token     string    `json:"token"`
	ExpiresAt time.Time `json:"expiresAt"`
}

// registerReaderTokens adds the operation that makes anybody a reader: it is the
// operator's alone.
func (a *api) registerReaderTokens() {
	registerWrite(a, huma.Operation{
		OperationID: "create-reader-token", Method: http.MethodPost, Path: "/management/reader-tokens", Tags: []string{"Readers"}, Security: needs("readers:write"),
		Summary:  "Makes a reader's token, signed by the vendor's own key",
		Metadata: map[string]any{repetitionKey: repeatCall},
	}, func(ctx context.Context, w store.Writer, vendor string, in *body[readerTokenBody]) (*body[readerTokenMade], error) {
		expiresIn, err := in.Body.ExpiresIn.or(defaultReaderTokenLifetime)
		if err != nil {
			return nil, err
		}
		ring, err := a.Keyring.RingFor(ctx, w, vendor)
		if err != nil {
			return nil, err
		}
		site := in.Body.Site
		if site == "" {
			site = vendor
		}
		now := a.Now()
		expiresAt := now.Add(expiresIn).Truncate(time.Second)
		token, err := keys.SignReader(ring, vendor, site, keys.ReaderClaims{
			UserID: in.Body.UserID, PublisherUserID: in.Body.PublisherUserID,
			Email: in.Body.Email, EmailVerified: in.Body.EmailVerified, ExpiresAt: expiresAt.Unix(),
		}, now)
		if errors.Is(err, keys.ErrClaims) {
			return nil, newProblem(http.StatusUnprocessableEntity, err.Error())
		}
		return &body[readerTokenMade]{Body: readerTokenMade{Token: token, ExpiresAt: expiresAt.UTC()}}, err
	})
}
