package boltengine

import (
	"context"
	"os"
	"runtime/debug"

	"go.etcd.io/bbolt"
)

// partitionPrefix begins the names of the partitions' buckets, so that they differ from
// the other buckets of the file.
const partitionPrefix = 'p'

var (
	dataBucket   = []byte("data")
	expiryBucket = []byte("expiry")
	feedBucket   = []byte("feed")
)

func bucketName(partition string) []byte {
	return append([]byte{partitionPrefix}, partition...)
}

// bucketOf returns one of the buckets of a partition, or nil if the partition
// was never written.
func bucketOf(tx *bbolt.Tx, partition string, name []byte) *bbolt.Bucket {
	bucket := tx.Bucket(bucketName(partition))
	if bucket == nil {
		return nil
	}
	return bucket.Bucket(name)
}

// partition has the buckets of a partition that is written.
type partition struct{ data, expiry, feed *bbolt.Bucket }

// openPartition opens or creates a partition for writing.
func openPartition(tx *bbolt.Tx, name string) (partition, error) {
	var p partition
	bucket, err := tx.CreateBucketIfNotExists(bucketName(name))
	if err != nil {
		return p, err
	}
	if p.data, err = bucket.CreateBucketIfNotExists(dataBucket); err != nil {
		return p, err
	}
	if p.expiry, err = bucket.CreateBucketIfNotExists(expiryBucket); err != nil {
		return p, err
	}
	p.feed, err = bucket.CreateBucketIfNotExists(feedBucket)
	return p, err
}

// Partitions implements engine.Engine.
func (e *Engine) Partitions(ctx context.Context) ([]string, error) {
	var names []string
	err := e.read(ctx, func(tx *bbolt.Tx) (err error) {
		defer guard(&err)
		cursor := tx.Cursor()
		name, _ := cursor.Seek([]byte{partitionPrefix})
		for len(name) > 0 && name[0] == partitionPrefix {
			names = append(names, string(name[1:]))
			name, _ = cursor.Next()
		}
		return nil
	})
	return names, err
}

// read runs fn in one snapshot of the file. A fault at damaged pages is a panic in it, and
// not the end of the process.
func (e *Engine) read(ctx context.Context, fn func(*bbolt.Tx) error) error {
	if err := e.calls.Enter(ctx); err != nil {
		return err
	}
	defer e.calls.Leave()
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	tx, err := e.begin()
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // of what was only read
	return fn(tx)
}

// begin begins a snapshot of the file, which stays until it is rolled back, also when the file
// is exchanged.
func (e *Engine) begin() (*bbolt.Tx, error) {
	e.swap.RLock()
	defer e.swap.RUnlock()
	return e.db.Begin(false)
}

// readFile is read with the file of the snapshot.
func (e *Engine) readFile(ctx context.Context, fn func(*bbolt.Tx, *os.File) error) error {
	if err := e.calls.Enter(ctx); err != nil {
		return err
	}
	defer e.calls.Leave()
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	tx, file, err := e.beginFile()
	if err != nil {
		return err
	}
	defer func() {
		_ = tx.Rollback()
		_ = file.Close()
	}()
	return fn(tx, file)
}

func (e *Engine) beginFile() (*bbolt.Tx, *os.File, error) {
	e.swap.RLock()
	defer e.swap.RUnlock()
	file, err := os.Open(e.path)
	if err != nil {
		return nil, nil, err
	}
	tx, err := e.db.Begin(false)
	if err != nil {
		_ = file.Close()
	}
	return tx, file, err
}
