package store

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"iter"

	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store/engine"
)

// get decodes the record of a key into value, and returns its stored bytes for a
// later Check. It returns ErrNotFound when there is none.
func (s *Store) get(ctx context.Context, partition string, key []byte, value any) ([]byte, error) {
	var stored []byte
	err := s.engine.View(ctx, partition, func(snapshot engine.Snapshot) (err error) {
		stored, err = getIn(snapshot, key, value)
		return err
	})
	return stored, err
}

// getIn is get within a snapshot. The bytes that it returns outlive the snapshot.
func getIn(snapshot engine.Snapshot, key []byte, value any) ([]byte, error) {
	stored, err := snapshot.Get(key)
	switch {
	case err != nil:
		return nil, err
	case stored == nil:
		return nil, ErrNotFound
	}
	stored = bytes.Clone(stored)
	return stored, decode(key, stored, value)
}

func decode(key, stored []byte, value any) error {
	if err := json.Unmarshal(stored, value); err != nil {
		return fmt.Errorf("the record %q cannot be read: %w", key, err)
	}
	return nil
}

func encode(value any) ([]byte, error) {
	stored, err := json.Marshal(value)
	if err != nil {
		return nil, fmt.Errorf("encoding a record: %w", err)
	}
	return stored, nil
}

// put stores a record under a key that still holds the given bytes, nil for none.
// Otherwise it returns ErrConflict.
func (w Writer) put(ctx context.Context, partition string, k, before []byte, record any, change policy.Invalidation) error {
	stored, err := encode(record)
	if err != nil {
		return err
	}
	return w.commit(ctx, partition, &engine.Batch{
		Checks: []engine.Check{{Key: k, Value: before}}, Puts: []engine.Put{{Key: k, Value: stored}},
	}, change)
}

// Page selects a part of a listing.
type Page struct {
	// Limit is the maximum number of records; zero means DefaultLimit.
	Limit int
	// From is the id of the record after which the page starts; empty for the
	// first page.
	From string
}

// Bounds of a page.
const (
	DefaultLimit = 100
	MaxLimit     = 1000
)

func (p Page) limit() int {
	if p.Limit <= 0 {
		return DefaultLimit
	}
	return min(p.Limit, MaxLimit)
}

// records yields the records whose keys begin with a prefix. When from is not
// empty, it starts after the key that continues the prefix with it. An error is
// yielded last.
func records[T any](snapshot engine.Snapshot, prefix []byte, from string) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var after []byte
		if from != "" {
			after = append(bytes.Clone(prefix), from...)
		}
		for entry, err := range snapshot.Scan(prefix, after) {
			var record T
			if err == nil {
				err = decode(entry.Key, entry.Value, &record)
			}
			if !yield(record, err) || err != nil {
				return
			}
		}
	}
}

// all returns all records whose keys begin with a prefix.
func all[T any](snapshot engine.Snapshot, prefix []byte) ([]T, error) {
	list := []T{}
	for record, err := range records[T](snapshot, prefix, "") {
		if err != nil {
			return nil, err
		}
		list = append(list, record)
	}
	return list, nil
}

// pageOf returns a page of the records whose keys begin with a prefix.
func pageOf[T any](ctx context.Context, s *Store, partition string, prefix []byte, page Page) (found []T, err error) {
	err = s.engine.View(ctx, partition, func(snapshot engine.Snapshot) error {
		found, err = pageIn[T](snapshot, prefix, page)
		return err
	})
	return found, err
}

// pageIn is pageOf within a snapshot.
func pageIn[T any](snapshot engine.Snapshot, prefix []byte, page Page) ([]T, error) {
	list := []T{}
	for record, err := range records[T](snapshot, prefix, page.From) {
		if err != nil {
			return nil, err
		}
		if list = append(list, record); len(list) == page.limit() {
			break
		}
	}
	return list, nil
}

// maxSearch bounds how many records one search reads.
const maxSearch = 20_000

// search returns the records under a prefix, after a key, that match. Match gets
// the rest of the key, and says with end that no further record can match. More
// says that the limit or maxSearch was reached: the search continues after next.
func search[T any](
	ctx context.Context, s *Store, partition string, prefix, after []byte, limit int, match func(id string, record *T) (matches, end bool),
) (found []T, next string, more bool, err error) {
	found = []T{}
	read := 0
	err = s.engine.View(ctx, partition, func(snapshot engine.Snapshot) error {
		for entry, err := range snapshot.Scan(prefix, after) {
			if err != nil {
				return err
			}
			var record T
			if err := decode(entry.Key, entry.Value, &record); err != nil {
				return err
			}
			id := string(entry.Key[len(prefix):])
			matches, end := match(id, &record)
			if end {
				return nil
			}
			if matches {
				found = append(found, record)
			}
			next, read = id, read+1
			if more = len(found) == limit || read == maxSearch; more {
				return nil
			}
		}
		return nil
	})
	return found, next, more, err
}
