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

// Remote is the key set of one location. Sets describes its use.
type Remote struct {
	sets     *Sets
	location KeySetLocation
	watchers int // guarded by sets.mu

	state atomic.Pointer[remoteState] // never nil

	mu       sync.Mutex
	restored bool      // the SetStore was read
	flight   *flight   // the fetch in progress, or nil
	waiting  int       // callers of await that wait for it
	askedAt  time.Time // the last fetch that await started
	dueAt    time.Time // the next fetch in the background
	failures int       // consecutive failed fetches
}

// remoteState is the immutable state of a Remote after a fetch.
type remoteState struct {
	StoredSet
	set        KeySet
	dropped    []error
	loaded     bool // set was fetched, now or before a restart
	generation uint64
	triedAt    time.Time
	err        error
}

// flight is a fetch in progress.
type flight struct {
	done chan struct{}
	err  error // valid once done is closed
}

// Release undoes one call of Watch. After the last one the keys are no longer
// refreshed; those in memory stay usable.
func (r *Remote) Release() { r.sets.release(r) }

// Generation changes whenever the keys do. It only increases.
func (r *Remote) Generation() uint64 { return r.state.Load().generation }

// UsableUntil returns the time from which the keys in memory are not used any
// more, unless they are fetched again before.
func (r *Remote) UsableUntil() time.Time { return r.usableUntil(r.state.Load()) }

func (r *Remote) usableUntil(state *remoteState) time.Time {
	return state.FetchedAt.Add(state.Fresh + r.sets.settings.Load().StaleIfError)
}

// KeySet returns the keys in memory or, before the first fetch, those in the
// SetStore. It does not wait for the network. It returns an error that wraps
// ErrKeysUnavailable when there are no usable keys.
func (r *Remote) KeySet(ctx context.Context) (KeySet, error) {
	state := r.state.Load()
	if !state.loaded {
		r.restore(ctx)
		state = r.state.Load()
	}
	if state.loaded && r.sets.options.Now().Before(r.usableUntil(state)) {
		return state.set, nil
	}
	if state.err != nil {
		return KeySet{}, fmt.Errorf("%w: %w", ErrKeysUnavailable, state.err)
	}
	return KeySet{}, ErrKeysUnavailable
}

// Try calls verify with the keys in memory. When there are none, or verify returns
// ErrUnknownKey, it waits for a fetch and calls verify again. It starts such a
// fetch at most once in Settings.Cooldown; other calls return at once. The wait
// is at most FetchTimeout.
//
// Check that the token names this issuer before calling Try: any other token
// would start fetches for nothing.
func (r *Remote) Try(ctx context.Context, verify func(KeySet) error) error {
	set, err := r.KeySet(ctx)
	if err == nil {
		if err = verify(set); !errors.Is(err, ErrUnknownKey) {
			return err
		}
	}
	if !r.await(ctx) {
		return err
	}
	if set, err = r.KeySet(ctx); err != nil {
		return err
	}
	return verify(set)
}

// maxWaiting is the maximum number of requests that wait for one fetch.
const maxWaiting = 256

// await waits for the fetch in progress, or starts one unless the cooldown
// forbids it. It returns false when it did not wait.
func (r *Remote) await(ctx context.Context) bool {
	r.mu.Lock()
	f := r.flight
	if f == nil {
		now := r.sets.options.Now()
		if r.askedAt.IsZero() || now.Sub(r.askedAt) >= r.sets.settings.Load().Cooldown {
			if f = r.start(); f != nil {
				r.askedAt = now
			}
		}
	}
	if f == nil || r.waiting >= maxWaiting {
		r.mu.Unlock()
		r.sets.unknownRefused.Add(1)
		return false
	}
	r.waiting++
	r.mu.Unlock()
	r.sets.unknownAsked.Add(1)
	select {
	case <-f.done:
	case <-ctx.Done():
	}
	r.mu.Lock()
	r.waiting--
	r.mu.Unlock()
	return true
}

// MinRefresh is the time that an operator must let pass between two fetches of a set.
const MinRefresh = 2 * time.Second

// RefreshIn returns how long an operator must wait until they may fetch the set again, at
// most MinRefresh and zero if they may.
func (r *Remote) RefreshIn() time.Duration {
	tried := r.state.Load().triedAt
	if tried.IsZero() {
		return 0
	}
	return min(max(tried.Add(MinRefresh).Sub(r.sets.options.Now()), 0), MinRefresh)
}

