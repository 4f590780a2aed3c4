package keys

import (
	"cmp"
	"context"
	"crypto/x509"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Sets caches key sets of other hosts. It fetches them in the background, before
// they become stale, so that verifying a token needs no network. A process has
// one Sets. It is safe for concurrent use.
//
// A caller watches a location while it verifies tokens that are signed with its
// keys:
//
//	remote, err := sets.Watch(keys.KeySetLocation{Issuer: "https://id.example.com", Trusted: true})
//	…
//	defer remote.Release()
//
// and verifies within Try, which calls the function with the keys in memory, and
// again with newer keys if the token names an unknown one:
//
//	err := remote.Try(ctx, func(set keys.KeySet) error {
//		claims, err = issuer.Verify(raw, set, now)
//		return err
//	})
//
// Results that are cached across calls are stamped with remote.Generation(), read
// before Try: it changes whenever the keys do.
//
// Only Try and Refresh wait for the network. An error that wraps
// ErrKeysUnavailable means that whether a token is valid is unknown.
type Sets struct {
	options  SetsOptions
	settings atomic.Pointer[loadedSettings]

	mu      sync.Mutex
	remotes map[KeySetLocation]*Remote
	closed  bool

	ctx    context.Context //nolint:containedctx // of the background work, until Close
	cancel context.CancelFunc
	work   sync.WaitGroup

	fetches  map[FetchResult]*atomic.Uint64
	inFlight atomic.Int64
	// Tokens with an unknown key that waited for a fetch, and that were refused
	// without one.
	unknownAsked, unknownRefused atomic.Uint64
	// generations is the last generation of any location, so that watching a
	// location again does not repeat one.
	generations atomic.Uint64
}

// SetsOptions are the options of NewSets. All but Now are optional.
type SetsOptions struct {
	// Now is the clock.
	Now func() time.Time
	// Store keeps fetched sets across restarts.
	Store SetStore
	// Settings are the initial settings; see Configure.
	Settings Settings
	// Resolver resolves host names. Default: the system's.
	Resolver *net.Resolver
	// Hosts maps a host:port to the host:port to connect to, like a hosts file.
	// The address is checked like any other.
	Hosts map[string]string
	// Interval is the interval of the search for sets to refresh. Default: one
	// second.
	Interval time.Duration
	// Timeout is the time limit of one fetch. Default: FetchTimeout.
	Timeout time.Duration
}

// Settings are the operator's settings. A zero value selects the default.
type Settings struct {
	// StaleIfError is how long a stale set is used while it cannot be fetched.
	// Default: DefaultStaleIfError.
	StaleIfError time.Duration
	// Cooldown is the minimum time between two fetches of a set that tokens with
	// an unknown key cause. Default: DefaultCooldown.
	Cooldown time.Duration
	// Addresses are prefixes that count as public.
	Addresses []netip.Prefix
	// Roots are the trusted certificate authorities. Default: the system's.
	Roots *x509.CertPool

	// timeout overrides SetsOptions.Timeout in tests.
	timeout time.Duration
}

// Defaults of Settings, and the default, minimum and maximum time for which a
// fetched set is fresh.
const (
	DefaultStaleIfError = 24 * time.Hour
	DefaultCooldown     = 30 * time.Second

	DefaultFresh = time.Hour
	MinFresh     = time.Minute
	MaxFresh     = 24 * time.Hour
)

// SetStore keeps fetched sets, so that after a restart tokens verify even while
// the host of their keys is down.
type SetStore interface {
	// LoadKeySet returns the set that was saved under a name, or nil when there
	// is none.
	LoadKeySet(ctx context.Context, name string) (*StoredSet, error)
	// SaveKeySet replaces the set of a name. It may be deleted after expires.
	SaveKeySet(ctx context.Context, name string, set *StoredSet, expires time.Time) error
}

// StoredSet is a key set as it was fetched.
type StoredSet struct {
	Body      []byte        `json:"body"`
	ETag      string        `json:"etag,omitempty"`
	From      string        `json:"from"` // the URL of the JWK Set
	FetchedAt time.Time     `json:"fetchedAt"`
	Fresh     time.Duration `json:"fresh"`
}

// loadedSettings are settings and the fetcher made from them.
type loadedSettings struct {
	Settings
	fetcher *fetcher
}

// NewSets returns an empty Sets and starts its background work. Close ends it.
func NewSets(options SetsOptions) *Sets {
	s := &Sets{options: options, remotes: make(map[KeySetLocation]*Remote), fetches: make(map[FetchResult]*atomic.Uint64)}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	for _, result := range FetchResults() {
		s.fetches[result] = new(atomic.Uint64)
	}
	s.Configure(options.Settings)
	s.work.Add(1)
	go s.run(cmp.Or(options.Interval, time.Second))
	return s
}

// Configure replaces the settings. Sets in memory are kept.
func (s *Sets) Configure(settings Settings) {
	settings.StaleIfError = cmp.Or(settings.StaleIfError, DefaultStaleIfError)
	settings.Cooldown = cmp.Or(settings.Cooldown, DefaultCooldown)
	settings.timeout = cmp.Or(settings.timeout, s.options.Timeout, FetchTimeout)
	s.settings.Store(&loadedSettings{
		Settings: settings,
		fetcher:  newFetcher(s.options.Resolver, s.options.Hosts, settings.Addresses, settings.Roots),
	})
}

// Watch returns the key set of a location and keeps it fresh until every caller
// of Watch has called Release. It returns an error when location.Check does. It
// does not wait for a fetch.
func (s *Sets) Watch(location KeySetLocation) (*Remote, error) {
	if err := location.Check(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	remote := s.remotes[location]
	if remote == nil {
		remote = &Remote{sets: s, location: location}
		remote.state.Store(&remoteState{generation: s.generations.Add(1)})
		s.remotes[location] = remote
	}
	remote.watchers++
	return remote, nil
}

func (s *Sets) release(r *Remote) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.watchers--; r.watchers == 0 && s.remotes[r.location] == r {
		delete(s.remotes, r.location)
	}
}

// Close ends the background work and waits for it. Sets in memory stay usable.
func (s *Sets) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.cancel()
	s.work.Wait()
}

