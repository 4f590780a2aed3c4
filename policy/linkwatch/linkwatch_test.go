package linkwatch_test

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"net/netip"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/keys/keystest"
	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/linkwatch"
	"github.com/gatefold/gatefold/policy/store"
	"github.com/gatefold/gatefold/policy/store/boltengine"
	"github.com/gatefold/gatefold/policy/store/engine"
	"github.com/gatefold/gatefold/policy/store/redisengine"
	"github.com/gatefold/gatefold/policy/store/redisengine/redistest"
)

const vendor = "acme"

var start = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// node is a store with its watch, which writes when it is closed.
type node struct {
	store *store.Store
	watch *linkwatch.Watch
	leaks atomic.Int32
}

func newNode(t *testing.T, backend engine.Engine, clock *keystest.Clock) *node {
	n := &node{store: store.New(backend, new(policy.Versions), clock.Now)}
	n.watch = linkwatch.New(linkwatch.Options{Store: n.store, Now: clock.Now, Interval: time.Millisecond})
	t.Cleanup(n.watch.Close)
	return n
}

// link stores a link without end in sight.
func (n *node) link(t *testing.T) linkwatch.Link {
	claims := keys.LinkClaims{Issuer: keys.VendorIssuer(vendor), ID: n.store.NewLinkID(), SKU: "s", ExpiresAt: start.Add(24 * time.Hour).Unix()}
	_, err := n.store.As(store.Actor{}).CreateLink(t.Context(), vendor, claims)
	require.NoError(t, err)
	return linkwatch.Link{Vendor: vendor, Issuer: claims.Issuer, ID: claims.ID}
}

func (n *node) open(link linkwatch.Link, network int, at time.Time) {
	n.watch.Opened(&linkwatch.Opening{
		Link: link, Network: netip.PrefixFrom(netip.AddrFrom4([4]byte{198, 18, byte(network), 0}), 24),
		Limit: store.NetworkLimit{Networks: 20}, At: at, Leaked: func(linkwatch.Leak) { n.leaks.Add(1) },
	}, func(text []byte) uint64 {
		h := fnv.New64a() // on the nodes of a site one key
		_, _ = h.Write(text)
		return h.Sum64()
	})
}

// Readers of a link are spread over two nodes with one Redis. The nodes see one total, each
// network once, and one of them reports the leak.
func TestTwoNodesSeeOneTotal(t *testing.T) {
	redis, clock := redistest.Start(t), keystest.NewClock(start)
	var nodes [2]*node
	for i := range nodes {
		options, err := redisengine.ParseURLs([]string{redis.URL()})
		require.NoError(t, err)
		backend, err := redisengine.New(options)
		require.NoError(t, err)
		t.Cleanup(func() { _ = backend.Close() })
		nodes[i] = newNode(t, backend, clock)
	}
	link := nodes[0].link(t)
	settle := func(n *node, stored uint64) {
		require.Eventually(t, func() bool { return n.watch.Stats().Networks.Stored >= stored }, 30*time.Second, time.Millisecond)
	}
	for network := range 20 {
		for _, n := range nodes {
			n.open(link, network, clock.Now())
		}
	}
	settle(nodes[0], 20)
	settle(nodes[1], 20)
	require.Zero(t, nodes[0].leaks.Load()+nodes[1].leaks.Load(), "20 networks, each at both nodes")
	for network := range 10 {
		nodes[0].open(link, 20+network, clock.Now())
		nodes[1].open(link, 25+network, clock.Now())
	}
	settle(nodes[0], 30)
	settle(nodes[1], 30)
	require.EqualValues(t, 1, nodes[0].leaks.Load()+nodes[1].leaks.Load(), "one node reports")
	require.Len(t, append(nodes[0].watch.Leaks(), nodes[1].watch.Leaks()...), 1)

	// Both are refused readers of one link: the history has all of them.
	for i := range 100 {
		nodes[i%2].watch.Refused(link, "link_revoked", policy.Visitor{Agent: "bot"}, clock.Now())
	}
	nodes[0].watch.Close()
	nodes[1].watch.Close()
	history, err := nodes[0].store.LinkEvents(t.Context(), vendor, link.Issuer, link.ID, store.Page{})
	require.NoError(t, err)
	require.Len(t, history, 1)
	require.EqualValues(t, 100, history[0].Count)
}

