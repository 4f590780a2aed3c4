package boltengine

import (
	"context"
	"encoding/binary"
	"os"
	"slices"

	"go.etcd.io/bbolt"
)

// slicePages is the number of pages that one step of a check reads. Its transaction is as
// short, so that bbolt can use freed pages again.
const slicePages = 1000

// Check reads the database while it is in use, and returns an error that wraps ErrDamaged
// if it is damaged, as far as steps of some pages show: each page that is in use, and each
// value, as Verify does. Then it looks for pages that are lost or used twice, in one step,
// which only a file up to maxWhole allows. Between two
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
	return e.checkWhole(ctx)
}

// maxWhole is the size of a file, in bytes, up to which all pages are checked in one
// transaction: it takes a second at most. Meanwhile bbolt cannot use freed pages again, and a
// write that enlarges the file may wait.
const maxWhole = 256 << 20

// checkWhole checks that each page is either used once or free.
func (e *Engine) checkWhole(ctx context.Context) error {
	return e.readFile(ctx, func(tx *bbolt.Tx, file *os.File) (err error) {
		defer guard(&err)
		if tx.Size() > maxWhole || e.Replaced() != nil {
			return nil
		}
		c := &checker{file: file, pageSize: uint64(tx.DB().Info().PageSize)} //nolint:gosec // never negative
		// The freelist's page is only in the meta page of the transaction, in whose place the
		// next but one is written.
		meta, err := c.readAt(uint64(tx.ID()%2)*c.pageSize, pageHeader+64) //nolint:gosec // never negative
		if err != nil {
			return err
		}
		number := func(at int) uint64 { return binary.NativeEndian.Uint64(meta[pageHeader+at:]) }
		root, freelist, pages, id := number(16), number(32), number(40), number(48)
		if id != uint64(tx.ID()) || freelist == noFreelist || pages*c.pageSize != uint64(tx.Size()) { //nolint:gosec // never negative
			return nil // the next check sees it
		}
		c.checkUses(root, freelist, pages)
		return c.damage()
	})
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
