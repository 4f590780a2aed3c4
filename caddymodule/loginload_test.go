package caddymodule

import (
	"maps"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatefold/gatefold/keys/keystest"
)

// hang makes the provider count requests to a path, and answer none until release is called;
// then each fails.
func (p *testProvider) hang(path string) (requests *atomic.Int32, release func()) {
	requests = new(atomic.Int32)
	released := make(chan struct{})
	release = sync.OnceFunc(func() { close(released) })
	p.t.Cleanup(release)
	p.Handle(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == path {
			requests.Add(1)
		}
		<-released
		w.WriteHeader(http.StatusBadGateway)
	})
	return requests, release
}

// A provider hangs, and many readers want to log in. All wait for one fetch of its
// configuration, and not each for one of their own after the other. A configuration that was
// fetched before is used meanwhile.
func TestLoginOneFetch(t *testing.T) {
	s := newLoginSite(t, "")
	requests, release := s.provider.hang(keystest.ConfigurationPath)
	var readers sync.WaitGroup
	for range 8 {
		readers.Go(func() {
			s.browser().open("/.gatefold/login").shows(http.StatusServiceUnavailable, "Login is not available at the moment")
		})
	}
	s.waitFor("a fetch", func() bool { return requests.Load() > 0 })
	clock.Advance(3 * time.Second) // longer than none is fetched after a failure
	release()
	readers.Wait()
	if n := requests.Load(); n > 2 { // one is that of the provider's keys, at times
		t.Errorf("%d fetches", n)
	}

	s.provider.Handle(s.provider.serve)
	clock.Advance(3 * time.Second)
	s.browser().login("/account")
	clock.Advance(2 * time.Hour)
	requests, _ = s.provider.hang(keystest.ConfigurationPath)
	sent := make(chan string, 1)
	go func() { sent <- s.browser().open("/.gatefold/login").Header.Get("Location") }()
	select {
	case to := <-sent:
		s.provider.authorize(to)
	case <-time.After(10 * time.Second):
		t.Fatal("a login waits for a configuration that is known")
	}
	s.waitFor("the fetch beside it", func() bool { return requests.Load() > 0 })
}

// Mallory has no account, but makes the gate call the provider: one attempt, whose cookie they
// keep, is sent again and again with codes that they made up. Each call would take seconds of a
// slow provider, and count against the client's rate there.
func TestLoginAttemptCountsOnce(t *testing.T) {
	s := newLoginSite(t, "")
	mallory := s.browser()
	callback := s.provider.authorize(mallory.begin("/account"))
	kept := maps.Clone(mallory.cookies)
	for _, code := range []string{"a", "b", "c", "a"} {
		mallory.cookies = maps.Clone(kept)
		mallory.open(withParam(t, callback, "code", code))
	}
	if n := s.provider.count("/token"); n != 1 {
		t.Errorf("%d calls of one attempt", n)
	}
}

// Logins wait for a provider that is slow, but not more than maxCalls of them: the next one is
// told to try again, and holds nothing.
func TestLoginBusy(t *testing.T) {
	const maxCalls = 64
	s := newLoginSite(t, "")
	callbacks, browsers := make([]string, maxCalls+1), make([]*loginBrowser, maxCalls+1)
	for i := range browsers {
		browsers[i] = s.browser()
		callbacks[i] = s.provider.authorize(browsers[i].open("/.gatefold/login").to())
	}
	requests, release := s.provider.hang("/token")
	var readers sync.WaitGroup
	for i := range maxCalls {
		readers.Go(func() { browsers[i].open(callbacks[i]) })
	}
	s.waitFor("the calls", func() bool { return requests.Load() == maxCalls })
	busy := browsers[maxCalls].open(callbacks[maxCalls]).shows(http.StatusServiceUnavailable, "Login is not available at the moment")
	if n := requests.Load(); n != maxCalls || busy.Header.Get("Retry-After") == "" {
		t.Errorf("%d calls, %v", n, busy.Header)
	}
	release()
	readers.Wait()
	s.provider.Handle(s.provider.serve)
	browsers[maxCalls].login("/account").to()
	browsers[maxCalls].loggedIn()
}
