package boltengine

import (
	"encoding/binary"
	"fmt"
	"math"
	"time"

	"go.etcd.io/bbolt"

	"github.com/gatefold/gatefold/policy/store/engine"
)

// expirySize is the length of an expiry, which begins every stored entry and
// every key of the expiry index.
const expirySize = 8

// expiryOf returns a moment in Unix nanoseconds, and zero for the zero time,
// which means never. Moments that do not fit are moved to the nearest one that
// does: the years 1970 and 2262.
func expiryOf(t time.Time) uint64 {
	switch {
	case t.IsZero():
		return 0
	case !t.After(time.Unix(0, 1)):
		return 1
	case t.After(time.Unix(0, math.MaxInt64)):
		return math.MaxInt64
	}
	return uint64(t.UnixNano())
}

func indexKey(expiry uint64, key []byte) []byte {
	k := make([]byte, expirySize, expirySize+len(key))
	binary.BigEndian.PutUint64(k, expiry)
	return append(k, key...)
}

// decode splits what the data bucket holds for a key. The value of a key that is
// absent is nil, and no other is.
func decode(stored []byte) (expiry uint64, value []byte, err error) {
	if stored == nil {
		return 0, nil, nil
	}
	if len(stored) < expirySize {
		return 0, nil, fmt.Errorf("%w: an entry of %d bytes", errDamaged, len(stored))
	}
	// The capacity ends with the value: what lies behind it in the mapped file
	// must not be appended to.
	return binary.BigEndian.Uint64(stored), stored[expirySize:len(stored):len(stored)], nil
}

// get reads a key; data may be nil, for a partition that was never written.
func get(data *bbolt.Bucket, key []byte) ([]byte, error) {
	if data == nil {
		return nil, nil
	}
	_, value, err := decode(data.Get(key))
	return value, err
}

// count reads a counter.
func count(data *bbolt.Bucket, key []byte) (int64, error) {
	value, err := get(data, key)
	if err != nil || value == nil {
		return 0, err
	}
	return engine.DecodeCounter(value)
}

// put writes an entry, replacing the one before and its expiry.
func (p partition) put(key, value []byte, expires time.Time) error {
	if err := p.unindex(key); err != nil {
		return err
	}
	expiry := expiryOf(expires)
	if expiry != 0 {
		if err := p.expiry.Put(indexKey(expiry, key), nil); err != nil {
			return err
		}
	}
	stored := make([]byte, expirySize, expirySize+len(value))
	binary.BigEndian.PutUint64(stored, expiry)
	return p.data.Put(key, append(stored, value...))
}

// remove deletes an entry, if there is one, and its expiry.
func (p partition) remove(key []byte) error {
	if err := p.unindex(key); err != nil {
		return err
	}
	return p.data.Delete(key)
}

// unindex takes an entry out of the expiry index. An index entry that were left
// behind would have Sweep delete whatever is written under the key later.
func (p partition) unindex(key []byte) error {
	expiry, _, err := decode(p.data.Get(key))
	if err != nil || expiry == 0 {
		return err
	}
	return p.expiry.Delete(indexKey(expiry, key))
}