// brokenEngine is a store that does not answer until it is released, and then fails.
type brokenEngine struct {
	engine.Engine
	stalled chan struct{}
	works   atomic.Bool
}

func (e *brokenEngine) View(ctx context.Context, partition string, fn func(engine.Snapshot) error) error {
	if !e.works.Load() {
		<-e.stalled
		return errors.New("the disk is gone")
	}
	return e.Engine.View(ctx, partition, fn)
}

// The store stalls and then fails while a flood comes: no request waits, memory is bounded,
// and what was dropped and lost is counted. A network that was lost is recorded again when
// the store works.
func TestStoreThatFails(t *testing.T) {
	clock := keystest.NewClock(start)
	backend, err := boltengine.Open(filepath.Join(t.TempDir(), "gatefold.db"))
	require.NoError(t, err)
	t.Cleanup(func() { _ = backend.Close() })
	broken := &brokenEngine{Engine: backend, stalled: make(chan struct{})}
	n := newNode(t, broken, clock)
	broken.works.Store(true)
	link := n.link(t)
	broken.works.Store(false)
	n.open(link, 0, clock.Now())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range 20_000 {
			other := linkwatch.Link{Vendor: vendor, Issuer: link.Issuer, ID: fmt.Sprint("link_", i)}
			n.open(other, 1, clock.Now())
			n.watch.Refused(other, "link_revoked", policy.Visitor{}, clock.Now())
		}
	}()
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Fatal("a request waits for the store")
	}
	stats := n.watch.Stats()
	require.Zero(t, stats.Networks.Stored+stats.Refusals.Stored)
	require.Greater(t, stats.Networks.Dropped, uint64(10_000))
	require.Greater(t, stats.Refusals.Dropped, uint64(10_000))
	close(broken.stalled)
	require.Eventually(t, func() bool {
		stats := n.watch.Stats()
		return stats.Networks.Dropped+stats.Networks.Lost == 20_001 && stats.Refusals.Dropped+stats.Refusals.Lost == 20_000
	}, 30*time.Second, time.Millisecond)
	broken.works.Store(true)
	for network := range 21 {
		n.open(link, network, clock.Now())
	}
	require.Eventually(t, func() bool { return n.leaks.Load() == 1 }, 30*time.Second, time.Millisecond)
}

// A network that opens a link again within ten minutes is not buffered again, and nothing
// is allocated for it.
func TestNetworkThatIsKnown(t *testing.T) {
	clock := keystest.NewClock(start)
	backend, err := boltengine.Open(filepath.Join(t.TempDir(), "gatefold.db"))
	require.NoError(t, err)
	t.Cleanup(func() { _ = backend.Close() })
	n := newNode(t, backend, clock)
	link := n.link(t)
	n.open(link, 0, clock.Now())
	require.Eventually(t, func() bool { return n.watch.Stats().Networks.Stored == 1 }, 30*time.Second, time.Millisecond)
	opening := &linkwatch.Opening{Link: link, Network: netip.MustParsePrefix("198.18.0.0/24"), At: clock.Now()}
	allocations := testing.AllocsPerRun(100, func() { n.watch.Opened(opening, nil) }) // a nil hash: it would panic
	require.Zero(t, allocations)
	n.open(link, 0, clock.Now().Add(10*time.Minute))
	require.Eventually(t, func() bool { return n.watch.Stats().Networks.Stored == 2 }, 30*time.Second, time.Millisecond)
}
