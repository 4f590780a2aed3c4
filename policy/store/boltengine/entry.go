package boltengine

import (
	"encoding/binary"
	"fmt"
	"math"
	"runtime"
	"time"

	"go.etcd.io/bbolt"

	"github.com/gatefold/gatefold/policy/store/engine"
)

// expirySize is the length of an expiry, which begins every stored entry and
// every key of the expiry index.
const expirySize = 8

// expiryOf returns a time in Unix nanoseconds, and zero for the zero time, which means
// never. Times outside of the years 1970 to 2262 are moved into them.
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

// decode splits an entry of the data bucket. Its value is nil only when there is no
// entry.
func decode(stored []byte) (expiry uint64, value []byte, err error) {
	if stored == nil {
		return 0, nil, nil
	}
	if len(stored) < expirySize {
		return 0, nil, fmt.Errorf("%w: an entry of %d bytes", ErrDamaged, len(stored))
	}
	// Past the end of the file a value cannot be read: it must fault here, where guard
	// returns an error, and not in the caller.
	runtime.KeepAlive(stored[len(stored)-1])
	// The capacity ends with the value: appending must not write to the mapped file.
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

// put writes or replaces an entry and its expiry.
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

// unindex removes an entry from the expiry index. A stale index entry would make Sweep
// delete a later entry of the key.
func (p partition) unindex(key []byte) error {
	expiry, _, err := decode(p.data.Get(key))
	if err != nil || expiry == 0 {
		return err
	}
	return p.expiry.Delete(indexKey(expiry, key))
}
