package admin

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/gatefold/gatefold/policy/store"
)

const sessionsPath = "/management/sessions"

// LoginSession is the session of a reader who logged in at the gate, without its ticket and
// its tokens.
type LoginSession struct {
	ID        string    `json:"id" doc:"The session's id: a hash, which is no credential." example:"47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU"`
	UserID    string    `json:"userId" doc:"The reader." example:"reader-1001"`
	Site      string    `json:"site" doc:"The site at which they logged in." example:"news"`
	Issuer    string    `json:"issuer" doc:"The OpenID provider at which they logged in." example:"https://id.example.com"`
	Email     string    `json:"email,omitempty" doc:"Their verified e-mail address, if the provider states one." example:"reader@example.com"`
	CreatedAt time.Time `json:"createdAt" doc:"The time of the login." example:"2027-01-01T09:30:00Z"`
	SeenAt    time.Time `json:"seenAt" doc:"The time of the last use, up to a day before." example:"2027-01-02T10:00:00Z"`
	EndsAt    time.Time `json:"endsAt" doc:"When the session ends if it is not used." example:"2027-02-01T10:00:00Z"`
}

func wireLoginSession(s store.LoginSession) LoginSession {
	return LoginSession{
		ID: s.ID, UserID: s.UserID, Site: s.Site, Issuer: s.Issuer, Email: s.Email, CreatedAt: s.CreatedAt, SeenAt: s.SeenAt, EndsAt: s.End(),
	}
}

// SessionsEnd names the reader whose sessions end.
type SessionsEnd struct {
	UserID string `json:"userId" minLength:"1" maxLength:"255" doc:"The reader." example:"reader-1001"`
}

// SessionsEnded is the result of ending the sessions of a reader.
type SessionsEnded struct {
	Ended int `json:"ended" doc:"The number of sessions that ended." example:"2"`
}

func (a *api) registerSessions() {
	tags := []string{"Readers"}
	register(a, huma.Operation{
		OperationID: "list-sessions", Method: http.MethodGet, Path: sessionsPath, Tags: tags, Security: needs("sessions:read"),
		Summary: "Lists the sessions of a reader who logged in at the gate, the oldest first",
	}, func(ctx context.Context, c *call, in *struct {
		UserID string `query:"userId" required:"true" minLength:"1" maxLength:"255" doc:"The reader." example:"reader-1001"`
	},
	) (*body[[]LoginSession], error) {
		found, err := a.Store.LoginSessionsOf(ctx, c.Vendor, in.UserID)
		return &body[[]LoginSession]{Body: wireAll(found, wireLoginSession)}, err
	})
	register(a, huma.Operation{
		OperationID: "end-session", Method: http.MethodDelete, Path: sessionsPath + "/{id}", Tags: tags, Security: needs("sessions:write"),
		Summary: "Ends a session: the next request with it is anonymous, on every node", DefaultStatus: http.StatusNoContent,
	}, func(ctx context.Context, c *call, in *struct {
		ID string `path:"id" maxLength:"64" doc:"The session's id." example:"47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU"`
	},
	) (*empty, error) {
		return &empty{}, c.store.EndLoginSession(ctx, c.Vendor, in.ID)
	})
	register(a, huma.Operation{
		OperationID: "end-sessions", Method: http.MethodPost, Path: sessionsPath + "/end", Tags: tags, Security: needs("sessions:write"),
		Summary: "Ends all sessions of a reader", DefaultStatus: http.StatusOK,
		Description: "Tokens that the vendor's own key signed for the reader before are not renewed any more; they stay valid until they expire.",
	}, func(ctx context.Context, c *call, in *body[SessionsEnd]) (*body[SessionsEnded], error) {
		ended, err := c.store.EndLoginSessionsOf(ctx, c.Vendor, in.Body.UserID)
		return &body[SessionsEnded]{Body: SessionsEnded{Ended: ended}}, err
	})
}
