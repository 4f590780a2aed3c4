package store

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store/engine"
)

// LoginSession is the session of a reader who logged in at the gate. Its id is a hash of the
// secret in the reader's cookie, see policy.Tickets.
type LoginSession struct {
	ID   string `json:"id"`
	Site string `json:"site"`
	// Issuer and ClientID are where the reader logged in, Subject their `sub` there, and SID
	// the issuer's own session, if it has one.
	Issuer   string `json:"issuer"`
	ClientID string `json:"client"`
	Subject  string `json:"sub"`
	SID      string `json:"sid,omitempty"`

	UserID          string `json:"user"`
	PublisherUserID string `json:"publisherUser,omitempty"`
	Email           string `json:"email,omitempty"` // a verified one
	ACR             string `json:"acr,omitempty"`
	AMR             string `json:"amr,omitempty"`
	// AuthTime is when the reader logged in at the issuer, in Unix seconds; zero if it does not
	// say.
	AuthTime int64 `json:"authTime,omitempty"`

	// BeganAt is when the reader began to log in, which a logout of the issuer after it ends;
	// zero for now. It is not stored.
	BeganAt time.Time `json:"-"`

	CreatedAt time.Time `json:"createdAt"`
	// SeenAt is when the session was used, up to a step of a day before.
	SeenAt time.Time `json:"seenAt"`
	// EndsAt is when the session ends at the latest. It ends before if it is not used for
	// IdleSeconds.
	EndsAt      time.Time `json:"endsAt"`
	IdleSeconds int64     `json:"idle"`

	// Tokens are the issuer's tokens, sealed by the caller; nil for none. RenewAt is when
	// they are renewed, and RenewingUntil the time that a node has for it.
	Tokens        []byte    `json:"tokens,omitempty"`
	RenewAt       time.Time `json:"renewAt,omitzero"`
	RenewingUntil time.Time `json:"renewingUntil,omitzero"`
}

// Limits of login sessions.
const (
	// MaxLoginTokens bounds the sealed tokens of a session, in bytes.
	MaxLoginTokens = 64 << 10
	// MaxLoginSessions is the most that may be set as the number of a reader's sessions.
	MaxLoginSessions = 1000
	// loginTurnFor is how long the keys by which logins and logouts conflict are kept, and so
	// how long a login may take of which a logout is known. They name a reader, and stay no
	// longer than that.
	loginTurnFor = 15 * time.Minute
	// loginSeenStep is the most by which SeenAt lags.
	loginSeenStep = 24 * time.Hour
)

// End returns when the session ends unless it is used before.
func (l *LoginSession) End() time.Time {
	idle := l.SeenAt.Add(time.Duration(l.IdleSeconds) * time.Second)
	if idle.Before(l.EndsAt) {
		return idle
	}
	return l.EndsAt
}

// seenAgain returns when the next use is written.
func (l *LoginSession) seenAgain() time.Time {
	return l.SeenAt.Add(min(loginSeenStep, time.Duration(l.IdleSeconds)*time.Second/4))
}

// Origin names the site and the issuer of sessions, see policy.LoginSession.
func (l *LoginSession) Origin() string {
	return strings.Join([]string{l.Site, l.Issuer, l.ClientID}, "\x00")
}

// IsLoginSessionID reports whether a text has the form of a session's id.
func IsLoginSessionID(id string) bool {
	hash, err := base64.RawURLEncoding.Strict().DecodeString(id)
	return err == nil && len(hash) == 32
}

func (l *LoginSession) check() error {
	for _, text := range [...]struct {
		name, value string
		most        int
	}{
		{"issuer", l.Issuer, 2048},
		{"client", l.ClientID, 512},
		{"sub", l.Subject, 255},
		{"sid", l.SID, 255},
		{"user", l.UserID, maxUserID},
		{"publisherUser", l.PublisherUserID, 255},
		{"email", l.Email, 254},
		{"acr", l.ACR, 255},
		{"amr", l.AMR, 1024},
	} {
		if err := checkText(text.name, text.value, text.most); err != nil {
			return err
		}
	}
	switch {
	case !IsLoginSessionID(l.ID):
		return &FieldError{"id", "is not the hash of a ticket"}
	case l.UserID == "" || l.Subject == "":
		return &FieldError{"sub", "is empty"}
	case len(l.Tokens) > MaxLoginTokens:
		return &FieldError{"tokens", "are too long"}
	}
	return nil
}

// index returns the keys of a session in the index.
func (l *LoginSession) index() [][]byte {
	keys := [][]byte{
		key(prefixLoginIndex, loginUser+l.UserID, l.ID),
		key(prefixLoginIndex, loginSubject+l.Issuer, l.ClientID, l.Subject, l.ID),
	}
	if l.SID != "" {
		keys = append(keys, key(prefixLoginIndex, loginSID+l.Issuer, l.ClientID, l.SID, l.ID))
	}
	return keys
}

// write writes a session and its index. What is written of it is swept after its end.
func (l *LoginSession) write(t *transaction) error {
	stored, err := encode(l)
	if err != nil {
		return err
	}
	end, began := l.End(), binary.BigEndian.AppendUint64(nil, uint64(l.CreatedAt.UnixMilli()))
	t.set(key(prefixLogin, l.ID), stored, end)
	for _, k := range l.index() {
		t.set(k, began, end)
	}
	t.change.Add(policy.KindSession, t.vendor, l.ID)
	return nil
}

func (l *LoginSession) remove(t *transaction) {
	for _, k := range append(l.index(), key(prefixLogin, l.ID)) {
		t.set(k, nil, time.Time{})
	}
	t.change.Add(policy.KindSession, t.vendor, l.ID)
}

