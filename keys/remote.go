package keys

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// Remote is the key set of one source. See Sets for how it is used.
type Remote struct {
	sets     *Sets
	location KeySetLocation
	watchers int // guarded by sets.mu

	state atomic.Pointer[remoteState] // never nil

	mu       sync.Mutex
	loaded   bool
	flight   *flight // the fetch that is under way, if one is
	waiting  int     // requests that wait for it
	askedAt  time.Time
	dueAt    time.Time
	failures int
}

// remoteState is what is known of a source at one moment: immutable.
type remoteState struct {
	StoredSet
	set        KeySet
	dropped    []error
	known      bool // the set was fetched, now or before a restart
	generation uint64
	triedAt    time.Time
	err        error
}

// flight is one fetch.
type flight struct {
	done chan struct{}
	err  error // set before done is closed
}

func newRemote(sets *Sets, source KeySetLocation) *Remote {
	r := &Remote{sets: sets, location: source}
	r.state.Store(&remoteState{generation: sets.generations.Add(1)})
	return r
}

// Source returns where the keys are from.
func (r *Remote) Location() KeySetLocation { return r.location }

// Release ends the watching. The keys in memory may still be used, and are no
// longer refreshed when nobody else watches them.
func (r *Remote) Release() { r.sets.release(r) }

// Generation changes whenever the keys do, and only grows.
func (r *Remote) Generation() uint64 { return r.state.Load().generation }

// UsableUntil is the moment from which on the keys in memory do not count, if
// they cannot be fetched until then.
func (r *Remote) UsableUntil() time.Time { return r.usableUntil(r.state.Load()) }

func (r *Remote) usableUntil(state *remoteState) time.Time {
	return state.FetchedAt.Add(state.Fresh + r.sets.settings.Load().StaleIfError)
}

// KeySet returns the keys that count now, from memory or as they were saved. It
// never waits for the network. The error is ErrKeysUnavailable when there are
// none.
func (r *Remote) KeySet(ctx context.Context) (KeySet, error) {
	state := r.state.Load()
	if !state.known {
		r.load(ctx)
		state = r.state.Load()
	}
	if state.known && r.sets.now().Before(r.usableUntil(state)) {
		return state.set, nil
	}
	if state.err != nil {
		return KeySet{}, fmt.Errorf("%w: %w", ErrKeysUnavailable, state.err)
	}
	return KeySet{}, ErrKeysUnavailable
}

// Try verifies something with the keys in memory. When verify returns
// ErrUnknownKey, or there are no keys, it asks for newer ones, and calls verify
// once more if there may be some. It waits at most FetchTimeout, and at most
// once in Settings.Cooldown for the source: any other call returns at once.
// Whoever calls has looked at the token: one that is not by this source must
// not make it ask.
func (r *Remote) Try(ctx context.Context, verify func(KeySet) error) error {
	set, err := r.KeySet(ctx)
	if err == nil {
		if err = verify(set); !errors.Is(err, ErrUnknownKey) {
			return err
		}
	}
	if !r.ask(ctx) {
		return err
	}
	if set, err = r.KeySet(ctx); err != nil {
		return err
	}
	return verify(set)
}

// maxWaiting bounds how many requests wait for one fetch.
const maxWaiting = 256

// ask waits for the fetch that is under way, or begins one if the last one that
// was asked for is long enough ago. It returns false when it did not wait.
func (r *Remote) ask(ctx context.Context) bool {
	r.mu.Lock()
	f := r.flight
	if f == nil {
		now := r.sets.now()
		if r.askedAt.IsZero() || now.Sub(r.askedAt) >= r.sets.settings.Load().Cooldown {
			if f = r.start(); f != nil {
				r.askedAt = now
			}
		}
	}
	if f == nil || r.waiting >= maxWaiting {
		r.mu.Unlock()
		r.sets.unknown[1].Add(1)
		return false
	}
	r.waiting++
	r.mu.Unlock()
	r.sets.unknown[0].Add(1)
	select {
	case <-f.done:
	case <-ctx.Done():
	}
	r.mu.Lock()
	r.waiting--
	r.mu.Unlock()
	return true
}

