package store

import (
	"bytes"
	"context"
	"iter"
	"slices"
	"strings"

	"github.com/gatefold/gatefold/policy/store/engine"
)

// Listing is a list of records of the access model, in the order of their keys. It is read
// when a method is called, each time from one snapshot.
type Listing[T any] struct {
	store  *Store
	vendor string
	kind   *kind[T]
	// ranges returns what is scanned.
	ranges func(snapshot engine.Snapshot) ([]listingRange, error)
	// builtIn are the paths of records that are listed without being stored.
	builtIn []string
	// keep, unless nil, selects records.
	keep func(*T) bool
}

// listingRange is a range of records or, with a place, of an index.
type listingRange struct {
	prefix []byte
	// after, unless nil, is the key after which the range starts.
	after []byte
	// place returns the path of the record of an entry; rest is its key without the prefix.
	place func(rest string) []string
	// keep, unless nil, selects entries by their value.
	keep func(value []byte) (bool, error)
}

// listed is an entry of a listing. Value is nil for a record that has to be read, and for
// one that is not stored because it is built in.
type listed struct {
	path    []string
	value   []byte
	builtIn bool
}

// Where returns the records of the listing that keep selects. They all have to be read.
func (l Listing[T]) Where(keep func(*T) bool) Listing[T] {
	earlier := l.keep
	l.keep = func(record *T) bool { return (earlier == nil || earlier(record)) && keep(record) }
	return l
}

// Page returns up to limit records after the first offset ones, and the number of all. It
// reads only the records that it returns, unless Where selects by them.
func (l Listing[T]) Page(ctx context.Context, offset, limit int) (found []T, count int, err error) {
	found = []T{}
	err = l.view(ctx, func(snapshot engine.Snapshot, entries iter.Seq2[listed, error]) error {
		if l.keep != nil {
			for record, err := range l.read(snapshot, entries) {
				if err != nil {
					return err
				}
				if count++; count > offset && len(found) < limit {
					found = append(found, record)
				}
			}
			return nil
		}
		var page []listed
		for entry, err := range entries {
			if err != nil {
				return err
			}
			if count++; count > offset && len(page) < limit {
				page = append(page, listed{entry.path, bytes.Clone(entry.value), entry.builtIn})
			}
		}
		for record, err := range l.read(snapshot, plain(page)) {
			if err != nil {
				return err
			}
			found = append(found, record)
		}
		return nil
	})
	return found, count, err
}

// Count returns the number of records.
func (l Listing[T]) Count(ctx context.Context) (int, error) {
	_, count, err := l.Page(ctx, 0, 0)
	return count, err
}

// All yields all records of one snapshot. An error is yielded last. What is done with a
// record should be short, as the snapshot is kept meanwhile, and must not write.
func (l Listing[T]) All(ctx context.Context) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		stopped := false
		err := l.view(ctx, func(snapshot engine.Snapshot, entries iter.Seq2[listed, error]) error {
			for record, err := range l.read(snapshot, entries) {
				if err != nil {
					return err
				}
				if stopped = !yield(record, nil); stopped {
					return nil
				}
			}
			return nil
		})
		if err != nil && !stopped {
			var none T
			yield(none, err)
		}
	}
}

func plain(list []listed) iter.Seq2[listed, error] {
	return func(yield func(listed, error) bool) {
		for _, entry := range list {
			if !yield(entry, nil) {
				return
			}
		}
	}
}

// view calls fn with a snapshot and the entries of the listing.
func (l *Listing[T]) view(ctx context.Context, fn func(engine.Snapshot, iter.Seq2[listed, error]) error) error {
	return l.store.engine.View(ctx, l.vendor, func(snapshot engine.Snapshot) error {
		ranges, err := l.ranges(snapshot)
		if err != nil {
			return err
		}
		return fn(snapshot, func(yield func(listed, error) bool) {
			waiting := l.builtIn
			for _, r := range ranges {
				for entry, err := range r.entries(snapshot) {
					if err == nil {
						rest := strings.Join(entry.path, "\x00")
						for len(waiting) > 0 && waiting[0] <= rest {
							first := waiting[0]
							if waiting = waiting[1:]; first != rest && !yield(listed{path: strings.Split(first, "\x00"), builtIn: true}, nil) {
								return
							}
						}
					}
					if !yield(entry, err) || err != nil {
						return
					}
				}
			}
			for _, path := range waiting {
				if !yield(listed{path: strings.Split(path, "\x00"), builtIn: true}, nil) {
					return
				}
			}
		})
	})
}

func (r *listingRange) entries(snapshot engine.Snapshot) iter.Seq2[listed, error] {
	return func(yield func(listed, error) bool) {
		for entry, err := range snapshot.Scan(r.prefix, r.after) {
			if err != nil {
				yield(listed{}, err)
				return
			}
			if r.keep != nil {
				kept, err := r.keep(entry.Value)
				if err != nil {
					yield(listed{}, err)
					return
				}
				if !kept {
					continue
				}
			}
			at := listed{value: entry.Value}
			if r.place == nil {
				at.path = strings.Split(string(entry.Key[1:]), "\x00")
			} else {
				at = listed{path: r.place(string(entry.Key[len(r.prefix):]))}
			}
			if !yield(at, nil) {
				return
			}
		}
	}
}

// read yields the records of entries. It reads those of an index many at a time.
func (l *Listing[T]) read(snapshot engine.Snapshot, entries iter.Seq2[listed, error]) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var waiting []listed
		flush := func() bool {
			keys := make([][]byte, 0, len(waiting))
			for _, at := range waiting {
				keys = append(keys, l.kind.key(at.path...))
			}
			err := engine.Prefetch(snapshot, keys...)
			for i := 0; err == nil && i < len(waiting); i++ {
				var stored []byte
				if stored, err = snapshot.Get(keys[i]); err == nil && !l.yield(waiting[i], stored, yield) {
					return false
				}
			}
			waiting = waiting[:0]
			if err != nil {
				var none T
				yield(none, err)
			}
			return err == nil
		}
		for at, err := range entries {
			switch {
			case err != nil:
				var none T
				yield(none, err)
				return
			case at.value != nil, at.builtIn:
				if !l.yield(at, at.value, yield) {
					return
				}
			default:
				if waiting = append(waiting, at); len(waiting) == prefetchPlaces && !flush() {
					return
				}
			}
		}
		flush()
	}
}

// yield yields the record of an entry, if it is stored and selected.
func (l *Listing[T]) yield(at listed, stored []byte, yield func(T, error) bool) bool {
	record, err := l.kind.decode(l.vendor, stored, at.path)
	switch {
	case err != nil:
		var none T
		yield(none, err)
		return false
	case record == nil, l.keep != nil && !l.keep(record):
		return true
	}
	return yield(*record, nil)
}

// listOf returns the records of a kind under a prefix.
func listOf[T any](s *Store, vendor string, k *kind[T], prefix []byte, builtIn ...string) Listing[T] {
	slices.Sort(builtIn)
	return Listing[T]{store: s, vendor: vendor, kind: k, builtIn: builtIn, ranges: func(engine.Snapshot) ([]listingRange, error) {
		return []listingRange{{prefix: prefix}}, nil
	}}
}

// indexed returns the records of a kind that an index names.
func indexed[T any](s *Store, vendor string, k *kind[T], prefix []byte, place func(rest string) []string) Listing[T] {
	return Listing[T]{store: s, vendor: vendor, kind: k, ranges: func(engine.Snapshot) ([]listingRange, error) {
		return []listingRange{{prefix: prefix, place: place}}, nil
	}}
}
