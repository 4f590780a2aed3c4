package store_test

import (
	"context"
	"errors"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store"
	"github.com/gatefold/gatefold/policy/store/engine"
)

var testTickets = policy.NewTickets([32]byte{1}, vendor, "news")

const (
	loginIssuer = "https://id.example.com"
	idle        = 30 * 24 * time.Hour
)

// login makes a session of a user, who has the session sid at the issuer, and returns its id.
func (b *fixture) login(user, sid, replaces string, most int) string {
	b.Helper()
	b.clock = b.clock.Add(time.Second)
	_, id := testTickets.New()
	b.ok(b.CreateLoginSession(b.Context(), vendor, loginOf(b, id, user, sid), replaces, most))
	return id
}

func loginOf(b *fixture, id, user, sid string) store.LoginSession {
	return store.LoginSession{
		ID: id, Site: "news", Issuer: loginIssuer, ClientID: "news", Subject: "s-" + user, SID: sid, UserID: user,
		Email: user + "@Example.com", EndsAt: b.now().Add(400 * 24 * time.Hour), IdleSeconds: int64(idle / time.Second),
	}
}

// loggedIn lists the ids of a user's sessions.
func (b *fixture) loggedIn(user string) string {
	b.Helper()
	sessions, err := b.LoginSessionsOf(b.Context(), vendor, user)
	b.ok(err)
	ids := make([]string, len(sessions))
	for i, session := range sessions {
		ids[i] = session.ID
	}
	return strings.Join(ids, " ")
}

// onBothEngines runs a test over an embedded database and over Redis.
func onBothEngines(t *testing.T, test func(*fixture)) {
	t.Helper()
	t.Run("bolt", func(t *testing.T) { test(newFixture(t)) })
	t.Run("redis", func(t *testing.T) { test(onRedis(t)) })
}

// A reader has at most as many sessions as are allowed, the newest; a login in a browser that
// is logged in replaces its session; one and all of a reader's sessions can be ended.
func TestLoginSessions(t *testing.T) {
	onBothEngines(t, func(b *fixture) {
		first, second := b.login("ann", "", "", 3), b.login("ann", "", "", 3)
		third, other := b.login("ann", "", "", 3), b.login("bob", "", "", 3)
		fourth := b.login("ann", "", "", 3)
		if want := second + " " + third + " " + fourth; b.loggedIn("ann") != want {
			b.Fatalf("sessions are %s, want %s", b.loggedIn("ann"), want)
		}
		_, err := b.LoginSession(b.Context(), vendor, first)
		b.is(err, policy.ErrNotFound)
		fifth := b.login("ann", "", third, 3)
		if want := second + " " + fourth + " " + fifth; b.loggedIn("ann") != want {
			b.Fatalf("sessions are %s, want %s", b.loggedIn("ann"), want)
		}
		read, err := b.LoginSession(b.Context(), vendor, fifth)
		b.ok(err)
		if read.Reader.UserID != "ann" || read.Reader.Email != "ann@example.com" || read.Origin != "news\x00"+loginIssuer+"\x00news" {
			b.Errorf("the session is %+v", read)
		}
		b.ok(b.EndLoginSession(b.Context(), vendor, fourth))
		b.is(b.EndLoginSession(b.Context(), vendor, fourth), store.ErrNotFound)
		b.is(b.EndLoginSession(b.Context(), vendor, "no id"), store.ErrNotFound)
		ended, err := b.EndLoginSessionsOf(b.Context(), vendor, "ann")
		b.ok(err)
		if ended != 2 || b.loggedIn("ann") != "" || b.loggedIn("bob") != other {
			b.Errorf("%d ended, left are %q and %q", ended, b.loggedIn("ann"), b.loggedIn("bob"))
		}
		b.names(b.CreateLoginSession(b.Context(), vendor, loginOf(b, first, "", ""), "", 3), "sub")
	})
}

