package policy

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gatefold/gatefold/keys"
)

// fakeLogins are sessions in memory, which count how often they are read.
type fakeLogins struct {
	mu       sync.Mutex
	sessions map[string]LoginSession
	err      error
	reads    int
}

func (f *fakeLogins) LoginSession(_ context.Context, vendor, id string) (LoginSession, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.reads++
	session, ok := f.sessions[vendor+"/"+id]
	switch {
	case f.err != nil:
		return LoginSession{}, f.err
	case !ok:
		return LoginSession{}, ErrNotFound
	}
	return session, nil
}

// loginEnv is a testEnv whose site has sessions.
type loginEnv struct {
	*testEnv
	logins   *fakeLogins
	tickets  *Tickets
	verifier *SessionVerifier
	due      []string
}

const loginOrigin = "news\x00https://id.example.com\x00news"

func newLoginEnv(t testing.TB) *loginEnv {
	t.Helper()
	env := &loginEnv{testEnv: newTestEnv(t), logins: &fakeLogins{sessions: map[string]LoginSession{}}, tickets: NewTickets([32]byte{7}, "acme", "news")}
	env.verifier = NewSessionVerifier(env.tickets, env.logins, "acme", loginOrigin, func(id string) { env.due = append(env.due, id) })
	return env
}

// login begins a session of a user, and returns its ticket and id.
func (env *loginEnv) login(user string) (ticket, id string) {
	ticket, id = env.tickets.New()
	now := env.now()
	env.logins.sessions["acme/"+id] = LoginSession{
		Reader: Reader{UserID: user, Email: user + "@example.com"}, Origin: loginOrigin, EndsAt: now.Add(30 * 24 * time.Hour), DueAt: now.Add(24 * time.Hour),
	}
	return ticket, id
}

// end ends a session as a write of the store does.
func (env *loginEnv) end(id string) {
	delete(env.logins.sessions, "acme/"+id)
	var change Invalidation
	change.Add(KindSession, "acme", id)
	env.policy.versions.Bump(change)
}

// user returns the user of a ticket.
func (env *loginEnv) user(ticket string) string {
	env.t.Helper()
	reader, err := env.policy.SessionReader(context.Background(), env.verifier, ticket, env.now())
	if err != nil || reader.Rejected || reader.Unknown {
		env.t.Fatalf("the reader is %+v, %v", reader, err)
	}
	return reader.UserID
}

// A session is read once, and known from memory until it ends: at once when it is ended, at
// its declared end otherwise. Who has no session is anonymous.
func TestSessionReader(t *testing.T) {
	env := newLoginEnv(t)
	ticket, id := env.login("ann")
	for range 3 {
		if user := env.user(ticket); user != "ann" {
			t.Fatalf("the user is %q", user)
		}
	}
	if env.logins.reads != 1 {
		t.Errorf("the session was read %d times", env.logins.reads)
	}
	before := env.policy.SessionStamp(ticket)
	env.end(id)
	for range 3 {
		if user := env.user(ticket); user != "" {
			t.Fatalf("an ended session is that of %q", user)
		}
	}
	if env.logins.reads != 2 || env.policy.SessionStamp(ticket) == before {
		t.Errorf("the session was read %d times, and its stamp was %d", env.logins.reads, before)
	}
	ticket, _ = env.login("bob")
	env.advance(30*24*time.Hour - time.Second)
	if user := env.user(ticket); user != "bob" {
		t.Errorf("before its end the session is that of %q", user)
	}
	if env.advance(time.Second); env.user(ticket) != "" {
		t.Error("the session goes on after its end")
	}
}

// The grants of a reader are found with their session, and change at once.
func TestSessionReaderGrants(t *testing.T) {
	env := newLoginEnv(t)
	ticket, _ := env.login("ann")
	decide := func() Reason {
		reader, err := env.policy.SessionReader(context.Background(), env.verifier, ticket, env.now())
		must(t, err)
		decision := env.policy.Decide(context.Background(), &Request{Site: env.site, Method: "GET", EscapedPath: "/gold", Reader: reader, Now: env.now()})
		return decision.Reason
	}
	if reason := decide(); reason != ReasonNotEntitled {
		t.Fatalf("without a grant: %v", reason)
	}
	env.records.grant(fakeGrant{Grant: Grant{ID: "g1", SKU: "gold", Active: true}, userID: "ann"})
	for range 3 {
		if reason := decide(); reason != ReasonEntitled {
			t.Fatalf("with a grant: %v", reason)
		}
	}
	if env.records.revoke("g1"); decide() != ReasonNotEntitled {
		t.Error("the revoked grant counts")
	}
}

