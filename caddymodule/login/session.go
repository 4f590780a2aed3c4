package login

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy/store"
)

// sealedTokens are the tokens of a session as it keeps them. An access token is of no use once
// userinfo was asked, and is not kept.
type sealedTokens struct {
	Refresh string `json:"refresh"`
}

func (s *Site) sealTokens(id, refresh string) []byte {
	text, err := json.Marshal(sealedTokens{refresh})
	if err != nil {
		return nil // of a text it cannot fail
	}
	return s.Sealer.Seal(text, s.sealedFor("tokens\x00"+id))
}

func (s *Site) openTokens(id string, sealed []byte) (refresh string, ok bool) {
	text, err := s.Sealer.Open(sealed, s.sealedFor("tokens\x00"+id))
	var tokens sealedTokens
	return tokens.Refresh, err == nil && json.Unmarshal(text, &tokens) == nil
}

// beginSession begins the session of a login, under a new ticket: one that the browser had
// before, which another may know, ends. Began is when the reader began to log in.
func (s *Site) beginSession(ctx context.Context, w http.ResponseWriter, r *Request, began time.Time, token *keys.IDToken, reader *keys.ReaderClaims, tokens *keys.TokenAnswer) error {
	ticket, id := s.tickets.New()
	now := s.Now()
	session := store.LoginSession{
		ID: id, Site: s.Site, Issuer: s.Issuer, ClientID: s.ClientID, Subject: token.Subject, SID: token.SessionID,
		EndsAt: now.Add(s.Lifetime).UTC().Truncate(time.Second), IdleSeconds: int64(s.Idle / time.Second),
		UserID: reader.UserID, BeganAt: began,
	}
	setReader(&session, reader)
	session.ACR, session.AuthTime = reader.ACR, reader.AuthTime
	if tokens.RefreshToken != "" {
		session.Tokens, session.RenewAt = s.sealTokens(id, tokens.RefreshToken), renewAt(now, tokens.ExpiresIn)
	}
	replaces, _ := s.tickets.ID(r.Ticket)
	if err := s.Store.As(store.Actor{}).CreateLoginSession(ctx, s.Vendor, session, replaces, s.MaxSessions); err != nil {
		return err
	}
	setCookie(w, CookieSession, ticket, s.Lifetime)
	return nil
}

// setReader sets what a token says of the reader of a session, besides who they are. When they
// logged in is not among it: a renewal is no login, whatever its token says (OpenID Connect Core
// 1.0, section 12.2). Nor does it make the class of a login another one.
func setReader(session *store.LoginSession, reader *keys.ReaderClaims) {
	session.PublisherUserID, session.AMR, session.Email = reader.PublisherUserID, reader.AMR, ""
	if reader.ACR != "" && reader.ACR != session.ACR {
		session.ACR = ""
	}
	if reader.EmailVerified {
		session.Email = reader.Email
	}
}