// A session ends when it was not used for its idle time, and at its declared end however it is
// used. Its use is written once a day. Nothing of it is left after its end.
func TestLoginSessionEnds(t *testing.T) {
	onBothEngines(t, func(b *fixture) {
		id, began := b.login("ann", "sid", "", 3), b.clock
		touch := func() time.Time {
			session, renew, err := b.TouchLoginSession(b.Context(), vendor, id, time.Minute)
			if err != nil || renew {
				b.Fatalf("renew is %v, %v", renew, err)
			}
			return session.SeenAt
		}
		b.clock = began.Add(23 * time.Hour)
		if seen := touch(); !seen.Equal(began) {
			b.Errorf("within a day it is written that the session was used at %v", seen)
		}
		for b.clock.Before(began.Add(370 * 24 * time.Hour)) {
			b.clock = b.clock.Add(25 * 24 * time.Hour)
			if seen := touch(); !seen.Equal(b.clock) {
				b.Fatalf("the session was used at %v, not %v", b.clock, seen)
			}
		}
		b.clock = began.Add(400 * 24 * time.Hour)
		_, err := b.LoginSession(b.Context(), vendor, id)
		b.is(err, policy.ErrNotFound)
		_, _, err = b.TouchLoginSession(b.Context(), vendor, id, time.Minute)
		b.is(err, store.ErrNotFound)

		b.login("idle", "sid", "", 3)
		b.clock = b.clock.Add(idle)
		if got := b.loggedIn("idle"); got != "" {
			b.Errorf("an unused session goes on: %s", got)
		}
		b.clock = b.clock.Add(time.Second)
		_, err = b.Sweep(b.Context())
		b.ok(err)
		b.ok(b.records.View(b.Context(), vendor, func(snapshot engine.Snapshot) error {
			for _, prefix := range []string{"$", "&"} {
				for entry, err := range snapshot.Scan([]byte(prefix), nil) {
					b.Errorf("%q is left, %v", entry.Key, err)
				}
			}
			return nil
		}))
	})
}

// An issuer's logout ends the sessions of its own session, or all of a reader with this client;
// a token of it counts once.
func TestIssuerLogout(t *testing.T) {
	onBothEngines(t, func(b *fixture) {
		phone, laptop, other := b.login("ann", "s1", "", 9), b.login("ann", "s2", "", 9), b.login("bob", "s3", "", 9)
		end := func(jti, sid, subject, client string) (int, error) {
			return b.EndIssuerSessions(b.Context(), vendor, store.IssuerLogout{
				Issuer: loginIssuer, ClientID: client, SID: sid, Subject: subject, TokenID: jti, ExpiresAt: b.now().Add(time.Hour),
			})
		}
		for jti, logout := range map[string][3]string{
			"a": {"s1", "", "another client"}, "b": {"", "s-ann", "another client"}, "c": {"unknown", "", "news"}, "d": {"s1", "s-bob", "news"},
			"e": {"", "s-an", "news"}, "f": {"s", "", "news"},
		} {
			if ended, err := end(jti, logout[0], logout[1], logout[2]); ended != 0 || err != nil {
				b.Errorf("%q ends %d, %v", logout, ended, err)
			}
		}
		if ended, err := end("1", "s1", "s-ann", "news"); ended != 1 || err != nil || b.loggedIn("ann") != laptop {
			b.Fatalf("%d ended, %v, left are %s of %s", ended, err, b.loggedIn("ann"), phone)
		}
		b.login("ann", "s1", "", 9)
		_, err := end("1", "s1", "s-ann", "news")
		b.is(err, store.ErrLogoutRepeated)
		if ended, err := end("2", "", "s-ann", "news"); ended != 2 || err != nil || b.loggedIn("ann") != "" || b.loggedIn("bob") != other {
			b.Errorf("%d ended, %v, left are %q and %q", ended, err, b.loggedIn("ann"), b.loggedIn("bob"))
		}
	})
}

