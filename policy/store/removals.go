package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gatefold/gatefold/policy/store/engine"
)

// Removal is a write that closed something: a removed grant, a revoked link or a denied
// key. Nodes that share a store remember the newest ones of all nodes, and make them again
// when the store lost them.
type Removal struct {
	// Key is the key of the grant that was removed, or of the entry that was written.
	Key []byte `json:"key"`
	// Value is the entry that was written, with its end; nil for a grant.
	Value   []byte    `json:"value,omitempty"`
	Expires time.Time `json:"expires,omitzero"`
	// GivenBack reports that the removal was undone.
	GivenBack bool `json:"givenBack,omitempty"`
}

const (
	// maxRemovals bounds the removals that a node remembers.
	maxRemovals = 4096
	// maxRemovalBytes bounds the removals in one event of the change feed: of more, only
	// the node that made them knows all.
	maxRemovalBytes = 8 << 10
)

// removals are those of all partitions, the oldest first. The zero value is empty. It is
// safe for concurrent use.
type removals struct {
	mu      sync.Mutex
	byKey   map[removalKey]Removal
	order   []removalKey // without duplicates
	changes uint64
}

type removalKey struct{ partition, key string }

// of returns what a batch removes, and what it gives back of earlier removals.
func (r *removals) of(partition string, batch *engine.Batch) (found []Removal) {
	for _, k := range batch.Deletes {
		switch first(k) {
		case prefixGrant:
			found = append(found, Removal{Key: k})
		case prefixRevocation, prefixDeniedKey:
			found = append(found, Removal{Key: k, GivenBack: true})
		}
	}
	for i := range batch.Puts {
		put := &batch.Puts[i]
		switch first(put.Key) {
		case prefixRevocation, prefixDeniedKey:
			found = append(found, Removal{Key: put.Key, Value: put.Value, Expires: put.Expires})
		case prefixGrant:
			if r.has(partition, put.Key) {
				found = append(found, Removal{Key: put.Key, GivenBack: true})
			}
		}
	}
	return found
}

// first returns the first byte of a key, zero for an empty one, which no engine takes.
func first(k []byte) byte {
	if len(k) == 0 {
		return 0
	}
	return k[0]
}

// closing are the prefixes of records whose removal takes access away.
const closing = string(prefixGrant) + string(prefixDomain) + string(prefixRole) + string(prefixSubscription) + string(prefixProfile) +
	string(prefixUser) + string(prefixContract) + string(prefixSeat) + string(prefixClient) + string(prefixSignature)

// closes reports whether a batch takes access away.
func closes(batch *engine.Batch) bool {
	for _, k := range batch.Deletes {
		if strings.IndexByte(closing, first(k)) >= 0 {
			return true
		}
	}
	return slices.ContainsFunc(batch.Puts, func(put engine.Put) bool {
		return first(put.Key) == prefixRevocation || first(put.Key) == prefixDeniedKey
	})
}

func (r *removals) has(partition string, k []byte) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, ok := r.byKey[removalKey{partition, string(k)}]
	return ok
}

// add remembers removals, and forgets those that were given back.
func (r *removals) add(partition string, list []Removal) {
	if len(list) == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.byKey == nil {
		r.byKey = make(map[removalKey]Removal)
	}
	r.changes++
	for _, one := range list {
		id := removalKey{partition, string(one.Key)}
		if _, known := r.byKey[id]; !known {
			r.order = append(r.order, id)
		}
		one.Key, one.Value = bytes.Clone(one.Key), bytes.Clone(one.Value)
		r.byKey[id] = one
	}
	if more := len(r.order) - maxRemovals; more > 0 {
		for _, id := range r.order[:more] {
			delete(r.byKey, id)
		}
		r.order = append(r.order[:0:0], r.order[more:]...)
	}
}

// list returns the removals of a partition, the oldest first.
func (r *removals) list(partition string) (list []Removal) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, id := range r.order {
		if one := r.byKey[id]; id.partition == partition && !one.GivenBack {
			list = append(list, one)
		}
	}
	return list
}

// all returns the removals of all partitions, and how often they changed.
func (r *removals) all() (list map[string][]Removal, changes uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	list = make(map[string][]Removal)
	for _, id := range r.order {
		list[id.partition] = append(list[id.partition], r.byKey[id])
	}
	return list, r.changes
}

// formatRemovals begins an event with removals: the length of the event without them, that
// event, and the removals. A node that does not know the format takes everything for stale.
const formatRemovals = 5

var errRemovals = errors.New("the removals of an event of the change feed cannot be read")

// withRemovals adds removals to an event.
func withRemovals(event []byte, list []Removal) []byte {
	if len(list) == 0 {
		return event
	}
	joined := binary.AppendUvarint([]byte{formatRemovals}, uint64(len(event)))
	joined = append(joined, event...)
	most := len(joined) + maxRemovalBytes
	for i := range list {
		before := len(joined)
		if joined = list[i].append(joined); len(joined) > most {
			return joined[:before]
		}
	}
	return joined
}

func (r *Removal) append(to []byte) []byte {
	flags, expires := byte(0), int64(0)
	if r.GivenBack {
		flags = 1
	}
	if !r.Expires.IsZero() {
		expires = r.Expires.UnixMilli()
	}
	to = binary.AppendVarint(append(to, flags), expires)
	for _, part := range [][]byte{r.Key, r.Value} {
		to = append(binary.AppendUvarint(to, uint64(len(part))), part...)
	}
	return to
}

// cutRemovals returns an event and the removals that withRemovals added.
func cutRemovals(event []byte) (inner []byte, list []Removal, err error) {
	if len(event) == 0 || event[0] != formatRemovals {
		return event, nil, nil
	}
	rest := event[1:]
	part := func() []byte {
		n, used := binary.Uvarint(rest)
		if used <= 0 || n > uint64(len(rest)-used) {
			err, rest = errRemovals, nil
			return nil
		}
		found := rest[used : used+int(n)]
		rest = rest[used+int(n):]
		return found
	}
	inner = part()
	for err == nil && len(rest) > 0 {
		one := Removal{GivenBack: rest[0] == 1}
		expires, used := binary.Varint(rest[1:])
		if used <= 0 {
			return nil, nil, errRemovals
		}
		if expires != 0 {
			one.Expires = time.UnixMilli(expires).UTC()
		}
		rest = rest[1+used:]
		one.Key, one.Value = part(), part()
		if len(one.Key) == 0 {
			return nil, nil, errRemovals
		}
		list = append(list, one)
	}
	return inner, list, err
}
