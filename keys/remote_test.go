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

// publisherHost is a name for which the certificate of keystest.KeyHost is valid.
const publisherHost = "publisher.example.com"

// patience is the time limit of fetches that must succeed, on a busy machine.
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

// newSets returns a Sets for which publisherHost is this host. Only tests start
// its background refresh.
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

var publisherLocation = KeySetLocation{URL: "https://" + publisherHost + "/jwks.json"}

// watch watches the host's set without a fetch.
func (h *jwksHost) watch() *Remote {
	h.t.Helper()
	return watch(h.t, h.sets, publisherLocation)
}

func watch(t *testing.T, sets *Sets, location KeySetLocation) *Remote {
	t.Helper()
	remote, err := sets.Watch(location)
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

// advance moves the clock and waits for the fetches that are due then.
func (h *jwksHost) advance(d time.Duration) {
	h.t.Helper()
	h.clock.Advance(d)
	h.sets.refreshDue()
	for _, remote := range h.sets.watched() {
		remote.awaitFlight()
	}
}

// awaitFlight waits for the fetch in progress.
func (r *Remote) awaitFlight() {
	r.mu.Lock()
	f := r.flight
	r.mu.Unlock()
	if f != nil {
		<-f.done
	}
}

// findKey calls Try with a function that only looks up a key.
func findKey(t *testing.T, remote *Remote, kid string) error {
	t.Helper()
	return remote.Try(t.Context(), func(set KeySet) error {
		_, err := set.find(Header{Algorithm: algES256, KeyID: kid})
		return err
	})
}

func wantTry(t *testing.T, remote *Remote, kid string, want error) {
	t.Helper()
	if err := findKey(t, remote, kid); !errors.Is(err, want) {
		t.Fatalf("a token of key %q: %v, want %v", kid, err, want)
	}
}

// memorySets is a SetStore in memory.
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

// A set is fetched again in the background before it becomes stale, with a
// conditional request.
func TestSetsAreRefreshedBeforeTheyAreStale(t *testing.T) {
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
	h.advance(0)
	wantTry(t, remote, key.ID(), nil)
	first := remote.Generation()
	h.advance(5 * time.Minute)
	if got := h.Count(); got != 1 {
		t.Fatalf("a set that is fresh for five more minutes was fetched %d times", got)
	}
	h.advance(4 * time.Minute) // one minute before it is stale
	if h.Count() != 2 || conditional.Load() != 1 {
		t.Fatalf("there were %d fetches, %d of them conditional", h.Count(), conditional.Load())
	}
	if remote.Generation() != first {
		t.Error("an unchanged set has a new generation")
	}
	if status := remote.Status(); status.Age != 0 || status.Stale || !status.OK || status.Active != 1 {
		t.Errorf("after 304 the status is %+v", status)
	}
	h.serve(next)
	h.advance(9 * time.Minute)
	wantTry(t, remote, next.ID(), nil)
	wantTry(t, remote, key.ID(), ErrUnknownKey)
	if remote.Generation() == first {
		t.Error("changed keys have the same generation")
	}
}

// A key that is retired or removed stops verifying at the next refresh. An
// unusable key is dropped and reported.
func TestRetiredAndUnusableKeys(t *testing.T) {
	good, retired := mustGenerate(), mustGenerate()
	h := newJWKSHost(t, good, retired)
	remote := h.fetched()
	wantTry(t, remote, retired.ID(), nil)
	text := jwksOf(good, retired)
	at := strings.Index(text, `"kid":"`+retired.ID())
	h.Handle(serveText(text[:at] + `"status":"retired",` + text[at:]))
	h.advance(time.Hour)
	wantTry(t, remote, good.ID(), nil)
	wantTry(t, remote, retired.ID(), ErrUnknownKey)

	h.Handle(serveText(strings.Replace(jwksOf(good), `"keys":[`, `"keys":[{"kty":"EC","crv":"P-256","kid":"off","x":"AAAA","y":"AAAA"},{"kty":"oct","kid":"k","k":"AAAA"},`, 1)))
	h.advance(time.Hour)
	wantTry(t, remote, good.ID(), nil)
	if status := remote.Status(); len(status.Dropped) != 2 || !slices.Equal(status.KeyIDs, []string{good.ID()}) {
		t.Errorf("the status is %+v", status)
	}
	h.serve()
	h.advance(time.Hour)
	wantTry(t, remote, good.ID(), ErrUnknownKey)
}

// Tokens with a hundred thousand random key ids cause one fetch per cooldown, and
// do not affect valid tokens.
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
					t.Fatal("a valid token caused a fetch")
				}
			}
		}
		if most := int(within/cooldown) + 1; h.Count() == 0 || h.Count() > most {
			t.Errorf("%d unknown kids caused %d fetches, want at most %d", requests, h.Count(), most)
		}
	}
	if stats := h.sets.Stats(); stats.UnknownRefused < 199_000 || stats.UnknownAsked == 0 {
		t.Errorf("the counters are %+v", stats)
	}
}