// The issuer's logout arrives while a login is under way, between the login at the issuer and
// the session here: the login does not become a session that no logout ends. One that begins
// afterwards does, and so does one of another reader.
func TestLogoutDuringLogin(t *testing.T) {
	onBothEngines(t, func(b *fixture) {
		create := func(user, sid string, began time.Time) error {
			_, id := testTickets.New()
			session := loginOf(b, id, user, sid)
			session.BeganAt = began
			return b.CreateLoginSession(b.Context(), vendor, session, "", 9)
		}
		for jti, logout := range map[string][2]string{"1": {"s1", ""}, "2": {"", "s-ann"}, "3": {"s1", "s-ann"}} {
			began := b.clock
			b.clock = b.clock.Add(time.Second)
			_, err := b.EndIssuerSessions(b.Context(), vendor, store.IssuerLogout{
				Issuer: loginIssuer, ClientID: "news", SID: logout[0], Subject: logout[1], TokenID: jti, ExpiresAt: b.now().Add(time.Hour),
			})
			b.ok(err)
			b.clock = b.clock.Add(time.Second)
			b.is(create("ann", "s1", began), store.ErrLoginEnded)
			b.ok(create("bob", "s2", began))
			if b.loggedIn("ann") != "" {
				b.Errorf("%q: a session is left", logout)
			}
			b.ok(create("ann", "s1", b.clock))
			b.ok(create("ann", "s1", b.clock)) // a login keeps what it read of the logout
			b.is(create("ann", "s1", began), store.ErrLoginEnded)
			if _, err := b.EndLoginSessionsOf(b.Context(), vendor, "ann"); err != nil {
				b.Fatal(err)
			}
		}
		// They meet: of each pair the session is ended or never begins.
		for round := range 20 {
			began := b.clock
			b.clock = b.clock.Add(time.Second)
			var both sync.WaitGroup
			both.Go(func() {
				if err := create("eve", "s9", began); err != nil && !errors.Is(err, store.ErrLoginEnded) {
					b.Error(err)
				}
			})
			both.Go(func() {
				_, err := b.EndIssuerSessions(context.Background(), vendor, store.IssuerLogout{
					Issuer: loginIssuer, ClientID: "news", SID: "s9", TokenID: "race" + string(rune('a'+round)), ExpiresAt: b.now().Add(time.Hour),
				})
				if err != nil {
					b.Error(err)
				}
			})
			both.Wait()
			if left := b.loggedIn("eve"); left != "" {
				b.Fatalf("round %d: the session %s is left", round, left)
			}
		}
	})
}

// Of many requests on several nodes one renews the tokens of a session; another may once its
// time is over, and then the first one's result does not count. Nothing makes a session that
// of another reader.
func TestRenewOnce(t *testing.T) {
	onBothEngines(t, func(b *fixture) {
		b.clock = b.clock.Add(time.Second)
		_, id := testTickets.New()
		session := loginOf(b, id, "ann", "")
		session.Tokens, session.RenewAt = []byte("sealed"), b.clock
		b.ok(b.CreateLoginSession(b.Context(), vendor, session, "", 3))
		var mu sync.Mutex
		var leases []time.Time
		race := func() {
			var all sync.WaitGroup
			for range 20 {
				all.Go(func() {
					touched, renew, err := b.TouchLoginSession(context.Background(), vendor, id, time.Minute)
					if err != nil && !errors.Is(err, store.ErrConflict) {
						b.Error(err)
					}
					if mu.Lock(); renew && err == nil {
						leases = append(leases, touched.RenewingUntil)
					}
					mu.Unlock()
				})
			}
			all.Wait()
		}
		race()
		if len(leases) != 1 {
			b.Fatalf("%d renew", len(leases))
		}
		b.clock = b.clock.Add(time.Minute)
		if race(); len(leases) != 2 {
			b.Fatalf("%d renew after a minute", len(leases))
		}
		b.is(b.RenewLoginSession(b.Context(), vendor, id, leases[0], func(*store.LoginSession) {}), store.ErrConflict)
		b.is(b.EndRenewedSession(b.Context(), vendor, id, leases[0]), store.ErrConflict)
		b.ok(b.RenewLoginSession(b.Context(), vendor, id, leases[1], func(s *store.LoginSession) {
			s.Tokens, s.Email, s.RenewAt, s.UserID = []byte("renewed"), "new@example.com", b.clock.Add(time.Hour), "eve"
		}))
		read, err := b.ReadLoginSession(b.Context(), vendor, id)
		b.ok(err)
		if string(read.Tokens) != "renewed" || read.Email != "new@example.com" || read.UserID != "ann" {
			b.Errorf("the renewed session is %+v", read)
		}
		if race(); len(leases) != 2 {
			b.Error("the session is renewed again")
		}
	})
}

// Erasing a person ends their sessions, and an export has them, without the tokens.
func TestEraseLogin(t *testing.T) {
	b := newFixture(t)
	id := b.login("ann", "", "", 3)
	other := b.login("bob", "", "", 3)
	var exported []string
	b.ok(b.ExportPerson(b.Context(), vendor, "ann", nil, func(r store.PersonalRecord) error {
		exported = append(exported, r.Kind+" "+strings.Join(r.ID, "/"))
		if strings.Contains(string(r.Record), "tokens") {
			b.Errorf("exported are %s", r.Record)
		}
		return nil
	}))
	if got := strings.Join(exported, ", "); got != "sessions "+id {
		b.Errorf("exported are %s", got)
	}
	if _, err := b.Erase(b.Context(), vendor, "ann"); err != nil {
		b.Fatal(err)
	}
	if b.loggedIn("ann") != "" || b.loggedIn("bob") != other {
		b.Errorf("left are %q and %q", b.loggedIn("ann"), b.loggedIn("bob"))
	}
	b.ok(b.records.View(b.Context(), vendor, func(snapshot engine.Snapshot) error {
		for entry, err := range snapshot.Scan([]byte("&"), nil) {
			if strings.Contains(string(entry.Key), "ann") || err != nil {
				b.Errorf("%q is left, %v", entry.Key, err)
			}
		}
		return nil
	}))
}