func (s *Sets) run(interval time.Duration) {
	defer s.work.Done()
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-ticker.C:
			s.refreshDue()
		}
	}
}

// maxInFlight is the number of concurrent fetches at which refreshDue starts no
// more.
const maxInFlight = 16

// refreshDue starts fetches of the sets that are due.
func (s *Sets) refreshDue() {
	for _, remote := range s.watched() {
		if s.inFlight.Load() >= maxInFlight {
			return
		}
		remote.refreshIfDue(s.options.Now())
	}
}

// watched returns all watched sets, in random order: with thousands of them and
// maxInFlight, a fixed order could starve the last.
func (s *Sets) watched() []*Remote {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Values(s.remotes))
}

// Find returns the watched sets whose location has an address.
func (s *Sets) Find(address string) []*Remote {
	return slices.DeleteFunc(s.watched(), func(r *Remote) bool { return r.location.Address() != address })
}

// addWork adds to s.work. It returns false after Close.
func (s *Sets) addWork() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.work.Add(1)
	return true
}

// SetStatus is the state of one key set.
type SetStatus struct {
	Location KeySetLocation
	// OK says that there are usable keys.
	OK bool
	// Age is the time since the set was fetched or found unchanged.
	Age time.Duration
	// Stale says that the set is older than its freshness, because it could not
	// be fetched again.
	Stale bool
	// KeyIDs are the ids of the usable keys. Active is the number of those that have an
	// id and are for ES256, which publishers must use.
	KeyIDs []string
	Active int
	// Dropped says why keys of the set are not used.
	Dropped []string
	// TriedAt is the time of the last fetch since the process started, or zero.
	// Err is its error, or nil.
	TriedAt time.Time
	Err     error
}

// Statuses returns the state of every watched set, ordered by address.
func (s *Sets) Statuses() []SetStatus {
	watched := s.watched()
	slices.SortFunc(watched, func(a, b *Remote) int { return strings.Compare(a.location.Address(), b.location.Address()) })
	list := make([]SetStatus, len(watched))
	for i, remote := range watched {
		list[i] = remote.Status()
	}
	return list
}

// SetsStats are counters since NewSets.
type SetsStats struct {
	Fetches map[FetchResult]uint64
	// UnknownAsked counts tokens with an unknown key that waited for a fetch,
	// UnknownRefused those that were refused without one.
	UnknownAsked, UnknownRefused uint64
}

// Stats returns the current counters.
func (s *Sets) Stats() SetsStats {
	stats := SetsStats{
		Fetches:      make(map[FetchResult]uint64, len(s.fetches)),
		UnknownAsked: s.unknownAsked.Load(), UnknownRefused: s.unknownRefused.Load(),
	}
	for result, count := range s.fetches {
		stats.Fetches[result] = count.Load()
	}
	return stats
}
