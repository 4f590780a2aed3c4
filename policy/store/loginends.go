package store

import (
	"context"
	"encoding/binary"
	"errors"
	"time"

	"github.com/gatefold/gatefold/policy"
)

// EndLoginSession ends a session: the next request with it is anonymous, on every node. It
// returns ErrNotFound if there is none.
func (w Writer) EndLoginSession(ctx context.Context, vendor, id string) error {
	if !IsLoginSessionID(id) {
		return ErrNotFound
	}
	return w.transact(ctx, vendor, func(t *transaction) error {
		session, err := t.loginSession(id)
		if err != nil {
			return err
		}
		if session == nil || !t.now.Before(session.End()) {
			return ErrNotFound
		}
		session.remove(t)
		return nil
	})
}

// EndRenewedSession ends a session whose renewal the issuer refused, if its lease is still that
// of the caller; otherwise it changes nothing and returns ErrConflict: another node may have
// renewed it. It returns ErrNotFound if there is none.
func (w Writer) EndRenewedSession(ctx context.Context, vendor, id string, lease time.Time) error {
	return w.transact(ctx, vendor, func(t *transaction) error {
		session, err := t.loginSession(id)
		switch {
		case err != nil:
			return err
		case session == nil || !t.now.Before(session.End()):
			return ErrNotFound
		case !session.RenewingUntil.Equal(lease):
			return ErrConflict
		}
		session.remove(t)
		return nil
	})
}

// EndLoginSessionsOf ends all sessions of a user, and returns how many. Tokens of the user are
// not renewed any more, see TokensEndedAt.
func (w Writer) EndLoginSessionsOf(ctx context.Context, vendor, user string) (ended int, err error) {
	if err := checkText("user", user, maxUserID); err != nil {
		return 0, err
	}
	err = w.transact(ctx, vendor, func(t *transaction) error {
		// A login that ends meanwhile is a conflict, so that all sessions end that began
		// before the call returns.
		if _, err := t.load(key(prefixLoginIndex, loginTurn+user)); err != nil {
			return err
		}
		t.endTokens(user)
		ended, err = t.endLogins(keyPrefix(prefixLoginIndex, loginUser+user))
		return err
	})
	return ended, err
}

// endLogins ends the sessions that a range of the index names.
func (t *transaction) endLogins(prefix []byte) (ended int, err error) {
	ids, err := t.scan(prefix, MaxLoginSessions+1)
	if err != nil {
		return 0, err
	}
	for _, id := range ids {
		if err := t.endLogin(id); err != nil {
			return 0, err
		}
	}
	return len(ids), nil
}

// IssuerLogout is what an issuer says of a logout: OpenID Connect Back-Channel Logout 1.0,
// section 2.4. SID and Subject are not both empty.
type IssuerLogout struct {
	Issuer, ClientID, SID, Subject string
	// TokenID is the `jti` of the logout token. It counts once until ExpiresAt.
	TokenID   string
	ExpiresAt time.Time
}

// ErrLogoutRepeated is returned for a logout token that was used before.
var ErrLogoutRepeated = errors.New("the logout token was used before")

// logouts returns the keys under which logouts of the issuer are noted that end a session.
func (l *LoginSession) logouts() [][]byte {
	keys := [][]byte{key(prefixLoginIndex, loginSubjectLogout+l.Issuer, l.ClientID, l.Subject)}
	if l.SID != "" {
		keys = append(keys, key(prefixLoginIndex, loginSIDLogout+l.Issuer, l.ClientID, l.SID))
	}
	return keys
}

// beforeLogouts returns ErrLoginEnded if the issuer ended a session since its login began. It
// writes what EndIssuerSessions reads, so that of the two that meet one sees the other.
func (t *transaction) beforeLogouts(l *LoginSession) error {
	for _, k := range l.logouts() {
		stored, err := t.load(k)
		if err != nil {
			return err
		}
		var at [8]byte
		if len(stored) >= len(at) {
			copy(at[:], stored)
		}
		if l.BeganAt.UnixMilli() < int64(binary.BigEndian.Uint64(at[:])) { //nolint:gosec // a time
			return ErrLoginEnded
		}
		t.set(k, append(at[:], l.ID...), t.now.Add(loginTurnFor))
	}
	return nil
}