// A login during an erasure would be of a person who is forgotten: it is refused until the
// erasure is finished.
func TestLoginDuringErasure(t *testing.T) {
	b := newFixture(t)
	b.login("ann", "", "", 3)
	_, err := b.records.Commit(b.Context(), vendor, &engine.Batch{Puts: []engine.Put{{Key: []byte("deann"), Value: []byte(`{"id":"ann"}`)}}})
	b.ok(err)
	_, id := testTickets.New()
	b.is(b.CreateLoginSession(b.Context(), vendor, loginOf(b, id, "ann", ""), "", 3), store.ErrReserved)
	if _, err := b.Erase(b.Context(), vendor, "ann"); err != nil {
		b.Fatal(err)
	}
	if b.loggedIn("ann") != "" {
		b.Error("a session is left")
	}
	b.login("ann", "", "", 3)
}

// A site had many sessions. After their end nothing of them is left, however they ended, on
// either engine. GATEFOLD_SESSIONS sets how many.
func TestManyLoginSessionsLeaveNothing(t *testing.T) {
	sessions := 600
	if text := os.Getenv("GATEFOLD_SESSIONS"); text != "" {
		var err error
		if sessions, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	onBothEngines(t, func(b *fixture) {
		var all sync.WaitGroup
		began := time.Now()
		for g := range 32 {
			all.Go(func() {
				for i := g; i < sessions; i += 32 {
					_, id := testTickets.New()
					user := "reader-" + strconv.Itoa(i)
					if err := b.CreateLoginSession(b.Context(), vendor, loginOf(b, id, user, "sid-"+user), "", 3); err != nil {
						b.Errorf("session %d: %v", i, err)
						return
					}
				}
			})
		}
		all.Wait()
		b.Logf("%d sessions begin in %v", sessions, time.Since(began).Round(time.Millisecond))
		b.clock = b.clock.Add(idle + time.Second)
		began = time.Now()
		for {
			removed, err := b.Sweep(b.Context())
			b.ok(err)
			if removed == 0 {
				break
			}
		}
		b.Logf("they are swept in %v", time.Since(began).Round(time.Millisecond))
		b.ok(b.records.View(b.Context(), vendor, func(snapshot engine.Snapshot) error {
			for _, prefix := range []string{"$", "&"} {
				for entry, err := range snapshot.Scan([]byte(prefix), nil) {
					b.Fatalf("%q is left, %v", entry.Key, err)
				}
			}
			return nil
		}))
	})
}

// It is kept for as long as tokens are renewed that all sessions of a reader ended: by support,
// by a logout that names the reader, and by an erasure; not by the end of one session.
func TestTokensEnd(t *testing.T) {
	onBothEngines(t, func(b *fixture) {
		ended := func(user string) bool {
			t.Helper()
			at, err := b.TokensEndedAt(b.Context(), vendor, user)
			b.ok(err)
			return !at.IsZero() && at.Sub(b.now()).Abs() < time.Minute
		}
		b.ok(b.EndLoginSession(b.Context(), vendor, b.login("ann", "", "", 3)))
		if ended("ann") {
			t.Error("one session is all")
		}
		_, err := b.EndLoginSessionsOf(b.Context(), vendor, "ann")
		b.ok(err)
		_, err = b.Erase(b.Context(), vendor, "eve")
		b.ok(err)
		for user, sid := range map[string]string{"bob": "sid-bob", "kim": ""} {
			b.login(user, "sid-"+user, "", 3)
			_, err = b.EndIssuerSessions(b.Context(), vendor, store.IssuerLogout{
				Issuer: loginIssuer, ClientID: "news", SID: sid, Subject: "s-" + user, TokenID: "token of " + user, ExpiresAt: b.now().Add(time.Minute),
			})
			b.ok(err)
		}
		if !ended("ann") || !ended("eve") || !ended("kim") || ended("bob") {
			t.Errorf("ended: ann %v, eve %v, kim %v, bob %v", ended("ann"), ended("eve"), ended("kim"), ended("bob"))
		}
		if left := b.holding("eve"); left != "" {
			t.Errorf("after the erasure there is %s", left)
		}
	})
}