// Concurrent requests with a new key share one fetch, and all of them verify.
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
		go func() { results <- findKey(t, remote, next.ID()) }()
	}
	for h.sets.Stats().UnknownAsked < requests {
		time.Sleep(time.Millisecond)
	}
	wantTry(t, remote, old.ID(), nil) // from memory, without waiting
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

// While the host is down its keys are usable for a bounded time. Then the result
// is ErrKeysUnavailable instead of ErrUnknownKey.
func TestStaleIfErrorIsBounded(t *testing.T) {
	key := mustGenerate()
	h := newJWKSHost(t, key)
	h.sets.Configure(h.settings(Settings{StaleIfError: 2 * time.Hour}))
	remote := h.fetched()
	h.Fail(http.StatusBadGateway)
	h.advance(3*time.Hour - time.Second) // an hour fresh, two hours stale
	wantTry(t, remote, key.ID(), nil)
	if status := remote.Status(); !status.Stale || !status.OK || status.Err == nil {
		t.Errorf("stale: %+v", status)
	}
	if until := remote.UsableUntil(); !until.Equal(h.clock.Now().Add(time.Second)) {
		t.Errorf("usable until %v", until)
	}
	h.advance(time.Second)
	wantTry(t, remote, key.ID(), ErrKeysUnavailable)
	if status := remote.Status(); status.OK || status.Active != 0 || len(status.KeyIDs) != 0 {
		t.Errorf("after stale_if_error: %+v", status)
	}
	h.serve(key)
	h.advance(10 * time.Minute)
	wantTry(t, remote, key.ID(), nil)
}

// After a restart while the host is down, the saved keys are used without waiting.
func TestRestartWhileTheHostIsDown(t *testing.T) {
	key := mustGenerate()
	h := newJWKSHost(t, key)
	h.fetched()
	h.sets.Close() // waits for the save
	h.Fail(http.StatusBadGateway)
	h.clock.Advance(90 * time.Minute)

	h.sets = h.newSets(Settings{})
	remote := h.watch()
	wantTry(t, remote, key.ID(), nil)
	if h.Count() != 0 {
		t.Error("the request caused a fetch")
	}
	h.advance(0)
	wantTry(t, remote, key.ID(), nil)
	if status := remote.Status(); !status.Stale || status.Age != 90*time.Minute || status.Err == nil {
		t.Errorf("after the restart: %+v", status)
	}
	// A trusted location does not use what another one saved.
	trusted := watch(t, h.sets, KeySetLocation{URL: publisherLocation.URL, Trusted: true})
	wantTry(t, trusted, key.ID(), ErrKeysUnavailable)
	h.advance(25 * time.Hour)
	wantTry(t, remote, key.ID(), ErrKeysUnavailable)
}

// While the host is down at start and no set is saved, requests cause one fetch
// per cooldown.
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
	h.store.down = errors.New("the disk is gone") // must not prevent the fetch
	h.serve(key)
	h.clock.Advance(DefaultCooldown)
	wantTry(t, remote, key.ID(), nil)
}

// Watchers of a location share its set. A released set is not fetched any more.
func TestWatchersShare(t *testing.T) {
	h := newJWKSHost(t, mustGenerate())
	first, second := h.watch(), h.watch()
	if first != second {
		t.Error("two sets for one location")
	}
	first.Release()
	h.advance(0)
	second.Release()
	h.advance(24 * time.Hour)
	if h.Count() != 1 || len(h.sets.Statuses()) != 0 {
		t.Errorf("%d fetches, watched sets: %v", h.Count(), h.sets.Statuses())
	}
}

// An issuer without key ids replaces its key. A token of the new key does not verify with
// the old one: the set is fetched again, at most once in a cooldown.
func TestKeyWithoutIDIsReplaced(t *testing.T) {
	old := mustGenerate()
	h := newJWKSHost(t)
	serve := func(key *SigningKey) {
		h.Handle(serveText(string(jwks(ecJWK(key.private, "x").with("kid", ``)))))
	}
	serve(old)
	remote := h.fetched()
	verify := func(key *SigningKey, header string) error {
		return remote.Try(t.Context(), func(set KeySet) error {
			_, err := idp.Verify(forge(key, header, idpPayload().String()), set, noon)
			return err
		})
	}
	wantError(t, verify(old, `{"alg":"ES256"}`), nil)
	serve(acmeKey)
	wantError(t, verify(acmeKey, `{"alg":"ES256","kid":"any"}`), nil)
	h.Take()
	wantError(t, verify(stranger, `{"alg":"ES256"}`), ErrSignature)
	if requests := h.Take(); len(requests) != 0 {
		t.Errorf("a forged token caused %d fetches within the cooldown", len(requests))
	}
}
