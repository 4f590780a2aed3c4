package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"sync"
	"time"
)

// Removal is a write that closed something: a revoked link, a denied key, a record that was
// removed, or changed so that it gives less. Nodes that share a store remember the newest ones
// of all nodes, and make them again when the store lost them.
type Removal struct {
	// Key is the key of the record.
	Key []byte `json:"key"`
	// Value is the entry that was written, with its end, or of a changed record the members
	// that close it, see closings; nil for a record that was removed.
	Value []byte `json:"value,omitempty"`
	// At is when it was written.
	At      time.Time `json:"at,omitzero"`
	Expires time.Time `json:"expires,omitzero"`
	// GivenBack reports that the removal was undone.
	GivenBack bool `json:"givenBack,omitempty"`
}

const (
	// maxRemovals bounds the removals that a node remembers, maxRemovedLogins the ended login
	// sessions and tokens besides: readers end those, who must not displace what operators close.
	maxRemovals      = 4096
	maxRemovedLogins = 4096
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
	logins  []removalKey // those of login sessions, and of the tokens of readers
	changes uint64
}

type removalKey struct{ partition, key string }

// first returns the first byte of a key, zero for an empty one, which no engine takes.
func first(k []byte) byte {
	if len(k) == 0 {
		return 0
	}
	return k[0]
}

// get returns what is remembered of a key, nil for nothing or what was given back.
func (r *removals) get(partition string, k []byte) *Removal {
	r.mu.Lock()
	defer r.mu.Unlock()
	one, ok := r.byKey[removalKey{partition, string(k)}]
	if !ok || one.GivenBack {
		return nil
	}
	return &one
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
		order := r.orderOf(one.Key)
		if _, known := r.byKey[id]; known { // the newest of them counts
			at := slices.Index(*order, id)
			*order = slices.Delete(*order, at, at+1)
		}
		*order = append(*order, id)
		one.Key, one.Value = bytes.Clone(one.Key), bytes.Clone(one.Value)
		r.byKey[id] = one
	}
	r.order = r.trim(r.order, maxRemovals)
	r.logins = r.trim(r.logins, maxRemovedLogins)
}

func (r *removals) orderOf(k []byte) *[]removalKey {
	if first(k) == prefixLogin || isTokensEnded(k) {
		return &r.logins
	}
	return &r.order
}

// trim forgets the oldest removals beyond a bound.
func (r *removals) trim(order []removalKey, most int) []removalKey {
	more := len(order) - most
	if more <= 0 {
		return order
	}
	for _, id := range order[:more] {
		delete(r.byKey, id)
	}
	return append(order[:0:0], order[more:]...)
}

// each yields the removals that are not older than Retention, of each bound the oldest first.
func (r *removals) each(now time.Time, yield func(string, Removal)) {
	for _, order := range [][]removalKey{r.order, r.logins} {
		for _, id := range order {
			if one := r.byKey[id]; one.At.IsZero() || now.Sub(one.At) < Retention {
				yield(id.partition, one)
			}
		}
	}
}

// list returns the removals of a partition, the oldest first.
func (r *removals) list(partition string, now time.Time) (list []Removal) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.each(now, func(of string, one Removal) {
		if of == partition && !one.GivenBack {
			list = append(list, one)
		}
	})
	return list
}

// all returns the removals of all partitions, and how often they changed.
func (r *removals) all(now time.Time) (list map[string][]Removal, changes uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	list = make(map[string][]Removal)
	r.each(now, func(of string, one Removal) { list[of] = append(list[of], one) })
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
	flags, expires, at := byte(0), int64(0), int64(0)
	if r.GivenBack {
		flags = 1
	}
	if !r.Expires.IsZero() {
		expires = r.Expires.UnixMilli()
	}
	if !r.At.IsZero() {
		at = r.At.UnixMilli()
	}
	to = binary.AppendVarint(binary.AppendVarint(append(to, flags), expires), at)
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
		if rest = rest[used+int(n):]; n == 0 {
			return nil
		}
		return found
	}
	inner = part()
	for err == nil && len(rest) > 0 {
		one := Removal{GivenBack: rest[0] == 1}
		rest = rest[1:]
		for _, at := range []*time.Time{&one.Expires, &one.At} {
			ms, used := binary.Varint(rest)
			if used <= 0 {
				return nil, nil, errRemovals
			}
			if rest = rest[used:]; ms != 0 {
				*at = time.UnixMilli(ms).UTC()
			}
		}
		one.Key, one.Value = part(), part()
		if len(one.Key) == 0 {
			return nil, nil, errRemovals
		}
		list = append(list, one)
	}
	return inner, list, err
}
