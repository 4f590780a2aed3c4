package store_test

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store"
)

func TestForwardingOfASite(t *testing.T) {
	b := newFixture(t)
	if got, err := b.Forwarding(t.Context(), vendor, "news"); err != nil || got != (policy.Forwarding{}) {
		t.Errorf("of a site without settings: %v, %v", got, err)
	}
	set := func(site string, want policy.Forwarding) error {
		_, err := b.ChangeForwarding(t.Context(), vendor, site, func(f *policy.Forwarding) error { *f = want; return nil })
		return err
	}
	news := policy.Forwarding{EntryPoint: "https://app.example.com/base", Backend: policy.SessionAssertion}
	stamp := b.versions.Shared()
	b.ok(set("news", news))
	if b.versions.Shared() == stamp {
		t.Error("nothing became stale")
	}
	b.ok(set("news-2", policy.Forwarding{Backend: policy.SessionCookie}))
	if got, err := b.Forwarding(t.Context(), vendor, "news"); err != nil || got != news {
		t.Errorf("%v, %v", got, err)
	}
	for _, backend := range []policy.SessionBackend{-1, 4, 99} {
		b.names(set("news", policy.Forwarding{Backend: backend}), "session_backend")
	}
	for _, bad := range []string{
		"app.example.com", "/app", "ftp://app.example.com", "http://", "https://:443/", "http://u:p@app.example.com/", "http://app.example.com/?a=1",
		"http://app.example.com/?", "http://app.example.com/#a", "http://app.example.com/a/../b", "http://app.example.com/a%2fb", "http://app.example.com/\x00",
		"http://exa mple.com/", "gopher://x", "javascript:alert(1)", "http://" + strings.Repeat("a", 260) + ".com",
	} {
		b.names(set("news", policy.Forwarding{EntryPoint: bad}), "entry_point")
	}
	refused := errors.New("no")
	_, err := b.ChangeForwarding(t.Context(), vendor, "news", func(*policy.Forwarding) error { return refused })
	b.is(err, refused)
	// The settings change concurrently.
	_, err = b.ChangeForwarding(t.Context(), vendor, "news", func(f *policy.Forwarding) error {
		f.Backend = policy.SessionJWT
		return set("news", news)
	})
	if err != nil { // the same settings: nothing to lose
		b.is(err, store.ErrConflict)
	}
	_, err = b.ChangeForwarding(t.Context(), vendor, "news", func(f *policy.Forwarding) error {
		f.Backend = policy.SessionJWT
		return set("news", policy.Forwarding{Backend: policy.SessionCookie})
	})
	b.is(err, store.ErrConflict)
}

func TestSessionKeysRotate(t *testing.T) {
	b := newFixture(t)
	sessions := store.NewSessions(store.NewKeyring(b.Store, sealer(t, secret)))
	_, _, err := sessions.SessionKey(t.Context(), vendor, "news")
	b.is(err, store.ErrNoSessionKey)
	b.is(sessions.SwitchSessionKey(t.Context(), b.Writer, vendor, "news"), store.ErrNotFound)
	signing := func() (string, time.Time) {
		t.Helper()
		key, replaced, err := sessions.SessionKey(t.Context(), vendor, "news")
		b.ok(err)
		return key.Reveal(), replaced
	}
	rotate := func(overlap time.Duration) string {
		t.Helper()
		key, err := sessions.RotateSessionKey(t.Context(), b.Writer, vendor, "news", overlap)
		b.ok(err)
		return key.Reveal()
	}
	b.ok(sessions.EnsureSessionKey(t.Context(), b.Writer, vendor, "news"))
	unseen, _ := signing()
	b.ok(sessions.EnsureSessionKey(t.Context(), b.Writer, vendor, "news"))
	if again, _ := signing(); again != unseen {
		t.Error("there was a key, and another one was made")
	}
	first := rotate(time.Hour)
	if key, replaced := signing(); key != first || key == unseen || !replaced.IsZero() {
		t.Error("a key that was never returned signs after the rotation")
	}
	waits := rotate(time.Hour)
	if key, replaced := signing(); key != first || !replaced.Equal(b.clock.Add(time.Hour)) {
		t.Errorf("the new key is used at once, or at %v", replaced)
	}
	second := rotate(2 * time.Hour) // takes the place of the one that waited
	b.clock = b.clock.Add(time.Hour)
	if key, _ := signing(); key != first {
		t.Error("the key that was dropped is used, or the next one too early")
	}
	b.clock = b.clock.Add(time.Hour)
	if key, _ := signing(); key != second || key == waits {
		t.Error("the overlap is over, and the new key is not used")
	}
	list, current, err := sessions.SessionKeys(t.Context(), vendor, "news")
	if err != nil || len(list) != 2 || current != 1 || list[0].ID == list[1].ID {
		t.Errorf("%v %d %v", list, current, err)
	}
	_, err = sessions.RotateSessionKey(t.Context(), b.Writer, vendor, "news", -time.Second)
	b.names(err, "overlap")
	_, err = sessions.RotateSessionKey(t.Context(), b.Writer, vendor, "news", store.MaxOverlap+1)
	b.names(err, "overlap")

	// At rest the keys are sealed, each to its place, under this secret alone.
	data, err := os.ReadFile(b.file)
	b.ok(err)
	for _, key := range []string{unseen, first, second} {
		if bytes.Contains(data, []byte(key)) {
			t.Error("the database contains a key in plain text")
		}
	}
	other := store.NewSessions(store.NewKeyring(b.Store, sealer(t, "quite another secret")))
	_, _, err = other.SessionKey(t.Context(), vendor, "news")
	b.is(err, keys.ErrSealed)
	if strings.Contains(err.Error(), second) {
		t.Error("the error holds the key")
	}
}
