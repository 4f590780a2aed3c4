package keys

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// waitFor waits until something is so.
func waitFor(t *testing.T, what string, so func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !so(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it never came that %s", what)
		}
	}
}

// However many come, only so many pass at a time, and each gets its turn.
func TestFewPassAtATime(t *testing.T) {
	turnstile := NewLimiter(2, 1000)
	var inside, most, passed atomic.Int64
	var all sync.WaitGroup
	for range 500 {
		all.Go(func() {
			if err := turnstile.Do(func() error {
				now := inside.Add(1)
				defer inside.Add(-1)
				for seen := most.Load(); now > seen && !most.CompareAndSwap(seen, now); seen = most.Load() {
				}
				passed.Add(1)
				return nil
			}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if most.Load() > 2 || passed.Load() != 500 || turnstile.Waiting() != 0 {
		t.Errorf("%d passed at a time, %d in all, %d wait", most.Load(), passed.Load(), turnstile.Waiting())
	}
}

// Who comes when too many wait is told so at once; those who wait pass.
func TestTheLineIsBounded(t *testing.T) {
	turnstile := NewLimiter(1, 3)
	enter, release := make(chan struct{}), make(chan struct{})
	passed := 0 // by one at a time
	var all sync.WaitGroup
	all.Go(func() {
		_ = turnstile.Do(func() error { close(enter); <-release; return nil })
	})
	<-enter
	for i := range 3 {
		all.Go(func() {
			_ = turnstile.Do(func() error { passed++; return nil })
		})
		waitFor(t, "it waits", func() bool { return turnstile.Waiting() == i+1 })
	}
	if err := turnstile.Do(func() error { t.Error("passed"); return nil }); !errors.Is(err, ErrBusy) || !errors.Is(err, ErrKeysUnavailable) {
		t.Errorf("the one too many: %v", err)
	}
	close(release)
	all.Wait()
	if passed != 3 {
		t.Errorf("%d passed", passed)
	}
	own := errors.New("its own")
	if err := turnstile.Do(func() error { return own }); !errors.Is(err, own) {
		t.Errorf("got %v", err)
	}
}

// A verification that ends in a panic does not keep its place.
func TestAPanicLeavesTheTurnstile(t *testing.T) {
	turnstile := NewLimiter(1, 0)
	func() {
		defer func() { _ = recover() }()
		_ = turnstile.Do(func() error { panic("broken") })
	}()
	if err := turnstile.Do(func() error { return nil }); err != nil {
		t.Error(err)
	}
}

// Every signature goes through the one turnstile, and what is refused for any
// other reason does not wait there.
func TestSignaturesWaitForTheirTurn(t *testing.T) {
	was := VerifyLimiter
	defer func() { VerifyLimiter = was }()
	VerifyLimiter = NewLimiter(1, 0)
	good, forged, retyped := forgeLink(linkPayload()), forge(stranger, linkHeader(acmeKey), linkPayload().String()), forge(acmeKey, `{"alg":"ES256"}`, linkPayload().String())
	err := VerifyLimiter.Do(func() error {
		for _, raw := range []string{good, forged} {
			if claims, err := verifyAcme(raw); !errors.Is(err, ErrBusy) || claims.ID != "" {
				t.Errorf("while another one passes: %+v, %v", claims, err)
			}
		}
		_, err := verifyAcme(retyped)
		return err
	})
	wantError(t, err, ErrType)
	_, err = verifyAcme(good)
	wantError(t, err, nil)
	_, err = verifyAcme(forged)
	wantError(t, err, ErrSignature)
}
