package redisengine_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store"
	"github.com/gatefold/gatefold/policy/store/engine"
	"github.com/gatefold/gatefold/policy/store/enginetest"
	"github.com/gatefold/gatefold/policy/store/redisengine"
	"github.com/gatefold/gatefold/policy/store/redisengine/redistest"
)

// node is a follower with what it keeps.
type node struct {
	*store.Follower
	versions  policy.Versions
	refreshed atomic.Int64
	clock     atomic.Int64 // nanoseconds that its clock is ahead
	changes   sync.Map     // partition -> its last change
}

func (n *node) now() time.Time { return time.Now().Add(time.Duration(n.clock.Load())) }

const staleFor = 30 * time.Second

func newNode(t testing.TB, options redisengine.Options) *node {
	t.Helper()
	backend, err := redisengine.New(options)
	require.NoError(t, err)
	n := new(node)
	n.Follower = store.Follow(backend, store.FollowOptions{
		Versions: &n.versions, StaleFor: staleFor, Now: n.now,
		Refresh: func(ctx context.Context, _ string) {
			// It reads, as the real one does, also while the store comes back.
			err := n.View(ctx, "acme", func(s engine.Snapshot) error {
				_, err := s.Get([]byte("rules"))
				return err
			})
			if errors.Is(err, store.ErrAway) {
				t.Errorf("what comes back was not let read: %v", err)
			}
			n.refreshed.Add(1)
		},
		Changed: func(partition string, err error) { n.changes.Store(partition, err != nil) },
	})
	t.Cleanup(func() { _ = n.Close() })
	return n
}

// follow begins to follow the partition of the tests.
func (n *node) follow(t testing.TB) {
	t.Helper()
	require.NoError(t, n.Connect(t.Context()))
	require.NoError(t, n.View(t.Context(), "acme", func(engine.Snapshot) error { return nil }))
}

// reader is a reader whose grants change.
var reader = policy.Reader{UserID: "ada"}

func changeOf(user string) policy.Invalidation {
	var change policy.Invalidation
	change.Add(policy.KindUserID, "acme", user)
	return change
}

func tell(t testing.TB, backend engine.Engine, change policy.Invalidation) {
	t.Helper()
	commit(t, backend, engine.Batch{Event: change.Encode()})
}

// soon is how long tests wait for what takes milliseconds on a quiet machine.
const soon = 30 * time.Second

func (n *node) hears(t testing.TB, was uint64) {
	t.Helper()
	require.Eventually(t, func() bool { return n.versions.Reader("acme", &reader) != was }, soon, time.Millisecond)
}

func TestFollowerIsAnEngine(t *testing.T) {
	t.Parallel()
	url := redistest.Start(t).URL()
	opened := make(map[engine.Engine]redisengine.Options)
	open := func(t *testing.T, options redisengine.Options) engine.Engine {
		n := newNode(t, options)
		require.NoError(t, n.Connect(t.Context()))
		opened[n.Follower] = options
		return n.Follower
	}
	enginetest.Run(t, enginetest.Factory{
		Open: func(t *testing.T) engine.Engine { return open(t, optionsFor(t, url)) },
		Reopen: func(t *testing.T, backend engine.Engine) engine.Engine {
			require.NoError(t, backend.Close())
			return open(t, opened[backend])
		},
	})
}

// TestFollow: what one node writes makes stale what another has, and nothing else.
func TestFollow(t *testing.T) {
	t.Parallel()
	options := optionsFor(t, redistest.Start(t).URL())
	writer := open(t, options)
	n := newNode(t, options)
	n.follow(t)
	was, shared := n.versions.Reader("acme", &reader), n.versions.Shared()
	tell(t, writer, changeOf("ada"))
	n.hears(t, was)
	require.Equal(t, shared, n.versions.Shared())
	require.Zero(t, n.refreshed.Load())

	tell(t, writer, policy.Invalidation{Shared: true})
	require.Eventually(t, func() bool { return n.refreshed.Load() == 1 }, soon, time.Millisecond)
	require.NotEqual(t, shared, n.versions.Shared())
	require.Equal(t, store.StateFollowing, n.State().State)
}

// TestFollowThroughCuts cuts the connection on which events come, or lets nothing
// through it any more: the next event is heard all the same.
func TestFollowThroughCuts(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server.Address())
	options := optionsFor(t, proxy.URL())
	direct := options
	direct.Addresses = []string{server.Address()}
	writer := open(t, direct)
	n := newNode(t, options)
	n.follow(t)
	for _, spoil := range []func(){proxy.Cut, proxy.Freeze, proxy.Cut} {
		was := n.versions.Reader("acme", &reader)
		spoil()
		tell(t, writer, changeOf("ada"))
		n.hears(t, was)
	}
}

