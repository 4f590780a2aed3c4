package boltengine

import (
	"context"
	"os"
	"slices"

	"go.etcd.io/bbolt"
)

// slicePages is the number of pages that one step of a check reads. Its transaction is as
// short, so that bbolt can use freed pages again.
const slicePages = 1000

// Check reads the database while it is in use, and returns an error that wraps ErrDamaged
// if it is damaged, as far as steps of some pages show: each page that is in use, and each
// value, as Verify does. Pages that are lost or used twice only Verify finds. Between two
// steps it calls pause, and returns its error. It returns ctx.Err() when ctx ends.
func (e *Engine) Check(ctx context.Context, record RecordCheck, pause func() error) error {
	places := []place{nil}
	for len(places) > 0 {
		// The buckets of a place are found before those beside it are checked, and the
		// number of places stays small.
		at := places[0]
		for after := []byte(nil); ; {
			next, inner, err := e.checkSlice(ctx, at, after, record)
			if err != nil {
				return err
			}
			places = append(places, inner...)
			if err := pause(); err != nil {
				return err
			}
			if after = next; next == nil {
				break
			}
		}
		places = places[1:]
	}
	return nil
}

// place is the path of a bucket. The buckets of the file are nested at most two deep.
type place []string

// bucketAt returns a bucket of a transaction, nil for one that was removed.
func (p place) bucketAt(tx *bbolt.Tx) *bbolt.Bucket {
	bucket := tx.Cursor().Bucket()
	for _, name := range p {
		if bucket = bucket.Bucket([]byte(name)); bucket == nil {
			return nil
		}
	}
	return bucket
}

// checkSlice checks some pages of a bucket from a key on. It returns the key at which the
// next slice begins, nil at the end of the bucket, and with the first slice the buckets in
// it that have pages of their own.
func (e *Engine) checkSlice(ctx context.Context, at place, after []byte, record RecordCheck) (next []byte, inner []place, err error) {
	if err := e.Replaced(); err != nil {
		return nil, nil, err
	}
	err = e.readFile(ctx, func(tx *bbolt.Tx, file *os.File) (err error) {
		defer guard(&err)
		bucket := at.bucketAt(tx)
		if bucket == nil {
			return nil
		}
		size := uint64(tx.DB().Info().PageSize) //nolint:gosec // never negative
		c := &checker{
			file: file, pageSize: size, uses: make([]pageUse, uint64(tx.Size())/size), record: record, //nolint:gosec // never negative
			within: at, shallow: true, left: slicePages, after: after,
		}
		if root := uint64(bucket.Root()); root != 0 { // its page is that of the bucket around it
			c.checkTree(root, nil, nil, 0)
		}
		if err := c.damage(); err != nil {
			return err
		}
		if next = c.next; after == nil && len(at) < 2 {
			inner = innerOf(bucket, at)
		}
		return nil
	})
	return next, inner, err
}

// innerOf returns the buckets in a bucket.
func innerOf(bucket *bbolt.Bucket, at place) (inner []place) {
	_ = bucket.ForEachBucket(func(name []byte) error { // its function returns no error
		inner = append(inner, append(slices.Clone(at), string(name)))
		return nil
	})
	return inner
}
