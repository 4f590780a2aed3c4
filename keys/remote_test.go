package keys

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatefold/gatefold/keys/keystest"
)

// publisherHost is the name of the test's host: httptest's certificate is good
// for it.
const publisherHost = "publisher.example.com"

// patience is how long a fetch may take that must succeed, on a busy machine.
const patience = 30 * time.Second

// jwksHost is a publisher's host with the key sets that fetch from it.
type jwksHost struct {
	*keystest.KeyHost
	t     *testing.T
	clock *keystest.Clock
	sets  *Sets
	store *memorySets
}

func newJWKSHost(t *testing.T, keys ...*SigningKey) *jwksHost {
	t.Helper()
	h := &jwksHost{
		KeyHost: keystest.NewKeyHost(t, setOf(keys...)),
		t:       t,
		clock:   keystest.NewClock(noon),
		store:   &memorySets{sets: map[string]StoredSet{}},
	}
	h.sets = h.newSets(Settings{})
	return h
}

func (h *jwksHost) settings(s Settings) Settings {
	if s.Addresses == nil {
		s.Addresses = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
	}
	if s.Roots == nil {
		s.Roots = h.Roots()
	}
	return s
}

// newSets returns key sets for which publisherHost is this host. Nothing happens
// in the background but what a test begins.
func (h *jwksHost) newSets(s Settings) *Sets {
	h.t.Helper()
	sets := NewSets(SetsOptions{
		Now: h.clock.Now, Store: h.store, Settings: h.settings(s), Interval: time.Hour, Timeout: patience,
		Hosts: h.Addresses(publisherHost),
	})
	h.t.Cleanup(sets.Close)
	return sets
}

// serve makes the host serve these keys.
func (h *jwksHost) serve(keys ...*SigningKey) { h.Serve(setOf(keys...)) }

func serveText(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) }
}

func setOf(keys ...*SigningKey) KeySet {
	set := make([]PublicKey, len(keys))
	for i, key := range keys {
		set[i] = key.Public()
	}
	return NewKeySet(set...)
}

func jwksOf(keys ...*SigningKey) string {
	text, err := json.Marshal(setOf(keys...))
	if err != nil {
		panic(err)
	}
	return string(text)
}

var publisherSource = KeySetLocation{URL: "https://" + publisherHost + "/jwks.json"}

// watch watches the host's set, without any fetch.
func (h *jwksHost) watch() *Remote {
	h.t.Helper()
	return watch(h.t, h.sets, publisherSource)
}

func watch(t *testing.T, sets *Sets, source KeySetLocation) *Remote {
	t.Helper()
	remote, err := sets.Watch(source)
	if err != nil {
		t.Fatal(err)
	}
	return remote
}

// fetched watches the host's set and fetches it.
func (h *jwksHost) fetched() *Remote {
	h.t.Helper()
	remote := h.watch()
	if err := remote.Refresh(h.t.Context()); err != nil {
		h.t.Fatal(err)
	}
	h.Take()
	return remote
}

// pass lets time pass, and what is then due be done.
func (h *jwksHost) pass(d time.Duration) {
	h.t.Helper()
	h.clock.Advance(d)
	h.sets.refreshDue()
	for _, remote := range h.sets.watched() {
		remote.landed()
	}
}

// landed waits for the fetch that is under way.
func (r *Remote) landed() {
	r.mu.Lock()
	f := r.flight
	r.mu.Unlock()
	if f != nil {
		<-f.done
	}
}

// tries verifies a token that names a key, as far as the key.
func tries(t *testing.T, remote *Remote, kid string) error {
	t.Helper()
	return remote.Try(t.Context(), func(set KeySet) error {
		_, err := set.find(Header{Algorithm: algES256, KeyID: kid})
		return err
	})
}

func wantTry(t *testing.T, remote *Remote, kid string, want error) {
	t.Helper()
	if err := tries(t, remote, kid); !errors.Is(err, want) {
		t.Fatalf("a token of key %q: %v, want %v", kid, err, want)
	}
}

// memorySets keeps sets in memory.
type memorySets struct {
	mu   sync.Mutex
	sets map[string]StoredSet
	down error
}

func (m *memorySets) LoadKeySet(_ context.Context, name string) (*StoredSet, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	set, ok := m.sets[name]
	if !ok || m.down != nil {
		return nil, m.down
	}
	return &set, nil
}

func (m *memorySets) SaveKeySet(_ context.Context, name string, set *StoredSet, _ time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sets[name] = *set
	return m.down
}

