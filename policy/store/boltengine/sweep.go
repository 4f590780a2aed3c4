package boltengine

import (
	"bytes"
	"context"
	"encoding/binary"
	"time"

	"go.etcd.io/bbolt"
)

// maxSweep bounds the entries that one Sweep removes, as other writes wait for it.
const maxSweep = 10_000

// Sweep implements engine.Engine. It removes at most 10,000 entries at a time.
func (e *Engine) Sweep(ctx context.Context, partition string, before time.Time, limit int) (int, error) {
	if err := e.calls.Enter(ctx); err != nil {
		return 0, err
	}
	defer e.calls.Leave()
	w := &sweepWrite{partition: partition, before: expiryOf(before), limit: min(limit, maxSweep)}
	if err := e.submit(ctx, w); err != nil {
		return 0, err
	}
	return len(w.keys), nil
}

// sweepWrite is the write of a sweep.
type sweepWrite struct {
	partition string
	before    uint64
	limit     int
	keys      [][]byte // to be removed
}

func (w *sweepWrite) prepare(tx *bbolt.Tx) (bool, error) {
	w.keys = nil
	index := bucketOf(tx, w.partition, expiryBucket)
	if index == nil {
		return false, nil
	}
	cursor := index.Cursor()
	for key, _ := cursor.First(); key != nil && len(w.keys) < w.limit; key, _ = cursor.Next() {
		if binary.BigEndian.Uint64(key) >= w.before {
			break
		}
		// A copy, as the index changes while the keys are removed.
		w.keys = append(w.keys, bytes.Clone(key[expirySize:]))
	}
	return len(w.keys) > 0, nil
}

func (w *sweepWrite) changed() (string, [][]byte) { return w.partition, w.keys }

func (w *sweepWrite) apply(tx *bbolt.Tx) error {
	p, err := openPartition(tx, w.partition)
	if err != nil {
		return err
	}
	for _, key := range w.keys {
		if err := p.remove(key); err != nil {
			return err
		}
	}
	return nil
}
