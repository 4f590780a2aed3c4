package boltengine

import (
	"bytes"
	"context"
	"encoding/binary"
	"time"

	"go.etcd.io/bbolt"

	"github.com/gatefold/gatefold/policy/store/engine"
)

// Dump implements engine.Dumper. Expiries are rounded up to
// milliseconds, the precision of other engines.
func (e *Engine) Dump(ctx context.Context, partition string, after []byte, limit int) ([]engine.Put, error) {
	var entries []engine.Put
	err := e.read(ctx, func(tx *bbolt.Tx) (err error) {
		defer guard(&err)
		data := bucketOf(tx, partition, dataBucket)
		if data == nil {
			return nil
		}
		cursor := data.Cursor()
		key, stored := cursor.Seek(after)
		if after != nil && bytes.Equal(key, after) {
			key, stored = cursor.Next()
		}
		for ; key != nil && len(entries) < limit; key, stored = cursor.Next() {
			_, value, err := decode(stored)
			if err != nil {
				return err
			}
			entries = append(entries, engine.Put{
				Key: bytes.Clone(key), Value: append([]byte{}, value...), Expires: momentOf(binary.BigEndian.Uint64(stored)),
			})
		}
		return nil
	})
	return entries, err
}

// momentOf returns the time of an expiry, rounded up to milliseconds.
func momentOf(expiry uint64) time.Time {
	if expiry == 0 {
		return time.Time{}
	}
	const milli = uint64(time.Millisecond)
	return time.UnixMilli(int64((expiry + milli - 1) / milli))
}
