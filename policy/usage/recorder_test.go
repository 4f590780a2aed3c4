package usage_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatefold/gatefold/keys/keystest"
	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store"
	"github.com/gatefold/gatefold/policy/store/boltengine"
	"github.com/gatefold/gatefold/policy/store/engine"
	"github.com/gatefold/gatefold/policy/store/redisengine"
	"github.com/gatefold/gatefold/policy/store/redisengine/redistest"
	"github.com/gatefold/gatefold/policy/usage"
)

const vendor = "acme"

var (
	start = time.Date(2027, 1, 31, 23, 0, 0, 0, time.UTC)
	key   = [32]byte{1}
)

// contract stores a contract; of its record, usage reads the seats and the site licence.
func contract(t *testing.T, backend engine.Engine, id, record string) {
	t.Helper()
	_, err := backend.Commit(t.Context(), vendor, &engine.Batch{Puts: []engine.Put{{Key: []byte("c" + id), Value: []byte(record)}}})
	require.NoError(t, err)
}

const (
	withSite  = `{"site":{"domains":["uni.example"]}}`
	withSeats = `{"seats":3}`
)

func openBolt(t *testing.T) engine.Engine {
	t.Helper()
	backend, err := boltengine.Open(filepath.Join(t.TempDir(), "gatefold.db"))
	require.NoError(t, err)
	t.Cleanup(func() { _ = backend.Close() })
	return backend
}

// node is a recorder over a store. It writes when it is closed.
type node struct {
	*usage.Recorder
	store *store.Store
}

func newNode(t *testing.T, backend engine.Engine, interval time.Duration) *node {
	s := store.New(backend, new(policy.Versions), keystest.NewClock(start).Now)
	n := &node{usage.New(usage.Options{Store: s, Interval: interval}), s}
	t.Cleanup(n.Close)
	return n
}

func reader(id string) *usage.Use { return &usage.Use{UserID: id, Key: &key} }

func client(address string) *usage.Use {
	return &usage.Use{Address: netip.MustParseAddr(address), Key: &key}
}

func (n *node) report(t *testing.T, id string) []store.Usage {
	t.Helper()
	list, err := n.store.ContractUsage(context.Background(), vendor, id, time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2027, 2, 1, 0, 0, 0, 0, time.UTC))
	require.NoError(t, err)
	return list
}

// A month of a library: readers are counted once in a month, by their user id or else by
// their address, and refusals are no pages.
func TestUsageOfAMonth(t *testing.T) {
	backend := openBolt(t)
	contract(t, backend, "uni", withSite)
	contract(t, backend, "team", withSeats)
	contract(t, backend, "own", `{"owner":{"userId":"ann"}}`)
	n := newNode(t, backend, time.Hour)
	for range 3 {
		n.Page(vendor, "uni", start, reader("ann"))
		n.Page(vendor, "uni", start, client("198.51.100.7"))
		n.Page(vendor, "uni", start, client("::ffff:198.51.100.7"))
		n.Refused(vendor, "uni", start)
	}
	n.Page(vendor, "uni", start, reader("198.51.100.7")) // no address
	n.Page(vendor, "uni", start.Add(time.Hour), reader("ann"))
	n.Page(vendor, "team", start, reader("ann"))
	n.Page(vendor, "own", start, reader("ann"))
	n.Page(vendor, "gone", start, reader("ann"))
	n.Close()
	require.Equal(t, []store.Usage{{Month: "2027-01", Pages: 10, Readers: 3, Refused: 3}, {Month: "2027-02", Pages: 1, Readers: 1}}, n.report(t, "uni"))
	require.Equal(t, int64(1), n.report(t, "team")[0].Pages)
	require.Zero(t, n.report(t, "own")[0].Pages, "a contract of one reader is not counted")
	_, err := n.store.ContractUsage(t.Context(), vendor, "gone", start, start)
	require.ErrorIs(t, err, store.ErrNotFound)
	_, err = n.store.ContractUsage(t.Context(), "rival", "uni", start, start)
	require.ErrorIs(t, err, store.ErrNotFound, "another vendor has no such contract")

	// After a restart, whose recorder remembers no reader, each is still counted once.
	again := newNode(t, backend, time.Hour)
	again.Page(vendor, "uni", start, reader("ann"))
	again.Close()
	require.Equal(t, store.Usage{Month: "2027-01", Pages: 11, Readers: 3, Refused: 3}, again.report(t, "uni")[0])

	// Neither readers nor addresses are in the store, and two months cannot be compared.
	var entries, markers []string
	require.NoError(t, backend.View(t.Context(), vendor, func(snapshot engine.Snapshot) error {
		for entry, err := range snapshot.Scan([]byte("9"), nil) {
			if err != nil {
				return err
			}
			entries = append(entries, string(entry.Key)+string(entry.Value))
			if parts := strings.Split(string(entry.Key), "\x00"); len(parts) == 3 {
				markers = append(markers, parts[2])
			}
		}
		return nil
	}))
	for _, entry := range entries {
		require.NotContains(t, entry, "ann")
		require.NotContains(t, entry, "198.51")
	}
	require.Len(t, markers, 5)
	seen := map[string]bool{}
	for _, marker := range markers {
		require.False(t, seen[marker], "a reader has one hash in two contracts or months")
		seen[marker] = true
	}

	// The readers are forgotten 62 days after their month, and the counts stay.
	_, err = backend.Sweep(t.Context(), vendor, time.Date(2027, 2, 1, 0, 0, 0, 0, time.UTC).AddDate(0, 0, 63), 1000)
	require.NoError(t, err)
	left := 0
	require.NoError(t, backend.View(t.Context(), vendor, func(snapshot engine.Snapshot) error {
		for entry := range snapshot.Scan([]byte("9uni\x002027-01"), nil) {
			left++
			require.NotContains(t, string(entry.Key[len("9uni\x002027-01"):]), "\x00")
		}
		return nil
	}))
	require.Equal(t, 1, left)
	require.Equal(t, int64(3), again.report(t, "uni")[0].Readers)
}