// Refresh fetches the keys, or waits for the fetch in progress, and returns its
// error. It ignores the cooldown, so only an operator's request may cause it.
func (r *Remote) Refresh(ctx context.Context) error {
	r.restore(ctx)
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

// refreshIfDue starts a fetch when one is due.
func (r *Remote) refreshIfDue(now time.Time) {
	r.restore(r.sets.ctx)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.flight == nil && !now.Before(r.dueAt) {
		r.start()
	}
}

// restore reads the set of the SetStore, once. After an error of the store it is
// read again; fetches do not wait for it.
func (r *Remote) restore(ctx context.Context) {
	if r.sets.options.Store == nil || r.state.Load().loaded {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.restored {
		return
	}
	stored, err := r.sets.options.Store.LoadKeySet(ctx, r.location.storeName())
	if err != nil {
		return
	}
	r.restored = true
	if stored == nil || r.state.Load().loaded {
		return
	}
	set, dropped, err := ParseJWKS(stored.Body)
	if err != nil {
		return
	}
	state := &remoteState{StoredSet: *stored, set: set, dropped: dropped, loaded: true, generation: r.sets.generations.Add(1)}
	r.state.Store(state)
	r.dueAt = dueAt(state)
}

// dueAt returns the time of the next fetch: before the set becomes stale, with
// jitter that spreads the fetches of nodes and locations.
func dueAt(state *remoteState) time.Time {
	return state.FetchedAt.Add(time.Duration((0.7 + 0.1*rand.Float64()) * float64(state.Fresh))) //nolint:gosec // spreads load, keeps no secret
}

// start starts a fetch. The caller holds mu. It returns nil after Sets.Close.
func (r *Remote) start() *flight {
	if !r.sets.addWork() {
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

// fetch runs one fetch: it publishes the result, wakes the waiting callers and
// saves the set.
func (r *Remote) fetch(f *flight) {
	ctx, cancel := context.WithTimeout(r.sets.ctx, r.sets.settings.Load().timeout)
	defer cancel()
	state, result, err := r.get(ctx, r.state.Load())
	now := r.sets.options.Now()
	r.sets.fetches[result].Add(1)

	r.mu.Lock()
	if err != nil {
		// Keep what restore may have loaded meanwhile.
		failed := *r.state.Load()
		state, failed.err = &failed, err
	}
	state.triedAt = now
	r.state.Store(state)
	if err == nil {
		r.failures, r.restored = 0, true
		r.dueAt = dueAt(state)
	} else {
		r.failures++
		r.dueAt = now.Add(retryAfter(r.failures))
	}
	r.flight = nil
	f.err = err
	r.mu.Unlock()
	close(f.done)

	if err == nil && r.sets.options.Store != nil {
		saved := state.StoredSet
		// After an error the set is fetched again at the next start.
		_ = r.sets.options.Store.SaveKeySet(r.sets.ctx, r.location.storeName(), &saved, r.usableUntil(state))
	}
}

// retryAfter returns the delay after a number of consecutive failures.
func retryAfter(failures int) time.Duration {
	const first, most = 5 * time.Second, 5 * time.Minute
	return min(first<<min(failures-1, 10), most)
}

// get fetches the key set and returns the state that follows.
func (r *Remote) get(ctx context.Context, before *remoteState) (*remoteState, FetchResult, error) {
	fetcher := r.sets.settings.Load().fetcher
	failed := func(err error) (*remoteState, FetchResult, error) {
		result := FetchMalformed
		if failure, ok := errors.AsType[*FetchError](err); ok {
			result = failure.Result
		}
		return nil, result, err
	}
	address, allowPrivate, err := fetcher.resolve(ctx, r.location)
	if err != nil {
		return failed(err)
	}
	etag := ""
	if before.loaded && before.From == address {
		etag = before.ETag
	}
	doc, err := fetcher.get(ctx, address, etag, allowPrivate)
	if err != nil {
		return failed(err)
	}
	state := *before
	state.err, state.FetchedAt = nil, r.sets.options.Now()
	if doc.notModified {
		if doc.maxAge >= 0 {
			state.Fresh = freshness(doc.maxAge)
		}
		return &state, FetchNotModified, nil
	}
	state.From, state.ETag, state.Fresh = address, doc.etag, freshness(doc.maxAge)
	if !before.loaded || !bytes.Equal(before.Body, doc.body) {
		set, dropped, err := ParseJWKS(doc.body)
		if err != nil {
			return failed(&FetchError{FetchMalformed, err.Error()})
		}
		state.Body, state.set, state.dropped, state.loaded = doc.body, set, dropped, true
		state.generation = r.sets.generations.Add(1)
	}
	return &state, FetchOK, nil
}

// freshness returns the time for which a set is fresh. A negative max-age means
// that the response stated none.
func freshness(maxAge time.Duration) time.Duration {
	if maxAge < 0 {
		return DefaultFresh
	}
	return min(max(maxAge, MinFresh), MaxFresh)
}

// Status returns the state of the key set.
func (r *Remote) Status() SetStatus {
	state, now := r.state.Load(), r.sets.options.Now()
	status := SetStatus{Location: r.location, TriedAt: state.triedAt, Err: state.err, KeyIDs: []string{}}
	for _, dropped := range state.dropped {
		status.Dropped = append(status.Dropped, dropped.Error())
	}
	if !state.loaded {
		return status
	}
	status.Age = now.Sub(state.FetchedAt)
	status.Stale = status.Age >= state.Fresh
	status.OK = now.Before(r.usableUntil(state))
	if status.OK {
		status.KeyIDs, status.Active = state.set.IDs(), state.set.publishers()
	}
	return status
}
