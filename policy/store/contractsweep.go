package store

import (
	"context"
	"encoding/binary"
	"time"

	"github.com/gatefold/gatefold/policy/store/engine"
)

// sweepContracts removes the contracts with seats whose retention is over, with their seats.
// The engine removes the others by itself, see Contract.expires.
func (s *Store) sweepContracts(ctx context.Context, vendor string) error {
	for more := true; more; {
		err := s.transact(ctx, vendor, func(t *transaction) (err error) {
			more, err = t.sweepContract()
			return err
		}, s.commit)
		if err != nil {
			return err
		}
	}
	return nil
}

// sweepContract removes the first contract whose retention is over, or some of its seats. It
// reports whether there may be more to remove.
func (t *transaction) sweepContract() (more bool, err error) {
	prefix := contractPrefix(contractSwept, "")
	entries, err := t.scan(prefix, 1)
	if err != nil || len(entries) == 0 || len(entries[0]) < 8 {
		return false, err
	}
	if int64(binary.BigEndian.Uint64([]byte(entries[0][:8]))) > t.now.UnixMilli() { //nolint:gosec // it was written from one
		return false, nil
	}
	id := entries[0][8:]
	contract, err := contractKind.get(t, id)
	if err != nil {
		return false, err
	}
	if contract == nil {
		t.set(append(prefix, entries[0]...), nil, time.Time{})
		return true, nil
	}
	seats, err := t.scan(keyPrefix(prefixSeat, id), sweepBatch)
	if err != nil {
		return false, err
	}
	keys := make([][]byte, len(seats))
	for i, seat := range seats {
		keys[i] = seatKind.key(id, seat)
	}
	if err := engine.Prefetch(t.snapshot, keys...); err != nil {
		return false, err
	}
	for _, seat := range seats {
		if err := seatKind.remove(t, id, seat); err != nil {
			return false, err
		}
	}
	if len(seats) < sweepBatch {
		return true, contractKind.remove(t, id)
	}
	return true, nil
}
