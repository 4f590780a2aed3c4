package keys

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// waitFor polls until a condition holds, and fails the test if it never does.
func waitFor(t *testing.T, what string, so func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !so(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("timed out waiting: %s", what)
		}
	}
}

// Every call runs, and never more at a time than the limit.
func TestLimiterBoundsConcurrency(t *testing.T) {
	limiter := NewLimiter(2, 1000)
	var inside, most, passed atomic.Int64
	var all sync.WaitGroup
	for range 500 {
		all.Go(func() {
			if err := limiter.Do(func() error {
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
	if most.Load() > 2 || passed.Load() != 500 || limiter.Waiting() != 0 {
		t.Errorf("%d ran at a time, %d in all, %d wait", most.Load(), passed.Load(), limiter.Waiting())
	}
}

// A call beyond the queue gets ErrBusy at once; the queued calls run.
func TestLimiterBoundsQueue(t *testing.T) {
	limiter := NewLimiter(1, 3)
	enter, release := make(chan struct{}), make(chan struct{})
	passed := 0 // guarded by the limiter, which runs one at a time
	var all sync.WaitGroup
	all.Go(func() {
		_ = limiter.Do(func() error { close(enter); <-release; return nil })
	})
	<-enter
	for i := range 3 {
		all.Go(func() {
			_ = limiter.Do(func() error { passed++; return nil })
		})
		waitFor(t, "it waits", func() bool { return limiter.Waiting() == i+1 })
	}
	if err := limiter.Do(func() error { t.Error("ran"); return nil }); !errors.Is(err, ErrBusy) || !errors.Is(err, ErrKeysUnavailable) {
		t.Errorf("beyond the queue: %v", err)
	}
	close(release)
	all.Wait()
	if passed != 3 {
		t.Errorf("%d ran", passed)
	}
	own := errors.New("its own")
	if err := limiter.Do(func() error { return own }); !errors.Is(err, own) {
		t.Errorf("got %v", err)
	}
}

// A call that panics frees its slot.
func TestLimiterFreesSlotAfterPanic(t *testing.T) {
	limiter := NewLimiter(1, 0)
	func() {
		defer func() { _ = recover() }()
		_ = limiter.Do(func() error { panic("broken") })
	}()
	if err := limiter.Do(func() error { return nil }); err != nil {
		t.Error(err)
	}
}

// Every signature is verified within VerifyLimiter. Tokens that are refused for
// another reason do not wait for it.
func TestSignaturesWaitForLimiter(t *testing.T) {
	was := VerifyLimiter
	defer func() { VerifyLimiter = was }()
	VerifyLimiter = NewLimiter(1, 0)
	good, forged, retyped := forgeLink(linkPayload()), forge(stranger, linkHeader(acmeKey), linkPayload().String()), forge(acmeKey, `{"alg":"ES256"}`, linkPayload().String())
	err := VerifyLimiter.Do(func() error {
		for _, raw := range []string{good, forged} {
			if claims, err := verifyAcme(raw); !errors.Is(err, ErrBusy) || claims.ID != "" {
				t.Errorf("while another call has the slot: %+v, %v", claims, err)
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
