package redisengine

import (
	"bytes"
	"iter"
	"slices"

	"github.com/gatefold/gatefold/policy/store/engine"
)

// Bounds of a page of a scan. The first page is small, as most scans are.
const (
	firstPage = 64
	nextPage  = 512
	pageBytes = 256 << 10
)

// Scan implements engine.Snapshot, page by page.
func (s *snapshot) Scan(prefix, after []byte) iter.Seq2[engine.Entry, error] {
	return func(yield func(engine.Entry, error) bool) {
		r := keyRange{low: prefix, high: engine.Successor(prefix)}
		if after != nil && bytes.Compare(after, prefix) >= 0 {
			r.low, r.open = after, true
		}
		var fetched *firstEntries
		if first, ok := s.ranges[string(prefix)]; ok && after == nil {
			fetched = &first
		}
		s.pages("scan", r, fetched, yield)
	}
}

// ScanBack implements engine.Snapshot, page by page.
func (s *snapshot) ScanBack(prefix, before []byte) iter.Seq2[engine.Entry, error] {
	return func(yield func(engine.Entry, error) bool) {
		r := keyRange{low: prefix, high: engine.Successor(prefix)}
		if before != nil && (r.high == nil || bytes.Compare(before, r.high) < 0) {
			r.high = before
		}
		if r.high == nil || bytes.Compare(r.high, r.low) > 0 {
			s.pages("back", r, nil, yield)
		}
	}
}

// pages yields the entries of a range in the order of page. Fetched is its first page, nil if
// that is to be read.
func (s *snapshot) pages(order string, r keyRange, fetched *firstEntries, yield func(engine.Entry, error) bool) {
	for size := firstPage; ; size = nextPage {
		if fetched == nil {
			entries, rest, err := s.page(order, r, size)
			if err != nil {
				yield(engine.Entry{}, err)
				return
			}
			fetched = &firstEntries{entries, rest}
		}
		for _, entry := range fetched.entries {
			if !yield(entry, nil) {
				return
			}
		}
		switch {
		case fetched.rest == nil:
			return
		case order == "back":
			r.high = fetched.rest
		default:
			r.low, r.open = fetched.rest, true
		}
		fetched = nil
	}
}

// keyRange is a range of keys from low, inclusive unless open, to high, exclusive; a nil
// high is no end.
type keyRange struct {
	low  []byte
	open bool
	high []byte
}

func (r keyRange) holds(key []byte) bool {
	c := bytes.Compare(key, r.low)
	return (c > 0 || c == 0 && !r.open) && (r.high == nil || bytes.Compare(key, r.high) < 0)
}

// bounds returns the arguments of ZRANGEBYLEX.
func (r keyRange) bounds() (low, high []byte) {
	low, high = append([]byte{'['}, r.low...), []byte{'+'}
	if r.open {
		low[0] = '('
	}
	if r.high != nil {
		high = append([]byte{'('}, r.high...)
	}
	return low, high
}

// page reads the next entries of a range as of the start of the view, in ascending order for
// "scan" and in descending order for "back". Rest is the key after which the scan continues,
// nil at the end.
func (s *snapshot) page(order string, r keyRange, size int) (entries []engine.Entry, rest []byte, err error) {
	low, high := r.bounds()
	answers, err := s.read([]any{order, low, high, size, pageBytes})
	if err != nil {
		return nil, nil, err
	}
	if len(answers) != 1 {
		return nil, nil, errReply
	}
	return s.entries(r, answers[0], order == "back")
}

// firstEntries is the first page of a range.
type firstEntries struct {
	entries []engine.Entry
	rest    []byte
}

// Bounds of one round trip of PrefetchRanges: ranges, and entries of each.
const (
	rangeStep = 200
	rangePage = 8
)

// PrefetchRanges implements engine.RangePrefetcher.
func (s *snapshot) PrefetchRanges(prefixes ...[]byte) error {
	if s.ranges == nil {
		s.ranges = make(map[string]firstEntries, len(prefixes))
	}
	for step := range slices.Chunk(prefixes, rangeStep) {
		var args []any
		for _, prefix := range step {
			low, high := (keyRange{low: prefix, high: engine.Successor(prefix)}).bounds()
			args = append(args, "scan", low, high, rangePage, pageBytes)
		}
		answers, err := s.read(args)
		if err != nil {
			return err
		}
		if len(answers) != len(step) {
			return errReply
		}
		for i, prefix := range step {
			entries, rest, err := s.entries(keyRange{low: prefix, high: engine.Successor(prefix)}, answers[i], false)
			if err != nil {
				return err
			}
			s.ranges[string(prefix)] = firstEntries{entries, rest}
		}
	}
	return nil
}

// entries returns the entries of a range from an answer of read.lua, as of the start of
// the view. Back is whether their order is descending.
func (s *snapshot) entries(r keyRange, answer any, back bool) (entries []engine.Entry, rest []byte, err error) {
	page, ok := answer.([]any)
	if !ok || len(page)%2 != 1 {
		return nil, nil, errReply
	}
	for i := 1; i < len(page); i += 2 {
		key, value := []byte(text(page[i])), []byte(text(page[i+1]))
		if _, changed := s.replaced[string(key)]; !changed {
			entries = append(entries, engine.Entry{Key: key, Value: value})
		}
		rest = key
	}
	if page[0] == int64(0) {
		rest = nil
	}
	covered := r
	switch {
	case rest != nil && back:
		covered.low, covered.open = rest, false
	case rest != nil:
		covered.high = append(bytes.Clone(rest), 0) // just after rest
	}
	if back { // restore adds to ascending entries
		slices.Reverse(entries)
	}
	entries = s.restore(entries, covered)
	if back {
		slices.Reverse(entries)
	}
	return entries, rest, nil
}

// restore adds the entries of a range that were changed since the start of the view.
func (s *snapshot) restore(entries []engine.Entry, r keyRange) []engine.Entry {
	added := false
	for key, value := range s.replaced {
		if value != nil && r.holds([]byte(key)) {
			entries, added = append(entries, engine.Entry{Key: []byte(key), Value: value}), true
		}
	}
	if added {
		slices.SortFunc(entries, func(a, b engine.Entry) int { return bytes.Compare(a.Key, b.Key) })
	}
	return entries
}
