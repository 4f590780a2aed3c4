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

// blockVerification occupies the only slot of the verification limiter, without a
// queue, until release is called.
func blockVerification(t *testing.T) (release func()) {
	t.Helper()
	before := keys.VerifyLimiter
	t.Cleanup(func() { keys.VerifyLimiter = before })
	keys.VerifyLimiter = keys.NewLimiter(1, 0)
	started, held, done := make(chan struct{}), make(chan struct{}), make(chan error)
	go func() {
		done <- keys.VerifyLimiter.Do(func() error { close(started); <-held; return nil })
	}()
	<-started
	return func() { close(held); must(t, <-done) }
}

// A token that cannot be verified because the limiter is busy is neither valid nor
// invalid: the reader gets keys_unavailable, the statistics count `busy`, and the token
// is accepted once the limiter is free.
func TestBusyVerifierIsTemporary(t *testing.T) {
	env := newTestEnv(t)
	env.subscribe(0, 0)
	token, cached := env.readerToken(keys.ReaderClaims{UserID: "new"}), env.readerToken(keys.ReaderClaims{UserID: "cached"})
	link := linkEvidence(env.newLink(keys.LinkClaims{}))
	read := func(raw string) error {
		_, err := env.policy.Reader(context.Background(), env.verifier(), raw, env.now())
		return err
	}
	must(t, read(cached))
	release := blockVerification(t)
	must(t, read(cached)) // from the cache, without the limiter
	if err := read(token); !errors.Is(err, ErrUnavailable) || !errors.Is(err, keys.ErrBusy) {
		t.Errorf("a new token: %v", err)
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

// Many connections send forged tokens as fast as they are refused. All are refused, and
// the token of a new subscriber is accepted meanwhile.
func TestSubscriberIsVerifiedDuringAFlood(t *testing.T) {
	env := newTestEnv(t)
	good := env.readerToken(keys.ReaderClaims{UserID: "forged"})
	forged := good[:len(good)-10] + "AAAAAAAAAA"
	var refused atomic.Int64
	var stop atomic.Bool
	var group sync.WaitGroup
	for range 64 {
		group.Go(func() {
			for !stop.Load() {
				if _, err := env.policy.Reader(context.Background(), env.verifier(), forged, env.now()); !errors.Is(err, keys.ErrSignature) {
					t.Errorf("a forged token: %v", err)
					return
				}
				refused.Add(1)
			}
		})
	}
	for refused.Load() < 64 && !t.Failed() { // until the flood is under way
		time.Sleep(time.Millisecond)
	}
	for i := range 20 {
		user := fmt.Sprint("new-", i)
		reader, err := env.policy.Reader(context.Background(), env.verifier(), env.readerToken(keys.ReaderClaims{UserID: user}), env.now())
		if err != nil || reader.UserID != user {
			t.Errorf("the subscriber: %+v, %v", reader, err)
		}
	}
	stop.Store(true)
	group.Wait()
}