// Refresh fetches the keys now, or waits for the fetch that is under way, and
// returns why it failed. Only an operator's call makes it: it has no cool-down.
func (r *Remote) Refresh(ctx context.Context) error {
	r.load(ctx)
	r.mu.Lock()
	f := r.flight
	if f == nil {
		f = r.start()
	}
	r.mu.Unlock()
	if f == nil {
		return ErrKeysUnavailable
	}
	select {
	case <-f.done:
		return f.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// refreshIfDue begins a fetch when its time has come.
func (r *Remote) refreshIfDue(now time.Time) {
	r.load(r.sets.ctx)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.flight == nil && !now.Before(r.dueAt) {
		r.start()
	}
}

// load takes the set that was saved before a restart, once. A store that cannot
// be read is asked again; the fetch does not wait for it.
func (r *Remote) load(ctx context.Context) {
	if r.sets.store == nil || r.state.Load().known {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.loaded {
		return
	}
	stored, err := r.sets.store.LoadKeySet(ctx, r.location.name())
	if err != nil {
		return
	}
	r.loaded = true
	if stored == nil || r.state.Load().known {
		return
	}
	set, dropped, err := ParseJWKS(stored.Body)
	if err != nil {
		return
	}
	state := &remoteState{StoredSet: *stored, set: set, dropped: dropped, known: true, generation: r.sets.generations.Add(1)}
	r.state.Store(state)
	r.dueAt = dueAt(state)
}

// dueAt is when a set is to be fetched again: ahead of its end, and not for all
// nodes and sources at the same moment.
func dueAt(state *remoteState) time.Time {
	return state.FetchedAt.Add(time.Duration((0.7 + 0.1*rand.Float64()) * float64(state.Fresh))) //nolint:gosec // spreads load, keeps no secret
}

// start begins a fetch; the caller holds mu. It returns nil when the sets are
// closed.
func (r *Remote) start() *flight {
	if !r.sets.begin() {
		return nil
	}
	f := &flight{done: make(chan struct{})}
	r.flight = f
	r.sets.inFlight.Add(1)
	go func() {
		defer r.sets.work.Done()
		defer r.sets.inFlight.Add(-1)
		r.fetch(f)
	}()
	return f
}

// fetch does one fetch: it makes the outcome known, wakes who waits, and saves
// what is new.
func (r *Remote) fetch(f *flight) {
	ctx, cancel := context.WithTimeout(r.sets.ctx, r.sets.settings.Load().timeout)
	defer cancel()
	state, result, err := r.get(ctx, r.state.Load())
	now := r.sets.now()
	r.sets.fetches[result].Add(1)

	r.mu.Lock()
	if err != nil {
		// What was loaded meanwhile stays.
		failed := *r.state.Load()
		state, failed.err = &failed, err
	}
	state.triedAt = now
	r.state.Store(state)
	if err == nil {
		r.failures, r.loaded = 0, true
		r.dueAt = dueAt(state)
	} else {
		r.failures++
		r.dueAt = now.Add(retryAfter(r.failures))
	}
	r.flight = nil
	f.err = err
	r.mu.Unlock()
	close(f.done)

	if err == nil && r.sets.store != nil {
		saved := state.StoredSet
		// What cannot be saved is fetched again after a restart.
		_ = r.sets.store.SaveKeySet(r.sets.ctx, r.location.name(), &saved, r.usableUntil(state))
	}
}

// retryAfter is how long to wait after a number of failures in a row.
func retryAfter(failures int) time.Duration {
	const first, most = 5 * time.Second, 5 * time.Minute
	return min(first<<min(failures-1, 10), most)
}

// get asks the source for its keys, and returns the state that follows.
func (r *Remote) get(ctx context.Context, before *remoteState) (*remoteState, FetchResult, error) {
	fetcher := r.sets.settings.Load().fetcher
	failed := func(err error) (*remoteState, FetchResult, error) {
		result := FetchMalformed
		if failure, ok := errors.AsType[*FetchError](err); ok {
			result = failure.Result
		}
		return nil, result, err
	}
	address, anywhere, err := fetcher.locate(ctx, r.location)
	if err != nil {
		return failed(err)
	}
	etag := ""
	if before.known && before.From == address {
		etag = before.ETag
	}
	doc, err := fetcher.get(ctx, address, etag, anywhere)
	if err != nil {
		return failed(err)
	}
	state := *before
	state.err, state.FetchedAt = nil, r.sets.now()
	if doc.notModified {
		if doc.maxAge >= 0 {
			state.Fresh = fresh(doc.maxAge)
		}
		return &state, FetchNotModified, nil
	}
	state.From, state.ETag, state.Fresh = address, doc.etag, fresh(doc.maxAge)
	if !before.known || !bytes.Equal(before.Body, doc.body) {
		set, dropped, err := ParseJWKS(doc.body)
		if err != nil {
			return failed(&FetchError{FetchMalformed, err.Error()})
		}
		state.Body, state.set, state.dropped, state.known = doc.body, set, dropped, true
		state.generation = r.sets.generations.Add(1)
	}
	return &state, FetchOK, nil
}

// fresh is for how long a set counts as fresh, by the max-age of its answer;
// negative when it states none.
func fresh(maxAge time.Duration) time.Duration {
	if maxAge < 0 {
		return DefaultFresh
	}
	return min(max(maxAge, MinFresh), MaxFresh)
}

// Status tells the state of the keys.
func (r *Remote) Status() SetStatus {
	state, now := r.state.Load(), r.sets.now()
	status := SetStatus{Source: r.location, TriedAt: state.triedAt, Err: state.err, KeyIDs: []string{}}
	for _, dropped := range state.dropped {
		status.Dropped = append(status.Dropped, dropped.Error())
	}
	if !state.known {
		return status
	}
	status.Age = now.Sub(state.FetchedAt)
	status.Stale = status.Age >= state.Fresh
	status.OK = now.Before(r.usableUntil(state))
	if status.OK {
		status.KeyIDs, status.Active = state.set.IDs(), state.set.signers(algES256)
	}
	return status
}
