package engine

import (
	"encoding/binary"
	"errors"
)

// CheckLimits returns ErrTooLarge when a key or a value of the batch exceeds its limit,
// or a key or the partition's name is empty.
func (b *Batch) CheckLimits(partition string) error {
	if err := withinLimits([]byte(partition), b.Event); err != nil {
		return err
	}
	for _, check := range b.Checks {
		if err := withinLimits(check.Key, check.Value); err != nil {
			return err
		}
	}
	for _, counter := range b.Counters {
		if err := withinLimits(counter.Key, counter.IdempotencyValue); err != nil {
			return err
		}
		if counter.IdempotencyKey == nil {
			continue
		}
		if err := withinLimits(counter.IdempotencyKey, nil); err != nil {
			return err
		}
	}
	for _, key := range b.Deletes {
		if err := withinLimits(key, nil); err != nil {
			return err
		}
	}
	for _, put := range b.Puts {
		if err := withinLimits(put.Key, put.Value); err != nil {
			return err
		}
	}
	return nil
}

func withinLimits(key, value []byte) error {
	if len(key) == 0 || len(key) > MaxKeySize || len(value) > MaxValueSize {
		return ErrTooLarge
	}
	return nil
}

// Bounded reports whether the batch has a counter with a bound.
func (b *Batch) Bounded() bool {
	for _, counter := range b.Counters {
		if counter.Max != 0 {
			return true
		}
	}
	return false
}

var errNotCounter = errors.New("the key holds a value that is not a counter")

// EncodeCounter encodes the value of a counter. All engines use this encoding, so that
// entries can be copied between them.
func EncodeCounter(n int64) []byte { return binary.BigEndian.AppendUint64(nil, uint64(n)) }

// DecodeCounter decodes the value of a counter.
func DecodeCounter(value []byte) (int64, error) {
	if len(value) != 8 {
		return 0, errNotCounter
	}
	return int64(binary.BigEndian.Uint64(value)), nil
}
