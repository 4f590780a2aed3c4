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
		r := keyRange{low: prefix, high: successor(prefix)}
		if after != nil && bytes.Compare(after, prefix) >= 0 {
			r.low, r.open = after, true
		}
		for size := firstPage; ; size = nextPage {
			entries, rest, err := s.page(r, size)
			if err != nil {
				yield(engine.Entry{}, err)
				return
			}
			for _, entry := range entries {
				if !yield(entry, nil) {
					return
				}
			}
			if rest == nil {
				return
			}
			r.low, r.open = rest, true
		}
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

// successor returns the first key after all keys with a prefix, nil when there is none.
func successor(prefix []byte) []byte {
	for i := len(prefix) - 1; i >= 0; i-- {
		if prefix[i] != 0xff {
			next := bytes.Clone(prefix[:i+1])
			next[i]++
			return next
		}
	}
	return nil
}

// page reads the next entries of a range as of the start of the view. Rest is the key
// after which the scan continues, nil at the end.
func (s *snapshot) page(r keyRange, size int) (entries []engine.Entry, rest []byte, err error) {
	low, high := r.bounds()
	answers, err := s.read([]any{"scan", low, high, size, pageBytes})
	if err != nil {
		return nil, nil, err
	}
	if len(answers) != 1 {
		return nil, nil, errReply
	}
	page, ok := answers[0].([]any)
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
	if rest != nil {
		covered.high = append(bytes.Clone(rest), 0) // just after rest
	}
	return s.restore(entries, covered), rest, nil
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
