package nodestate

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/gatefold/gatefold/admin/condition"
	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/linkwatch"
	"github.com/gatefold/gatefold/policy/store"
	"github.com/gatefold/gatefold/policy/webhook"
)

// Options are what a node's conditions are found in.
type Options struct {
	// Now is the clock.
	Now func() time.Time
	// Changed is called with each condition that begins or ends.
	Changed func(c condition.Condition, began bool)
	// Follower returns the follower of a shared store, nil for an embedded one.
	Follower func() *store.Follower
	// KeySets are the watched key sets.
	KeySets *keys.Sets
	// Skews returns how far the clocks of issuers are ahead.
	Skews func() []policy.ClockSkew
	// ClockStops is the difference of the server's clock from which redemptions and signing
	// stop. Default: ClockStops.
	ClockStops time.Duration
	// Leaks returns the links that leaked within the last hour.
	Leaks func() []linkwatch.Leak
	// Webhooks returns the webhooks to which nothing can be delivered.
	Webhooks func() []webhook.Failing
	// CrawlerLists returns the lists of the addresses of crawlers. Optional.
	CrawlerLists func() []CrawlerList
	// Probe writes into a partition.
	Probe func(ctx context.Context, partition string) error
	// Backups returns the state of the backups that the server makes, nil without any.
	// Optional.
	Backups func() *Backups
	// DiskSpace returns the size of the store's disk and what is available, zero if that is
	// not known. Optional.
	DiskSpace func() DiskSpace
	// IndexBuilds returns the indexes that this node builds. Optional.
	IndexBuilds func() []store.IndexBuild
	// StalePages returns the use of expired pages because the origin fails, nil while there is
	// none. Optional.
	StalePages func() *StalePages
	// Replaced returns an error if the store's file is no longer the one at its path.
	Replaced func() error
}

// Node finds the conditions of a node. It is safe for concurrent use.
type Node struct {
	*condition.Board
	// Writes is told the result of each write.
	Writes *Writes
	// Server is told the result of each inspection of a Redis server.
	Server *Server
	// Disk is the disk of the store's file.
	Disk *Disk

	options Options
}

// New returns a node.
func New(options Options) *Node {
	n := &Node{
		Board:  condition.NewBoard(options.Now, options.Changed),
		Writes: &Writes{now: options.Now, failing: map[string]*failure{}}, Server: &Server{stops: cmp.Or(options.ClockStops, ClockStops)}, Disk: new(Disk),
		options: options,
	}
	for _, source := range []func() []condition.Finding{n.follow, n.Writes.findings, n.Server.findings, n.countedLinks, n.keySets, n.clocks, n.leaks, n.webhooks, n.losses, n.backups, n.indexes, n.crawlerLists, n.Disk.findings, n.pages} {
		n.Add(source)
	}
	return n
}

const (
	// lookEvery is how often the conditions are looked at when no one asks.
	lookEvery = 5 * time.Second
	// probeTimeout bounds one write that finds out whether writes work again.
	probeTimeout = 5 * time.Second
)

// Run looks at the conditions every five seconds until ctx ends, so that the log has
// those that no one asked for. While writes fail it also tries whether they work again.
func (n *Node) Run(ctx context.Context) {
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		n.Probe(ctx)
		n.Look()
	}
}

// Probe writes into each partition whose last write failed, and looks whether the
// store's file is in its place, and how full its disk is: a source of conditions must not wait for a file system.
func (n *Node) Probe(ctx context.Context) {
	n.Writes.Replaced(n.options.Replaced())
	if n.options.DiskSpace != nil {
		n.Disk.Seen(n.options.DiskSpace())
	}
	for _, partition := range n.Writes.broken() {
		ctx, cancel := context.WithTimeout(ctx, probeTimeout)
		// The engine tells Writes the result.
		_ = n.options.Probe(ctx, partition)
		cancel()
	}
}

// countedLinks finds out whether counted links are refused, from what refuses them.
func (n *Node) countedLinks() []condition.Finding {
	for _, findings := range [][]condition.Finding{n.follow(), n.losses(), n.Server.findings(), n.Writes.findings()} {
		for _, f := range findings {
			switch f.Kind {
			case writesFailing:
				if len(n.Writes.broken()) == 0 {
					continue // large ones fail on a full disk, and a use still fits
				}
				fallthrough
			case storeUnreachable, storeWentBack, clockStopped, redisEvicts, redisReplica, replicasMissing:
				return []condition.Finding{{Kind: countedLinksRefused, Since: f.Since, What: "Uses of counted links cannot be counted: " + f.What}}
			}
		}
	}
	return nil
}

// Full reports whether the store has little room left: disk_full or redis_memory_full says so.
func (n *Node) Full() bool {
	return slices.ContainsFunc(append(n.Disk.findings(), n.Server.findings()...), func(f condition.Finding) bool {
		return f.Kind == diskFull || f.Kind == redisMemoryFull
	})
}