// TestFeedWithAGap drops events that a node had no chance to hear: all that it has
// is stale.
func TestFeedWithAGap(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server.Address())
	options := optionsFor(t, proxy.URL())
	direct := options
	direct.Addresses = []string{server.Address()}
	writer := open(t, direct)
	tell(t, writer, changeOf("bob"))
	n := newNode(t, options)
	n.follow(t)
	shared := n.versions.Shared()
	proxy.Refuse(true)
	for range 3 {
		tell(t, writer, changeOf("ada"))
	}
	server.Do("xtrim", options.Prefix+":{acme}:f", "maxlen", "1")
	proxy.Refuse(false)
	require.Eventually(t, func() bool { return n.versions.Shared() != shared && n.refreshed.Load() > 0 }, soon, time.Millisecond)
	was := n.versions.Reader("acme", &reader)
	tell(t, writer, changeOf("ada"))
	n.hears(t, was)
}

// TestAnotherFeed puts another database in the place of the one that is followed, as
// a failover does that lost writes: one that is behind, and one that is just as far.
func TestAnotherFeed(t *testing.T) {
	t.Parallel()
	for name, events := range map[string]int{"behind": 1, "as far": 3, "ahead": 5, "empty": 0} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := redistest.Start(t)
			proxy := redistest.NewProxy(t, server.Address())
			options := optionsFor(t, proxy.URL())
			direct := options
			direct.Addresses = []string{server.Address()}
			first := open(t, direct)
			for range 3 {
				tell(t, first, changeOf("ada"))
			}
			n := newNode(t, options)
			n.follow(t)
			shared := n.versions.Shared()
			proxy.Refuse(true)
			server.Kill() // nothing of it is kept
			server.Start()
			second := open(t, direct)
			for range events {
				tell(t, second, changeOf("bob"))
			}
			proxy.Refuse(false)
			require.Eventually(t, func() bool { return n.versions.Shared() != shared }, soon, time.Millisecond)
			was := n.versions.Reader("acme", &reader)
			tell(t, second, changeOf("ada"))
			n.hears(t, was)
		})
	}
}

// TestAway stops the server: what is in memory may be used for a while, what must be
// read or written fails at once, and all is well again when the server is back.
func TestAway(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, "--appendonly", "yes", "--appendfsync", "always")
	options := optionsFor(t, server.URL())
	n := newNode(t, options)
	n.follow(t)
	tell(t, n, changeOf("ada"))
	server.Kill()
	view := func() error {
		return n.View(t.Context(), "acme", func(s engine.Snapshot) error {
			_, err := s.Get([]byte("k"))
			return err
		})
	}
	require.Eventually(t, func() bool { return errors.Is(view(), store.ErrAway) }, soon, time.Millisecond)
	for name, call := range map[string]func() error{
		"commit":           func() error { _, err := n.Commit(t.Context(), "acme", &engine.Batch{Event: []byte("x")}); return err },
		"commit elsewhere": func() error { _, err := n.Commit(t.Context(), "other", &engine.Batch{Event: []byte("x")}); return err },
		"view elsewhere":   func() error { return n.View(t.Context(), "other", func(engine.Snapshot) error { return nil }) },
		"sweep":            func() error { _, err := n.Sweep(t.Context(), "acme", time.Now(), 1); return err },
		"position":         func() error { _, err := n.Position(t.Context(), "acme"); return err },
		"partitions":       func() error { _, err := n.Partitions(t.Context()); return err },
	} {
		require.Eventually(t, func() bool { return errors.Is(call(), store.ErrAway) }, soon, time.Millisecond, name)
		require.ErrorIs(t, call(), engine.ErrUnavailable, name)
	}
	require.True(t, n.Fresh("acme", n.now()))
	require.True(t, n.Fresh("never read", n.now()))
	require.Equal(t, store.StateStale, n.State().State)
	n.clock.Store(int64(staleFor))
	require.False(t, n.Fresh("acme", n.now()))
	require.Equal(t, store.StateClosed, n.State().State)

	server.Start()
	shared := n.versions.Shared()
	require.Eventually(t, func() bool { return n.Fresh("acme", n.now()) && view() == nil }, soon, time.Millisecond)
	require.Eventually(t, func() bool { return n.State().State == store.StateFollowing }, soon, time.Millisecond)
	require.Equal(t, shared, n.versions.Shared(), "nothing was lost, so nothing is stale")
	for _, partition := range []string{"", "acme"} {
		away, told := n.changes.Load(partition)
		require.True(t, told)
		require.Equal(t, false, away)
	}
}

// TestAwayFromTheStart begins before the server is there.
func TestAwayFromTheStart(t *testing.T) {
	t.Parallel()
	server := redistest.New(t)
	n := newNode(t, optionsFor(t, server.URL()))
	require.ErrorIs(t, n.Connect(t.Context()), redisengine.ErrUnreachable)
	_, err := n.Partitions(t.Context())
	require.ErrorIs(t, err, store.ErrAway)
	require.Equal(t, store.StateClosed, n.State().State)
	server.Start()
	require.Eventually(t, func() bool { _, err := n.Partitions(t.Context()); return err == nil }, soon, time.Millisecond)
}