// The session of another site, issuer or vendor, and a ticket under another key, are no
// session here.
func TestSessionOfOthers(t *testing.T) {
	env := newLoginEnv(t)
	ticket, id := env.login("ann")
	session := env.logins.sessions["acme/"+id]
	session.Origin = "other\x00https://id.example.com\x00news"
	env.logins.sessions["acme/"+id] = session
	if user := env.user(ticket); user != "" {
		t.Errorf("the session of another site is that of %q", user)
	}
	for name, tickets := range map[string]*Tickets{
		"site": NewTickets([32]byte{7}, "acme", "other"), "vendor": NewTickets([32]byte{7}, "acm", "enews"), "key": NewTickets([32]byte{8}, "acme", "news"),
	} {
		ticket, _ := tickets.New()
		if _, ok := env.tickets.ID(ticket); ok {
			t.Errorf("the ticket of another %s opens", name)
		}
	}
}

// A made-up ticket costs no read of the store, in whatever form it comes.
func TestMadeUpTickets(t *testing.T) {
	env := newLoginEnv(t)
	ticket, id := env.login("ann")
	if got, ok := env.tickets.ID(ticket); !ok || got != id || len(ticket) != TicketSize {
		t.Fatalf("the ticket %q is of %q", ticket, got)
	}
	made := []string{"", "x", strings.Repeat("A", TicketSize), strings.Repeat("=", TicketSize), ticket + "A", ticket[1:], strings.Repeat("\xff", TicketSize)}
	for i := range len(ticket) { // each digit changed
		digit := byte('A')
		if ticket[i] == digit {
			digit = 'B'
		}
		made = append(made, ticket[:i]+string(digit)+ticket[i+1:])
	}
	for _, ticket := range made {
		if user := env.user(ticket); user != "" {
			t.Errorf("%q is the ticket of %q", ticket, user)
		}
	}
	if env.logins.reads != 0 {
		t.Errorf("%d tickets were looked up in the store", env.logins.reads)
	}
}

// Without a store it is not known who the reader is.
func TestSessionStoreDown(t *testing.T) {
	env := newLoginEnv(t)
	ticket, _ := env.login("ann")
	env.logins.err = errors.New("down")
	if _, err := env.policy.SessionReader(context.Background(), env.verifier, ticket, env.now()); !errors.Is(err, ErrUnavailable) {
		t.Errorf("the error is %v", err)
	}
	if env.logins.err = nil; env.user(ticket) != "ann" {
		t.Error("the failure is remembered")
	}
}

// A session that is due is told once a minute, and goes on meanwhile.
func TestSessionDue(t *testing.T) {
	env := newLoginEnv(t)
	ticket, id := env.login("ann")
	env.user(ticket)
	env.advance(24 * time.Hour)
	for range 3 {
		env.user(ticket)
	}
	if len(env.due) != 1 || env.due[0] != id {
		t.Fatalf("due are %q", env.due)
	}
	if env.advance(time.Minute); env.user(ticket) != "ann" || len(env.due) != 2 {
		t.Errorf("due are %q", env.due)
	}
}

// BenchmarkSessionReader compares a session with a token.
func BenchmarkSessionReader(b *testing.B) {
	env := newLoginEnv(b)
	ticket, _ := env.login("ann")
	raw, verifier := env.readerToken(keys.ReaderClaims{UserID: "ann"}), env.testEnv.verifier()
	ctx, now := context.Background(), env.now()
	b.Run("token", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := env.policy.Reader(ctx, verifier, raw, now); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("session", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := env.policy.SessionReader(ctx, env.verifier, ticket, now); err != nil {
				b.Fatal(err)
			}
		}
	})
}
