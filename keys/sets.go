package keys

import (
	"context"
	"crypto/x509"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Sets keeps other people's key sets: it fetches them in the background, ahead
// of the moment at which they go stale, so that verifying a token costs no
// network. It is safe for concurrent use, and is made once for a process.
//
// Another package uses it in three steps. It watches a source for as long as
// it verifies that source's tokens:
//
//	remote, err := sets.Watch(keys.Source{Issuer: "https://id.example.com", Trusted: true})
//	…
//	defer remote.Release()
//
// and verifies within Try, which calls the function with the keys in memory, and
// a second time if newer ones could be had because the token names an unknown
// key:
//
//	err := remote.Try(ctx, func(set keys.KeySet) error {
//		claims, err = issuer.Verify(raw, set, now)
//		return err
//	})
//
// What Verify remembers across calls it stamps with remote.Generation(), read
// before Try: it changes whenever the keys do.
//
// Watch, and everything but Try and Refresh, never waits for the network; a
// source that cannot be reached fails no start. An error that is
// ErrKeysUnavailable means that the answer is unknown, not no.
type Sets struct {
	now   func() time.Time
	store SetStore

	settings atomic.Pointer[loadedSettings]
	resolver *net.Resolver
	hosts    map[string]string
	timeout  time.Duration

	mu      sync.Mutex
	remotes map[KeySetLocation]*Remote
	closed  bool

	ctx    context.Context //nolint:containedctx // of what goes on in the background, until Close
	cancel context.CancelFunc
	work   sync.WaitGroup

	fetches  map[FetchResult]*atomic.Uint64
	unknown  [2]atomic.Uint64 // kids that were not known: asked for, refused at once
	inFlight atomic.Int64
	// generations counts the changes of all sources' keys, so that a source that
	// is watched again does not begin anew.
	generations atomic.Uint64
}

// SetsOptions are what NewSets needs.
type SetsOptions struct {
	// Now is the clock; time.Now in production.
	Now func() time.Time
	// Store keeps the last good sets across restarts. Nil: memory alone does.
	Store SetStore
	// Settings are the first ones; see Configure.
	Settings Settings
	// Resolver resolves names; nil stands for the system's.
	Resolver *net.Resolver
	// Hosts says where a host:port really is, as a hosts file does. What it
	// names is checked like any other address.
	Hosts map[string]string
	// Interval is how often what is due is looked for; zero stands for a
	// second.
	Interval time.Duration
	// Timeout bounds one fetch; zero stands for FetchTimeout.
	Timeout time.Duration
}

// Settings are what an operator may choose. Zero values stand for the defaults.
type Settings struct {
	// StaleIfError is how long a set counts after it went stale, while it
	// cannot be fetched. Default: 24 hours.
	StaleIfError time.Duration
	// Cooldown is how long, after a token with an unknown key caused a fetch,
	// no other one does. Default: 30 seconds.
	Cooldown time.Duration
	// Addresses are those that count as public although they are not.
	Addresses []netip.Prefix
	// Roots are the certificate authorities that are trusted; nil stands for
	// the system's.
	Roots *x509.CertPool

	// timeout stands for that of the options where a test has no time.
	timeout time.Duration
}

// Defaults of Settings, and bounds of how long a set is fresh.
const (
	DefaultStaleIfError = 24 * time.Hour
	DefaultCooldown     = 30 * time.Second

	DefaultFresh = time.Hour
	MinFresh     = time.Minute
	MaxFresh     = 24 * time.Hour
)

// SetStore keeps the last good sets, so that a restart while somebody's host is
// down locks nobody out.
type SetStore interface {
	// LoadKeySet returns the set that was saved under the name of a source, or
	// nil.
	LoadKeySet(ctx context.Context, name string) (*StoredSet, error)
	// SaveKeySet replaces the set of a source. Nobody needs it after expires.
	SaveKeySet(ctx context.Context, name string, set *StoredSet, expires time.Time) error
}

// StoredSet is a key set as it was fetched.
type StoredSet struct {
	Body      []byte        `json:"body"`
	ETag      string        `json:"etag,omitempty"`
	From      string        `json:"from"` // the address of the set itself
	FetchedAt time.Time     `json:"fetchedAt"`
	Fresh     time.Duration `json:"fresh"`
}

// ErrKeysUnavailable says that there are no keys that may still count, and none
// could be had.
var ErrKeysUnavailable = errors.New("the keys are not available")

// loadedSettings are settings with what was made of them.
type loadedSettings struct {
	Settings
	fetcher *fetcher
}

// NewSets returns the key sets of a process. Close ends what it does in the
// background.
func NewSets(options SetsOptions) *Sets {
	s := &Sets{
		now: options.Now, store: options.Store, resolver: options.Resolver, hosts: options.Hosts, timeout: options.Timeout,
		remotes: make(map[KeySetLocation]*Remote), fetches: make(map[FetchResult]*atomic.Uint64),
	}
	if s.timeout == 0 {
		s.timeout = FetchTimeout
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	for _, result := range FetchResults() {
		s.fetches[result] = new(atomic.Uint64)
	}
	s.Configure(options.Settings)
	interval := options.Interval
	if interval == 0 {
		interval = time.Second
	}
	s.work.Add(1)
	go s.run(interval)
	return s
}

// Configure changes the settings. What is in memory stays.
func (s *Sets) Configure(settings Settings) {
	if settings.StaleIfError == 0 {
		settings.StaleIfError = DefaultStaleIfError
	}
	if settings.Cooldown == 0 {
		settings.Cooldown = DefaultCooldown
	}
	if settings.timeout == 0 {
		settings.timeout = s.timeout
	}
	s.settings.Store(&loadedSettings{
		Settings: settings,
		fetcher:  newFetcher(newDialer(settings.Addresses, s.resolver, s.hosts), settings.Roots),
	})
}

// Watch begins to keep a source's keys. The error is the source's own: see
// Source.Check. Whoever watches releases.
func (s *Sets) Watch(source KeySetLocation) (*Remote, error) {
	if err := source.Check(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	remote := s.remotes[source]
	if remote == nil {
		remote = newRemote(s, source)
		s.remotes[source] = remote
	}
	remote.watchers++
	return remote, nil
}

// release forgets a source that nobody watches any more.
func (s *Sets) release(r *Remote) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.watchers--; r.watchers == 0 && s.remotes[r.location] == r {
		delete(s.remotes, r.location)
	}
}

// Close ends what is done in the background, and waits for it. What is in memory
// may still be used.
func (s *Sets) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.cancel()
	s.work.Wait()
}

// run looks for what is due until Close.
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

// maxInFlight bounds the fetches that are made at once because they are due.
const maxInFlight = 16

// refreshDue begins to fetch what is due.
func (s *Sets) refreshDue() {
	for _, remote := range s.list() {
		if s.inFlight.Load() >= maxInFlight {
			return
		}
		remote.refreshIfDue(s.now())
	}
}

// list returns all sources that are watched, which may be thousands, in no order:
// so none of them is always the last to be fetched.
func (s *Sets) list() []*Remote {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]*Remote, 0, len(s.remotes))
	for _, remote := range s.remotes {
		list = append(list, remote)
	}
	return list
}

