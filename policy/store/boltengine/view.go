package boltengine

import (
	"bytes"
	"context"
	"iter"
	"slices"

	"go.etcd.io/bbolt"

	"github.com/gatefold/gatefold/policy/store/engine"
)

// View implements engine.Engine. See Engine for what fn must not do.
func (e *Engine) View(ctx context.Context, partition string, fn func(engine.Snapshot) error) error {
	return e.read(ctx, func(tx *bbolt.Tx) error {
		s, err := newSnapshot(tx, partition)
		if err != nil {
			return err
		}
		return fn(s)
	})
}

// snapshot is a partition in a read transaction of bbolt. Its methods, and not View,
// recover from damage, so that View does not hide a panic of its function.
type snapshot struct{ data *bbolt.Bucket }

func newSnapshot(tx *bbolt.Tx, partition string) (s snapshot, err error) {
	defer guard(&err)
	return snapshot{bucketOf(tx, partition, dataBucket)}, nil
}

func (s snapshot) Get(key []byte) (value []byte, err error) {
	defer guard(&err)
	return get(s.data, key)
}

func (s snapshot) Count(key []byte) (n int64, err error) {
	defer guard(&err)
	return count(s.data, key)
}

func (s snapshot) Scan(prefix, after []byte) iter.Seq2[engine.Entry, error] {
	return func(yield func(engine.Entry, error) bool) {
		if s.data == nil {
			return
		}
		cursor := s.data.Cursor()
		entry, err := seek(cursor, prefix, after)
		for err == nil && entry.Key != nil && bytes.HasPrefix(entry.Key, prefix) {
			if !yield(entry, nil) {
				return
			}
			entry, err = next(cursor)
		}
		if err != nil {
			yield(engine.Entry{}, err)
		}
	}
}

func (s snapshot) ScanBack(prefix, before []byte) iter.Seq2[engine.Entry, error] {
	return func(yield func(engine.Entry, error) bool) {
		if s.data == nil {
			return
		}
		end := engine.Successor(prefix)
		if before != nil && (end == nil || bytes.Compare(before, end) < 0) {
			end = before
		}
		cursor := s.data.Cursor()
		entry, err := seekBack(cursor, end)
		for err == nil && entry.Key != nil && bytes.HasPrefix(entry.Key, prefix) {
			if !yield(entry, nil) {
				return
			}
			entry, err = previous(cursor)
		}
		if err != nil {
			yield(engine.Entry{}, err)
		}
	}
}

// seekBack returns the last entry before a key, or the last of all if it is nil.
func seekBack(cursor *bbolt.Cursor, end []byte) (entry engine.Entry, err error) {
	defer guard(&err)
	if end != nil {
		if key, _ := cursor.Seek(end); key != nil {
			return newEntry(cursor.Prev())
		}
	}
	return newEntry(cursor.Last())
}

func previous(cursor *bbolt.Cursor) (entry engine.Entry, err error) {
	defer guard(&err)
	return newEntry(cursor.Prev())
}

// seek returns the first entry at or after prefix, and after the key after.
func seek(cursor *bbolt.Cursor, prefix, after []byte) (entry engine.Entry, err error) {
	defer guard(&err)
	from := prefix
	if bytes.Compare(after, prefix) > 0 {
		from = after
	}
	key, stored := cursor.Seek(from)
	if key != nil && after != nil && bytes.Equal(key, after) {
		key, stored = cursor.Next()
	}
	return newEntry(key, stored)
}

func next(cursor *bbolt.Cursor) (entry engine.Entry, err error) {
	defer guard(&err)
	return newEntry(cursor.Next())
}

func newEntry(key, stored []byte) (engine.Entry, error) {
	_, value, err := decode(stored)
	if err != nil {
		return engine.Entry{}, err
	}
	return engine.Entry{Key: slices.Clip(key), Value: value}, nil
}