// loginSession returns a session that is stored, nil for none.
func (t *transaction) loginSession(id string) (*LoginSession, error) {
	k := key(prefixLogin, id)
	stored, err := t.load(k)
	if err != nil || stored == nil {
		return nil, err
	}
	session := new(LoginSession)
	return session, decode(k, stored, session)
}

// forgetLogin ends a session of a person who is erased.
func forgetLogin(e *erasing, k, stored []byte) error {
	var session LoginSession
	if err := decode(k, stored, &session); err != nil {
		return err
	}
	session.remove(e.t)
	for _, k := range append(session.logouts(), key(prefixLoginIndex, loginTurn+session.UserID)) {
		e.t.set(k, nil, time.Time{})
	}
	return nil
}

// ErrLoginEnded is returned for a login of which the issuer ended the session before it was
// complete.
var ErrLoginEnded = errors.New("the issuer ended the session of the reader while they logged in")

// CreateLoginSession stores a new session. The oldest sessions of its user end so that there
// are at most `most`, and the session that it replaces in the same browser, if any. It returns
// ErrLoginEnded after a logout by the issuer since BeganAt, and ErrReserved while the user is
// being erased.
func (w Writer) CreateLoginSession(ctx context.Context, vendor string, session LoginSession, replaces string, most int) error {
	session.CreatedAt = w.timestamp()
	session.SeenAt = session.CreatedAt
	if session.BeganAt.IsZero() {
		session.BeganAt = session.CreatedAt
	}
	if err := session.check(); err != nil {
		return err
	}
	return w.transact(ctx, vendor, func(t *transaction) error {
		turn := key(prefixLoginIndex, loginTurn+session.UserID)
		if _, err := t.load(turn); err != nil {
			return err
		}
		t.set(turn, []byte(session.ID), t.now.Add(loginTurnFor))
		if erased, err := t.load(removedKey(erasedPerson, session.UserID)); err != nil || erased != nil {
			return cmp.Or(err, ErrReserved)
		}
		if err := t.beforeLogouts(&session); err != nil {
			return err
		}
		if replaces != "" {
			if err := t.endLogin(replaces); err != nil {
				return err
			}
		}
		oldest, err := t.oldestLogins(session.UserID, replaces)
		if err != nil {
			return err
		}
		for _, id := range oldest[:max(0, len(oldest)+1-most)] {
			if err := t.endLogin(id); err != nil {
				return err
			}
		}
		return session.write(t)
	})
}

// endLogin removes a session if it is stored.
func (t *transaction) endLogin(id string) error {
	session, err := t.loginSession(id)
	if err == nil && session != nil {
		session.remove(t)
	}
	return err
}

// oldestLogins returns the sessions of a user, the oldest first, without one.
func (t *transaction) oldestLogins(user, without string) ([]string, error) {
	type entry struct{ began, id string }
	var found []entry
	prefix := keyPrefix(prefixLoginIndex, loginUser+user)
	for e, err := range t.snapshot.Scan(prefix, nil) {
		if err != nil {
			return nil, err
		}
		if id := string(e.Key[len(prefix):]); id != without {
			found = append(found, entry{string(e.Value), id})
		}
	}
	slices.SortFunc(found, func(a, b entry) int { return strings.Compare(a.began+a.id, b.began+b.id) })
	ids := make([]string, len(found))
	for i := range found {
		ids[i] = found[i].id
	}
	return ids, nil
}

// ReadLoginSession returns a session that has not ended, or ErrNotFound.
func (s *Store) ReadLoginSession(ctx context.Context, vendor, id string) (session LoginSession, err error) {
	if !IsLoginSessionID(id) {
		return session, ErrNotFound
	}
	err = s.engine.View(decides(ctx), vendor, func(snapshot engine.Snapshot) error {
		if err := notChanged(snapshot, policy.Stripe(policy.KindSession, vendor, id)); err != nil {
			return err
		}
		_, err := getIn(snapshot, key(prefixLogin, id), &session)
		return err
	})
	if err != nil {
		return LoginSession{}, err
	}
	if !s.now().Before(session.End()) {
		return LoginSession{}, ErrNotFound
	}
	return session, nil
}

// LoginSession implements policy.LoginSessions.
func (s *Store) LoginSession(ctx context.Context, vendor, id string) (policy.LoginSession, error) {
	session, err := s.ReadLoginSession(ctx, vendor, id)
	if err != nil {
		return policy.LoginSession{}, err
	}
	due := session.seenAgain()
	if !session.RenewAt.IsZero() && session.RenewAt.Before(due) {
		due = session.RenewAt
	}
	return policy.LoginSession{
		Reader: policy.Reader{
			UserID: session.UserID, PublisherUserID: session.PublisherUserID, Email: policy.LowerEmail(session.Email), ACR: session.ACR, AMR: session.AMR,
			AuthTime: session.AuthTime,
		},
		Origin: session.Origin(), EndsAt: session.End(), DueAt: due,
	}, nil
}

// LoginSessionsOf returns the sessions of a user that have not ended, the oldest first.
func (s *Store) LoginSessionsOf(ctx context.Context, vendor, user string) ([]LoginSession, error) {
	found := []LoginSession{}
	if checkText("user", user, maxUserID) != nil {
		return found, nil
	}
	now := s.now()
	err := s.engine.View(ctx, vendor, func(snapshot engine.Snapshot) error {
		t := &transaction{snapshot: snapshot, vendor: vendor, cells: map[string]*cell{}}
		ids, err := t.oldestLogins(user, "")
		if err != nil {
			return err
		}
		for _, id := range ids {
			session, err := t.loginSession(id)
			if err != nil {
				return err
			}
			if session != nil && now.Before(session.End()) {
				found = append(found, *session)
			}
		}
		return nil
	})
	return found, err
}
