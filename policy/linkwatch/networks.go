package linkwatch

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"hash/maphash"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gatefold/gatefold/policy/store"
)

const (
	// recentNetworks is the number of links and networks of which a node knows that it
	// recorded them: 128 KiB.
	recentNetworks = 1 << 14
	// networkEvery is how often a node records a network of a link again. A link is
	// certain to be found that opens from too many networks within an hour less this.
	networkEvery = 10 * time.Minute
	// maxOpened bounds the buffered networks, in about 1 MB.
	maxOpened = 4096
	// maxLeaks bounds the leaks that a node remembers.
	maxLeaks = 64
)

// Leak is a link that was opened from more networks than its limit.
type Leak struct {
	Link
	Networks, Limit int
	// Quarantined reports whether the link was revoked for it.
	Quarantined bool
	At          time.Time
}

// Opening says that a link opened a page.
type Opening struct {
	Link
	Network netip.Prefix
	Limit   store.NetworkLimit
	At      time.Time
	// Leaked is called if the opening exceeds the limit. Optional.
	Leaked func(Leak)
}

// networks buffers openings, and remembers leaks.
type networks struct {
	seed maphash.Seed
	// recent has a hash of links and networks that were buffered within networkEvery, at
	// an index derived from the hash.
	recent [recentNetworks]atomic.Uint64
	// failures is part of these hashes: what was lost is buffered again.
	failures atomic.Uint64

	mu      sync.Mutex
	waiting []opened
	leaks   []Leak

	counts                counts
	reported, quarantined atomic.Uint64
}

// opened is an Opening whose network is hashed.
type opened struct {
	Opening
	hash uint64
}

func (n *networks) init() { n.seed = maphash.MakeSeed() }

// Opened buffers an opening, unless this node did so a moment ago. Hash returns the keyed
// hash of a text, the same on all nodes. Opened does not block.
func (w *Watch) Opened(o *Opening, hash func([]byte) uint64) {
	n := &w.networks
	var h maphash.Hash
	h.SetSeed(n.seed)
	var numbers [16]byte
	binary.BigEndian.PutUint64(numbers[:], uint64(o.At.UnixNano()/int64(networkEvery))) //nolint:gosec // G115: any number will do
	binary.BigEndian.PutUint64(numbers[8:], n.failures.Load())
	address := o.Network.Addr().As16()
	for _, text := range [...]string{o.Vendor, o.Issuer, o.ID} {
		_, _ = h.WriteString(text)
		_ = h.WriteByte(0)
	}
	_, _ = h.Write(address[:])
	_, _ = h.Write(numbers[:])
	sum := h.Sum64()
	place := &n.recent[sum%recentNetworks]
	if place.Load() == sum {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.waiting) >= maxOpened {
		n.counts.dropped.Add(1)
		return
	}
	place.Store(sum)
	kept := opened{*o, hash(networkText(o))}
	kept.ID = strings.Clone(o.ID) // it may be a part of a longer string
	n.waiting = append(n.waiting, kept)
}

// networkText is what is hashed of an opening: the link is part of it, so that the networks
// of two links cannot be compared.
func networkText(o *Opening) []byte {
	text := make([]byte, 0, 256)
	for _, part := range [...]string{o.Vendor, o.Issuer, o.ID} {
		text = append(append(text, part...), 0)
	}
	address := o.Network.Addr().As16()
	return append(text, address[:]...)
}

// flushNetworks records what is buffered, with one write for each link.
func (w *Watch) flushNetworks() (failure error) {
	n := &w.networks
	n.mu.Lock()
	waiting := n.waiting
	n.waiting = nil
	n.mu.Unlock()
	slices.SortStableFunc(waiting, func(a, b opened) int {
		return cmp.Or(cmp.Compare(a.Vendor, b.Vendor), cmp.Compare(a.Issuer, b.Issuer), cmp.Compare(a.ID, b.ID))
	})
	for len(waiting) > 0 {
		first := &waiting[0]
		hashes := []uint64{first.hash}
		for len(hashes) < len(waiting) && waiting[len(hashes)].Link == first.Link {
			hashes = append(hashes, waiting[len(hashes)].hash)
		}
		if err := w.countNetworks(&waiting[len(hashes)-1], hashes); err != nil {
			failure = err
			n.counts.lost.Add(uint64(len(hashes)))
			n.failures.Add(1)
		} else {
			n.counts.stored.Add(uint64(len(hashes)))
		}
		waiting = waiting[len(hashes):]
	}
	return failure
}

// countNetworks records the networks of a link. The last opening has its limit.
func (w *Watch) countNetworks(last *opened, hashes []uint64) error {
	ctx, cancel := context.WithTimeout(context.Background(), writeTimeout)
	defer cancel()
	exceeded, err := w.options.Store.CountNetworks(ctx, last.Vendor, last.Issuer, last.ID, hashes, last.Limit)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil || exceeded == 0 {
		return err
	}
	leak := Leak{Link: last.Link, Networks: exceeded, Limit: last.Limit.Networks, Quarantined: last.Limit.Quarantine, At: w.options.Now()}
	w.networks.remember(leak)
	if last.Leaked != nil {
		last.Leaked(leak)
	}
	return nil
}

func (n *networks) remember(leak Leak) {
	if leak.Quarantined {
		n.quarantined.Add(1)
	} else {
		n.reported.Add(1)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.leaks = slices.DeleteFunc(n.leaks, func(other Leak) bool { return other.Link == leak.Link })
	n.leaks = append(n.leaks[max(0, len(n.leaks)-maxLeaks+1):], leak)
}

// Leaks returns the leaks that this node found within the last hour, oldest first.
func (w *Watch) Leaks() []Leak {
	n, now := &w.networks, w.options.Now()
	n.mu.Lock()
	defer n.mu.Unlock()
	n.leaks = slices.DeleteFunc(n.leaks, func(leak Leak) bool { return now.Sub(leak.At) >= store.LeakWindow })
	return slices.Clone(n.leaks)
}