// The set is fetched again ahead of its end, in the background, and asked for
// only if it changed.
func TestSetsAreRefreshedAheadOfTheirEnd(t *testing.T) {
	key, next := mustGenerate(), mustGenerate()
	h := newJWKSHost(t, key)
	var conditional atomic.Int64
	h.Handle(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "public, max-age=600")
		w.Header().Set("ETag", `"v1"`)
		if r.Header.Get("If-None-Match") == `"v1"` {
			conditional.Add(1)
			w.WriteHeader(http.StatusNotModified)
			return
		}
		_, _ = io.WriteString(w, jwksOf(key))
	})
	remote := h.watch()
	h.pass(0)
	wantTry(t, remote, key.ID(), nil)
	first := remote.Generation()
	h.pass(5 * time.Minute)
	if got := h.Count(); got != 1 {
		t.Fatalf("a set that is fresh for five more minutes was fetched %d times", got)
	}
	h.pass(4 * time.Minute) // a minute before its end
	if h.Count() != 2 || conditional.Load() != 1 {
		t.Fatalf("ahead of the end there were %d fetches, %d of them conditional", h.Count(), conditional.Load())
	}
	if remote.Generation() != first {
		t.Error("a set that did not change has another generation")
	}
	if status := remote.Status(); status.Age != 0 || status.Stale || !status.OK || status.Active != 1 {
		t.Errorf("after 304 the status is %+v", status)
	}
	h.serve(next)
	h.pass(9 * time.Minute)
	wantTry(t, remote, next.ID(), nil)
	wantTry(t, remote, key.ID(), ErrUnknownKey)
	if remote.Generation() == first {
		t.Error("other keys have the same generation")
	}
}

// A key that is retired or no longer in the set stops to verify at the next
// refresh; a bad key is left out and told of.
func TestRetiredAndBadKeys(t *testing.T) {
	good, retired := mustGenerate(), mustGenerate()
	h := newJWKSHost(t, good, retired)
	remote := h.fetched()
	wantTry(t, remote, retired.ID(), nil)
	text := jwksOf(good, retired)
	at := strings.Index(text, `"kid":"`+retired.ID())
	h.Handle(serveText(text[:at] + `"status":"retired",` + text[at:]))
	h.pass(time.Hour)
	wantTry(t, remote, good.ID(), nil)
	wantTry(t, remote, retired.ID(), ErrUnknownKey)

	h.Handle(serveText(strings.Replace(jwksOf(good), `"keys":[`, `"keys":[{"kty":"EC","crv":"P-256","kid":"off","x":"AAAA","y":"AAAA"},{"kty":"oct","kid":"k","k":"AAAA"},`, 1)))
	h.pass(time.Hour)
	wantTry(t, remote, good.ID(), nil)
	if status := remote.Status(); len(status.Dropped) != 2 || !slices.Equal(status.KeyIDs, []string{good.ID()}) {
		t.Errorf("the status is %+v", status)
	}
	h.serve()
	h.pass(time.Hour)
	wantTry(t, remote, good.ID(), ErrUnknownKey)
}

// Somebody sends a hundred thousand tokens, each of which names another key. The
// publisher's host notices one request in a cool-down; readers notice nothing.
func TestRandomKidsCauseFewFetches(t *testing.T) {
	key := mustGenerate()
	h := newJWKSHost(t, key)
	for _, cooldown := range []time.Duration{DefaultCooldown, time.Second} {
		h.sets.Configure(h.settings(Settings{Cooldown: cooldown}))
		h.clock.Advance(time.Minute)
		remote := h.fetched()
		const requests, within = 100_000, 10 * time.Second
		for i := range requests {
			h.clock.Advance(within / requests)
			wantTry(t, remote, fmt.Sprintf("random-%d", i), ErrUnknownKey)
			if i%100 == 0 {
				before := h.Count()
				wantTry(t, remote, key.ID(), nil)
				if h.Count() != before {
					t.Fatal("a good token caused a fetch")
				}
			}
		}
		if most := int(within/cooldown) + 1; h.Count() == 0 || h.Count() > most {
			t.Errorf("%d unknown kids caused %d fetches, want at most %d", requests, h.Count(), most)
		}
	}
	if stats := h.sets.Stats(); stats.UnknownRefused < 199_000 || stats.UnknownAsked == 0 {
		t.Errorf("counted were %+v", stats)
	}
}

