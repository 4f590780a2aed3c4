package store

import (
	"bytes"
	"iter"
	"time"

	"github.com/gatefold/gatefold/policy/store/engine"
)

// Orders by the time of creation.
const (
	OldestFirst = "createdAt"
	NewestFirst = "-createdAt"
)

// Created selects records by the time of their creation, and orders them by it.
type Created struct {
	// Order is OldestFirst or NewestFirst. Empty is the own order of the listing or, with a
	// bound, OldestFirst.
	Order string
	// From and To bound the time: From <= it < To. Zero: no bound.
	CreatedFrom, CreatedTo time.Time
}

func (c *Created) ordered() bool {
	return c.Order != "" || !c.CreatedFrom.IsZero() || !c.CreatedTo.IsZero()
}

// ids returns the ids with a prefix that are selected, after one unless that is empty.
func (c *Created) ids(prefix, after string) idRange {
	r := idRange{newest: c.Order == NewestFirst, after: after}
	if !c.CreatedFrom.IsZero() {
		r.low = firstID(prefix, c.CreatedFrom)
	}
	if !c.CreatedTo.IsZero() {
		r.high = firstID(prefix, c.CreatedTo)
	}
	return r
}

// firstID returns a text that no id made before a time is above, and none made later below.
func firstID(prefix string, at time.Time) string {
	if whole := at.Truncate(time.Millisecond); whole.Before(at) {
		at = whole.Add(time.Millisecond)
	}
	if at.UnixMilli() < 0 {
		at = time.UnixMilli(0)
	}
	return newID(prefix, at)[:len(prefix)+idTimeDigits]
}

// idRange is a range of ids that newID made, which sort by their creation. Positions are ids,
// so that a page is the same while others write.
type idRange struct {
	newest    bool
	low, high string // low <= id < high; empty: no bound
	after     string // the position: an id, which is not in the range
}

// holds reports whether an id is in the range.
func (r *idRange) holds(id string) bool {
	switch {
	case id < r.low, r.high != "" && id >= r.high:
		return false
	case r.after == "":
		return true
	case r.newest:
		return id < r.after
	}
	return id > r.after
}

// split returns the part of the range with ids up to one, and that with those after it.
func (r *idRange) split(at string) (upTo, after idRange) {
	upTo, after = *r, *r
	next := at + "\x00" // the first text after the id
	if r.high == "" || next < r.high {
		upTo.high = next
	}
	if next > r.low {
		after.low = next
	}
	return upTo, after
}

// scan yields the entries whose keys continue a prefix with an id of the range, in its order.
// After the id a key has nothing, or NUL and more.
func (r *idRange) scan(snapshot engine.Snapshot, prefix []byte) iter.Seq2[engine.Entry, error] {
	at := func(text string) []byte { return append(bytes.Clone(prefix), text...) }
	entries, low, high := snapshot.Scan(prefix, nil), at(r.low), []byte(nil)
	if r.high != "" {
		high = at(r.high)
	}
	switch {
	case r.newest && r.after != "" && (high == nil || r.after < r.high):
		entries = snapshot.ScanBack(prefix, at(r.after))
	case r.newest:
		entries = snapshot.ScanBack(prefix, high)
	case r.after != "" && r.after >= r.low:
		entries = snapshot.Scan(prefix, at(r.after+"\x01"))
	case r.low != "":
		// No key is as short as low.
		entries = snapshot.Scan(prefix, low)
	}
	return func(yield func(engine.Entry, error) bool) {
		for entry, err := range entries {
			if err == nil && (bytes.Compare(entry.Key, low) < 0 || high != nil && bytes.Compare(entry.Key, high) >= 0) {
				return // and so are all that follow
			}
			if !yield(entry, err) || err != nil {
				return
			}
		}
	}
}