// noteLogout notes a logout for logins that are not complete yet. One that names a session and
// a subject counts for that session.
func (t *transaction) noteLogout(logout *IssuerLogout) error {
	k := key(prefixLoginIndex, loginSubjectLogout+logout.Issuer, logout.ClientID, logout.Subject)
	if logout.SID != "" {
		k = key(prefixLoginIndex, loginSIDLogout+logout.Issuer, logout.ClientID, logout.SID)
	}
	if _, err := t.load(k); err != nil {
		return err
	}
	at := binary.BigEndian.AppendUint64(nil, uint64(t.now.UnixMilli())) //nolint:gosec // a time
	t.set(k, append(at, logout.TokenID...), t.now.Add(loginTurnFor))
	return nil
}

// EndIssuerSessions ends the sessions that a logout of an issuer names, and returns how many:
// with a SID those of the issuer's session, and of the subject if both are named; otherwise
// all of the subject. A login that is under way ends as well. It returns ErrLogoutRepeated for a token that was used before.
func (w Writer) EndIssuerSessions(ctx context.Context, vendor string, logout IssuerLogout) (ended int, err error) {
	for _, text := range [...][2]string{{"sid", logout.SID}, {"sub", logout.Subject}, {"jti", logout.TokenID}} {
		if err := checkText(text[0], text[1], 255); err != nil {
			return 0, err
		}
	}
	prefix := keyPrefix(prefixLoginIndex, loginSubject+logout.Issuer, logout.ClientID, logout.Subject)
	if logout.SID != "" {
		prefix = keyPrefix(prefixLoginIndex, loginSID+logout.Issuer, logout.ClientID, logout.SID)
	}
	err = w.transact(ctx, vendor, func(t *transaction) error {
		used := key(prefixLoginIndex, loginToken+logout.Issuer, logout.ClientID, logout.TokenID)
		if stored, err := t.load(used); err != nil || stored != nil {
			if err == nil {
				err = ErrLogoutRepeated
			}
			return err
		}
		t.set(used, []byte{1}, logout.ExpiresAt)
		if err := t.noteLogout(&logout); err != nil {
			return err
		}
		ids, err := t.scan(prefix, MaxLoginSessions+1)
		if err != nil {
			return err
		}
		ended = 0
		for _, id := range ids {
			session, err := t.loginSession(id)
			if err != nil {
				return err
			}
			if session == nil || logout.Subject != "" && session.Subject != logout.Subject {
				continue
			}
			session.remove(t)
			if logout.SID == "" { // all sessions of the reader
				t.endTokens(session.UserID)
			}
			ended++
		}
		return nil
	})
	return ended, err
}

// TouchLoginSession writes that a session is used, at most once a day. If its tokens are to
// be renewed and no other node does it, renew is set: the caller has the time lease for it,
// and calls RenewLoginSession.
func (w Writer) TouchLoginSession(ctx context.Context, vendor, id string, lease time.Duration) (session LoginSession, renew bool, err error) {
	err = w.transact(ctx, vendor, func(t *transaction) error {
		stored, err := t.loginSession(id)
		if err != nil {
			return err
		}
		if stored == nil || !t.now.Before(stored.End()) {
			return ErrNotFound
		}
		seen := !t.now.Before(stored.seenAgain())
		renew = !stored.RenewAt.IsZero() && !t.now.Before(stored.RenewAt) && !t.now.Before(stored.RenewingUntil)
		if seen {
			stored.SeenAt = t.now
		}
		if renew {
			stored.RenewingUntil = t.now.Add(lease)
		}
		session = *stored
		if !seen && !renew {
			return nil
		}
		return stored.write(t)
	})
	return session, renew, err
}

// RenewLoginSession stores the renewed tokens and claims of a session, whose lease is still
// that of the caller; otherwise it changes nothing and returns ErrConflict. Who the session
// is of cannot change.
func (w Writer) RenewLoginSession(ctx context.Context, vendor, id string, lease time.Time, change func(*LoginSession)) error {
	return w.transact(ctx, vendor, func(t *transaction) error {
		stored, err := t.loginSession(id)
		if err != nil {
			return err
		}
		if stored == nil {
			return ErrNotFound
		}
		if !stored.RenewingUntil.Equal(lease) {
			return ErrConflict
		}
		next := *stored
		change(&next)
		next.RenewingUntil = time.Time{}
		next.ID, next.UserID, next.Subject, next.Issuer, next.ClientID, next.SID = stored.ID, stored.UserID, stored.Subject, stored.Issuer, stored.ClientID, stored.SID
		if err := next.check(); err != nil {
			return err
		}
		return next.write(t)
	})
}

// Interface guard
var _ policy.LoginSessions = (*Store)(nil)
