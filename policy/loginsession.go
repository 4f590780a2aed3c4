package policy

import (
	"context"
	"encoding/binary"
	"errors"
	"time"
)

// LoginSession is what decides of a login session: who the reader is, and until when.
type LoginSession struct {
	// Reader is who logged in. An address is there only if it is verified.
	Reader Reader
	// Origin names the site and the issuer at which they logged in.
	Origin string
	// EndsAt is when the session ends unless it is used before; DueAt is when its use must
	// be written, or its tokens be renewed.
	EndsAt, DueAt time.Time
}

// LoginSessions reads sessions. It is safe for concurrent use.
type LoginSessions interface {
	// LoginSession returns the session of an id, or ErrNotFound if there is none or it ended.
	LoginSession(ctx context.Context, vendor, id string) (LoginSession, error)
}

// SessionVerifier verifies the tickets of login sessions at one site.
type SessionVerifier struct {
	tickets  *Tickets
	sessions LoginSessions
	vendor   string
	origin   string
	due      func(id string)
	number   uint32
}

// NewSessionVerifier returns a verifier of the sessions of a vendor whose Origin is the given
// one. Due is called with the id of a session that is used after its DueAt, at most once a
// minute on this node unless the session changes; it must not wait.
func NewSessionVerifier(tickets *Tickets, sessions LoginSessions, vendor, origin string, due func(id string)) *SessionVerifier {
	return &SessionVerifier{
		tickets: tickets, sessions: sessions, vendor: vendor, origin: origin, due: due,
		number: verifierNumber("login session\x00" + vendor + "\x00" + origin),
	}
}

const (
	// dueAgain is how long a session that is due is used from memory.
	dueAgain = time.Minute
	// endedFor is how long it is remembered that a ticket has no session.
	endedFor = time.Hour
)

// SessionReader returns the reader of a ticket, from memory if the session was read before
// and did not change. The reader of a session that ended, and of a ticket that is made up, is
// anonymous: they log in. The error is ErrUnavailable.
//
// A session is kept in memory as a verified token is, in the record that has the reader's
// grants too, under a stamp with the version of its own stripe. To end it is to bump that
// stripe, on this node and by the change feed on all others.
func (p *Policy) SessionReader(ctx context.Context, v *SessionVerifier, ticket string, now time.Time) (Reader, error) {
	stripe, ok := stripeOf(ticket)
	if !ok {
		return Reader{}, nil
	}
	stamp := p.versions.shared.Load() + p.versions.stripe[stripe].Load()
	var space [tokenKeySize]byte
	key := p.fingerprints.Append(binary.LittleEndian.AppendUint32(space[:0], v.number<<1), ticket)
	if record := p.readers.Get(key, stamp, now.UnixMilli()); record.Exists() {
		p.counts.readerTokens.hits.Add()
		reader := readerRecord{p.readers, record}.reader()
		if reader.UserID == "" {
			return Reader{}, nil
		}
		return reader, nil
	}
	p.counts.readerTokens.misses.Add()
	id, ok := v.tickets.ID(ticket)
	if !ok {
		return Reader{}, nil
	}
	reader, until, err := v.read(ctx, id, now)
	if err != nil {
		return Reader{}, unavailable(err)
	}
	if value, ok := appendReaderRecord(nil, &reader, nil); ok {
		if record := p.readers.Set(key, value, stamp, until.UnixMilli()); record.Exists() && reader.UserID != "" {
			reader.record = readerRecord{p.readers, record}
		}
	}
	return reader, nil
}

// read reads a session, and returns until when its reader is known.
func (v *SessionVerifier) read(ctx context.Context, id string, now time.Time) (Reader, time.Time, error) {
	session, err := v.sessions.LoginSession(ctx, v.vendor, id)
	switch {
	case errors.Is(err, ErrNotFound), err == nil && (session.Origin != v.origin || !now.Before(session.EndsAt)):
		return Reader{}, now.Add(endedFor), nil
	case err != nil:
		return Reader{}, now, err
	}
	until := session.DueAt
	if !now.Before(until) {
		until = now.Add(dueAgain)
		v.due(id)
	}
	if session.EndsAt.Before(until) {
		until = session.EndsAt
	}
	return session.Reader, until, nil
}

// SessionStamp returns the version of the session of a ticket. It changes when the session
// does, also if the reader's other records do not.
func (p *Policy) SessionStamp(ticket string) uint64 {
	stripe, ok := stripeOf(ticket)
	if !ok {
		return 0
	}
	return p.versions.stripe[stripe].Load()
}
