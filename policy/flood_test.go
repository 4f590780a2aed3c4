package policy

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatefold/gatefold/keys"
)

// jam takes the one place at which a signature is verified, and leaves none to wait
// for it, until the function is called that it returns.
func blockVerification(t *testing.T) (release func()) {
	t.Helper()
	was := keys.VerifyLimiter
	t.Cleanup(func() { keys.VerifyLimiter = was })
	keys.VerifyLimiter = keys.NewLimiter(1, 0)
	passing, held, over := make(chan struct{}), make(chan struct{}), make(chan error)
	go func() {
		over <- keys.VerifyLimiter.Do(func() error { close(passing); <-held; return nil })
	}()
	<-passing
	return func() { close(held); must(t, <-over) }
}

// TestAJamRefusesNobodyForGood: a token that could not be looked at is neither good
// nor bad. Its reader is told that the gate cannot say, the operator sees why, and a
// moment later the same token is good.
func TestBusyVerifierIsTemporary(t *testing.T) {
	env := newTestEnv(t)
	env.subscribe(0, 0)
	token, known := env.readerToken(keys.ReaderClaims{UserID: "new"}), env.readerToken(keys.ReaderClaims{UserID: "known"})
	link := linkEvidence(env.newLink(keys.LinkClaims{}))
	read := func(raw string) error {
		_, err := env.policy.Reader(context.Background(), env.verifier(), raw, env.now())
		return err
	}
	must(t, read(known))
	release := blockVerification(t)
	must(t, read(known)) // from memory, past the line
	if err := read(token); !errors.Is(err, ErrUnavailable) || !errors.Is(err, keys.ErrBusy) {
		t.Errorf("a token that nobody has seen: %v", err)
	}
	env.want(testRequest{link: link}, ReasonKeysUnavailable)
	env.want(testRequest{path: "/articles/a1", reader: ann}, ReasonEntitled)
	release()
	must(t, read(token))
	env.want(testRequest{link: link}, ReasonSignedLink)
	counted := make(map[string]uint64)
	for _, v := range env.policy.Stats().Verifications {
		counted[v.Kind+" "+v.Result] = v.Count
	}
	for result, want := range map[string]uint64{"reader busy": 1, "link busy": 1, "reader no_keys": 0, "link no_keys": 0, "reader ok": 2} {
		if counted[result] != want {
			t.Errorf("%s: counted %d, want %d", result, counted[result], want)
		}
	}
}

// TestASubscriberGetsInDuringAFlood: somebody sends forged tokens from many
// connections as fast as they are refused. None of them gets in, and a subscriber
// whose token nobody has seen does.
func TestSubscriberIsVerifiedDuringAFlood(t *testing.T) {
	env := newTestEnv(t)
	good := env.readerToken(keys.ReaderClaims{UserID: "forged"})
	forged := good[:len(good)-10] + "AAAAAAAAAA"
	var refused atomic.Int64
	var over atomic.Bool
	var all sync.WaitGroup
	for range 64 {
		all.Go(func() {
			for !over.Load() {
				if _, err := env.policy.Reader(context.Background(), env.verifier(), forged, env.now()); !errors.Is(err, keys.ErrSignature) {
					t.Errorf("a forged token: %v", err)
					return
				}
				refused.Add(1)
			}
		})
	}
	for refused.Load() < 64 && !t.Failed() { // until it is a flood
		time.Sleep(time.Millisecond)
	}
	for i := range 20 {
		user := fmt.Sprint("new-", i)
		reader, err := env.policy.Reader(context.Background(), env.verifier(), env.readerToken(keys.ReaderClaims{UserID: user}), env.now())
		if err != nil || reader.UserID != user {
			t.Errorf("the subscriber is %+v, %v", reader, err)
		}
	}
	over.Store(true)
	all.Wait()
}
