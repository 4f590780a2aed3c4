package login

import (
	"context"
	"errors"
	"net/url"
	"time"

	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy/store"
)

const (
	// maxRenewals is the number of sessions of a site that a node renews at once. Others go
	// on as they are, and are renewed when they are used again.
	maxRenewals = 64
	// renewLease is the time that a node has for one renewal.
	renewLease = 30 * time.Second
	// renewBefore is how long before the end of a token it is renewed, and renewLeast the
	// least time between two renewals. renewDefault counts if the provider names no end.
	renewBefore  = time.Minute
	renewLeast   = 15 * time.Minute
	renewDefault = time.Hour
	// renewAgain is when a renewal is tried again that the provider did not answer.
	renewAgain = 5 * time.Minute
)

// renewAt returns when tokens of a lifetime in seconds are renewed.
func renewAt(now time.Time, lifetime int64) time.Time {
	after := renewDefault
	if lifetime > 0 {
		after = max(renewLeast, time.Duration(lifetime)*time.Second-renewBefore)
	}
	return now.Add(after).UTC().Truncate(time.Millisecond)
}

// due writes that a session is used, and renews its tokens if it is time, beside the request.
func (s *Site) due(id string) {
	select {
	case s.renewals <- struct{}{}:
	default:
		return
	}
	go func() {
		defer func() { <-s.renewals }()
		ctx, cancel := context.WithTimeout(context.Background(), renewLease)
		defer cancel()
		s.touch(ctx, id)
	}()
}

// touch is due, in the caller's goroutine.
func (s *Site) touch(ctx context.Context, id string) {
	writer := s.Store.As(store.Actor{})
	session, renew, err := writer.TouchLoginSession(ctx, s.Vendor, id, renewLease)
	if err != nil {
		if !errors.Is(err, store.ErrNotFound) && !errors.Is(err, store.ErrConflict) {
			s.report(KindRenewal, ResultStore, nil, err)
		}
		return
	}
	if !renew {
		return
	}
	tokens, reader, err := s.renew(ctx, &session)
	switch {
	case errors.Is(err, errGrant):
		// The provider ended the session, or the account is closed. Nothing else ends it.
		err := writer.EndRenewedSession(ctx, s.Vendor, id, session.RenewingUntil)
		switch {
		case errors.Is(err, store.ErrConflict):
			return // another node renewed it, with the refresh token that is now used up
		case err != nil && !errors.Is(err, store.ErrNotFound):
			s.report(KindRenewal, ResultStore, nil, err)
			return
		}
		s.report(KindRenewal, ResultEnded, nil, nil)
		return
	case err != nil:
		s.report(KindRenewal, ResultProvider, nil, err)
	default:
		s.report(KindRenewal, ResultOK, nil, nil)
	}
	failed := err != nil
	err = writer.RenewLoginSession(ctx, s.Vendor, id, session.RenewingUntil, func(next *store.LoginSession) {
		if failed {
			next.RenewAt = s.Now().Add(renewAgain).UTC().Truncate(time.Millisecond)
			return
		}
		next.RenewAt = renewAt(s.Now(), tokens.ExpiresIn)
		if tokens.RefreshToken != "" {
			next.Tokens = s.sealTokens(id, tokens.RefreshToken)
		}
		if reader != nil {
			setReader(next, reader)
		}
	})
	if err != nil && !errors.Is(err, store.ErrNotFound) && !errors.Is(err, store.ErrConflict) {
		s.report(KindRenewal, ResultStore, nil, err)
	}
}

// renew requests new tokens by the refresh token of a session. The reader is nil if the
// provider sends no ID token.
func (s *Site) renew(ctx context.Context, session *store.LoginSession) (keys.TokenAnswer, *keys.ReaderClaims, error) {
	refresh, ok := s.openTokens(session.ID, session.Tokens)
	if !ok {
		return keys.TokenAnswer{}, nil, errors.New("the tokens of the session are sealed with another secret")
	}
	provider, err := s.discover(ctx)
	if err != nil {
		return keys.TokenAnswer{}, nil, err
	}
	tokens, err := s.requestTokens(ctx, provider, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {refresh}})
	if err != nil || tokens.IDToken == "" {
		return tokens, nil, err
	}
	_, reader, err := s.readerOf(ctx, provider, &tokens, func(set keys.KeySet) (keys.IDToken, error) {
		return s.client.VerifyRenewed(tokens.IDToken, set, session.Subject, s.Now())
	})
	if err != nil {
		// The refresh token may be a new one, without which the next renewal would fail.
		s.report(KindRenewal, ResultRefused, nil, err)
		return tokens, nil, nil
	}
	return tokens, &reader, nil
}