// The readers of a licence come to two nodes with one Redis at once: the sum of the pages is
// exact, and each reader is one.
func TestUsageOfTwoNodes(t *testing.T) {
	redis := redistest.Start(t)
	var nodes [2]*node
	for i := range nodes {
		options, err := redisengine.ParseURLs([]string{redis.URL()})
		require.NoError(t, err)
		backend, err := redisengine.New(options)
		require.NoError(t, err)
		t.Cleanup(func() { _ = backend.Close() })
		if i == 0 {
			contract(t, backend, "uni", withSite)
		}
		nodes[i] = newNode(t, backend, time.Millisecond)
	}
	var wait sync.WaitGroup
	for _, n := range nodes {
		wait.Go(func() {
			for i := range 3000 {
				n.Page(vendor, "uni", start, reader(fmt.Sprint(i%700)))
				if i%3 == 0 {
					n.Refused(vendor, "uni", start)
				}
			}
			n.Close()
		})
	}
	wait.Wait()
	require.Zero(t, nodes[0].Stats().Lost+nodes[1].Stats().Lost)
	require.Equal(t, store.Usage{Month: "2027-01", Pages: 6000, Readers: 700, Refused: 2000}, nodes[0].report(t, "uni")[0])
}

// countingEngine counts commits, and fails on request.
type countingEngine struct {
	engine.Engine
	commits atomic.Int64
	fails   atomic.Bool
}

func (e *countingEngine) Commit(ctx context.Context, partition string, batch *engine.Batch) (engine.Committed, error) {
	e.commits.Add(1)
	if e.fails.Load() {
		return engine.Committed{}, errors.New("the disk is gone")
	}
	return e.Engine.Commit(ctx, partition, batch)
}

// A flood of refused requests by anonymous clients costs one write for the interval, and one
// of readers is bounded in memory and counted as dropped.
func TestFloodOfRefusals(t *testing.T) {
	backend := &countingEngine{Engine: openBolt(t)}
	contract(t, backend.Engine, "uni", withSite)
	n := newNode(t, backend, time.Hour)
	for range 200_000 {
		n.Refused(vendor, "uni", start)
	}
	n.Close()
	require.EqualValues(t, 1, backend.commits.Load())
	require.Equal(t, int64(200_000), n.report(t, "uni")[0].Refused)

	n = newNode(t, backend, time.Hour)
	for i := range 40_000 {
		n.Refused(vendor, fmt.Sprint("unknown-", i), start)
	}
	require.EqualValues(t, 40_000-1<<15, n.Stats().Dropped)
	backend.commits.Store(0)
	n.Close()
	require.Zero(t, backend.commits.Load(), "contracts that do not exist are not written")
}

// A store that fails loses the counts of an interval, which are counted as lost, and the
// readers are counted when they come again.
func TestStoreThatFails(t *testing.T) {
	backend := &countingEngine{Engine: openBolt(t)}
	contract(t, backend.Engine, "uni", withSite)
	failed := make(chan error, 100)
	s := store.New(backend, new(policy.Versions), keystest.NewClock(start).Now)
	n := &node{usage.New(usage.Options{Store: s, Interval: time.Millisecond, Failed: func(err error) {
		select {
		case failed <- err:
		default:
		}
	}}), s}
	t.Cleanup(n.Close)
	backend.fails.Store(true)
	n.Page(vendor, "uni", start, reader("ann"))
	require.ErrorContains(t, <-failed, "the disk is gone")
	require.Equal(t, usage.Stats{Lost: 1}, n.Stats())
	backend.fails.Store(false)
	n.Page(vendor, "uni", start, reader("ann"))
	n.Close()
	require.Equal(t, store.Usage{Month: "2027-01", Pages: 1, Readers: 1}, n.report(t, "uni")[0])
}

// A reader who was counted in this month costs no allocation.
func TestReaderWhoIsKnown(t *testing.T) {
	n := newNode(t, openBolt(t), time.Hour)
	use := reader("ann")
	n.Page(vendor, "uni", start, use)
	require.Zero(t, testing.AllocsPerRun(100, func() { n.Page(vendor, "uni", start, use) }))
}