// watched is the same by address.
func (s *Sets) watched() []*Remote {
	list := s.list()
	slices.SortFunc(list, func(a, b *Remote) int { return strings.Compare(a.location.Address(), b.location.Address()) })
	return list
}

// begin registers work in the background; it returns false after Close.
func (s *Sets) begin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.work.Add(1)
	return true
}

// SetStatus is the state of one source's keys.
type SetStatus struct {
	Source KeySetLocation
	// OK says that there are keys that count now.
	OK bool
	// Age is how long ago the set in use was fetched or found unchanged.
	Age time.Duration
	// Stale says that it should have been fetched anew and could not.
	Stale bool
	// KeyIDs are the ids of the keys that count; Active how many of them sign
	// with ES256, as publishers' keys must.
	KeyIDs []string
	Active int
	// Dropped says why keys of the set do not count.
	Dropped []string
	// TriedAt is when it was last fetched, or tried to; zero when never since
	// the process began. Err is why that failed, nil when it did not.
	TriedAt time.Time
	Err     error
}

// Statuses tells the state of every source that is watched, by address.
func (s *Sets) Statuses() []SetStatus {
	watched := s.watched()
	list := make([]SetStatus, len(watched))
	for i, remote := range watched {
		list[i] = remote.Status()
	}
	return list
}

// SetsStats counts what was done since NewSets.
type SetsStats struct {
	Fetches map[FetchResult]uint64
	// UnknownAsked counts the tokens with an unknown key for which newer keys
	// were asked or waited for, UnknownRefused those that were refused at once.
	UnknownAsked, UnknownRefused uint64
}

// Stats returns what was counted so far.
func (s *Sets) Stats() SetsStats {
	stats := SetsStats{
		Fetches:      make(map[FetchResult]uint64, len(s.fetches)),
		UnknownAsked: s.unknown[0].Load(), UnknownRefused: s.unknown[1].Load(),
	}
	for result, count := range s.fetches {
		stats.Fetches[result] = count.Load()
	}
	return stats
}
