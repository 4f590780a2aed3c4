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

const (
	authPath   = "/api/auth"
	tokensPath = authPath + "/tokens"
)

// ReaderToken is a reader's token, signed by the vendor's own key.
type ReaderToken struct {
	Token string `json:"token" minLength:"1" maxLength:"4096" doc:"The token: one that the vendor's own key signed for this site." example:"eyJhbGciOiJFUzI1NiIs…"`
}

// loggedOut is the response of a logout.
type loggedOut struct {
	SetCookie     []string `header:"Set-Cookie" doc:"Removes the cookies of the session."`
	ClearSiteData string   `header:"Clear-Site-Data" doc:"Empties the browser's cache of the site."`
}

// errReadersOnly is the problem of a client of the API that calls what readers call for
// themselves.
func errReadersOnly() *Problem {
	return newProblem(http.StatusForbidden, "This operation is for readers, who call it through a gated site that has gatefold_accounts. A client ends sessions by "+sessionsPath+".")
}

func (a *api) registerAuth() {
	tags := []string{"Readers"}
	register(a, huma.Operation{
		OperationID: "logout", Method: http.MethodPost, Path: authPath + "/logout", Tags: tags, Security: needs("sessions:write"),
		Summary: "Logs the caller out: ends their login session, and removes its cookies", DefaultStatus: http.StatusNoContent,
		Description: "It ends the session by which the call is made, and its open streams. The reader stays logged in at the provider. Without a session there is nothing to end: tokens expire, and cannot be revoked.",
		Metadata:    map[string]any{readersKey: readersAny, repetitionKey: repeatCall},
	}, func(ctx context.Context, c *call, _ *struct{}) (*loggedOut, error) {
		if c.Reader == nil {
			return nil, errReadersOnly()
		}
		out := new(loggedOut)
		if c.EndSession == nil {
			return out, nil
		}
		var err error
		out.SetCookie, err = c.EndSession(ctx)
		out.ClearSiteData = `"cache"`
		return out, err
	})
	register(a, huma.Operation{
		OperationID: "renew-token", Method: http.MethodPost, Path: tokensPath, Tags: tags, Security: needs("sessions:write"),
		Summary: "Verifies a token of the caller, and returns one that expires later",
		Description: "The new token has the claims and the lifetime of the old one, which stays valid until its end. It is renewed for 30 days after the login (`auth_time`), or else after the first token was issued: " +
			"log in again then, and after all sessions of the reader ended. The caller and the reader of the token are the same.",
		Metadata: map[string]any{readersKey: readersKnown, repetitionKey: repeatCall},
	}, func(ctx context.Context, c *call, in *body[ReaderToken]) (*body[ReaderToken], error) {
		var renewed ReaderToken
		var ended time.Time
		if c.Reader != nil {
			err := a.mayRenew(ctx, c)
			if err == nil {
				ended, err = a.Store.TokensEndedAt(ctx, c.Vendor, c.Reader.UserID)
			}
			if err != nil {
				return nil, err
			}
		}
		err := a.withToken(ctx, c, func(ring *keys.Ring) (claims keys.ReaderClaims, err error) {
			renewed.Token, claims, err = keys.RenewReader(ring, c.Vendor, c.Site, in.Body.Token, store.TokenRenewal, ended, a.Now())
			return claims, err
		})
		return &body[ReaderToken]{Body: renewed}, err
	})
	register(a, huma.Operation{
		OperationID: "verify-token", Method: http.MethodPost, Path: tokensPath + "/verify", Tags: tags, Security: needs("sessions:write"),
		Summary: "Verifies a token of the caller, and returns it", Description: "The caller and the reader of the token are the same.",
		Metadata: map[string]any{readersKey: readersKnown, repetitionKey: repeatCall},
	}, func(ctx context.Context, c *call, in *body[ReaderToken]) (*body[ReaderToken], error) {
		err := a.withToken(ctx, c, func(ring *keys.Ring) (keys.ReaderClaims, error) {
			issuer := keys.OwnReaderIssuer(c.Vendor, c.Site)
			return issuer.Verify(in.Body.Token, ring.KeySet(), a.Now())
		})
		return &body[ReaderToken]{Body: in.Body}, err
	})
}

// mayRenew returns a problem unless the caller's record, if there is one, is active.
func (a *api) mayRenew(ctx context.Context, c *call) error {
	found, err := a.Store.ReaderRecord(ctx, c.Vendor, c.Reader.UserID)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil
	case err == nil && found.Inactive:
		return newProblem(http.StatusForbidden, "This user is deactivated: their tokens are not renewed.")
	}
	return err
}

// withToken verifies a token by a function, which returns its claims, and returns the problem of
// one that is not accepted or not the caller's.
func (a *api) withToken(ctx context.Context, c *call, verify func(*keys.Ring) (keys.ReaderClaims, error)) error {
	if c.Reader == nil {
		return errReadersOnly()
	}
	ring, err := a.Keyring.Ring(ctx, c.Vendor)
	if err != nil {
		return err
	}
	switch claims, err := verify(ring); {
	case err != nil:
		return invalid("token", "is not accepted: "+err.Error())
	case claims.UserID != c.Reader.UserID:
		return invalid("token", "is another reader's")
	}
	return nil
}