// Many requests with a new key at once cause one fetch, and all of them are let
// in by it.
func TestConcurrentRequestsShareOneFetch(t *testing.T) {
	old, next := mustGenerate(), mustGenerate()
	h := newJWKSHost(t, old)
	remote := h.fetched()
	let := make(chan struct{})
	h.Handle(func(w http.ResponseWriter, _ *http.Request) {
		<-let
		_, _ = io.WriteString(w, jwksOf(old, next))
	})
	const requests = 100
	results := make(chan error, requests)
	for range requests {
		go func() { results <- tries(t, remote, next.ID()) }()
	}
	for h.sets.Stats().UnknownAsked < requests {
		time.Sleep(time.Millisecond)
	}
	wantTry(t, remote, old.ID(), nil) // meanwhile, from memory
	close(let)
	for range requests {
		if err := <-results; err != nil {
			t.Errorf("a token of the new key: %v", err)
		}
	}
	if got := h.Count(); got != 1 {
		t.Errorf("%d requests caused %d fetches", requests, got)
	}
}

// While the host is down its keys count for a bounded time; then the answer is
// unknown, and no longer no.
func TestStaleIfErrorIsBounded(t *testing.T) {
	key := mustGenerate()
	h := newJWKSHost(t, key)
	h.sets.Configure(h.settings(Settings{StaleIfError: 2 * time.Hour}))
	remote := h.fetched()
	h.Fail(http.StatusBadGateway)
	h.pass(3*time.Hour - time.Second) // an hour fresh, two hours stale
	wantTry(t, remote, key.ID(), nil)
	if status := remote.Status(); !status.Stale || !status.OK || status.Err == nil {
		t.Errorf("stale: %+v", status)
	}
	if until := remote.UsableUntil(); !until.Equal(h.clock.Now().Add(time.Second)) {
		t.Errorf("usable until %v", until)
	}
	h.pass(time.Second)
	wantTry(t, remote, key.ID(), ErrKeysUnavailable)
	if status := remote.Status(); status.OK || status.Active != 0 || len(status.KeyIDs) != 0 {
		t.Errorf("over: %+v", status)
	}
	h.serve(key)
	h.pass(10 * time.Minute)
	wantTry(t, remote, key.ID(), nil)
}

// The process is restarted while the publisher's host is down: what was fetched
// before still counts, and nobody waits.
func TestRestartWhileTheHostIsDown(t *testing.T) {
	key := mustGenerate()
	h := newJWKSHost(t, key)
	h.fetched()
	h.sets.Close() // what is saved is saved
	h.Fail(http.StatusBadGateway)
	h.clock.Advance(90 * time.Minute)

	h.sets = h.newSets(Settings{})
	remote := h.watch()
	wantTry(t, remote, key.ID(), nil)
	if h.Count() != 0 {
		t.Error("the request made a fetch")
	}
	h.pass(0)
	wantTry(t, remote, key.ID(), nil)
	if status := remote.Status(); !status.Stale || status.Age != 90*time.Minute || status.Err == nil {
		t.Errorf("after the restart: %+v", status)
	}
	// A source that may reach more does not take what another one saved.
	trusted := watch(t, h.sets, KeySetLocation{URL: publisherSource.URL, Trusted: true})
	wantTry(t, trusted, key.ID(), ErrKeysUnavailable)
	h.pass(25 * time.Hour)
	wantTry(t, remote, key.ID(), ErrKeysUnavailable)
}

// The host is down at start, and there is nothing from before: requests wait for
// one fetch, then not again.
func TestDownAtStart(t *testing.T) {
	key := mustGenerate()
	h := newJWKSHost(t, key)
	h.Fail(http.StatusBadGateway)
	remote := h.watch()
	for range 100 {
		wantTry(t, remote, key.ID(), ErrKeysUnavailable)
	}
	if got := h.Count(); got != 1 {
		t.Errorf("100 requests caused %d fetches", got)
	}
	h.store.down = errors.New("the disk is gone") // which keeps nothing from being fetched
	h.serve(key)
	h.clock.Advance(DefaultCooldown)
	wantTry(t, remote, key.ID(), nil)
}

// Who watches the same source shares it; what nobody watches is not fetched.
func TestWatchersShare(t *testing.T) {
	h := newJWKSHost(t, mustGenerate())
	first, second := h.watch(), h.watch()
	if first != second {
		t.Error("two sets for one source")
	}
	first.Release()
	h.pass(0)
	second.Release()
	h.pass(24 * time.Hour)
	if h.Count() != 1 || len(h.sets.Statuses()) != 0 {
		t.Errorf("%d fetches, watched are %v", h.Count(), h.sets.Statuses())
	}
}
